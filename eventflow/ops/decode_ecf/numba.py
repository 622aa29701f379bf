"""The definition, compiled. Every read and write is checked against the ends of its array."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def decode(data, n, header, columns):  # pragma: no cover - compiled
    """Whether ``data`` (uint8, without the header) holds n events, which are then in the columns (t, x, y, p)."""
    t, x, y, p = columns
    at = _times(data, n, t)
    if at >= 0 and header & 2:
        return _packed(data, at, n, 4, columns)
    at = _rows(data, at, n, y) if at >= 0 else at
    if at >= 0 and header & 1:
        return _packed(data, at, n, 2, columns)
    at = _pixels(data, at, n, x) if at >= 0 else at
    return at >= 0 and _polarities(data, at, n, p) >= 0


@njit(cache=True, nogil=True)
def _take(data, at, size):  # pragma: no cover - compiled
    value = np.int64(0)
    for k in range(size):
        value |= np.int64(data[at + k]) << (8 * k)
    return value


@njit(cache=True, nogil=True)
def _times(data, n, t):  # pragma: no cover - compiled
    """Where the times end, or -1."""
    if len(data) < 8:
        return -1
    now, at, i = _take(data, 0, 8), 8, 0
    place, silence = 0, np.int64(0)
    while i < n:
        if at >= len(data):
            return -1
        step, count = np.int64(data[at]) >> 4, np.int64(data[at]) & 15
        at += 1
        if step == 15:
            if place >= 60:
                return -1
            silence |= count << place
            place += 4
            continue
        now += silence + step
        place, silence = 0, np.int64(0)
        if count == 15:
            if at + 2 > len(data):
                return -1
            count = _take(data, at, 2)
            at += 2
        if i + count > n or now < 0 or now >= 1 << 62:
            return -1
        t[i : i + count] = now
        i += count
    return at


@njit(cache=True, nogil=True)
def _rows(data, at, n, y):  # pragma: no cover - compiled
    i = 0
    while i < n:
        if at + 2 > len(data):
            return -1
        word = _take(data, at, 2)
        at += 2
        count = word & 31
        if count == 31:
            if at + 2 > len(data):
                return -1
            count = _take(data, at, 2)
            at += 2
        if i + count > n:
            return -1
        y[i : i + count] = word >> 5
        i += count
    return at


@njit(cache=True, nogil=True)
def _polarities(data, at, n, p):  # pragma: no cover - compiled
    i = 0
    while i < n:
        if at >= len(data):
            return -1
        byte = np.int64(data[at])
        at += 1
        count = byte & 127
        if count == 127:
            if at + 2 > len(data):
                return -1
            count = _take(data, at, 2)
            at += 2
        if i + count > n:
            return -1
        p[i : i + count] = byte >> 7
        i += count
    return at


@njit(cache=True, nogil=True)
def _pixels(data, at, n, x):  # pragma: no cover - compiled
    i = 0
    while i < n:
        if at + 2 > len(data):
            return -1
        word = _take(data, at, 2)
        at += 2
        x[i] = word >> 5
        i += 1
        for k in range(5):
            if word >> (4 - k) & 1:
                if i >= n:
                    return -1
                x[i] = (word >> 5) + k + 1
                i += 1
    return at


@njit(cache=True, nogil=True)
def _packed(data, at, n, size, columns):  # pragma: no cover - compiled
    """Four events of 6 * size bits in three words of ``size`` bytes; whether all are there."""
    _, x, y, p = columns
    bits = 6 * size
    for i in range(0, n, 4):
        if at + 3 * size > len(data):
            return False
        high, middle, low = _take(data, at, size), _take(data, at + size, size), _take(data, at + 2 * size, size)
        at += 3 * size
        left = 8 * size - bits
        first, fourth = high >> left, low & ((1 << bits) - 1)
        second = (high & ((1 << left) - 1)) | (middle >> (2 * left)) << left
        third = (middle & ((1 << (2 * left)) - 1)) | (low >> (3 * left)) << (2 * left)
        for k in range(min(4, n - i)):
            value = first if k == 0 else second if k == 1 else third if k == 2 else fourth
            p[i + k] = value & 1
            if size == 4:
                x[i + k], y[i + k] = (value >> 1) & 0x7FF, (value >> 12) & 0x7FF
            else:
                x[i + k] = value >> 1
    return True
