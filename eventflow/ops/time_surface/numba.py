"""The last event of every pixel, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def latest(t, x, y, p, until, out):  # pragma: no cover - compiled
    """Raise ``out`` (2, height, width) float64 to the times of the events up to ``until``, in place.

    Returns whether an integer pixel was off the sensor or a polarity was none.
    """
    height, width = out.shape[1:]
    fault = False
    for k in range(len(t)):
        if x[k] >= width or y[k] >= height or p[k] > 1:
            fault = True
        elif t[k] <= until:
            now = np.float64(t[k])
            if now > out[1 - p[k], y[k], x[k]]:
                out[1 - p[k], y[k], x[k]] = now
    return fault
