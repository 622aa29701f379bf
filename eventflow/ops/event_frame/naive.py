"""The definition of the event frame: one event at a time."""

from __future__ import annotations

import numpy as np

from eventflow.ops._columns import Array, Columns, Window


def naive_event_frame(c: Columns, w: Window, size: tuple[int, int], reduce: str) -> Array:
    """(height, width) float64."""
    out = np.zeros(size)
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        dt = t - w.start.item()
        if 0 <= dt < w.length or (w.closed and dt == w.length):
            out[y, x] = 2 * p - 1 if reduce == "last" else out[y, x] + 2 * p - 1
    return out
