"""The gradient of the recurrence of ``_forward``: blocks of sixteen sequences, from the last event to the first (compiled).

The gates are kept from the forward pass; the left limits are computed again, which costs less than to keep them. The
gradient of the recurrent weight is one matrix product over all events, left to the caller (gate gradients, and the hidden
state before each event).
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import LANES, fma, from_rows, load, splat, store, to_rows, where
from eventflow.ops._vecmath import exp_decay, tanh
from eventflow.ops.ctlstm._forward import DECAY, GAP, JIT, LIVE, OUT, RESET, TARGET, C, row_starts, step_flags

# slots of H R numbers: gradient of the state; state before the gap; its gradient on the way; what comes from above
BEFORE, ABOVE, INIT = 4, 8, 12  # four each
LEFT, TANH, D_CELL, D_TARGET, HIDDEN, STARTED = 16, 17, 18, 19, 20, 21  # the last takes four
BACKWARD_SLOTS = 25
TILE = 8  # hidden units at a time in the product with the weight


@nb.njit(**JIT)
def backward(given: Any, weight: Any, saved: Any, rows: Any, above: Any, out: Any, work: Any) -> None:
    """Fill ``out``.

    Args:
        given, rows: as in ``forward``.
        weight: (7H, H), columns padded with zeros to a multiple of TILE.
        saved: acts (blocks, T, 7H R); c, target, decay, out (B, T, H) after each event; four (B, H) at the start, four
            (B, H) after a reset.
        above: (gradients of the states, four (B, T, H); of the last ones, four (B, H)).
        out: gradients of gates_x (B + 1, T, 7H) and dt (B + 1, T); hidden before each event (B + 1, T, H), 0 where
            there is none; gradients of the start and of the state after a reset, four (B + 1, H) each.
        work: (numbers, lanes, starts, gates, d_hidden): as in ``forward``, then (7H, R), then (H padded, R).
    """
    acts, states, starting = saved
    read, write = rows
    numbers, lanes, starts, gates, d_hidden = work
    length, hidden = given[1].shape[1], states[0].shape[2]
    for block in range(read.shape[0]):
        row_starts(read[block], 0, 1, hidden, starts)
        for leaf in range(4):
            from_rows(above[1][leaf], starts, hidden, numbers, leaf * hidden * LANES)
            from_rows(starting[4 + leaf], starts, hidden, numbers, (INIT + leaf) * hidden * LANES)
        _clear(numbers, STARTED, 4, hidden)
        for t in range(length - 1, -1, -1):
            _add_from_above(above[0], read[block], t, hidden, work)
            if step_flags(given, read[block], t, (numbers, lanes, starts)):
                _state_before(states, starting, (read[block], t), hidden, work)
                _through_event(acts, (block * length + t) * acts.shape[2], hidden, work)
                _through_product(weight, hidden, gates, d_hidden)
                _through_gap(write[block], t, hidden, out[1], work)
            else:
                _clear(gates, 0, 7, hidden)
                _clear(numbers, HIDDEN, 1, hidden)
                for r in range(LANES):
                    out[1][write[block, r], t] = 0.0
            row_starts(write[block], t, length, 7 * hidden, starts)
            to_rows(out[0], starts, 7 * hidden, gates, 0)
            row_starts(write[block], t, length, hidden, starts)
            to_rows(out[2], starts, hidden, numbers, HIDDEN * hidden * LANES)
        row_starts(write[block], 0, 1, hidden, starts)
        for leaf in range(4):
            to_rows(out[3][leaf], starts, hidden, numbers, leaf * hidden * LANES)
            to_rows(out[3][4 + leaf], starts, hidden, numbers, (STARTED + leaf) * hidden * LANES)


@nb.njit(**JIT)
def _clear(numbers: Any, first: int, slots: int, hidden: int) -> None:
    flat = numbers.reshape(-1)
    for i in range(first * hidden * LANES, (first + slots) * hidden * LANES):
        flat[i] = 0.0


@nb.njit(**JIT)
def _add_from_above(above: Any, rows: Any, t: int, hidden: int, work: Any) -> None:
    numbers, _, starts, _, _ = work
    slot = hidden * LANES
    row_starts(rows, t, above[0].shape[1], hidden, starts)
    for leaf in range(4):
        from_rows(above[leaf], starts, hidden, numbers, (ABOVE + leaf) * slot)
    for i in range(0, 4 * slot, LANES):
        store(numbers, i, load(numbers, i) + load(numbers, ABOVE * slot + i))


@nb.njit(**JIT)
def _state_before(states: Any, starting: Any, at: Any, hidden: int, work: Any) -> None:
    """The state before the gap of event t, as lanes, and what became of it at the event's left limit."""
    numbers, lanes, starts, _, _ = work
    rows, t = at
    slot = hidden * LANES
    gap, reset = load(lanes, GAP * LANES), load(lanes, RESET * LANES)
    if t > 0:
        row_starts(rows, t - 1, states[0].shape[1], hidden, starts)
    else:
        row_starts(rows, 0, 1, hidden, starts)
    for leaf in range(4):
        source = states[leaf].reshape(-1) if t > 0 else starting[leaf].reshape(-1)
        from_rows(source, starts, hidden, numbers, (BEFORE + leaf) * slot)
    for i in range(0, slot, LANES):
        for leaf in range(4):
            now = load(numbers, (BEFORE + leaf) * slot + i)
            store(numbers, (BEFORE + leaf) * slot + i, where(reset, load(numbers, (INIT + leaf) * slot + i), now))
        target = load(numbers, (BEFORE + TARGET) * slot + i)
        left = exp_decay(0.0 - load(numbers, (BEFORE + DECAY) * slot + i) * gap)
        store(numbers, LEFT * slot + i, left)
        store(numbers, TANH * slot + i, tanh(fma(load(numbers, (BEFORE + C) * slot + i) - target, left, target)))


@nb.njit(**JIT)
def _through_event(acts: Any, place: int, hidden: int, work: Any) -> None:
    """From the state after the event to the gates' arguments, the cell and the target at the left limit."""
    numbers, lanes, _, gates, _ = work
    slot = hidden * LANES
    live = load(lanes, LIVE * LANES)
    for i in range(0, slot, LANES):
        i_in, i_bar = load(acts, place + i), load(acts, place + slot + i)
        f_in, f_bar = load(acts, place + 2 * slot + i), load(acts, place + 3 * slot + i)
        z, o, slope = load(acts, place + 4 * slot + i), load(acts, place + 5 * slot + i), load(acts, place + 6 * slot + i)
        d_c, d_target = load(numbers, C * slot + i), load(numbers, TARGET * slot + i)
        target = load(numbers, (BEFORE + TARGET) * slot + i)
        cell = fma(load(numbers, (BEFORE + C) * slot + i) - target, load(numbers, LEFT * slot + i), target)
        store(gates, i, where(live, d_c * z * i_in * (1.0 - i_in), 0.0))
        store(gates, slot + i, where(live, d_target * z * i_bar * (1.0 - i_bar), 0.0))
        store(gates, 2 * slot + i, where(live, d_c * cell * f_in * (1.0 - f_in), 0.0))
        store(gates, 3 * slot + i, where(live, d_target * target * f_bar * (1.0 - f_bar), 0.0))
        store(gates, 4 * slot + i, where(live, fma(d_c, i_in, d_target * i_bar) * fma(0.0 - z, z, 1.0), 0.0))
        store(gates, 5 * slot + i, where(live, load(numbers, OUT * slot + i) * o * (1.0 - o), 0.0))
        store(gates, 6 * slot + i, where(live, load(numbers, DECAY * slot + i) * slope, 0.0))
        store(numbers, D_CELL * slot + i, d_c * f_in)
        store(numbers, D_TARGET * slot + i, d_target * f_bar)


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
        for k, d in enumerate((d0, d1, d2, d3, d4, d5, d6, d7)):
            store(d_hidden, (m + k) * LANES, d)


@nb.njit(**JIT)
def _through_gap(rows: Any, t: int, hidden: int, d_dt: Any, work: Any) -> None:
    """From the left limit to the state before the gap, and to the gap; then through a reset."""
    numbers, lanes, _, _, d_hidden = work
    slot = hidden * LANES
    gap, live, reset = load(lanes, GAP * LANES), load(lanes, LIVE * LANES), load(lanes, RESET * LANES)
    d_gap = splat(numbers.dtype.type(0))
    for i in range(0, slot, LANES):
        target, decay = load(numbers, (BEFORE + TARGET) * slot + i), load(numbers, (BEFORE + DECAY) * slot + i)
        out, tanh_cell = load(numbers, (BEFORE + OUT) * slot + i), load(numbers, TANH * slot + i)
        left, above = load(numbers, LEFT * slot + i), load(d_hidden, i)
        d_cell = fma(above * out, fma(0.0 - tanh_cell, tanh_cell, 1.0), load(numbers, D_CELL * slot + i))
        d_c = d_cell * left
        d_rate = 0.0 - d_c * (load(numbers, (BEFORE + C) * slot + i) - target)  # of decay * gap
        d_gap = fma(d_rate, decay, d_gap)
        store(numbers, HIDDEN * slot + i, where(live, out * tanh_cell, 0.0))
        _pass_on(numbers, C, slot, i, live, reset, d_c)
        _pass_on(numbers, TARGET, slot, i, live, reset, load(numbers, D_TARGET * slot + i) + (d_cell - d_c))
        _pass_on(numbers, DECAY, slot, i, live, reset, d_rate * gap)
        _pass_on(numbers, OUT, slot, i, live, reset, above * tanh_cell)
    store(lanes, GAP * LANES, where(live, d_gap, 0.0))
    for r in range(LANES):
        d_dt[rows[r], t] = lanes[GAP, r]


@nb.njit(**JIT)
def _pass_on(numbers: Any, leaf: int, slot: int, i: int, live: Any, reset: Any, gradient: Any) -> None:
    """The gradient of a leaf before event t; where a reset stood it belongs to the state after resets instead."""
    gradient = where(live, gradient, load(numbers, leaf * slot + i))
    started = (STARTED + leaf) * slot + i
    store(numbers, started, load(numbers, started) + where(reset, gradient, 0.0))
    store(numbers, leaf * slot + i, where(reset, 0.0, gradient))
