"""PNG's five row filters, undone (compiled). Source: the PNG specification, section 9."""

from __future__ import annotations

import numpy as np
from numba import njit

_PIXEL = 6  # bytes of a 16-bit RGB pixel


@njit(cache=True, nogil=True)
def unfilter(lines):  # pragma: no cover - compiled
    """(height, bytes) of filtered lines (height, 1 + bytes), each led by its filter's number."""
    height, width = lines.shape[0], lines.shape[1] - 1
    out = np.zeros((height, width), np.uint8)
    for row in range(height):
        kind = lines[row, 0]
        for k in range(width):
            left = np.int64(out[row, k - _PIXEL]) if k >= _PIXEL else 0
            up = np.int64(out[row - 1, k]) if row else 0
            corner = np.int64(out[row - 1, k - _PIXEL]) if row and k >= _PIXEL else 0
            guess = 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            elif kind == 4:
                estimate = left + up - corner
                a, b, c = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
                guess = left if a <= b and a <= c else (up if b <= c else corner)
            out[row, k] = np.uint8((np.int64(lines[row, k + 1]) + guess) & 255)
    return out
