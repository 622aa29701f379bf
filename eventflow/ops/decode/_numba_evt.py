"""Prophesee's words, compiled; see ``numba.py`` for what the kernels take and return."""

from __future__ import annotations

import numpy as np
from numba import njit

from eventflow.ops.decode._numba_checks import BLOCK, below, highest, lowest, ones, rises
from eventflow.ops.decode._state import BACKWARDS, OUTSIDE, RESERVED, SLACK

_WRONG_EVT2 = np.array([k not in (0, 1, 8, 0xA, 0xE, 0xF) for k in range(16)])
_WRONG_EVT3 = np.array([k in (1, 9) for k in range(16)])


@njit(cache=True, nogil=True)
def evt2(words, r, limits, columns):  # pragma: no cover - compiled
    """By blocks: first without any check in the loop, then the block's columns are checked, which is vectorised; a
    block with something unusual in it is done again, word by word."""
    t, x, y, p = columns
    n, i, fault = 0, 0, 0
    while i < len(words) and not fault:
        stop = min(i + BLOCK, len(words))
        m, high = _evt2_block(words[i:stop], r, columns, n)
        usual = m >= 0 and rises(t[n:m], r[2]) and below(x[n:m], limits[0]) and below(y[n:m], limits[1])
        if usual:
            r[0] = high
            if m > n:
                r[2] = t[m - 1]
            n, i = m, stop
        else:
            n, i, fault = _evt2_exact(words, (i, stop), r, limits, columns, n)
    return n, i, fault


@njit(cache=True, nogil=True)
def _evt2_block(words, r, columns, n):  # pragma: no cover - compiled
    """(events so far, TIME_HIGH) after a block of usual words; (-1, 0) if any of them is not.

    All arithmetic in 32 bits, and an unsigned index, which needs no check for negative numbers: half as fast again.
    """
    t, x, y, p = columns
    high, loops = r[0], r[1] << 34
    if high < 0:
        return -1, 0
    above = loops | (high << 6)
    m = np.uint64(n)
    for i in range(len(words)):
        word = words[i]
        if word < np.uint32(2 << 28):
            x[m] = (word >> np.uint32(11)) & np.uint32(0x7FF)
            y[m] = word & np.uint32(0x7FF)
            p[m] = word >> np.uint32(28)
            t[m] = above | np.int64((word >> np.uint32(22)) & np.uint32(0x3F))
            m += np.uint64(1)
        else:
            value = np.int64(word & np.uint32(0xFFFFFFF))
            if word >> np.uint32(28) != 8 or value < high:
                return -1, 0
            high = value
            above = loops | (high << 6)
    return np.int64(m), high


@njit(cache=True, nogil=True)
def _evt2_exact(words, between, r, limits, columns, n):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    high, loops, now, held = r[0], r[1], r[2], r[3]
    above = (loops << 34) | (high << 6)
    taken, fault = between[1], 0
    for i in range(between[0], between[1]):
        word = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:
            if high >= 0:
                ex, ey = (word >> 11) & 0x7FF, word & 0x7FF
                if ex >= width or ey >= height:
                    taken, fault = i, OUTSIDE
                    break
                at = above | ((word >> 22) & 0x3F)
                if at < now:
                    held += 1
                    at = now
                now = at
                t[n], x[n], y[n], p[n] = at, ex, ey, kind
                n += 1
        elif kind == 8:
            value = word & 0xFFFFFFF
            if high >= 0 and value < high:
                if high - value > 1 << 27:
                    loops += 1
                elif high - value > SLACK // 64:
                    taken, fault = i, BACKWARDS
                    break
            high = value
            above = (loops << 34) | (high << 6)
        elif _WRONG_EVT2[kind]:
            taken, fault = i, RESERVED
            break
    r[0], r[1], r[2], r[3] = high, loops, now, held
    return n, taken, fault


@njit(cache=True, nogil=True)
def count_evt21(words):  # pragma: no cover - compiled
    """Upper bound of the number of events."""
    n = 0
    for i in range(len(words)):
        word = words[i]
        if word >> np.uint64(60) <= 1:
            n += ones(np.uint32(word & np.uint64(0xFFFFFFFF)))
    return n


@njit(cache=True, nogil=True)
def evt21(words, r, limits, columns):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    high, loops, now, held = r[0], r[1], r[2], r[3]
    n, taken, fault = 0, len(words), 0
    for i in range(len(words)):
        upper = np.int64(words[i] >> np.uint64(32))
        kind = upper >> 28
        if kind <= 1:
            valid = np.uint32(words[i] & np.uint64(0xFFFFFFFF))
            if high < 0 or valid == 0:
                continue
            ex, ey = (upper >> 11) & 0x7FF, upper & 0x7FF
            if ey >= height or ex + highest(valid) >= width:
                taken, fault = i, OUTSIDE
                break
            at = (loops << 34) | (high << 6) | ((upper >> 22) & 0x3F)
            if at < now:
                held += 1
                at = now
            now = at
            while valid:
                t[n], x[n], y[n], p[n] = at, ex + lowest(valid), ey, kind
                n += 1
                valid &= valid - np.uint32(1)
        elif kind == 8:
            value = upper & 0xFFFFFFF
            if high >= 0 and value < high:
                if high - value > 1 << 27:
                    loops += 1
                elif high - value > SLACK // 64:
                    taken, fault = i, BACKWARDS
                    break
            high = value
        elif _WRONG_EVT2[kind]:
            taken, fault = i, RESERVED
            break
    r[0], r[1], r[2], r[3] = high, loops, now, held
    return n, taken, fault


@njit(cache=True, nogil=True)
def count_evt3(words):  # pragma: no cover - compiled
    """Upper bound of the number of events."""
    n = 0
    for i in range(len(words)):
        word = np.uint32(words[i])
        kind = word >> np.uint32(12)
        if kind == 2:
            n += 1
        elif kind == 4:
            n += ones(word & np.uint32(0xFFF))
        elif kind == 5:
            n += ones(word & np.uint32(0xFF))
    return n


@njit(cache=True, nogil=True)
def evt3(words, r, limits, columns):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    high, now, row, base, polarity = r[0], r[3], r[5], r[6], r[7]
    n, taken, fault = np.uint64(0), len(words), 0  # an unsigned index is not checked for its sign
    for i in range(len(words)):
        word = np.int64(words[i])
        kind, value = word >> 12, word & 0xFFF
        if kind == 2:
            if high >= 0:
                if (value & 0x7FF) >= width or row >= height:
                    taken, fault = i, OUTSIDE
                    break
                t[n], x[n], y[n], p[n] = now, value & 0x7FF, row, value >> 11
                n += np.uint64(1)
        elif kind == 0:
            row = value & 0x7FF
        elif kind == 4 or kind == 5:
            valid = np.uint32(value if kind == 4 else value & 0xFF)
            if high >= 0 and valid:
                if row >= height or base + highest(valid) >= width:
                    taken, fault = i, OUTSIDE
                    break
                while valid:
                    t[n], x[n], y[n], p[n] = now, base + lowest(valid), row, polarity
                    n += np.uint64(1)
                    valid &= valid - np.uint32(1)
            base += 12 if kind == 4 else 8
        elif kind == 6 or kind == 8:
            if not _evt3_time(kind, value, r):
                taken, fault = i, BACKWARDS
                break
            high, now = r[0], r[3]
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif _WRONG_EVT3[kind]:
            taken, fault = i, RESERVED
            break
    r[5], r[6], r[7] = row, base, polarity
    return np.int64(n), taken, fault


@njit(cache=True, nogil=True)
def _evt3_time(kind, value, r):  # pragma: no cover - compiled
    """Take a TIME_LOW or TIME_HIGH word; False if time goes back too far."""
    if kind == 6:
        r[2] = value
    else:
        back = r[0] - value if r[0] >= 0 else 0
        if back > 1 << 11:
            r[1] += 1
        elif back > SLACK // 4096:
            return False
        if value != r[0]:
            r[2] = 0
        r[0] = value
    if r[0] >= 0:
        at = (r[1] << 24) | (r[0] << 12) | r[2]
        r[4] += at < r[3]
        r[3] = max(at, r[3])
    return True
