"""``event_count`` compiled for the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from eventflow.ops._blocks import BLOCK, clear, corners, gather, pixels, planes, scatter
from eventflow.ops._columns import Array, Columns, Window, whole_pixels


def count(
    c: Columns, w: Window, grid: Array, interpolation: str, table: Array, *, room: Array, ready: int, stop: int
) -> Any:  # fmt: skip
    """Add the events to ``grid`` (bins, 2, height, width) float32, in place.

    Returns how many pixels were off the sensor, the or of all polarities, and how many events were outside the window.
    Bins [ready, stop) are taken for uninitialised memory. ``room`` is not needed.
    """
    scale = grid.shape[0] / w.length if w.length else 0.0
    if interpolation == "bilinear":
        return _bilinear(c, tuple(w), scale, (grid, ready, stop), table)
    if c.x.dtype != np.uint16:
        c = whole_pixels(c, grid.shape[2:], shift=0.5)
    return _nearest(c, tuple(w), scale, (grid, ready, stop))


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(c, window, scale, out):  # pragma: no cover - compiled
    t, x, y, p = c
    grid, ready, stop = out
    bins, _, height, width = grid.shape
    flat, area = grid.reshape(-1), np.uint32(height * width)
    cells, plane_of = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)
    weights, fractions = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside = 0, np.uint8(0), 0
    for i in range(0, len(t), BLOCK):
        j = min(i + BLOCK, len(t))
        cell, plane, weight = cells[: j - i], plane_of[: j - i], weights[: j - i]
        lost = pixels(x[i:j], y[i:j], height, width, cell)
        off += lost
        part = p[i:j]
        for k in range(len(part)):
            seen |= part[k]
            weight[k] = np.float32(1)
        if lost:
            for k in range(j - i):
                weight[k] = np.float32((x[i + k] < width) & (y[i + k] < height))
        outside += planes(t[i:j], window, scale, np.float64(bins - 1), (plane, fractions[: j - i], weight))
        ready = clear(grid[:stop], ready, plane)
        for k in range(len(part)):
            cell[k] += (np.uint32(2) * plane[k] + np.uint32(part[k] == 0)) * area
        scatter(cell, weight, flat)
    grid[ready:stop] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _bilinear(c, window, scale, out, table):  # pragma: no cover - compiled
    t, x, y, p = c
    grid, ready, stop = out
    bins, _, height, width = grid.shape
    plane_of, weights, fractions = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    us, vs = np.empty(BLOCK), np.empty(BLOCK)
    lefts, tops, kinds = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32), np.empty(BLOCK, np.uint8)
    rights, downs = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    off, seen, outside = 0, np.uint8(0), 0
    for i in range(0, len(t), BLOCK):
        j = min(i + BLOCK, len(t))
        m = j - i
        u, v, plane, weight = us[:m], vs[:m], plane_of[:m], weights[:m]
        if table.size:
            off += gather(x[i:j], y[i:j], table, (u, v))
        else:
            u[:], v[:] = x[i:j], y[i:j]
            for k in range(m):
                off += (u[k] >= width) | (v[k] >= height)  # of whole pixels, this is a fault
        spot = (lefts[:m], tops[:m], rights[:m], downs[:m], kinds[:m])
        corners(u, v, height, width, spot)
        part = p[i:j]
        for k in range(m):
            seen |= part[k]
            weight[k] = np.float32(1)
        outside += planes(t[i:j], window, scale, np.float64(bins - 1), (plane, fractions[:m], weight))
        ready = clear(grid[:stop], ready, plane)
        for k in range(m):
            plane[k] = np.uint32(2) * plane[k] + np.uint32(part[k] == 0)
        _splat_four(plane, weight, spot, grid)
    grid[ready:stop] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _splat_four(channel, weight, spot, grid):  # pragma: no cover - compiled
    left, top, right, down, kind = spot
    height, width = grid.shape[2:]
    flat = grid.reshape(-1)
    for k in range(len(channel)):
        if kind[k] == 2:
            continue
        below = weight[k] * down[k]
        above = weight[k] - below
        r, one = right[k], np.float32(1)
        j = np.int64(channel[k]) * (height * width) + np.int64(top[k]) * width + np.int64(left[k])
        if kind[k] == 0:
            flat[j] += above * (one - r)
            flat[j + 1] += above * r
            flat[j + width] += below * (one - r)
            flat[j + width + 1] += below * r
            continue
        for corner in range(4):
            row, column = top[k] + corner // 2, left[k] + corner % 2
            if 0 <= row < height and 0 <= column < width:
                flat[j + corner // 2 * width + corner % 2] += (below if corner > 1 else above) * (
                    r if corner % 2 else one - r
                )
