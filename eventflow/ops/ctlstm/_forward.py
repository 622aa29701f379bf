"""The recurrence of the continuous-time LSTM over blocks of sixteen sequences (compiled).

A block holds the state of 16 sequences as lanes and runs through time; the recurrent product, the seven gates and the
update of a hidden unit are one pass in registers. Every lane is computed by itself, in an order fixed by the source.

Axes: R = 16 lanes, T events, H hidden. ``work`` is (numbers, lanes, starts): H R numbers a slot, R numbers a slot, and
R row starts. Sequences are named by ``rows`` = (read, write), (blocks, R) each: padding lanes read any sequence and write
to a spare one behind the last.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import LANES, fma, from_rows, load, store, to_rows, where
from eventflow.ops._vecmath import exp_decay, sigmoid, softplus_sigmoid, tanh

JIT = {"cache": True, "nogil": True, "error_model": "numpy"}
# slots of H R numbers
C, TARGET, DECAY, OUT, CELL, HIDDEN, INIT = 0, 1, 2, 3, 4, 5, 6  # INIT takes four
FORWARD_SLOTS = 10
# slots of R numbers
GAP, LIVE, RESET = 0, 1, 2


@nb.njit(**JIT)
def forward(given: Any, weight: Any, states: Any, rows: Any, out: Any, acts: Any, work: Any) -> None:
    """Fill ``out`` and ``acts``.

    Args:
        given: gates_x (B, T, 7H), dt (B, T), live and reset (B, T) of 1.0 and 0.0, or of size 0 where absent.
        weight: (7H, H).
        states: four (B, H) to start from, and four (B, H) after a reset.
        rows: (read, write).
        out: c, target, decay, out, each (B + 1, T, H); hidden before each event, likewise or of size 0.
        acts: (blocks or 1, T or 1, 7H R) the gates; one step is overwritten by the next where nothing needs them later.
        work: see above; FORWARD_SLOTS slots of numbers, 3 of lanes.
    """
    read, write = rows
    blocks, steps, _ = acts.shape
    for block in range(read.shape[0]):
        start(states, read[block], given[3].size > 0, work)
        for t in range(given[1].shape[1]):
            if step_flags(given, read[block], t, work):
                place = ((block % blocks) * steps + t % steps) * acts.shape[2]
                _event(given[0], weight, (read[block], t), acts, place, work)
            _leave(out, write[block], t, weight.shape[1], work)


@nb.njit(**JIT)
def row_starts(rows: Any, t: int, length: int, width: int, starts: Any) -> None:
    """Flat starts of row (b, t) of a (B, T, width) array, for the block's sequences."""
    for r in range(LANES):
        starts[r] = (rows[r] * length + t) * width


@nb.njit(**JIT)
def start(states: Any, rows: Any, resets: bool, work: Any) -> None:
    """The block's first state (and the one after a reset) as lanes."""
    numbers, _, starts = work
    hidden = states[0].shape[1]
    row_starts(rows, 0, 1, hidden, starts)
    for leaf in range(4):
        from_rows(states[leaf], starts, hidden, numbers, leaf * hidden * LANES)
        if resets:
            from_rows(states[4 + leaf], starts, hidden, numbers, (INIT + leaf) * hidden * LANES)


@nb.njit(**JIT)
def step_flags(given: Any, rows: Any, t: int, work: Any) -> bool:
    """Gaps and flags of event t as lanes; False where no sequence of the block has one."""
    _, dt, live, reset = given
    _, lanes, _ = work
    found = False
    for r in range(LANES):
        alive = live.size == 0 or live[rows[r], t] > 0
        lanes[LIVE, r] = 1.0 if alive else 0.0
        lanes[GAP, r] = dt[rows[r], t] if alive else 0.0  # what lies in padding, NaN included, must not get in
        lanes[RESET, r] = 1.0 if alive and reset.size > 0 and reset[rows[r], t] > 0 else 0.0
        found = found or alive
    return found


@nb.njit(**JIT)
def _event(gates_x: Any, weight: Any, at: Any, acts: Any, place: int, work: Any) -> None:
    """The silence before event t, then the event."""
    numbers, lanes, starts = work
    rows, t = at
    hidden = weight.shape[1]
    slot = hidden * LANES
    gap, live, reset = load(lanes, GAP * LANES), load(lanes, LIVE * LANES), load(lanes, RESET * LANES)
    restart = False
    for r in range(LANES):
        restart = restart or lanes[RESET, r] > 0
    row_starts(rows, t, gates_x.shape[1], 7 * hidden, starts)
    from_rows(gates_x, starts, 7 * hidden, acts, place)
    for i in range(0, slot, LANES):
        if restart:
            for leaf in range(4):
                fresh = load(numbers, (INIT + leaf) * slot + i)
                store(numbers, leaf * slot + i, where(reset, fresh, load(numbers, leaf * slot + i)))
        target = load(numbers, TARGET * slot + i)
        left = exp_decay(0.0 - load(numbers, DECAY * slot + i) * gap)
        cell = fma(load(numbers, C * slot + i) - target, left, target)
        store(numbers, CELL * slot + i, cell)
        store(numbers, HIDDEN * slot + i, load(numbers, OUT * slot + i) * tanh(cell))
    for i in range(hidden):
        _unit(weight, i, live, acts, place, numbers)


@nb.njit(**JIT)
def _unit(weight: Any, i: int, live: Any, acts: Any, place: int, numbers: Any) -> None:
    """The seven gates of hidden unit i, and its new state."""
    hidden = weight.shape[1]
    slot, at = hidden * LANES, i * LANES
    place += at
    i_in, i_bar, f_in = load(acts, place), load(acts, place + slot), load(acts, place + 2 * slot)
    f_bar, z, o, delta = (
        load(acts, place + 3 * slot), load(acts, place + 4 * slot), load(acts, place + 5 * slot),
        load(acts, place + 6 * slot),
    )  # fmt: skip
    for m in range(hidden):
        h = load(numbers, HIDDEN * slot + m * LANES)
        i_in = fma(weight[i, m], h, i_in)
        i_bar = fma(weight[hidden + i, m], h, i_bar)
        f_in = fma(weight[2 * hidden + i, m], h, f_in)
        f_bar = fma(weight[3 * hidden + i, m], h, f_bar)
        z = fma(weight[4 * hidden + i, m], h, z)
        o = fma(weight[5 * hidden + i, m], h, o)
        delta = fma(weight[6 * hidden + i, m], h, delta)
    i_in, i_bar, f_in, f_bar, z, o = sigmoid(i_in), sigmoid(i_bar), sigmoid(f_in), sigmoid(f_bar), tanh(z), sigmoid(o)
    decay, slope = softplus_sigmoid(delta)
    c = fma(f_in, load(numbers, CELL * slot + at), i_in * z)
    target = fma(f_bar, load(numbers, TARGET * slot + at), i_bar * z)
    store(numbers, C * slot + at, where(live, c, load(numbers, C * slot + at)))
    store(numbers, TARGET * slot + at, where(live, target, load(numbers, TARGET * slot + at)))
    store(numbers, DECAY * slot + at, where(live, decay, load(numbers, DECAY * slot + at)))
    store(numbers, OUT * slot + at, where(live, o, load(numbers, OUT * slot + at)))
    store(acts, place, i_in)
    store(acts, place + slot, i_bar)
    store(acts, place + 2 * slot, f_in)
    store(acts, place + 3 * slot, f_bar)
    store(acts, place + 4 * slot, z)
    store(acts, place + 5 * slot, o)
    store(acts, place + 6 * slot, slope)


@nb.njit(**JIT)
def _leave(out: Any, rows: Any, t: int, hidden: int, work: Any) -> None:
    """The states after event t, into their rows."""
    numbers, _, starts = work
    row_starts(rows, t, out[0].shape[1], hidden, starts)
    for leaf in range(4):
        to_rows(out[leaf], starts, hidden, numbers, leaf * hidden * LANES)
    if out[4].size > 0:
        to_rows(out[4], starts, hidden, numbers, HIDDEN * hidden * LANES)
