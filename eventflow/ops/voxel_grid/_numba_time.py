"""The voxel grid that is linear in time, in whole pixels: a pass for positions and weights, and one that scatters.

A block of events mostly lies between the same two planes; it is cut where they do not.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eventflow.ops._ahead import STEP, ahead
from eventflow.ops._blocks import BLOCK, clear, pixels, planes, scatter_pair, signs
from eventflow.ops._lanes import JIT
from eventflow.ops.voxel_grid._numba_planes import dense, plane_of, turn

#: Planes are joined for at least one event to so many pixels; a block that is cut keeps at least so many events.
_SPARSE, _SHORT = 4, 64


@njit(cache=True, nogil=True, error_model="numpy")
def add_time(c, window, scale, out, pair):  # pragma: no cover - compiled
    """Add events to ``out``: a grid (bins, height, width), of which planes [ready, stop) are yet to be cleared.
    ``pair`` is room for two planes.

    Returns how many pixels were off the sensor, the or of all polarities, and how many events were outside the window.
    """
    grid, ready, stop = out
    bins, height, width = grid.shape
    area, side, n = height * width, grid.reshape(bins, height * width), len(c[0])
    held, last, highest = -1, -1, -1
    room = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside, i = 0, np.uint8(0), 0, 0
    while i < n:
        size = min(BLOCK, n - i)
        block = _part(c, i, i + size)
        b = plane_of(c[0], i, (window, scale), bins)
        count, bits = _weigh(block, (window, scale, b), (height, width), room)
        seen |= bits
        if count < min(_SHORT, size):
            held, ready = turn(pair, side, (held, -1, ready, stop), False)
            lost, late, ready = _anywhere(block, window, scale, (grid, ready, stop))
            off, outside, i, last = off + lost, outside + late, i + size, -1
            continue
        if b != last:
            many = b > highest and dense(c[0], i + area // _SPARSE, (window, scale), b, bins)
            highest, last = b if many else highest, b
            held, ready = turn(pair, side, (held, b, ready, stop), many)
        if held >= 0:
            _scatter_joined(room, count, pair, c, i + count)
        else:
            _scatter_apart(room, count, (side[b], side[b + 1]), c, i + count)
        i += count
    held, ready = turn(pair, side, (held, -1, ready, stop), False)
    grid[ready:stop] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _part(c, i, j):  # pragma: no cover - compiled
    t, x, y, p = c
    return t[i:j], x[i:j], y[i:j], p[i:j]


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
def _anywhere(block, window, scale, out):  # pragma: no cover - compiled
    """Add events of any kind; returns how many were off the sensor, how many outside the window, and what is ready."""
    t, x, y, p = block
    grid, ready, stop = out
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
    ready = clear(grid[:stop], ready, plane)
    for k in range(n):
        cell[k] += plane[k] * area
        high[k] *= low[k]
        low[k] -= high[k]
    scatter_pair(cell, low, high, grid.reshape(-1), np.int64(area))
    return lost, outside, ready


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
