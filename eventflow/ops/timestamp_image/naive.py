"""The definition of the timestamp image: one event at a time, in double precision."""

from __future__ import annotations

import numpy as np

from eventflow.ops._columns import Array, Columns, Window


def naive_timestamp_image(c: Columns, w: Window, size: tuple[int, int], reduce: str) -> Array:
    """(2, height, width) float64 in [0, 1]."""
    times: dict[tuple[int, int, int], list[float]] = {}
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        dt = t - w.start.item()
        if 0 <= dt < w.length or (w.closed and dt == w.length):
            times.setdefault((1 - p, y, x), []).append(dt / w.length if w.length else 0.0)
    out = np.zeros((2, *size))
    for place, seen in times.items():
        out[place] = max(seen) if reduce == "last" else sum(seen) / len(seen)
    return out
