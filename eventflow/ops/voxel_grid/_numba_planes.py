"""Two neighbouring planes of a voxel grid, pixel by pixel side by side while many events fall between them.

An event then touches one cache line where it would have touched two. The sums go on from what the planes hold, in the
same order, so that the bits are those of the planes apart.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventflow.ops._lanes import JIT


@njit(cache=True, **JIT)
def plane_of(t, i, place, bins):  # pragma: no cover - compiled
    """The plane at or before a time; outside the window some plane."""
    window, scale = place
    position = np.floor(np.float64(t[i] - window[0]) * scale)
    return np.int64(max(min(position, np.float64(bins - 2)), 0.0))


@njit(cache=True, **JIT)
def dense(t, i, place, b, bins):  # pragma: no cover - compiled
    """Whether event ``i`` is still in plane b, and so all before it, if they are in order."""
    return i < len(t) and plane_of(t, i, place, bins) == b


@njit(cache=True, nogil=True, error_model="numpy")
def turn(pair, side, state, join):  # pragma: no cover - compiled
    """From planes ``held`` and the next side by side (-1: none) to planes b and the next (-1: none), joined or not.

    Planes [ready, stop) are yet to be cleared. Returns what is held, and the new ``ready``.
    """
    held, b, ready, stop = state
    if join and held >= 0 and b == held + 1:
        _shift(pair, side[held], side[b + 1], ready < b + 2)
        return b, max(ready, b + 2)
    if held >= 0:
        _split(pair, side[held], side[held + 1])
    for q in range(ready, min(b + 2, stop)):
        side[q] = 0
    if join:
        _join(pair, side[b], side[b + 1])
    return (b if join else -1), max(ready, b + 2)


@njit(cache=True, **JIT)
def _join(pair, low, high):  # pragma: no cover - compiled
    for k in range(len(low)):
        pair[2 * k] = low[k]
        pair[2 * k + 1] = high[k]


@njit(cache=True, **JIT)
def _split(pair, low, high):  # pragma: no cover - compiled
    for k in range(len(low)):
        low[k] = pair[2 * k]
        high[k] = pair[2 * k + 1]


@njit(cache=True, **JIT)
def _shift(pair, low, high, fresh):  # pragma: no cover - compiled
    """Write the lower plane back; the higher becomes the lower one, beside ``high``, zero where that is fresh."""
    for k in range(len(low)):
        low[k] = pair[2 * k]
        pair[2 * k] = pair[2 * k + 1]
        pair[2 * k + 1] = np.float32(0) if fresh else high[k]
