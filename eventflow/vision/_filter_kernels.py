"""The filters against noise, compiled. Pixels are checked by the caller."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def refractory(t, x, y, delta, last, keep):  # pragma: no cover - compiled
    """keep[k]: no event kept at that pixel less than ``delta`` before. ``last`` (height, width) is changed in place."""
    for k in range(len(t)):
        keep[k] = t[k] - last[y[k], x[k]] >= delta
        if keep[k]:
            last[y[k], x[k]] = t[k]


@njit(cache=True, nogil=True)
def supported(t, x, y, rule, last, keep):  # pragma: no cover - compiled
    """keep[k]: a neighbour fired less than the time before. ``last`` (height + 2, width + 2) is changed in place."""
    time, diagonal = rule
    for k in range(len(t)):
        row, column = y[k] + 1, x[k] + 1
        newest = max(last[row - 1, column], last[row + 1, column], last[row, column - 1], last[row, column + 1])
        if diagonal:
            newest = max(newest, last[row - 1, column - 1], last[row - 1, column + 1])
            newest = max(newest, last[row + 1, column - 1], last[row + 1, column + 1])
        keep[k] = t[k] - newest < time
        last[row, column] = t[k]
