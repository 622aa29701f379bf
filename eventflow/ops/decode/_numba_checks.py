"""What the compiled decoders share: checks of whole columns, which are vectorised, and the places of set bits."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Words decoded at a time where the checks are made afterwards: their events stay in the first caches.
BLOCK = 4096


@njit(cache=True, nogil=True)
def rises(t, now):  # pragma: no cover - compiled
    """Whether t is nondecreasing and not before ``now``."""
    wrong = 0
    for i in range(1, len(t)):
        wrong += t[i] < t[i - 1]
    return wrong == 0 and (len(t) == 0 or t[0] >= now)


@njit(cache=True, nogil=True)
def below(column, limit):  # pragma: no cover - compiled
    most = column.dtype.type(0)
    for i in range(len(column)):
        most = max(most, column[i])
    return most < limit


@njit(cache=True, nogil=True, inline="always")
def ones(v):  # pragma: no cover - compiled
    """Set bits of a uint32."""
    v = v - ((v >> np.uint32(1)) & np.uint32(0x55555555))
    v = (v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333))
    v = (v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return np.int64(np.uint32(v * np.uint32(0x01010101)) >> np.uint32(24))


@njit(cache=True, nogil=True, inline="always")
def lowest(v):  # pragma: no cover - compiled
    """Place of the lowest set bit of a uint32 that has one."""
    return ones((v & (np.uint32(0) - v)) - np.uint32(1))


@njit(cache=True, nogil=True, inline="always")
def highest(v):  # pragma: no cover - compiled
    """Place of the highest set bit of a uint32 that has one."""
    v |= v >> np.uint32(1)
    v |= v >> np.uint32(2)
    v |= v >> np.uint32(4)
    v |= v >> np.uint32(8)
    v |= v >> np.uint32(16)
    return ones(v) - 1
