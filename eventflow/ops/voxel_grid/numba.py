"""``voxel_grid`` compiled for the CPU: vectorised positions and weights, then a scatter, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from eventflow.ops._blocks import BLOCK, clear, corners, gather, pixels, planes, scatter, signs
from eventflow.ops._columns import Array, Columns, Window, whole_pixels
from eventflow.ops.voxel_grid._numba_time import add_time


def splat(c: Columns, w: Window, grid: Array, interpolation: str, table: Array, *, ready: int) -> Any:
    """Add the events to ``grid`` (bins, height, width) float32, in place.

    ``table`` is the rectification map (height, width, 2), or empty. The first ``ready`` planes hold numbers already;
    the others are taken for uninitialised memory.
    Returns how many pixels were off the sensor, the or of all polarities, and how many events were outside the window.
    """
    scale = (grid.shape[0] - 1) / w.length if w.length else 0.0
    if interpolation == "trilinear":
        return _trilinear(c, tuple(w), scale, (grid, ready), table)
    if c.x.dtype != np.uint16:
        c = whole_pixels(c, grid.shape[1:], shift=0.5 if interpolation == "nearest" else 0.0)
    if interpolation == "nearest" or grid.shape[0] == 1:
        return _nearest(c, tuple(w), scale, (grid, ready))
    return add_time(tuple(c), tuple(w), scale, (grid, ready))


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(c, window, scale, out):  # pragma: no cover - compiled
    t, x, y, p = c
    grid, ready = out
    bins, height, width = grid.shape
    flat, area = grid.reshape(-1), np.uint32(height * width)
    cells, plane_of = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)
    weights, fractions = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside = 0, np.uint8(0), 0
    for i in range(0, len(t), BLOCK):
        j = min(i + BLOCK, len(t))
        cell, plane, weight, fraction = cells[: j - i], plane_of[: j - i], weights[: j - i], fractions[: j - i]
        lost = pixels(x[i:j], y[i:j], height, width, cell)
        seen |= signs(p[i:j], weight)
        if lost:
            off += lost
            for k in range(j - i):
                weight[k] *= np.float32((x[i + k] < width) & (y[i + k] < height))
        outside += planes(t[i:j], window, scale, np.float64(bins - 1), (plane, fraction, weight))
        ready = clear(grid, ready, plane)
        for k in range(j - i):
            cell[k] += (plane[k] + np.uint32(fraction[k] >= np.float32(0.5))) * area
        scatter(cell, weight, flat)
    grid[ready:] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _trilinear(c, window, scale, out, table):  # pragma: no cover - compiled
    t, x, y, p = c
    grid, ready = out
    bins, height, width = grid.shape
    plane_of, weights, fractions = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    us, vs = np.empty(BLOCK), np.empty(BLOCK)
    lefts, tops, kinds = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32), np.empty(BLOCK, np.uint8)
    rights, downs = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside = 0, np.uint8(0), 0
    for i in range(0, len(t), BLOCK):
        j = min(i + BLOCK, len(t))
        m = j - i
        u, v = us[:m], vs[:m]
        if table.size:
            off += gather(x[i:j], y[i:j], table, (u, v))
        else:
            u[:], v[:] = x[i:j], y[i:j]
        spot = (lefts[:m], tops[:m], rights[:m], downs[:m], kinds[:m])
        corners(u, v, height, width, spot)
        seen |= signs(p[i:j], weights[:m])
        place = (plane_of[:m], fractions[:m], weights[:m])
        outside += planes(t[i:j], window, scale, np.float64(max(bins - 2, 0)), place)
        ready = clear(grid, ready, plane_of[:m])
        _splat_eight(place, spot, grid)
    grid[ready:] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _splat_eight(place, spot, grid):  # pragma: no cover - compiled
    plane, fraction, weight = place
    left, top, right, down, kind = spot
    bins, height, width = grid.shape
    flat, area = grid.reshape(-1), height * width
    for k in range(len(plane)):
        if kind[k] == 2:
            continue
        later = weight[k] * fraction[k]
        now = weight[k] - later
        b, a = now * down[k], later * down[k]  # below; above is the rest
        ab, aa = now - b, later - a
        r, one = right[k], np.float32(1)
        if kind[k] == 0 and bins > 1:
            j = np.int64(plane[k]) * area + np.int64(top[k]) * width + np.int64(left[k])
            flat[j] += ab * (one - r)
            flat[j + 1] += ab * r
            flat[j + width] += b * (one - r)
            flat[j + width + 1] += b * r
            j += area
            flat[j] += aa * (one - r)
            flat[j + 1] += aa * r
            flat[j + width] += a * (one - r)
            flat[j + width + 1] += a * r
            continue
        for corner in range(8):
            q, row, col = np.int64(plane[k]) + corner // 4, top[k] + corner // 2 % 2, left[k] + corner % 2
            if q < bins and 0 <= row < height and 0 <= col < width:
                part = (b if corner // 2 % 2 else ab) if corner < 4 else (a if corner // 2 % 2 else aa)
                grid[q, row, col] += part * (r if corner % 2 else one - r)
