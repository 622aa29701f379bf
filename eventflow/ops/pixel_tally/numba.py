"""The definition, compiled."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def tally(t, x, y, counts, last):  # pragma: no cover - compiled
    repeats = 0
    for i in range(len(t)):
        row, column = y[i], x[i]
        counts[row, column] += 1
        repeats += last[row, column] == t[i]
        last[row, column] = t[i]
    return repeats
