"""The voxel grid that is linear in time, in whole pixels: a pass for positions and weights, and one that scatters.

A block of events mostly lies between the same two planes; it is cut where they do not. Where many events fall between
two planes, these are kept pixel by pixel side by side: an event then touches one cache line instead of two. Sums are
formed in the same order either way, so the bits are the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventflow.ops._ahead import STEP, ahead
from eventflow.ops._blocks import BLOCK, clear, pixels, planes, scatter_pair, signs
from eventflow.ops._lanes import JIT

#: Planes are joined for at least one event to so many pixels; a block that is cut keeps at least so many events.
_SPARSE, _SHORT = 4, 64


@njit(cache=True, nogil=True, error_model="numpy")
def add_time(c, window, scale, out):  # pragma: no cover - compiled
    """Add events to the grid ``out[0]`` (bins, height, width), whose planes from ``out[1]`` on are uninitialised.

    Returns how many pixels were off the sensor, the or of all polarities, and how many events were outside the window.
    """
    grid, ready = out
    bins, height, width = grid.shape
    area = height * width
    side = grid.reshape(bins, area)
    pair, held, last, highest = np.empty(0, np.float32), -1, -1, -1
    room = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside, i, n = 0, np.uint8(0), 0, 0, len(c[0])
    while i < n:
        size = min(BLOCK, n - i)
        b = _plane(c[0], i, (window, scale), bins)
        block = _part(c, i, i + size)
        count, bits = _weigh(block, (window, scale, b), (height, width), room)
        seen |= bits
        if count < min(_SHORT, size):
            held, ready = _turn(pair, side, (held, -1, ready), False)
            lost, late, ready = _anywhere(block, window, scale, grid, ready)
            off, outside, i, last = off + lost, outside + late, i + size, -1
            continue
        if b != last:
            dense = b > highest and _dense(c[0], i + area // _SPARSE, (window, scale), b, bins)
            if dense:
                highest = b
                if not len(pair):
                    pair = np.empty(2 * area, np.float32)
            held, ready = _turn(pair, side, (held, b, ready), dense)
            last = b
        if held >= 0:
            _scatter_joined(room, count, pair, c, i + count)
        else:
            _scatter_apart(room, count, (side[b], side[b + 1]), c, i + count)
        i += count
    held, ready = _turn(pair, side, (held, -1, ready), False)
    grid[ready:] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _part(c, i, j):  # pragma: no cover - compiled
    t, x, y, p = c
    return t[i:j], x[i:j], y[i:j], p[i:j]


@njit(cache=True, **JIT)
def _plane(t, i, place, bins):  # pragma: no cover - compiled
    """The plane at or before a time; outside the window some plane."""
    window, scale = place
    position = np.floor(np.float64(t[i] - window[0]) * scale)
    return np.int64(max(min(position, np.float64(bins - 2)), 0.0))


@njit(cache=True, **JIT)
def _dense(t, i, place, b, bins):  # pragma: no cover - compiled
    """Whether event ``i`` is still in plane b, and so all before it, if they are in order."""
    return i < len(t) and _plane(t, i, place, bins) == b


@njit(cache=True, **JIT)
def _weigh(block, place, size, room):  # pragma: no cover - compiled
    """Pixels and both weights of events between planes b and b + 1; returns how many there are before another kind.

    The other kinds are events of other planes, outside the window or off the sensor. Also the or of all polarities.
    """
    t, x, y, p = block
    (start, length, _), scale, b = place
    cell, low, high = room
    h, w = np.uint32(size[0]), np.uint32(size[1])
    other, seen = np.uint32(0), np.uint32(0)
    for k in range(len(t)):
        u, v, q = np.uint32(x[k]), np.uint32(y[k]), np.uint32(p[k])
        cell[k] = v * w + u
        dt = np.float64(t[k] - start)
        fraction = dt * scale - np.float64(b)
        other |= np.uint32((u >= w) | (v >= h) | (fraction < 0.0) | (fraction >= 1.0) | (dt >= length))
        seen |= q
        sign = np.float32(np.int32(q) * np.int32(2) - np.int32(1))
        later = np.float32(fraction) * sign
        high[k] = later
        low[k] = sign - later
    count = len(t) if not other else 0
    while count < len(t):
        dt = np.float64(t[count] - start)
        fraction = dt * scale - np.float64(b)
        if x[count] >= w or y[count] >= h or not 0.0 <= fraction < 1.0 or dt >= length:
            break
        count += 1
    return count, np.uint8(seen)


@njit(cache=True, nogil=True, error_model="numpy")
def _anywhere(block, window, scale, grid, ready):  # pragma: no cover - compiled
    """Add events of any kind; returns how many were off the sensor, how many outside the window, and what is ready."""
    t, x, y, p = block
    bins, height, width = grid.shape
    n, area = len(t), np.uint32(height * width)
    cell, plane = np.empty(n, np.uint32), np.empty(n, np.uint32)
    low, high = np.empty(n, np.float32), np.empty(n, np.float32)
    lost = pixels(x, y, height, width, cell)
    signs(p, low)
    if lost:
        for k in range(n):
            low[k] *= np.float32((x[k] < width) & (y[k] < height))
    outside = planes(t, window, scale, np.float64(bins - 2), (plane, high, low))
    ready = clear(grid, ready, plane)
    for k in range(n):
        cell[k] += plane[k] * area
        high[k] *= low[k]
        low[k] -= high[k]
    scatter_pair(cell, low, high, grid.reshape(-1), np.int64(area))
    return lost, outside, ready


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(pair, side, state, join):  # pragma: no cover - compiled
    """From planes ``held`` and the next side by side (-1: none) to planes b and the next (-1: none), joined or not.

    Returns what is held and how many planes are ready then.
    """
    held, b, ready = state
    if join and held >= 0 and b == held + 1:
        _shift(pair, side[held], side[b + 1], ready < b + 2)
        return b, max(ready, b + 2)
    if held >= 0:
        _split(pair, side[held], side[held + 1])
    for q in range(ready, b + 2):
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


@njit(cache=True, **JIT)
def _scatter_apart(room, count, two, c, following):  # pragma: no cover - compiled
    """Add both weights to two planes, in order, and ask for the events that follow."""
    cell, low, high = room
    now, later = two
    whole = count // STEP * STEP
    for k in range(0, whole, STEP):
        ahead(c, following + k)
        for j in range(k, k + STEP):
            at = np.uintp(cell[j])
            a, b = now[at] + low[j], later[at] + high[j]
            now[at] = a
            later[at] = b
    for j in range(whole, count):
        at = np.uintp(cell[j])
        now[at] += low[j]
        later[at] += high[j]


@njit(cache=True, **JIT)
def _scatter_joined(room, count, pair, c, following):  # pragma: no cover - compiled
    """The same, to planes side by side."""
    cell, low, high = room
    whole = count // STEP * STEP
    for k in range(0, whole, STEP):
        ahead(c, following + k)
        for j in range(k, k + STEP):
            at = np.uintp(2) * np.uintp(cell[j])
            a, b = pair[at] + low[j], pair[at + np.uintp(1)] + high[j]
            pair[at] = a
            pair[at + np.uintp(1)] = b
    for j in range(whole, count):
        at = np.uintp(2) * np.uintp(cell[j])
        pair[at] += low[j]
        pair[at + np.uintp(1)] += high[j]
