"""The definitions of ``naive.py``, compiled. Each kernel takes

words, the registers (an int64 array in the order of their names, changed in place), limits (int64: width, height) and
the columns (t, x, y, p) to write, long enough for all events of the words (see the ``count_*`` kernels);
it returns (events written, words taken, fault code).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventflow.ops.decode._numba_checks import BLOCK, below, rises
from eventflow.ops.decode._numba_evt import count_evt3 as count_evt3
from eventflow.ops.decode._numba_evt import count_evt21 as count_evt21
from eventflow.ops.decode._numba_evt import evt2 as evt2
from eventflow.ops.decode._numba_evt import evt3 as evt3
from eventflow.ops.decode._numba_evt import evt21 as evt21
from eventflow.ops.decode._state import BACKWARDS, HEADER, OUTSIDE, SLACK


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
            usual = rises(t[n:m], r[2]) and below(x[n:m], limits[0]) and below(y[n:m], limits[1])
        if usual:
            n, i = m, stop
            r[0], r[2] = t[n - 1] - r[1], t[n - 1]
        else:
            n, i, fault = _records_exact(words, (i, stop, n), r, limits, columns, layout)
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
def _records_exact(words, place, r, limits, columns, layout):  # pragma: no cover - compiled
    t, x, y, p = columns
    width, height = limits[0], limits[1]
    x_shift, y_shift, p_shift, on, keep_mask, keep = layout[0], layout[2], layout[4], layout[5], layout[6], layout[7]
    x_mask, y_mask, last_x, last_y = (1 << layout[1]) - 1, (1 << layout[3]) - 1, layout[8], layout[9]
    time_at = 0 if layout[10] else 1
    raw, added, now, held = r[0], r[1], r[2], r[3]
    n, taken, fault = place[2], place[1], 0
    for i in range(place[0], place[1]):
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
            found = _packet(data, at)
            if found[0] < 0:
                fault = HEADER
                break
            left, polarity, overflow = found
            at += 28
        elif polarity:
            if at + 8 > size:
                break
            word = _u32(data, at)
            if word & 1:
                ex, ey = word >> 17, (word >> 2) & 0x7FFF
                time = (overflow << 31) + (_u32(data, at + 4) & 0x7FFFFFFF)
                if time < now - SLACK or ex >= width or ey >= height:
                    fault = BACKWARDS if time < now - SLACK else OUTSIDE
                    break
                held += time < now
                now = max(time, now)
                t[n], x[n], y[n], p[n] = now, ex, ey, (word >> 1) & 1
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


@njit(cache=True, nogil=True)
def _packet(data, at):  # pragma: no cover - compiled
    """(bytes of the packet that begins here, whether it holds polarity events, its overflow); -1 bytes: impossible."""
    kind = np.int64(data[at]) | np.int64(data[at + 1]) << 8
    length, offset, number = _u32(data, at + 4), _u32(data, at + 8), _u32(data, at + 20)
    sane = 0 < length <= 1 << 24 and offset < length and (kind != 1 or length == 8)
    if not sane or number > _u32(data, at + 16) or _u32(data, at + 24) > number:
        return np.int64(-1), np.int64(0), np.int64(0)
    return length * number, np.int64(kind == 1), _u32(data, at + 12)


@njit(cache=True, nogil=True, inline="always")
def _u32(data, at):  # pragma: no cover - compiled
    return (
        np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    )
