"""The event spike tensor, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def splat(c, window, triangle, timed, grid):  # pragma: no cover - compiled
    """Add the events to ``grid`` (bins, 2, height, width) float32, in place; returns (fault, events outside)."""
    t, x, y, p = c
    start, length, closed = window
    bins, _, height, width = grid.shape
    step = np.exp(-1.0)
    fault, outside = False, 0
    for k in range(len(t)):
        dt = np.float64(t[k] - start)
        if x[k] >= width or y[k] >= height or p[k] > 1:
            fault = True
            continue
        if not (dt >= 0.0 and (dt < length or (closed and dt == length))):
            outside += 1
            continue
        share = dt / length if length > 0.0 else 0.0
        value = share if timed else 1.0
        position = share * (bins - 1)
        channel, row, column = 1 - p[k], y[k], x[k]
        if triangle:
            b = min(np.int64(position), max(bins - 2, 0))
            later = position - b
            grid[b, channel, row, column] += np.float32(value * (1.0 - later))
            if bins > 1:
                grid[b + 1, channel, row, column] += np.float32(value * later)
        else:
            first = np.int64(np.ceil(position))
            weight = value * np.exp(position - first)
            for b in range(first, bins):
                grid[b, channel, row, column] += np.float32(weight)
                weight *= step
    return fault, outside
