"""The voxel grid that is linear in time, x and y: vectorised positions and weights, then eight voxels an event.

In two planes side by side these are two rows of four neighbouring numbers: two vector additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from eventflow.ops._ahead import STEP, ahead
from eventflow.ops._blocks import BLOCK, corners, gather, planes, signs
from eventflow.ops._lanes import JIT
from eventflow.ops.voxel_grid._numba_planes import dense, turn

#: Planes are joined for at least one event to so many pixels.
_SPARSE = 24


def _add_row(typing: Any, pair: Any, at: Any, now: Any, later: Any, left: Any, right: Any) -> Any:
    """pair[at : at + 4] += (now, later, now, later) * (left, left, right, right)"""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        four = ir.VectorType(ir.FloatType(), 4)

        def vector(*numbers: Any) -> Any:
            made = ir.Constant(four, ir.Undefined)
            for i, number in enumerate(numbers):
                made = builder.insert_element(made, number, ir.IntType(32)(i))
            return made

        _, index, now, later, left, right = values
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        place = builder.bitcast(builder.gep(data, [index]), ir.PointerType(four))
        share = builder.fmul(vector(now, later, now, later), vector(left, left, right, right))
        builder.store(builder.fadd(builder.load(place, align=4, typ=four), share), place, align=4)
        return context.get_dummy_value()

    return types.none(pair, at, now, later, left, right), generate


add_row: Any = intrinsic(_add_row)


@njit(cache=True, nogil=True, error_model="numpy")
def add_trilinear(c, window, scale, out, pair, table):  # pragma: no cover - compiled
    """As :func:`add_time`; integer pixels are moved to ``table[y, x]`` (height, width, 2) if that is not empty."""
    grid, ready, stop = out
    bins, height, width = grid.shape
    area, side, n = height * width, grid.reshape(bins, height * width), len(c[0])
    few = max(area // _SPARSE, 1)
    held, last, highest = -1, -1, -1
    room = _room()
    off, seen, outside = 0, np.uint8(0), 0
    for i in range(0, n, BLOCK):
        size = min(BLOCK, n - i)
        faults = _positions(c, (i, i + size), (window, scale, bins), (height, width, table), room)
        off, seen, outside = off + faults[0], seen | faults[1], outside + faults[2]
        k = 0
        while k < size:
            b, end = _stretch(room[0], k, size)
            if b != last:
                many = bins > 1 and b > highest and dense(c[0], i + k + few, (window, scale), b, bins)
                highest, last = b if many else highest, b
                held, ready = turn(pair, side, (held, b, ready, stop), many)
            if held >= 0:
                _splat_joined(room, (k, end), pair, (height, width), c, i + BLOCK)
            else:
                _splat_apart(room, (k, end), grid)
            k = end
    held, ready = turn(pair, side, (held, -1, ready, stop), False)
    grid[ready:stop] = 0
    return off, seen, outside


@njit(cache=True, nogil=True, error_model="numpy")
def _room():  # pragma: no cover - compiled
    """Of a block: plane, fraction, weight; left, top, right, down, kind (see ``corners``); x, y."""
    return (
        np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.uint8), np.empty(BLOCK), np.empty(BLOCK),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _positions(c, part, when, where, room):  # pragma: no cover - compiled
    """Fill ``room`` for some events; returns what :func:`add_trilinear` does, of them."""
    t, x, y, p = c
    (i, j), (window, scale, bins), (height, width, table) = part, when, where
    m, off = j - i, 0
    plane, fraction, weight, left, top, right, down, kind, us, vs = room
    u, v = us[:m], vs[:m]
    if table.size:
        off = gather(x[i:j], y[i:j], table, (u, v))
    else:
        u[:], v[:] = x[i:j], y[i:j]
        for k in range(m):
            off += (u[k] >= width) | (v[k] >= height)  # of whole pixels, this is a fault
    corners(u, v, height, width, (left[:m], top[:m], right[:m], down[:m], kind[:m]))
    seen = signs(p[i:j], weight[:m])
    most = np.float64(max(bins - 2, 0))
    return off, seen, planes(t[i:j], window, scale, most, (plane[:m], fraction[:m], weight[:m]))


@njit(cache=True, **JIT)
def _stretch(plane, k, size):  # pragma: no cover - compiled
    """The plane of event k, and the first event after it that is of another."""
    b, end = plane[k], k + 1
    while end < size and plane[end] == b:
        end += 1
    return np.int64(b), end


@njit(cache=True, **JIT)
def _parts(room, k):  # pragma: no cover - compiled
    """Weights of event k above and below, each in this plane and the next; and to the left."""
    later = room[2][k] * room[1][k]
    now = room[2][k] - later
    b, a = now * room[6][k], later * room[6][k]
    return now - b, later - a, b, a, np.float32(1) - room[5][k]


@njit(cache=True, **JIT)
def _splat_joined(room, part, pair, size, c, following):  # pragma: no cover - compiled
    """To two planes side by side; asks for the events that follow."""
    left, top, right, kind = room[3], room[4], room[5], room[7]
    height, width = size
    for first in range(part[0], part[1], STEP):
        ahead(c, following + first)
        for k in range(np.uintp(first), np.uintp(min(first + STEP, part[1]))):
            ab, aa, b, a, rest = _parts(room, k)
            if kind[k] == 0:
                at = 2 * (np.int64(top[k]) * width + np.int64(left[k]))
                add_row(pair, at, ab, aa, rest, right[k])
                add_row(pair, at + 2 * width, b, a, rest, right[k])
            elif kind[k] == 1:
                for corner in range(4):
                    row, column = top[k] + corner // 2, left[k] + corner % 2
                    if 0 <= row < height and 0 <= column < width:
                        side, at = right[k] if corner % 2 else rest, 2 * (row * width + column)
                        pair[at] += (b if corner // 2 else ab) * side
                        pair[at + 1] += (a if corner // 2 else aa) * side


@njit(cache=True, **JIT)
def _splat_apart(room, part, grid):  # pragma: no cover - compiled
    """To any planes."""
    plane, left, top, right, kind = room[0], room[3], room[4], room[5], room[7]
    bins, height, width = grid.shape
    flat, area, below = grid.reshape(-1), np.uintp(height * width), np.uintp(width)
    for k in range(np.uintp(part[0]), np.uintp(part[1])):
        ab, aa, b, a, rest = _parts(room, k)
        r, one = right[k], np.uintp(1)
        if kind[k] == 0 and bins > 1:
            at = np.uintp(plane[k]) * area + np.uintp(top[k]) * below + np.uintp(left[k])
            flat[at] += ab * rest
            flat[at + one] += ab * r
            flat[at + below] += b * rest
            flat[at + below + one] += b * r
            at += area
            flat[at] += aa * rest
            flat[at + one] += aa * r
            flat[at + below] += a * rest
            flat[at + below + one] += a * r
        elif kind[k] < 2:
            for corner in range(8):
                q, row, column = np.int64(plane[k]) + corner // 4, top[k] + corner // 2 % 2, left[k] + corner % 2
                if q < bins and 0 <= row < height and 0 <= column < width:
                    share = (b if corner // 2 % 2 else ab) if corner < 4 else (a if corner // 2 % 2 else aa)
                    grid[q, row, column] += share * (r if corner % 2 else rest)
