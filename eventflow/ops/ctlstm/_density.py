"""Log-density of an event, or the compensator of a gap, with the gradient of each row in the same pass (compiled).

A block of sixteen rows stays in the caches, with the hidden states at all nodes of the quadrature, the derivatives of
all K intensities there, and so the gradients of the state and of the head's weight. The event itself is one more node,
at the end of the gap, with a single mark per row. Axes as in ``_intensity``; J nodes, the event's being the last.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from eventflow.ops._lanes import JIT, LANES, fma, from_rows, load, splat, store, to_rows, total, where
from eventflow.ops._vecmath import softplus_sigmoid
from eventflow.ops.ctlstm._intensity import (
    DECAY,
    DIFFERENCE,
    MARKS,
    OUT,
    UNIT,
    four_marks,
    look_ahead,
    rates,
)
from eventflow.ops.ctlstm.naive import FAR_BELOW

D_OUT, D_CELL, D_C, D_RATE, W_MARK = (i * LANES for i in range(5, 10))
# Slots of R numbers. After a block, VALUE is its result and D_GAP the gradient of its gaps.
GAP, ABOVE, INTEGRAL, VALUE, BIAS, SCALE, D_GAP, SCORED = 0, 1, 2, 3, 4, 5, 6, 7
LANE_SLOTS = 8


@nb.njit(**JIT)
def density(given: Any, states: Any, head: Any, rule: Any, out: Any, work: Any) -> None:
    """Fill ``out`` with log lambda_mark(dt) - compensator(dt) per row, or the compensator where no marks are given.

    Args:
        given: dt (N,), mark (N,) int64 or of size 0, gradient from above (N,).
        states: four (N, H).
        head: weight (K padded, H padded), bias (K padded,), scale (K,).
        rule: nodes (J,), weights (J - 1,); the last node is 1, the event, where marks are given.
        out: value (N,); then, or of size 0 where no gradient is wanted: gradients of dt (N,), and of the states, four
            (N + 1, H). Those of the head are added to the sums in ``work``.
        work: see :func:`block`.
    """
    dt, mark, above = given
    value, d_dt, d_states = out
    numbers, lanes, starts, kinds = work[0], work[1], work[2], work[7]
    hidden, rows = states[0].shape[1], dt.shape[0]
    for first in range(0, rows, LANES):
        for r in range(LANES):
            row = min(first + r, rows - 1)
            starts[r] = row * hidden
            lanes[GAP, r] = dt[row]
            lanes[ABOVE, r] = above[row] if first + r < rows else 0.0
            kinds[r] = mark[row] if mark.size > 0 else 0
        for leaf in range(4):
            from_rows(states[leaf], starts, hidden, numbers, leaf * LANES, UNIT)
        block(head, rule, mark.size > 0, d_dt.size > 0, work)
        for r in range(min(LANES, rows - first)):
            value[first + r] = lanes[VALUE, r]
            if d_dt.size > 0:
                d_dt[first + r] = lanes[D_GAP, r]
        if d_dt.size > 0:
            for r in range(LANES):
                starts[r] = min(first + r, rows) * hidden
            to_rows(d_states[0], starts, hidden, numbers, D_C, UNIT)
            to_rows(d_states[1], starts, hidden, numbers, D_CELL, UNIT)
            to_rows(d_states[2], starts, hidden, numbers, D_RATE, UNIT)
            to_rows(d_states[3], starts, hidden, numbers, D_OUT, UNIT)


@nb.njit(**JIT)
def block(head: Any, rule: Any, marked: bool, wanted: bool, work: Any) -> None:
    """Sixteen rows: their values, and where ``wanted`` the gradients of their states in D_C, D_CELL (of the target),
    D_RATE (of the decay) and D_OUT.

    ``work`` is (numbers, with c, target, decay, out in the first places; lanes, with GAP and ABOVE; starts; hiddens
    (H padded, J, R), slopes (K padded, J, R); sums (K padded, H padded, R) for the head's weight and (2, K, R) for its
    bias and log scale; kinds (R,), the marks; exp(-decay u) and tanh(cell), as hiddens). What is for gradients is of
    size 0 where none is wanted; J may be larger than the rule's.
    """
    numbers, lanes, starts, hiddens, _, _, _, kinds, lefts, tanhs = work
    hidden, count = numbers.shape[0], rule[1].shape[0]
    rates(load(lanes, GAP * LANES), hidden, numbers)
    look_ahead(rule[0], hidden, numbers, hiddens, (lefts, tanhs))
    store(lanes, INTEGRAL * LANES, splat(numbers.dtype.type(0)))
    for j in range(count):
        _node(j, head, rule[1][j], marked, wanted, work)
    if marked:
        weight, bias, scale = head
        for r in range(LANES):
            starts[r] = kinds[r] * weight.shape[1]
            lanes[BIAS, r], lanes[SCALE, r] = bias[kinds[r]], scale[kinds[r]]
        from_rows(weight, starts, hidden, numbers, W_MARK, UNIT)
        _event(count, hidden, wanted, work)
        count += 1
    else:
        store(lanes, VALUE * LANES, load(lanes, GAP * LANES) * load(lanes, INTEGRAL * LANES))
    if wanted:
        _add_weight(count, work)
        _back(count, rule[0], head, marked, work)


@nb.njit(**JIT)
def _node(j: int, head: Any, share: float, minus: bool, wanted: bool, work: Any) -> None:
    """Node j of the quadrature: its part of the integral, and the derivatives of its intensities."""
    _, lanes, _, hiddens, slopes, _, sums, _, _, _ = work
    weight, bias, scale = head
    marks, hidden = scale.shape[0], work[0].shape[0]
    factor = load(lanes, ABOVE * LANES) * load(lanes, GAP * LANES) * (-share if minus else share)
    lambdas = splat(lanes.dtype.type(0))
    for k in range(0, marks, MARKS):
        a, b, c, d = four_marks(k, weight, bias, j, hidden, hiddens)
        lambdas = _mark(k, a, lambdas, factor, (scale, slopes, sums, j, wanted))
        if k + 1 < marks:
            lambdas = _mark(k + 1, b, lambdas, factor, (scale, slopes, sums, j, wanted))
        if k + 2 < marks:
            lambdas = _mark(k + 2, c, lambdas, factor, (scale, slopes, sums, j, wanted))
        if k + 3 < marks:
            lambdas = _mark(k + 3, d, lambdas, factor, (scale, slopes, sums, j, wanted))
    store(lanes, INTEGRAL * LANES, fma(lambdas, share, load(lanes, INTEGRAL * LANES)))


@nb.njit(**JIT)
def _mark(k: int, x: Any, lambdas: Any, factor: Any, at: Any) -> Any:
    """lambdas + the intensity of mark k, from its argument; its derivatives, times ``factor``, to where they belong."""
    scale, slopes, sums, j, wanted = at
    x = x * (1 / scale[k])
    softplus, slope = softplus_sigmoid(x)
    if wanted:
        slope_here, by_scale = factor * slope, factor * (softplus - x * slope)
        store(slopes, (k * slopes.shape[1] + j) * LANES, slope_here)
        place, other = k * LANES, (scale.shape[0] + k) * LANES
        store(sums, place, load(sums, place) + slope_here)
        store(sums, other, fma(by_scale, scale[k], load(sums, other)))
    return fma(softplus, scale[k], lambdas)


@nb.njit(**JIT)
def _event(j: int, hidden: int, wanted: bool, work: Any) -> None:
    """The event at the end of the gap, node j: log lambda of its mark less the integral, and its derivatives."""
    numbers, lanes, _, hiddens, slopes, _, sums, kinds, _, _ = work
    x, scale = load(lanes, BIAS * LANES), load(lanes, SCALE * LANES)
    for i in range(hidden):
        h = load(hiddens, (i * hiddens.shape[1] + j) * LANES)
        x = fma(load(numbers, i * UNIT + W_MARK), h, x)
    x = x / scale
    softplus, slope = softplus_sigmoid(x)
    near = x - FAR_BELOW
    store(lanes, VALUE * LANES, where(near, softplus, 1.0) * scale)
    for r in range(LANES):
        lanes[VALUE, r] = np.log(lanes[VALUE, r])
    silence = load(lanes, GAP * LANES) * load(lanes, INTEGRAL * LANES)
    store(lanes, VALUE * LANES, load(lanes, VALUE * LANES) + where(near, 0.0, x) - silence)
    if wanted:
        ratio, above = where(near, slope / softplus, 1.0), load(lanes, ABOVE * LANES)
        store(lanes, BIAS * LANES, above * ratio / scale)
        store(lanes, SCALE * LANES, above * (1.0 - x * ratio))
        _add_marks(j, kinds, lanes, slopes, sums)


@nb.njit(**JIT)
def _add_marks(j: int, kinds: Any, lanes: Any, slopes: Any, sums: Any) -> None:
    """The event's derivatives (in BIAS and SCALE), each to the one mark that came."""
    zero = splat(lanes.dtype.type(0))
    for k in range(slopes.shape[0]):
        store(slopes, (k * slopes.shape[1] + j) * LANES, zero)
    for r in range(LANES):
        slopes[kinds[r], j, r] = lanes[BIAS, r]
        sums[0, kinds[r], r] += lanes[BIAS, r]
        sums[1, kinds[r], r] += lanes[SCALE, r]


@nb.njit(**JIT)
def _add_weight(count: int, work: Any) -> None:
    """sums[k, i] += slopes[k, j] hiddens[i, j] over the nodes j, four by four in registers."""
    hiddens, slopes, sums = work[3], work[4], work[5]
    steps, width = slopes.shape[1], sums.shape[1]
    for k in range(0, slopes.shape[0], MARKS):
        for i in range(0, width, MARKS):
            _add_tile(count, (slopes, k * steps * LANES), (hiddens, i * steps * LANES), steps, (sums, k, i))


@nb.njit(**JIT)
def _add_tile(count: int, left: Any, right: Any, steps: int, target: Any) -> None:
    slopes, p = left
    hiddens, q = right
    sums, k, i = target
    step, row = steps * LANES, sums.shape[1] * LANES
    t = (k * sums.shape[1] + i) * LANES
    a0, a1, a2, a3 = _four(sums, t)
    b0, b1, b2, b3 = _four(sums, t + row)
    c0, c1, c2, c3 = _four(sums, t + 2 * row)
    d0, d1, d2, d3 = _four(sums, t + 3 * row)
    for j in range(0, count * LANES, LANES):
        h0, h1, h2, h3 = (
            load(hiddens, q + j), load(hiddens, q + step + j), load(hiddens, q + 2 * step + j),
            load(hiddens, q + 3 * step + j),
        )  # fmt: skip
        s = load(slopes, p + j)
        a0, a1, a2, a3 = fma(s, h0, a0), fma(s, h1, a1), fma(s, h2, a2), fma(s, h3, a3)
        s = load(slopes, p + step + j)
        b0, b1, b2, b3 = fma(s, h0, b0), fma(s, h1, b1), fma(s, h2, b2), fma(s, h3, b3)
        s = load(slopes, p + 2 * step + j)
        c0, c1, c2, c3 = fma(s, h0, c0), fma(s, h1, c1), fma(s, h2, c2), fma(s, h3, c3)
        s = load(slopes, p + 3 * step + j)
        d0, d1, d2, d3 = fma(s, h0, d0), fma(s, h1, d1), fma(s, h2, d2), fma(s, h3, d3)
    _store_four(sums, t, a0, a1, a2, a3)
    _store_four(sums, t + row, b0, b1, b2, b3)
    _store_four(sums, t + 2 * row, c0, c1, c2, c3)
    _store_four(sums, t + 3 * row, d0, d1, d2, d3)


@nb.njit(**JIT)
def _four(sums: Any, i: int) -> Any:
    return load(sums, i), load(sums, i + LANES), load(sums, i + 2 * LANES), load(sums, i + 3 * LANES)


@nb.njit(**JIT)
def _store_four(sums: Any, i: int, a: Any, b: Any, c: Any, d: Any) -> None:
    store(sums, i, a)
    store(sums, i + LANES, b)
    store(sums, i + 2 * LANES, c)
    store(sums, i + 3 * LANES, d)


@nb.njit(**JIT)
def _back(count: int, nodes: Any, head: Any, minus: bool, work: Any) -> None:
    """From the derivatives of the intensities at all nodes to the state and the gap, two hidden units at a time."""
    numbers, lanes = work[0], work[1]
    hidden, gap = numbers.shape[0], load(lanes, GAP * LANES)
    d_gap = load(lanes, ABOVE * LANES) * load(lanes, INTEGRAL * LANES) * (-1.0 if minus else 1.0)
    for i in range(0, hidden, 2):
        other = min(i + 1, hidden - 1)
        first, second = _pair(count, nodes, head, (i, other), work)
        d_gap = _finish(i * UNIT, first, gap, d_gap, numbers)
        if other > i:
            d_gap = _finish(other * UNIT, second, gap, d_gap, numbers)
    store(lanes, D_GAP * LANES, d_gap)


@nb.njit(**JIT)
def _pair(count: int, nodes: Any, head: Any, units: Any, work: Any) -> Any:
    """Sums over the nodes, for two hidden units: gradients of the output gate, the cell, c, and the rate (by node)."""
    numbers, _, _, hiddens, slopes, _, _, _, lefts, tanhs = work
    weight, marks, steps = head[0], head[2].shape[0], hiddens.shape[1]
    a, b = units
    out_a, out_b = load(numbers, a * UNIT + OUT), load(numbers, b * UNIT + OUT)
    zero = splat(numbers.dtype.type(0))
    first, second = (zero, zero, zero, zero), (zero, zero, zero, zero)
    for j in range(count):
        d_a = d_b = zero
        for k in range(marks):
            slope = load(slopes, (k * steps + j) * LANES)
            d_a, d_b = fma(weight[k, a], slope, d_a), fma(weight[k, b], slope, d_b)
        p, q = (a * steps + j) * LANES, (b * steps + j) * LANES
        first = _added(first, d_a, out_a, (load(tanhs, p), load(lefts, p)), nodes[j])
        second = _added(second, d_b, out_b, (load(tanhs, q), load(lefts, q)), nodes[j])
    return first, second


@nb.njit(**JIT)
def _added(sums: Any, gradient: Any, out: Any, factors: Any, node: float) -> Any:
    """The sums of ``_pair``, and what the gradient of a hidden unit at a node adds to them."""
    (d_out, d_cell, d_c, d_rate), (tanh_cell, left) = sums, factors
    cell = gradient * out * fma(0.0 - tanh_cell, tanh_cell, 1.0)
    through = cell * left
    return fma(gradient, tanh_cell, d_out), d_cell + cell, d_c + through, fma(through, node, d_rate)


@nb.njit(**JIT)
def _finish(i: int, sums: Any, gap: Any, d_gap: Any, numbers: Any) -> Any:
    """The gradients of the state kept at i, from the sums of ``_pair``; the gradient of the gap, with its part."""
    d_out, d_cell, d_c, d_rate = sums
    d_rate = 0.0 - load(numbers, i + DIFFERENCE) * d_rate
    store(numbers, i + D_C, d_c)
    store(numbers, i + D_CELL, d_cell - d_c)
    store(numbers, i + D_RATE, d_rate * gap)
    store(numbers, i + D_OUT, d_out)
    return fma(d_rate, load(numbers, i + DECAY), d_gap)


@nb.njit(**JIT)
def gather(sums: Any, sums_k: Any, out: Any) -> None:
    """The lanes of the head's gradients added up: weight (K, H), bias (K,), log scale (K,)."""
    d_weight, d_bias, d_scale = out
    for k in range(d_weight.shape[0]):
        for i in range(d_weight.shape[1]):
            d_weight[k, i] = total(load(sums, (k * sums.shape[1] + i) * LANES))
        d_bias[k] = total(load(sums_k, k * LANES))
        d_scale[k] = total(load(sums_k, (sums_k.shape[1] + k) * LANES))
