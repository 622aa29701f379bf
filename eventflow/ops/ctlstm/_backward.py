"""The gradient of the recurrence of ``_forward``: from the last event to the first, block by block (compiled).

The gates are kept from the forward pass; the left limits are computed again, which costs less than to keep them. The
gradient of the recurrent weight is a matrix product over all events, left to the caller (of the gate gradients, and the
hidden state before each event).
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, from_rows, load, splat, store, to_rows, where
from eventflow.ops._vecmath import exp_decay, tanh
from eventflow.ops.ctlstm._forward import DECAY, GAP, GATES, LIVE, OUT, RESET, TARGET, C, row_starts, step_flags

# What is kept of each hidden unit, R numbers each: the gradient of the state (C to OUT); then, four each, the state
# before the gap, what comes from above, and the state after resets; and so on; last, four, the gradient of the latter.
BEFORE, ABOVE, INIT, LEFT, TANH, D_CELL, D_TARGET, HIDDEN, STARTED = (
    i * LANES for i in (4, 8, 12, 16, 17, 18, 19, 20, 21)
)
UNIT = 25 * LANES
TILE = 8  # hidden units at a time in the product with the weight


@nb.njit(**JIT)
def backward(given: Any, cell: Any, rows: Any, above: Any, out: Any, work: Any) -> None:
    """Fill ``out``.

    Args:
        given, rows: as in ``forward``.
        cell: weight (H 7, H), the rows of each unit's gates together, columns padded with zeros to a multiple of TILE;
            then what the forward pass kept: acts (blocks, T, H GATES); c, target, decay, out after each event, four
            (B, T, H); four (B, H) at the start, and four (B, H) after a reset.
        above: (gradients of the states, four (B, T, H); of the last ones, four (B, H)).
        out: gradients of gates_x (B + 1, T, 7H) and dt (B + 1, T); hidden before each event (B + 1, T, H), 0 where
            there is none; gradients of the start and of the state after a reset, four (B + 1, H) each.
        work: (numbers (H, UNIT), lanes, starts) as in ``forward``; gates (H, GATES); d_hidden (H padded, R).
    """
    weight, acts, states, starting = cell
    read, write = rows
    numbers, lanes, starts, gates, d_hidden = work
    length, hidden = given[1].shape[1], states[0].shape[2]
    for block in range(read.shape[0]):
        _enter(above[1], starting, read[block], numbers, starts)
        for t in range(length - 1, -1, -1):
            _add_from_above(above[0], read[block], t, hidden, work)
            if step_flags(given, read[block], t, lanes):
                _state_before(states, starting, (read[block], t), hidden, work)
                place = (block * length + t) * acts.shape[2]
                store(lanes, GAP * LANES, through_step(weight, acts, place, hidden, work))
                for r in range(LANES):
                    out[1][write[block, r], t] = lanes[GAP, r]
            else:
                clear(gates, 0, 7, GATES)
                clear(numbers, HIDDEN, 1, UNIT)
                for r in range(LANES):
                    out[1][write[block, r], t] = 0.0
            row_starts(write[block], t, length, 7 * hidden, starts)
            gates_to_rows(out[0], gates, starts)
            row_starts(write[block], t, length, hidden, starts)
            to_rows(out[2], starts, hidden, numbers, HIDDEN, UNIT)
        row_starts(write[block], 0, 1, hidden, starts)
        for leaf in range(4):
            to_rows(out[3][leaf], starts, hidden, numbers, leaf * LANES, UNIT)
            to_rows(out[3][4 + leaf], starts, hidden, numbers, STARTED + leaf * LANES, UNIT)


@nb.njit(**JIT)
def _enter(above: Any, starting: Any, rows: Any, numbers: Any, starts: Any) -> None:
    """The gradient of the last states, the states after resets, and no gradient of these yet."""
    hidden = numbers.shape[0]
    row_starts(rows, 0, 1, hidden, starts)
    for leaf in range(4):
        from_rows(above[leaf], starts, hidden, numbers, leaf * LANES, UNIT)
        from_rows(starting[4 + leaf], starts, hidden, numbers, INIT + leaf * LANES, UNIT)
    clear(numbers, STARTED, 4, UNIT)


@nb.njit(**JIT)
def gates_to_rows(target: Any, gates: Any, starts: Any) -> None:
    """Gate gradients into rows of 7H, gate by gate, from ``starts`` on."""
    hidden = gates.shape[0]
    for gate in range(7):
        to_rows(target, starts, hidden, gates, gate * LANES, GATES)
        for r in range(LANES):
            starts[r] += hidden


@nb.njit(**JIT)
def clear(numbers: Any, first: int, count: int, unit: int) -> None:
    """Zeros in ``count`` places of every hidden unit, from place ``first`` on."""
    zero = splat(numbers.dtype.type(0))
    for i in range(first, numbers.size, unit):
        for k in range(count):
            store(numbers, i + k * LANES, zero)


@nb.njit(**JIT)
def _add_from_above(above: Any, rows: Any, t: int, hidden: int, work: Any) -> None:
    numbers, _, starts, _, _ = work
    row_starts(rows, t, above[0].shape[1], hidden, starts)
    for leaf in range(4):
        from_rows(above[leaf], starts, hidden, numbers, ABOVE + leaf * LANES, UNIT)
    for i in range(0, hidden * UNIT, UNIT):
        for leaf in (C, TARGET, DECAY, OUT):
            store(numbers, i + leaf, load(numbers, i + leaf) + load(numbers, i + ABOVE + leaf))


@nb.njit(**JIT)
def _state_before(states: Any, starting: Any, at: Any, hidden: int, work: Any) -> None:
    """The state before the gap of event t, as lanes."""
    numbers, lanes, starts, _, _ = work
    rows, t = at
    reset = load(lanes, RESET * LANES)
    if t > 0:
        row_starts(rows, t - 1, states[0].shape[1], hidden, starts)
    else:
        row_starts(rows, 0, 1, hidden, starts)
    for leaf in range(4):
        if t > 0:
            from_rows(states[leaf], starts, hidden, numbers, BEFORE + leaf * LANES, UNIT)
        else:
            from_rows(starting[leaf], starts, hidden, numbers, BEFORE + leaf * LANES, UNIT)
    for i in range(0, hidden * UNIT, UNIT):
        for leaf in (C, TARGET, DECAY, OUT):
            place = i + BEFORE + leaf
            store(numbers, place, where(reset, load(numbers, i + INIT + leaf), load(numbers, place)))


@nb.njit(**JIT)
def through_step(weight: Any, acts: Any, place: int, hidden: int, work: Any) -> Any:
    """From the gradient of the state after an event (C to OUT) to that before its gap, whose state stands in BEFORE.

    Leaves the gradients of the gates' arguments in ``gates``, and the hidden state before the event in HIDDEN; returns
    the gradient of the gap.
    """
    numbers, lanes, _, gates, d_hidden = work
    gap = load(lanes, GAP * LANES)
    for i in range(0, hidden * UNIT, UNIT):
        target = load(numbers, i + BEFORE + TARGET)
        left = exp_decay(0.0 - load(numbers, i + BEFORE + DECAY) * gap)
        store(numbers, i + LEFT, left)
        store(numbers, i + TANH, tanh(fma(load(numbers, i + BEFORE + C) - target, left, target)))
    _through_event(acts, place, hidden, work)
    _through_product(weight, hidden, gates, d_hidden)
    return _through_gap(hidden, work)


@nb.njit(**JIT)
def _through_event(acts: Any, place: int, hidden: int, work: Any) -> None:
    """From the state after the event to the gates' arguments, the cell and the target at the left limit."""
    numbers, lanes, _, gates, _ = work
    live = load(lanes, LIVE * LANES)
    for unit in range(hidden):
        i, a, g = unit * UNIT, place + unit * GATES, unit * GATES
        i_in, i_bar, f_in = load(acts, a), load(acts, a + LANES), load(acts, a + 2 * LANES)
        f_bar, z, o = load(acts, a + 3 * LANES), load(acts, a + 4 * LANES), load(acts, a + 5 * LANES)
        d_c, d_target, target = load(numbers, i + C), load(numbers, i + TARGET), load(numbers, i + BEFORE + TARGET)
        cell = fma(load(numbers, i + BEFORE + C) - target, load(numbers, i + LEFT), target)
        store(gates, g, where(live, d_c * z * i_in * (1.0 - i_in), 0.0))
        store(gates, g + LANES, where(live, d_target * z * i_bar * (1.0 - i_bar), 0.0))
        store(gates, g + 2 * LANES, where(live, d_c * cell * f_in * (1.0 - f_in), 0.0))
        store(gates, g + 3 * LANES, where(live, d_target * target * f_bar * (1.0 - f_bar), 0.0))
        slope = fma(d_c, i_in, d_target * i_bar) * fma(0.0 - z, z, 1.0)
        store(gates, g + 4 * LANES, where(live, slope, 0.0))
        store(gates, g + 5 * LANES, where(live, load(numbers, i + OUT) * o * (1.0 - o), 0.0))
        store(gates, g + 6 * LANES, where(live, load(numbers, i + DECAY) * load(acts, a + 6 * LANES), 0.0))
        store(numbers, i + D_CELL, d_c * f_in)
        store(numbers, i + D_TARGET, d_target * f_bar)


@nb.njit(**JIT)
def _through_product(weight: Any, hidden: int, gates: Any, d_hidden: Any) -> None:
    """d_hidden = weight^T gates, eight hidden units at a time."""
    for m in range(0, weight.shape[1], TILE):
        d0 = splat(weight.dtype.type(0))
        d1, d2, d3, d4, d5, d6, d7 = d0, d0, d0, d0, d0, d0, d0
        for j in range(7 * hidden):
            gate = load(gates, j * LANES)
            d0 = fma(weight[j, m], gate, d0)
            d1 = fma(weight[j, m + 1], gate, d1)
            d2 = fma(weight[j, m + 2], gate, d2)
            d3 = fma(weight[j, m + 3], gate, d3)
            d4 = fma(weight[j, m + 4], gate, d4)
            d5 = fma(weight[j, m + 5], gate, d5)
            d6 = fma(weight[j, m + 6], gate, d6)
            d7 = fma(weight[j, m + 7], gate, d7)
        store(d_hidden, m * LANES, d0)
        store(d_hidden, (m + 1) * LANES, d1)
        store(d_hidden, (m + 2) * LANES, d2)
        store(d_hidden, (m + 3) * LANES, d3)
        store(d_hidden, (m + 4) * LANES, d4)
        store(d_hidden, (m + 5) * LANES, d5)
        store(d_hidden, (m + 6) * LANES, d6)
        store(d_hidden, (m + 7) * LANES, d7)


@nb.njit(**JIT)
def _through_gap(hidden: int, work: Any) -> Any:
    """From the left limit to the state before the gap, and to the gap; then through a reset."""
    numbers, lanes, _, _, d_hidden = work
    gap, live, reset = load(lanes, GAP * LANES), load(lanes, LIVE * LANES), load(lanes, RESET * LANES)
    d_gap = splat(numbers.dtype.type(0))
    for unit in range(hidden):
        i = unit * UNIT
        target, decay = load(numbers, i + BEFORE + TARGET), load(numbers, i + BEFORE + DECAY)
        out, tanh_cell = load(numbers, i + BEFORE + OUT), load(numbers, i + TANH)
        above = load(d_hidden, unit * LANES)
        d_cell = fma(above * out, fma(0.0 - tanh_cell, tanh_cell, 1.0), load(numbers, i + D_CELL))
        d_c = d_cell * load(numbers, i + LEFT)
        d_rate = 0.0 - d_c * (load(numbers, i + BEFORE + C) - target)  # of decay * gap
        d_gap = fma(d_rate, decay, d_gap)
        store(numbers, i + HIDDEN, where(live, out * tanh_cell, 0.0))
        _pass_on(numbers, i + C, live, reset, d_c)
        _pass_on(numbers, i + TARGET, live, reset, load(numbers, i + D_TARGET) + (d_cell - d_c))
        _pass_on(numbers, i + DECAY, live, reset, d_rate * gap)
        _pass_on(numbers, i + OUT, live, reset, above * tanh_cell)
    return where(live, d_gap, 0.0)


@nb.njit(**JIT)
def _pass_on(numbers: Any, place: int, live: Any, reset: Any, gradient: Any) -> None:
    """The gradient of a leaf before event t; where a reset stood it belongs to the state after resets instead."""
    gradient = where(live, gradient, load(numbers, place))
    store(numbers, place + STARTED, load(numbers, place + STARTED) + where(reset, gradient, 0.0))
    store(numbers, place, where(reset, 0.0, gradient))
