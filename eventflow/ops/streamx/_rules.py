"""The backward pass that accumulates traces as it goes, and the three rules, for use inside ``numba.njit``.

A gradient never lies in memory as a whole: each row of a layer is a number times a vector, and is added to its trace at
once. What a rule needs to sum over all weights (z of obgd, two norms of intentional) comes out of the same pass.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, absolute, at_least, fma, get, load, put, root, splat, store, total
from eventflow.ops.streamx._layout import (
    ABSOLUTE,
    BETA,
    BIAS,
    CLIP,
    CODE,
    COLUMNS,
    CONV,
    DENSE,
    DEPTH,
    DIVIDE,
    ETA,
    KAPPA,
    KIND,
    LAYERS,
    LENGTH,
    OFFSET,
    PER_LAYER,
    RATE,
    ROWS,
    RULE,
    RUN,
    SIGMA,
    SIZE,
    SOURCE,
    SQUARE,
    TARGET,
    UPDATES,
    WEIGHT,
)  # fmt: skip
from eventflow.ops.streamx._network import uncombine, unconvolve, unconvolve_bias, unnormalise, unproject

Array = Any
OBGD, STREAM2026 = 0, 1
_SQUARED_ERROR = 0.9998  # memory of intentional's mean squared and mean absolute error


@nb.njit(**JIT)
def update(k: int, state: Any, at: int, room: int, delta: float, decay: float, reset: bool, share: float) -> None:
    """Backpropagate the seed at ``room + LANES`` through network k, decay and fill its traces, move its weights.

    Args:
        k: which network.
        state: (params, memory, work, nets, numbers).
        at: where the activations start, of a forward pass with these weights.
        room: scratch memory.
        delta: the error.
        decay: gamma lambda, of the traces.
        reset: whether the traces are zero afterwards.
        share: intentional: of its step.
    """
    params, memory, work, nets, numbers = state
    net, rule, run = nets[k], numbers[RULE + 8 * k : RULE + 8 * k + 8], memory[RUN + 8 * k : RUN + 8 * k + 8]
    code = int(rule[CODE])
    run[UPDATES] += 1.0
    kind = work.dtype.type
    if code == OBGD:
        numbers3 = (kind(decay), kind(0.0), kind(0.0), kind(0.0))
    elif code == STREAM2026:
        numbers3 = (kind(decay), kind(delta), kind(rule[BETA]), kind(rule[RATE]))
    else:
        corrected = 1.0 / (1.0 - rule[BETA] ** run[UPDATES])
        numbers3 = (kind(decay), kind(corrected), kind(rule[BETA]), kind(1.0 - rule[BETA]))
    first, second = _backward(net, params, work, at, room, code, numbers3)
    if code == OBGD:
        bound = max(abs(delta), 1.0) * first * rule[RATE] * rule[KAPPA]
        size = rule[RATE] / bound if bound > 1.0 else rule[RATE]
        _move(params, net[OFFSET], net[LENGTH], kind(size * delta), reset)
    elif code == STREAM2026:
        if reset:
            _forget(params, net[OFFSET], net[LENGTH])
    else:
        step = share * _intended(rule, run, delta, decay, first, second)
        _move_scaled(params, net[OFFSET], net[LENGTH], kind(step), numbers3[1], reset)


@nb.njit(**JIT)
def _intended(rule: Array, run: Array, delta: float, decay: float, norm: float, z: float) -> float:
    """Step size times clipped error of the intentional rule."""
    t = run[UPDATES]
    run[SIGMA] += (1.0 - decay) * (norm - run[SIGMA])
    gone = decay**t
    sigma = run[SIGMA] / (1.0 - gone) if gone < 1.0 else run[SIGMA]
    size = rule[ETA] / max(math.sqrt(sigma * z), 1e-8)
    forgotten = 1.0 - _SQUARED_ERROR**t
    run[SQUARE] = _SQUARED_ERROR * run[SQUARE] + (1.0 - _SQUARED_ERROR) * delta * delta
    cap = rule[CLIP] * math.sqrt(run[SQUARE] / forgotten)
    clipped = min(max(delta, -cap), cap)
    if rule[DIVIDE] > 0.0:
        run[ABSOLUTE] = _SQUARED_ERROR * run[ABSOLUTE] + (1.0 - _SQUARED_ERROR) * abs(clipped)
        clipped = clipped / max(run[ABSOLUTE] / forgotten, 1e-12)
    return size * clipped


@nb.njit(**JIT)
def _backward(net: Array, params: Array, work: Array, at: int, room: int, code: int, c: Any) -> Any:
    """Traces of all layers, from the head down; the two sums of the rule."""
    one, grad = room, room + LANES
    below = grad + _widest(net)
    spare = below + _widest(net)
    put(work, one, work.dtype.type(1.0))
    zero = splat(work.dtype.type(0.0))
    first, second = zero, zero
    for layer in range(net[DEPTH] - 1, -1, -1):
        row = LAYERS + layer * PER_LAYER
        kind, rows, columns = net[row + KIND], net[row + ROWS], net[row + COLUMNS]
        weight, bias = net[OFFSET] + net[row + WEIGHT], net[OFFSET] + net[row + BIAS]
        source = at + net[row + SOURCE]
        for j in range(net[row + SIZE], -(-net[row + SIZE] // LANES) * LANES):
            put(work, grad + j, work.dtype.type(0.0))
        if kind == CONV or kind == DENSE:
            unnormalise(work, at + net[row + TARGET], net[row + SIZE], grad)
        if kind == CONV:
            unconvolve(net, work, source, grad, spare)
            first, second = _trace(code, params, work, weight, 1, rows * columns, one, spare, c, first, second)
            unconvolve_bias(net, work, grad, spare)
            first, second = _trace(code, params, work, bias, 1, columns, one, spare, c, first, second)
        elif kind == DENSE:
            if layer > 0:
                uncombine(params, work, weight, rows, columns, grad, below)
            first, second = _trace(code, params, work, weight, rows, columns, source, grad, c, first, second)
            first, second = _trace(code, params, work, bias, 1, columns, one, grad, c, first, second)
        else:
            unproject(params, work, weight, rows, columns, grad, below)
            first, second = _trace(code, params, work, weight, rows, columns, grad, source, c, first, second)
            wide = -(-rows // LANES) * LANES
            first, second = _trace(code, params, work, bias, 1, wide, one, grad, c, first, second)
        grad, below = below, grad
    return float(total(first)), float(total(second))


@nb.njit(**JIT)
def _trace(code: int, params: Array, work: Array, at: int, rows: int, columns: int, number: int, vector: int, c: Any,
           first: Any, second: Any) -> Any:  # fmt: skip
    """Add the gradient number[r] * vector to each row r of a trace, by the rule."""
    if code == OBGD:
        return _trace_obgd(params, work, at, rows, columns, number, vector, c, first), second
    if code == STREAM2026:
        _trace_stream2026(params, work, at, rows, columns, number, vector, c)
        return first, second
    return _trace_intentional(params, work, at, rows, columns, number, vector, c, first, second)


@nb.njit(**JIT)
def _trace_obgd(
    params: Array, work: Array, at: int, rows: int, columns: int, number: int, vector: int, c: Any, first: Any
) -> Any:
    """e = decay e + g; the sum of |e|."""
    decay, e0 = c[0], params.shape[1] + at
    for r in range(rows):
        x = get(work, number + r)
        for j in range(0, columns, LANES):
            i = e0 + r * columns + j
            e = fma(load(params, i), decay, load(work, vector + j) * x)
            store(params, i, e)
            first = first + absolute(e)
    return first


@nb.njit(**JIT)
def _trace_stream2026(
    params: Array, work: Array, at: int, rows: int, columns: int, number: int, vector: int, c: Any
) -> None:
    """e = decay e + g; u = delta e; v = max(beta v, |u|); w += lr u / (v + 1e-8)."""
    decay, delta, beta, rate = c
    stride = params.shape[1]
    tiny = params.dtype.type(1e-8)
    for r in range(rows):
        x = get(work, number + r)
        for j in range(0, columns, LANES):
            i = at + r * columns + j
            e = fma(load(params, stride + i), decay, load(work, vector + j) * x)
            store(params, stride + i, e)
            u = e * delta
            v = at_least(load(params, 2 * stride + i) * beta, absolute(u))
            store(params, 2 * stride + i, v)
            store(params, i, fma(u / (v + tiny), rate, load(params, i)))


@nb.njit(**JIT)
def _trace_intentional(
    params: Array, work: Array, at: int, rows: int, columns: int, number: int, vector: int, c: Any, first: Any,
    second: Any,
) -> Any:  # fmt: skip
    """nu = beta nu + (1 - beta) g^2; e = decay e + g; sums of g^2 rho and e^2 rho, rho = 1 / (sqrt(nu hat) + 1e-8)."""
    decay, corrected, beta, rest = c
    stride = params.shape[1]
    tiny = params.dtype.type(1e-8)
    for r in range(rows):
        x = get(work, number + r)
        for j in range(0, columns, LANES):
            i = at + r * columns + j
            g = load(work, vector + j) * x
            nu = fma(load(params, 2 * stride + i), beta, g * g * rest)
            store(params, 2 * stride + i, nu)
            e = fma(load(params, stride + i), decay, g)
            store(params, stride + i, e)
            rho = 1.0 / (root(nu * corrected) + tiny)
            first = fma(g * g, rho, first)
            second = fma(e * e, rho, second)
    return first, second


@nb.njit(**JIT)
def _move(params: Array, at: int, length: int, step: Any, reset: bool) -> None:
    """w += step e."""
    e0 = params.shape[1] + at
    for j in range(0, length, LANES):
        store(params, at + j, fma(load(params, e0 + j), step, load(params, at + j)))
    if reset:
        _forget(params, at, length)


@nb.njit(**JIT)
def _move_scaled(params: Array, at: int, length: int, step: Any, corrected: Any, reset: bool) -> None:
    """w += step rho e."""
    stride = params.shape[1]
    tiny = params.dtype.type(1e-8)
    for j in range(at, at + length, LANES):
        rho = 1.0 / (root(load(params, 2 * stride + j) * corrected) + tiny)
        store(params, j, fma(load(params, stride + j) * rho, step, load(params, j)))
    if reset:
        _forget(params, at, length)


@nb.njit(**JIT)
def _forget(params: Array, at: int, length: int) -> None:
    """Traces to zero."""
    zero = splat(params.dtype.type(0.0))
    e0 = params.shape[1] + at
    for j in range(0, length, LANES):
        store(params, e0 + j, zero)


@nb.njit(**JIT)
def _widest(net: Array) -> int:
    """The room of one gradient."""
    widest = 0
    for layer in range(net[DEPTH]):
        widest = max(widest, net[LAYERS + layer * PER_LAYER + SIZE], net[LAYERS + layer * PER_LAYER + COLUMNS])
    return -(-widest // LANES) * LANES
