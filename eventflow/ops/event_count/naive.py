"""The definition of the event count: one event at a time, in double precision."""

from __future__ import annotations

import math

import numpy as np

from eventflow.ops._columns import Array, Columns, Window


def naive_event_count(c: Columns, w: Window, shape: tuple[int, int, int, int], interpolation: str) -> Array:
    """(bins, 2, height, width) float64; ``interpolation`` is "nearest" or "bilinear"."""
    grid = np.zeros(shape)
    bins, _, height, width = shape
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        dt = t - w.start.item()
        if not (0 <= dt < w.length or (w.closed and dt == w.length)):
            continue
        b = min(math.floor(bins * dt / w.length), bins - 1) if w.length else 0
        if interpolation == "nearest":
            x, y = math.floor(x + 0.5), math.floor(y + 0.5)
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    grid[b, 1 - p, row, column] += (1 - abs(x - column)) * (1 - abs(y - row))
    return grid
