"""The definitions, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def most_words(t, shift, bits, high, each):  # pragma: no cover - compiled
    """Upper bound of the number of words: ``each`` an event, and the TIME_HIGH words of long silences."""
    most = (1 << (bits - 1)) - 1
    total = np.int64(len(t)) * each
    for i in range(len(t)):
        target = t[i] >> shift
        if high < 0:
            high = min(target, (1 << bits) - 1)
            total += 1
        total += (target - high + most - 1) // most
        high = target
    return total


@njit(cache=True, nogil=True)
def _advance(high, target, bits, kind, words, n):  # pragma: no cover - compiled
    """Write the TIME_HIGH words from ``high`` to ``target``; the number of words then."""
    mask = (1 << bits) - 1
    most = (1 << (bits - 1)) - 1
    if high < 0:
        high = min(target, mask)
        words[n] = kind << bits | high
        n += 1
    while high < target:
        high = min(high + most, target)
        words[n] = kind << bits | (high & mask)
        n += 1
    return n


@njit(cache=True, nogil=True)
def evt2(columns, r, words):  # pragma: no cover - compiled
    t, x, y, p = columns
    high, n = r[0], 0
    for i in range(len(t)):
        target = t[i] >> 6
        if target != high:
            n = _advance(high, target, 28, 8, words, n)
            high = target
        words[n] = np.int64(p[i]) << 28 | (t[i] & 63) << 22 | np.int64(x[i]) << 11 | np.int64(y[i])
        n += 1
    r[0] = high
    return n


@njit(cache=True, nogil=True)
def evt3(columns, r, words):  # pragma: no cover - compiled
    t, x, y, p = columns
    high, low, row = r[0], r[1], r[2]
    i, n = 0, 0
    while i < len(t):
        left = np.int64(x[i])
        if t[i] >> 12 != high:
            n = _advance(high, t[i] >> 12, 12, 8, words, n)
            high, low = t[i] >> 12, -1
        if t[i] & 0xFFF != low:
            low = t[i] & 0xFFF
            words[n] = 0x6000 | low
            n += 1
        if y[i] != row:
            row = np.int64(y[i])
            words[n] = row
            n += 1
        run, mask = 1, np.int64(1)
        while i + run < len(t) and run < 32:
            k = i + run
            if t[k] != t[i] or y[k] != y[i] or p[k] != p[i] or x[k] <= x[k - 1] or x[k] >= left + 32:
                break
            mask |= np.int64(1) << (np.int64(x[k]) - left)
            run += 1
        head = np.int64(p[i]) << 11 | left
        if run < 5:
            words[n] = 0x2000 | head
            n += 1
            i += 1
            continue
        words[n], words[n + 1] = 0x3000 | head, 0x4000 | (mask & 0xFFF)
        words[n + 2], words[n + 3] = 0x4000 | (mask >> 12 & 0xFFF), 0x5000 | mask >> 24
        n += 4
        i += run
    r[0], r[1], r[2] = high, low, row
    return n
