"""Compiled pieces that camera kernels share: events are taken in blocks that stay in the first-level cache.

Each piece is one plain loop, so that LLVM vectorises it; only the last one, which scatters, is scalar. No fused
multiply-add: an event's numbers are the same at every place in every block, which makes a grid independent of how the
stream was cut into chunks.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 1024


@njit(cache=True, nogil=True, error_model="numpy")
def pixels(x, y, height, width, cell):  # pragma: no cover - compiled
    """cell = y * width + x of integer pixels, 0 where off the sensor; returns how many were off."""
    off = np.int32(0)
    h, w = np.uint32(height), np.uint32(width)
    for k in range(len(cell)):
        u, v = np.uint32(x[k]), np.uint32(y[k])
        inside = (u < w) & (v < h)
        cell[k] = v * w + u if inside else np.uint32(0)
        off += np.int32(not inside)
    return off


@njit(cache=True, nogil=True, error_model="numpy")
def signs(p, weight):  # pragma: no cover - compiled
    """weight = 2 p - 1; returns the bitwise or of all p, above 1 where one is wrong."""
    seen = np.uint8(0)
    for k in range(len(weight)):
        weight[k] = np.float32(np.int32(p[k]) * np.int32(2) - np.int32(1))
        seen |= p[k]
    return seen


@njit(cache=True, nogil=True, error_model="numpy")
def planes(t, window, scale, top, where):  # pragma: no cover - compiled
    """Position (t - start) * scale as plane (at most ``top``) and the fraction above it.

    Outside the window the weight becomes 0; returns how many were outside.
    """
    start, length, closed = window
    plane, fraction, weight = where
    outside = np.int32(0)
    for k in range(len(plane)):
        dt = np.float64(t[k] - start)
        inside = (dt >= 0.0) & ((dt < length) | (closed & (dt == length)))
        position = dt * scale if inside else 0.0
        floor = min(np.floor(position), top)
        plane[k] = np.uint32(np.int32(floor))
        fraction[k] = np.float32(position - floor)
        weight[k] = weight[k] if inside else np.float32(0)
        outside += np.int32(not inside)
    return outside


@njit(cache=True, nogil=True, error_model="numpy")
def is_sorted(t):  # pragma: no cover - compiled
    """Whether no time is before the one in front of it."""
    for i in range(0, len(t) - 1, BLOCK):
        after = t[i + 1 : i + 1 + BLOCK]
        before, back = t[i : i + len(after)], np.uint64(0)
        for k in range(len(after)):
            back |= np.uint64(after[k] < before[k])
        if back:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def clear(grid, ready, plane):  # pragma: no cover - compiled
    """Zero the planes from ``ready`` to the highest in ``plane`` and the next; returns how many are ready then.

    A plane is zeroed just before its first event, when the scatter wants it in the cache anyway.
    """
    if ready >= len(grid):
        return ready
    highest = np.uint32(0)
    for k in range(len(plane)):
        highest = max(highest, plane[k])
    end = min(np.int64(highest) + 2, len(grid))
    for b in range(ready, end):
        grid[b] = 0
    return max(ready, end)


@njit(cache=True, nogil=True, error_model="numpy")
def scatter(cell, weight, flat):  # pragma: no cover - compiled
    """flat[cell] += weight, in order."""
    for k in range(len(cell)):
        flat[cell[k]] += weight[k]


@njit(cache=True, nogil=True, error_model="numpy")
def scatter_pair(cell, low, high, flat, step):  # pragma: no cover - compiled
    """flat[cell] += low and flat[cell + step] += high, in order."""
    for k in range(len(cell)):
        c = np.int64(cell[k])
        flat[c] += low[k]
        flat[c + step] += high[k]


@njit(cache=True, nogil=True, error_model="numpy")
def corners(x, y, height, width, spot):  # pragma: no cover - compiled
    """Bilinear neighbours of sub-pixel positions: the cell above left, and the fractions right and down of it.

    kind: 0 all four corners on the sensor, 1 some of them, 2 none (nor is ``left``, ``top`` of any use then).
    """
    left, top, right, down, kind = spot
    h, w = np.float64(height), np.float64(width)
    for k in range(len(left)):
        some = (x[k] > -1.0) & (x[k] < w) & (y[k] > -1.0) & (y[k] < h)
        u = x[k] if some else 0.0
        v = y[k] if some else 0.0
        fu, fv = np.floor(u), np.floor(v)
        every = some & (fu >= 0.0) & (fv >= 0.0) & (fu + 1.0 < w) & (fv + 1.0 < h)
        left[k], top[k] = np.int32(fu), np.int32(fv)
        right[k], down[k] = np.float32(u - fu), np.float32(v - fv)
        kind[k] = np.uint8(2) - np.uint8(some) - np.uint8(every)


@njit(cache=True, nogil=True, error_model="numpy")
def gather(x, y, table, moved):  # pragma: no cover - compiled
    """Positions of a rectification map at integer pixels; off the sensor they become -2. Returns how many were off."""
    u, v = moved
    height, width = table.shape[:2]
    off = np.int32(0)
    for k in range(len(u)):
        i, j = np.int64(y[k]), np.int64(x[k])
        if i < height and j < width:
            u[k], v[k] = table[i, j, 0], table[i, j, 1]
        else:
            u[k], v[k] = -2.0, -2.0
            off += np.int32(1)
    return off
