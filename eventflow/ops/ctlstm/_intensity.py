"""From states to intensities, sixteen at a time (compiled): rows as lanes, or the queries of one row as lanes.

A lane's numbers are fixed by the source whatever stands beside it, so both layouts, and any batch, give the same bits.
Axes: R = 16 lanes, N rows, M queries, H hidden, K marks. ``numbers`` is (H, UNIT).
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, from_rows, load, splat, store, to_rows
from eventflow.ops._vecmath import exp_decay, softplus_sigmoid, tanh

# What is kept of each hidden unit, R numbers each, side by side (``_density`` uses the rest).
DIFFERENCE, TARGET, DECAY, OUT, RATE = (i * LANES for i in range(5))
UNIT = 11 * LANES
MARKS = 4  # marks at a time; the head's weight is padded with zeros to a multiple


@nb.njit(**JIT)
def intensity(states: Any, u: Any, head: Any, out: Any, work: Any) -> None:
    """Fill ``out`` (N M + 1, K), the last row being spare.

    Args:
        states: four (N, H).
        u: (N, M).
        head: weight (K padded, H padded), bias (K padded,), scale (K,).
        work: numbers, hidden (H, 1, R), lambdas (K, R), lanes (1, R), starts (R,); one node, 1.0; an array of size 0.
    """
    numbers, hidden_now, lambdas, lanes, starts, node, nothing = work
    rows, queries = u.shape
    hidden, marks = states[0].shape[1], out.shape[1]
    across = queries < LANES // 2  # few queries: sixteen rows side by side, else sixteen queries of a row
    pool = rows * queries if across else queries
    for row in range(1 if across else rows):
        for first in range(0, pool, LANES):
            for r in range(LANES):
                query = min(row * queries + first + r, row * queries + pool - 1)
                starts[r] = query // queries * hidden
                lanes[0, r] = u[query // queries, query % queries]
            for leaf in range(4):
                from_rows(states[leaf], starts, hidden, numbers, leaf * LANES, UNIT)
            for r in range(LANES):
                here = first + r < pool
                starts[r] = (row * queries + first + r if here else rows * queries) * marks
            rates(load(lanes, 0), hidden, numbers)
            look_ahead(node, hidden, numbers, hidden_now, (nothing, nothing))
            _lambdas(hidden_now, hidden, head, lambdas)
            to_rows(out, starts, marks, lambdas, 0, LANES)


@nb.njit(**JIT)
def rates(gap: Any, hidden: int, numbers: Any) -> None:
    """DIFFERENCE := c - target; RATE := decay gap."""
    for i in range(0, hidden * UNIT, UNIT):
        store(numbers, i + DIFFERENCE, load(numbers, i + DIFFERENCE) - load(numbers, i + TARGET))
        store(numbers, i + RATE, load(numbers, i + DECAY) * gap)


@nb.njit(**JIT)
def look_ahead(nodes: Any, hidden: int, numbers: Any, hiddens: Any, factors: Any) -> None:
    """hiddens (H or more, J, R): the hidden states a part ``nodes[j]`` of the gap ahead, j < J.

    ``factors``: exp(-decay u) and tanh(cell) likewise, or of size 0 where they are not wanted.
    """
    lefts, tanhs = factors
    for unit in range(hidden):
        i, first = unit * UNIT, unit * hiddens.shape[1] * LANES
        difference, target = load(numbers, i + DIFFERENCE), load(numbers, i + TARGET)
        rate, out = load(numbers, i + RATE), load(numbers, i + OUT)
        for j in range(nodes.shape[0]):
            left = exp_decay(rate * -nodes[j])
            tanh_cell = tanh(fma(difference, left, target))
            place = first + j * LANES
            store(hiddens, place, out * tanh_cell)
            if lefts.size > 0:
                store(lefts, place, left)
                store(tanhs, place, tanh_cell)


@nb.njit(**JIT)
def four_marks(k: int, weight: Any, bias: Any, j: int, hidden: int, hiddens: Any) -> Any:
    """w_k . hidden + b_k for marks k to k + 3."""
    a, b, c, d = splat(bias[k]), splat(bias[k + 1]), splat(bias[k + 2]), splat(bias[k + 3])
    step, place = hiddens.shape[1] * LANES, j * LANES
    for i in range(hidden):
        h = load(hiddens, place)
        a, b = fma(weight[k, i], h, a), fma(weight[k + 1, i], h, b)
        c, d = fma(weight[k + 2, i], h, c), fma(weight[k + 3, i], h, d)
        place += step
    return a, b, c, d


@nb.njit(**JIT)
def _lambdas(hiddens: Any, hidden: int, head: Any, lambdas: Any) -> None:
    weight, bias, scale = head
    marks = scale.shape[0]
    for k in range(0, marks, MARKS):
        for n, x in enumerate(four_marks(k, weight, bias, 0, hidden, hiddens)):
            if k + n < marks:
                value, _ = softplus_sigmoid(x * (1 / scale[k + n]))
                store(lambdas, (k + n) * LANES, value * scale[k + n])
