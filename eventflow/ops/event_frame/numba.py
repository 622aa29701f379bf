"""The event frame, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def draw(c, window, add, frame):  # pragma: no cover - compiled
    """Add or write the events' signs to ``frame`` (height, width) float32; returns (fault, events outside)."""
    t, x, y, p = c
    start, length, closed = window
    height, width = frame.shape
    fault, outside = False, 0
    for k in range(len(t)):
        dt = np.float64(t[k] - start)
        if x[k] >= width or y[k] >= height or p[k] > 1:
            fault = True
        elif dt >= 0.0 and (dt < length or (closed and dt == length)):
            sign = np.float32(2) * np.float32(p[k]) - np.float32(1)
            frame[y[k], x[k]] = frame[y[k], x[k]] + sign if add else sign
        else:
            outside += 1
    return fault, outside
