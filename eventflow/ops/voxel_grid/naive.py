"""The definition of the voxel grid: one event at a time, in double precision.

With n = bins - 1 and the window [t0, t1], an event of sign s lies at position n (t - t0) / (t1 - t0) (Zhu et al.,
"Unsupervised event-based learning of optical flow, depth and egomotion", CVPR 2019, equations 1 and 2).
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from eventflow.ops._columns import Array, Columns, Window


def naive_voxel_grid(c: Columns, w: Window, shape: tuple[int, int, int], interpolation: str) -> Array:
    """(bins, height, width) float64; ``interpolation`` is "time", "trilinear" or "nearest"."""
    grid = np.zeros(shape)
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        dt = t - w.start.item()
        if not (0 <= dt < w.length or (w.closed and dt == w.length)):
            continue
        position = (shape[0] - 1) * dt / w.length if w.length else 0.0
        sign = 2.0 * p - 1.0
        if interpolation == "time":
            point = (position, math.floor(x), math.floor(y))
        elif interpolation == "nearest":
            point = (math.floor(position + 0.5), math.floor(x + 0.5), math.floor(y + 0.5))
        else:
            point = (position, x, y)
        _splat(grid, *point, sign)
    return grid


def _splat(grid: Array, b: float, x: float, y: float, sign: float) -> None:
    """Share ``sign`` among the eight voxels around (b, y, x); what falls off the grid is lost."""
    for db, dy, dx in product((0, 1), repeat=3):
        i, j, k = math.floor(b) + db, math.floor(y) + dy, math.floor(x) + dx
        if 0 <= i < grid.shape[0] and 0 <= j < grid.shape[1] and 0 <= k < grid.shape[2]:
            grid[i, j, k] += sign * (1 - abs(b - i)) * (1 - abs(y - j)) * (1 - abs(x - k))
