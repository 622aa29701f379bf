"""The definitions of ``naive.py``, compiled. Each kernel takes

words, the registers (an int64 array in the order of their names, changed in place), limits (int64: width, height) and
the columns (t, x, y, p) to write, long enough for all events of the words (see the ``count_*`` kernels);
it returns (events written, words taken, fault code).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventflow.ops.decode._state import BACKWARDS, HEADER, OUTSIDE, RESERVED, SLACK

Array = NDArray[Any]
#: Words decoded at a time where the checks are made afterwards: their events stay in the first caches.
BLOCK = 4096
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
        usual = m >= 0 and _rises(t[n:m], r[2]) and _below(x[n:m], limits[0]) and _below(y[n:m], limits[1])
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
def _rises(t, now):  # pragma: no cover - compiled
    """Whether t is nondecreasing and not before ``now``."""
    wrong = 0
    for i in range(1, len(t)):
        wrong += t[i] < t[i - 1]
    return wrong == 0 and (len(t) == 0 or t[0] >= now)


@njit(cache=True, nogil=True)
def _below(column, limit):  # pragma: no cover - compiled
    most = column.dtype.type(0)
    for i in range(len(column)):
        most = max(most, column[i])
    return most < limit


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
            n += _ones(np.uint32(word & np.uint64(0xFFFFFFFF)))
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
            if ey >= height or ex + _highest(valid) >= width:
                taken, fault = i, OUTSIDE
                break
            at = (loops << 34) | (high << 6) | ((upper >> 22) & 0x3F)
            if at < now:
                held += 1
                at = now
            now = at
            while valid:
                t[n], x[n], y[n], p[n] = at, ex + _lowest(valid), ey, kind
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
            n += _ones(word & np.uint32(0xFFF))
        elif kind == 5:
            n += _ones(word & np.uint32(0xFF))
    return n


@njit(cache=True, nogil=True)
def evt3(words, r, limits, columns):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    high, loops, low, now, held, row, base, polarity = r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
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
            length = 12 if kind == 4 else 8
            valid = np.uint32(value if kind == 4 else value & 0xFF)
            if high >= 0 and valid:
                if row >= height or base + _highest(valid) >= width:
                    taken, fault = i, OUTSIDE
                    break
                while valid:
                    t[n], x[n], y[n], p[n] = now, base + _lowest(valid), row, polarity
                    n += np.uint64(1)
                    valid &= valid - np.uint32(1)
            base += length
        elif kind == 6 or kind == 8:
            if kind == 8:
                if high >= 0 and value < high:
                    if high - value > 1 << 11:
                        loops += 1
                    elif high - value > SLACK // 4096:
                        taken, fault = i, BACKWARDS
                        break
                if value != high:
                    low = 0
                high = value
            else:
                low = value
            if high >= 0:
                at = (loops << 24) | (high << 12) | low
                if at < now:
                    held += 1
                else:
                    now = at
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif _WRONG_EVT3[kind]:
            taken, fault = i, RESERVED
            break
    r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7] = high, loops, low, now, held, row, base, polarity
    return np.int64(n), taken, fault


@njit(cache=True, nogil=True)
def records(words, r, limits, columns, layout):  # pragma: no cover - compiled
    """By blocks, like :func:`evt2`, where every record is an event."""
    t, x, y, p = columns
    n, i, fault = 0, 0, 0
    plain = layout[6] == 0 and layout[8] < 0 and layout[9] < 0
    while i < len(words) and not fault:
        stop = min(i + BLOCK, len(words))
        usual, m = plain, n + stop - i
        if plain:
            _record_block(words[i:stop], r, (t[n:m], x[n:m], y[n:m], p[n:m]), layout)
            usual = _rises(t[n:m], r[2]) and _below(x[n:m], limits[0]) and _below(y[n:m], limits[1])
        if usual:
            n, i = m, stop
            r[0], r[2] = t[n - 1] - r[1], t[n - 1]
        else:
            n, i, fault = _records_exact(words, (i, stop), r, limits, columns, layout, n)
    return n, i, fault


@njit(cache=True, nogil=True)
def _record_block(words, r, columns, layout):  # pragma: no cover - compiled
    t, x, y, p = columns
    x_shift, y_shift, p_shift, on = layout[0], layout[2], layout[4], layout[5]
    x_mask, y_mask, time_at, added = (1 << layout[1]) - 1, (1 << layout[3]) - 1, 0 if layout[10] else 1, r[1]
    for i in range(len(words)):
        address = np.int64(words[i, 1 - time_at])
        t[i] = np.int64(words[i, time_at]) + added
        x[i] = (address >> x_shift) & x_mask
        y[i] = (address >> y_shift) & y_mask
        p[i] = ((address >> p_shift) & 1) == on


@njit(cache=True, nogil=True)
def _records_exact(words, between, r, limits, columns, layout, n):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    x_shift, y_shift, p_shift, on, keep_mask, keep = layout[0], layout[2], layout[4], layout[5], layout[6], layout[7]
    x_mask, y_mask, last_x, last_y = (1 << layout[1]) - 1, (1 << layout[3]) - 1, layout[8], layout[9]
    time_at = 0 if layout[10] else 1
    raw, added, now, held = r[0], r[1], r[2], r[3]
    taken, fault = between[1], 0
    for i in range(between[0], between[1]):
        address = np.int64(words[i, 1 - time_at])
        if address & keep_mask != keep:
            continue
        ex, ey = (address >> x_shift) & x_mask, (address >> y_shift) & y_mask
        if last_x >= 0:
            ex = last_x - ex
        if last_y >= 0:
            ey = last_y - ey
        if ex < 0 or ex >= width or ey < 0 or ey >= height:
            taken, fault = i, OUTSIDE
            break
        at = np.int64(words[i, time_at])
        further = added + (1 << 32) if raw - at > 1 << 31 else added
        if at + further < now - SLACK:
            taken, fault = i, BACKWARDS
            break
        raw, added = at, further
        at += added
        if at < now:
            held += 1
            at = now
        now = at
        t[n], x[n], y[n], p[n] = at, ex, ey, ((address >> p_shift) & 1) == on
        n += 1
    r[0], r[1], r[2], r[3] = raw, added, now, held
    return n, taken, fault


@njit(cache=True, nogil=True)
def nmnist(rows, r, limits, columns):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    raw, added, now, held = r[0], r[1], r[2], r[3]
    n, taken, fault = 0, len(rows), 0
    for i in range(len(rows)):
        if rows[i, 1] == 240:
            added += 1 << 13
            continue
        if rows[i, 0] >= width or rows[i, 1] >= height:
            taken, fault = i, OUTSIDE
            break
        top = np.int64(rows[i, 2])
        at = (top & 0x7F) << 16 | np.int64(rows[i, 3]) << 8 | np.int64(rows[i, 4])
        further = added + (1 << 23) if raw - at > 1 << 22 else added
        if at + further < now - SLACK:
            taken, fault = i, BACKWARDS
            break
        raw, added = at, further
        at += added
        if at < now:
            held += 1
            at = now
        now = at
        t[n], x[n], y[n], p[n] = at, rows[i, 0], rows[i, 1], top >> 7
        n += 1
    r[0], r[1], r[2], r[3] = raw, added, now, held
    return n, taken, fault


@njit(cache=True, nogil=True)
def aedat31(data, r, limits, columns):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    left, polarity, overflow, now, held = r[0], r[1], r[2], r[3], r[4]
    n, at, fault, size = 0, 0, 0, len(data)
    while True:
        if left == 0:
            if at + 28 > size:
                break
            kind = np.int64(data[at]) | np.int64(data[at + 1]) << 8
            length, offset, number = _u32(data, at + 4), _u32(data, at + 8), _u32(data, at + 20)
            sane = 0 < length <= 1 << 24 and offset < length and (kind != 1 or length == 8)
            if not sane or number > _u32(data, at + 16) or _u32(data, at + 24) > number:
                fault = HEADER
                break
            left, polarity, overflow = length * number, np.int64(kind == 1), _u32(data, at + 12)
            at += 28
        elif polarity:
            if at + 8 > size:
                break
            word = _u32(data, at)
            if word & 1:
                ex, ey = word >> 17, (word >> 2) & 0x7FFF
                time = (overflow << 31) + (_u32(data, at + 4) & 0x7FFFFFFF)
                if time < now - SLACK:
                    fault = BACKWARDS
                    break
                if ex >= width or ey >= height:
                    fault = OUTSIDE
                    break
                if time < now:
                    held += 1
                    time = now
                now = time
                t[n], x[n], y[n], p[n] = time, ex, ey, (word >> 1) & 1
                n += 1
            left -= 8
            at += 8
        else:
            skipped = min(left, size - at)
            if skipped == 0:
                break
            left -= skipped
            at += skipped
    r[0], r[1], r[2], r[3], r[4] = left, polarity, overflow, now, held
    return n, at, fault


@njit(cache=True, nogil=True, inline="always")
def _u32(data, at):  # pragma: no cover - compiled
    return (
        np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    )


@njit(cache=True, nogil=True, inline="always")
def _ones(v):  # pragma: no cover - compiled
    """Set bits of a uint32."""
    v = v - ((v >> np.uint32(1)) & np.uint32(0x55555555))
    v = (v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333))
    v = (v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return np.int64(np.uint32(v * np.uint32(0x01010101)) >> np.uint32(24))


@njit(cache=True, nogil=True, inline="always")
def _lowest(v):  # pragma: no cover - compiled
    """Place of the lowest set bit of a uint32 that has one."""
    return _ones((v & (np.uint32(0) - v)) - np.uint32(1))


@njit(cache=True, nogil=True, inline="always")
def _highest(v):  # pragma: no cover - compiled
    """Place of the highest set bit of a uint32 that has one."""
    v |= v >> np.uint32(1)
    v |= v >> np.uint32(2)
    v |= v >> np.uint32(4)
    v |= v >> np.uint32(8)
    v |= v >> np.uint32(16)
    return _ones(v) - 1
