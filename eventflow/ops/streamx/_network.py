"""Forward and backward pass of one network, for use inside ``numba.njit``; sixteen lanes at a time.

All arrays are addressed by flat index. ``net`` is a row of ``Learner.nets``; ``at`` is where the activations of a pass
start in ``work``, its input in front; ``room`` is where the scratch memory starts: a one, then two vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, get, load, put, splat, store, total, where
from eventflow.ops.streamx._layout import (
    BIAS,
    CHANNELS,
    COLUMNS,
    CONV,
    DENSE,
    DEPTH,
    HEIGHT,
    KIND,
    LAYER_EPSILON,
    LAYERS,
    OFFSET,
    PER_LAYER,
    ROWS,
    SIDE,
    SIZE,
    SLOPE,
    SOURCE,
    TARGET,
    WEIGHT,
    WIDTH,
)  # fmt: skip

Array = Any


@nb.njit(**JIT)
def forward(net: Array, params: Array, work: Array, at: int) -> int:
    """Fill the activations behind the input; where the outputs start."""
    depth, offset = net[DEPTH], net[OFFSET]
    for layer in range(depth):
        row = LAYERS + layer * PER_LAYER
        weight, bias = offset + net[row + WEIGHT], offset + net[row + BIAS]
        source, target = at + net[row + SOURCE], at + net[row + TARGET]
        if net[row + KIND] == CONV:
            _convolve(net, params, work, weight, bias, source, target)
        elif net[row + KIND] == DENSE:
            _combine(params, work, weight, bias, source, target, net[row + ROWS], net[row + COLUMNS])
        else:
            _project(params, work, weight, bias, source, target, net[row + ROWS], net[row + COLUMNS])
            return target
        _normalise(work, target, net[row + SIZE])
    return 0


@nb.njit(**JIT)
def _combine(
    params: Array, work: Array, weight: int, bias: int, source: int, target: int, rows: int, columns: int
) -> None:
    """target (columns) = bias + source (rows) @ weight (rows, columns)."""
    column = 0
    while column + 8 * LANES <= columns:
        at = bias + column
        y0, y1 = load(params, at), load(params, at + LANES)
        y2, y3 = load(params, at + 2 * LANES), load(params, at + 3 * LANES)
        y4, y5 = load(params, at + 4 * LANES), load(params, at + 5 * LANES)
        y6, y7 = load(params, at + 6 * LANES), load(params, at + 7 * LANES)
        for i in range(rows):
            x, at = get(work, source + i), weight + i * columns + column
            y0 = fma(load(params, at), x, y0)
            y1 = fma(load(params, at + LANES), x, y1)
            y2 = fma(load(params, at + 2 * LANES), x, y2)
            y3 = fma(load(params, at + 3 * LANES), x, y3)
            y4 = fma(load(params, at + 4 * LANES), x, y4)
            y5 = fma(load(params, at + 5 * LANES), x, y5)
            y6 = fma(load(params, at + 6 * LANES), x, y6)
            y7 = fma(load(params, at + 7 * LANES), x, y7)
        at = target + column
        store(work, at, y0)
        store(work, at + LANES, y1)
        store(work, at + 2 * LANES, y2)
        store(work, at + 3 * LANES, y3)
        store(work, at + 4 * LANES, y4)
        store(work, at + 5 * LANES, y5)
        store(work, at + 6 * LANES, y6)
        store(work, at + 7 * LANES, y7)
        column += 8 * LANES
    while column < columns:
        y = load(params, bias + column)
        for i in range(rows):
            y = fma(load(params, weight + i * columns + column), get(work, source + i), y)
        store(work, target + column, y)
        column += LANES


@nb.njit(**JIT)
def _project(
    params: Array, work: Array, weight: int, bias: int, source: int, target: int, rows: int, columns: int
) -> None:
    """target (rows) = bias + weight (rows, columns) @ source (columns)."""
    for r in range(rows):
        put(work, target + r, get(params, bias + r) + _dot(params, work, weight + r * columns, source, columns))


@nb.njit(**JIT)
def _dot(params: Array, work: Array, weight: int, source: int, columns: int) -> Any:
    y = load(params, weight) * load(work, source)
    for j in range(LANES, columns, LANES):
        y = fma(load(params, weight + j), load(work, source + j), y)
    return total(y)


@nb.njit(**JIT)
def _convolve(net: Array, params: Array, work: Array, weight: int, bias: int, source: int, target: int) -> None:
    """target (positions, filters) from an image (height, width, channels), stride 1, no padding."""
    channels, height, width, side = net[CHANNELS], net[HEIGHT], net[WIDTH], net[SIDE]
    filters = net[LAYERS + COLUMNS]
    run = side * channels  # inputs that lie together under one row of the kernel
    out = target
    for i in range(height - side + 1):
        for j in range(width - side + 1):
            for f in range(0, filters, LANES):
                y = load(params, bias + f)
                for di in range(side):
                    x, w = source + ((i + di) * width + j) * channels, weight + di * run * filters + f
                    for k in range(run):
                        y = fma(load(params, w + k * filters), get(work, x + k), y)
                store(work, out, y)
                out += LANES


@nb.njit(**JIT)
def _normalise(work: Array, at: int, size: int) -> None:
    """LayerNorm in place, LeakyReLU behind it, then 1 / deviation."""
    padded, whole = -(-size // LANES) * LANES, size - size % LANES
    out, kind = at + padded, work.dtype.type
    zero, slope = kind(0.0), kind(SLOPE)
    sums, rest = splat(zero), zero
    for i in range(at, at + whole, LANES):
        sums = sums + load(work, i)
    for i in range(at + whole, at + size):
        rest += get(work, i)
    mean = (total(sums) + rest) / kind(size)
    sums, rest = splat(zero), zero
    for i in range(at, at + whole, LANES):
        d = load(work, i) - mean
        sums = fma(d, d, sums)
    for i in range(at + whole, at + size):
        rest += (get(work, i) - mean) * (get(work, i) - mean)
    inverse = kind(1.0) / kind(math.sqrt((total(sums) + rest) / kind(size) + kind(LAYER_EPSILON)))
    for i in range(0, whole, LANES):
        y = (load(work, at + i) - mean) * inverse
        store(work, at + i, y)
        store(work, out + i, where(y, y, y * slope))
    for i in range(whole, size):
        x = (get(work, at + i) - mean) * inverse
        put(work, at + i, x)
        put(work, out + i, x if x > zero else slope * x)
    put(work, out + padded, inverse)


@nb.njit(**JIT)
def unnormalise(work: Array, at: int, size: int, grad: int) -> None:
    """The gradient at ``grad``: of LeakyReLU's outputs before, of LayerNorm's inputs after."""
    padded, whole = -(-size // LANES) * LANES, size - size % LANES
    kind = work.dtype.type
    zero, slope, inverse = kind(0.0), kind(SLOPE), get(work, at + 2 * padded)
    firsts, seconds, first, second = splat(zero), splat(zero), zero, zero
    for i in range(0, whole, LANES):
        x, g = load(work, at + i), load(work, grad + i)
        g = where(x, g, g * slope)
        store(work, grad + i, g)
        firsts, seconds = firsts + g, fma(g, x, seconds)
    for i in range(whole, size):
        y, d = get(work, at + i), get(work, grad + i)
        d = d if y > zero else slope * d
        put(work, grad + i, d)
        first, second = first + d, second + d * y
    first, second = (total(firsts) + first) / kind(size), (total(seconds) + second) / kind(size)
    for i in range(0, whole, LANES):
        g = fma(load(work, at + i), -second, load(work, grad + i) - first)
        store(work, grad + i, g * inverse)
    for i in range(whole, size):
        put(work, grad + i, (get(work, grad + i) - first - get(work, at + i) * second) * inverse)


@nb.njit(**JIT)
def uncombine(params: Array, work: Array, weight: int, rows: int, columns: int, grad: int, below: int) -> None:
    """below (rows) = weight (rows, columns) @ grad (columns): the gradient of a dense layer's inputs."""
    for i in range(rows):
        put(work, below + i, _dot(params, work, weight + i * columns, grad, columns))


@nb.njit(**JIT)
def unproject(params: Array, work: Array, weight: int, rows: int, columns: int, grad: int, below: int) -> None:
    """below (columns) = grad (rows) @ weight (rows, columns): the gradient of a head's inputs."""
    for j in range(0, columns, LANES):
        y = load(params, weight + j) * get(work, grad)
        for r in range(1, rows):
            y = fma(load(params, weight + r * columns + j), get(work, grad + r), y)
        store(work, below + j, y)


@nb.njit(**JIT)
def unconvolve(net: Array, work: Array, source: int, grad: int, out: int) -> None:
    """out (C k k, filters): the gradient of the kernel; ``grad`` is that of the map."""
    channels, height, width, side = net[CHANNELS], net[HEIGHT], net[WIDTH], net[SIDE]
    filters = net[LAYERS + COLUMNS]
    run = side * channels
    wide, high = width - side + 1, height - side + 1
    zero = splat(work.dtype.type(0.0))
    for k in range(side * run):
        x = source + (k // run) * width * channels + k % run
        for f in range(0, filters, LANES):
            y = zero
            for i in range(high):
                for j in range(wide):
                    y = fma(
                        load(work, grad + (i * wide + j) * filters + f), get(work, x + (i * width + j) * channels), y
                    )
            store(work, out + k * filters + f, y)


@nb.njit(**JIT)
def unconvolve_bias(net: Array, work: Array, grad: int, out: int) -> None:
    """out (filters): the gradient of the convolution's biases."""
    filters, positions = net[LAYERS + COLUMNS], net[LAYERS + SIZE] // net[LAYERS + COLUMNS]
    for f in range(0, filters, LANES):
        y = load(work, grad + f)
        for p in range(1, positions):
            y = y + load(work, grad + p * filters + f)
        store(work, out + f, y)
