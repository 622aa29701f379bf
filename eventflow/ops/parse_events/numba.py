"""The definition, compiled: one pass over the bytes, numbers as integer mantissa and decimal exponent.

A number keeps its first 18 significant digits, which is exact for every time of less than 31,000 years in microseconds.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Bytes of the longest line: sign, 13 digits, point, 6 digits, two numbers of 5, one of 3, gaps and newline.
LONGEST = 40
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_TRUE, _FALSE = (np.frombuffer(word, np.uint8) for word in (b"true", b"false"))


@njit(cache=True, nogil=True)
def count_lines(data):  # pragma: no cover - compiled
    n = 0
    for byte in data:
        n += byte == 10
    return n


@njit(cache=True, nogil=True)
def parse(data, order, exponent, columns):  # pragma: no cover - compiled
    """(events written, bytes taken, whether the next line is no event); see ``naive.py``."""
    t, x, y, p = columns
    cells = np.zeros(4, np.int64)
    scales = np.zeros(4, np.int64)
    last = max(order[0], order[1], order[2], order[3])
    end = len(data)
    while end and data[end - 1] != 10:
        end -= 1
    n, at = 0, 0
    while at < end:
        begin = at
        while _is_gap(data[at]):
            at += 1
        if data[at] == 10:
            at += 1
            continue
        if data[at] == 35 or data[at] == 37:
            at = _next_line(data, at)
            continue
        at = _read_cells(data, at, order, last, cells, scales)
        if at < 0:
            return n, begin, True
        time, good = _scaled(cells[0], scales[0] + exponent, False)
        ex, good_x = _scaled(cells[1], scales[1], True)
        ey, good_y = _scaled(cells[2], scales[2], True)
        ep, good_p = _scaled(cells[3], scales[3], True)
        if not (good and good_x and good_y and good_p and 0 <= ex < 65536 and 0 <= ey < 65536 and -1 <= ep <= 1):
            return n, begin, True
        t[n], x[n], y[n], p[n] = time, ex, ey, ep > 0
        n += 1
        at = _next_line(data, at)
    return n, at, False


@njit(cache=True, nogil=True)
def _read_cells(data, at, order, last, cells, scales):  # pragma: no cover - compiled
    """Fill digits and scales of t, x, y, p from a line; where it was left, or -1 where a number is missing."""
    for column in range(last + 1):
        k = 0
        while k < 4 and order[k] != column:
            k += 1
        if k == 4:
            if data[at] == 10:
                return -1
            while not (_is_gap(data[at]) or data[at] == 10):
                at += 1
        else:
            value, scale, after = _number(data, at)
            if after < 0 and k == 3:
                value, after = _word(data, at)
                scale = np.int64(0)
            if after < 0:
                return -1
            cells[k], scales[k], at = value, scale, after
        while _is_gap(data[at]):
            at += 1
    return at


@njit(cache=True, nogil=True, inline="always")
def _is_gap(byte):  # pragma: no cover - compiled
    return byte == 32 or byte == 44 or byte == 9 or byte == 13 or byte == 59


@njit(cache=True, nogil=True, inline="always")
def _next_line(data, at):  # pragma: no cover - compiled
    while data[at] != 10:
        at += 1
    return at + 1


@njit(cache=True, nogil=True)
def _number(data, at):  # pragma: no cover - compiled
    """(mantissa, decimal exponent, where it ends); the end is -1 if it is no number. A newline follows it."""
    negative = data[at] == 45
    if negative or data[at] == 43:
        at += 1
    value, scale, digits, seen = np.int64(0), np.int64(0), 0, 0
    point = False
    while True:
        byte = data[at]
        if 48 <= byte <= 57:
            seen += 1
            if digits < 18:
                value = value * 10 + (byte - 48)
                digits += value > 0
                scale -= point
            else:
                scale += not point
        elif byte == 46 and not point:
            point = True
        else:
            break
        at += 1
    if seen == 0:
        return value, scale, -1
    if data[at] == 101 or data[at] == 69:
        at += 1
        minus = data[at] == 45
        if minus or data[at] == 43:
            at += 1
        power, begin = np.int64(0), at
        while 48 <= data[at] <= 57:
            power = min(power * 10 + (data[at] - 48), 10_000)
            at += 1
        if at == begin:
            return value, scale, -1
        scale += -power if minus else power
    if not (_is_gap(data[at]) or data[at] == 10):
        return value, scale, -1
    return -value if negative else value, scale, at


@njit(cache=True, nogil=True)
def _word(data, at):  # pragma: no cover - compiled
    """(1 or 0, where it ends) for true or false in letters of any size; the end is -1 if it is neither."""
    for value, word in ((np.int64(1), _TRUE), (np.int64(0), _FALSE)):
        k = 0
        while k < len(word) and data[at + k] | 32 == word[k]:  # a newline, which follows, is none of these
            k += 1
        if k == len(word) and (_is_gap(data[at + k]) or data[at + k] == 10):
            return value, at + k
    return np.int64(0), -1


@njit(cache=True, nogil=True)
def _scaled(value, scale, whole):  # pragma: no cover - compiled
    """value * 10**scale, rounded (halves away from zero), and whether it fits (and, if asked, is whole)."""
    if value == 0 or scale == 0:
        return value, -(10**18) < value < 10**18
    if scale > 0:
        if scale > 18 or abs(value) > (10**18 - 1) // _POWERS[scale]:
            return np.int64(0), False
        return value * _POWERS[scale], True
    if scale < -18:
        return np.int64(0), not whole
    power = _POWERS[-scale]
    size = abs(value)
    quotient = size // power
    rest = size - quotient * power
    if whole and rest:
        return quotient, False
    if 2 * rest >= power:
        quotient += 1
    return -quotient if value < 0 else quotient, True


@njit(cache=True, nogil=True)
def write(columns, out):  # pragma: no cover - compiled
    """The bytes written."""
    t, x, y, p = columns
    n = 0
    for i in range(len(t)):
        size = t[i]
        if size < 0:
            out[n] = 45
            n += 1
            size = -size
        seconds = size // 1_000_000
        rest = size - seconds * 1_000_000
        n = _digits(out, n, seconds)
        out[n] = 46
        for k in range(6):
            out[n + 6 - k] = 48 + rest % 10
            rest //= 10
        n += 7
        for value in (np.int64(x[i]), np.int64(y[i]), np.int64(p[i])):
            out[n] = 32
            n = _digits(out, n + 1, value)
        out[n] = 10
        n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _digits(out, n, value):  # pragma: no cover - compiled
    count, rest = 1, value // 10
    while rest:
        count += 1
        rest //= 10
    for k in range(count):
        out[n + count - 1 - k] = 48 + value % 10
        value //= 10
    return n + count
