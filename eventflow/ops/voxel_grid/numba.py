"""``voxel_grid`` compiled for the CPU: vectorised positions and weights, then a scatter, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from eventflow.ops._blocks import BLOCK, clear, pixels, planes, scatter, signs
from eventflow.ops._columns import Array, Columns, Window, whole_pixels
from eventflow.ops.voxel_grid._numba_time import add_time
from eventflow.ops.voxel_grid._numba_trilinear import add_trilinear


def splat(
    c: Columns, w: Window, grid: Array, interpolation: str, table: Array, *, room: Array, ready: int, stop: int
) -> Any:  # fmt: skip
    """Add the events to ``grid`` (bins, height, width) float32, in place.

    ``table`` is the rectification map (height, width, 2), or empty. Planes [ready, stop) are taken for uninitialised
    memory. ``room`` is for two planes.
    Returns how many pixels were off the sensor, the or of all polarities, and how many events were outside the window.
    """
    scale = (grid.shape[0] - 1) / w.length if w.length else 0.0
    if interpolation == "trilinear":
        return add_trilinear(tuple(c), tuple(w), scale, (grid, ready, stop), room, table)
    if c.x.dtype != np.uint16:
        c = whole_pixels(c, grid.shape[1:], shift=0.5 if interpolation == "nearest" else 0.0)
    if interpolation == "nearest" or grid.shape[0] == 1:
        return _nearest(c, tuple(w), scale, (grid, ready, stop))
    return add_time(tuple(c), tuple(w), scale, (grid, ready, stop), room)


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(c, window, scale, out):  # pragma: no cover - compiled
    t, x, y, p = c
    grid, ready, stop = out
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
        ready = clear(grid[:stop], ready, plane)
        for k in range(j - i):
            cell[k] += (plane[k] + np.uint32(fraction[k] >= np.float32(0.5))) * area
        scatter(cell, weight, flat)
    grid[ready:stop] = 0
    return off, seen, outside
