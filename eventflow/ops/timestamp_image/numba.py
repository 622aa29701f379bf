"""The timestamp image, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def gather_times(c, window, last, total, count):  # pragma: no cover - compiled
    """Raise ``last``, add to ``total`` and ``count`` (each (2, height, width) float64), in place.

    Times are fractions of the window. Returns (fault, events outside the window).
    """
    t, x, y, p = c
    start, length, closed = window
    height, width = last.shape[1:]
    fault, outside = False, 0
    for k in range(len(t)):
        dt = np.float64(t[k] - start)
        if x[k] >= width or y[k] >= height or p[k] > 1:
            fault = True
        elif dt >= 0.0 and (dt < length or (closed and dt == length)):
            share = dt / length if length > 0.0 else 0.0
            channel, row, column = 1 - p[k], y[k], x[k]
            last[channel, row, column] = max(last[channel, row, column], share)
            total[channel, row, column] += share
            count[channel, row, column] += 1.0
        else:
            outside += 1
    return fault, outside
