"""The definition of the event spike tensor: every event at every bin, in double precision."""

from __future__ import annotations

import math

import numpy as np

from eventflow.ops._columns import Array, Columns, Window


def naive_spike_tensor(c: Columns, w: Window, shape: tuple[int, int, int, int], kernel: str, measure: str) -> Array:
    """(bins, 2, height, width) float64."""
    out = np.zeros(shape)
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        dt = t - w.start.item()
        if not (0 <= dt < w.length or (w.closed and dt == w.length)):
            continue
        share = dt / w.length if w.length else 0.0
        for b in range(shape[0]):
            distance = b - share * (shape[0] - 1)
            if kernel == "triangle":
                weight = max(0.0, 1 - abs(distance))
            else:
                weight = math.exp(-distance) if distance >= 0 else 0.0
            out[b, 1 - p, y, x] += weight * (share if measure == "time" else 1.0)
    return out
