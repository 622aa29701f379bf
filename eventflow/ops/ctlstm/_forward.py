"""The recurrence of the continuous-time LSTM over blocks of sixteen sequences (compiled).

A block holds the state of 16 sequences as lanes and runs through time; the recurrent product, the seven gates and the
update of a hidden unit are one pass in registers. Every lane is computed by itself, in an order fixed by the source.

Axes: R = 16 lanes, T events, H hidden. ``work``: numbers (H, UNIT), lanes (3, R), starts (R,) of rows, gates (H,
GATES). Sequences are named by ``rows`` = (read, write), (blocks, R) each: padding lanes read any sequence and write to
a spare one behind the last.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, from_rows, load, store, stream, to_rows, total, where
from eventflow.ops._vecmath import exp_decay, sigmoid, softplus_sigmoid, tanh

# What is kept of each hidden unit, R numbers each, side by side.
C, TARGET, DECAY, OUT, CELL, HIDDEN, INIT = (i * LANES for i in range(7))  # INIT takes four
UNIT = 11 * LANES
GATES = 7 * LANES
# slots of R numbers
GAP, LIVE, RESET = 0, 1, 2


@nb.njit(**JIT)
def forward(given: Any, cell: Any, rows: Any, out: Any, acts: Any, work: Any) -> None:
    """Fill ``out`` and ``acts``.

    Args:
        given: gates_x (B, T, 7H), dt (B, T), live and reset (B, T) of 1.0 and 0.0, or of size 0 where absent.
        cell: weight (7H, H); four (B, H) to start from, and four (B, H) after a reset.
        rows: (read, write).
        out: c, target, decay, out, each (B + 1, T, H); hidden before each event, likewise or of size 0.
        acts: (blocks, T, H GATES) the gates, for the way back, on a cache line; or of size 0.
        work: see above.
    """
    weight, states = cell
    read, write = rows
    length = given[1].shape[1]
    for block in range(read.shape[0]):
        start(states, read[block], given[3].size > 0, work)
        for t in range(length):
            if step_flags(given, read[block], t, work[1]):
                row_starts(read[block], t, length, given[0].shape[2], work[2])
                step_block(given[0], weight, acts, (block * length + t) * acts.shape[2], work)
            _leave(out, write[block], t, weight.shape[1], work)


@nb.njit(**JIT)
def row_starts(rows: Any, t: int, length: int, width: int, starts: Any) -> None:
    """Flat starts of row (b, t) of a (B, T, width) array, for the block's sequences."""
    for r in range(LANES):
        starts[r] = (rows[r] * length + t) * width


@nb.njit(**JIT)
def start(states: Any, rows: Any, resets: bool, work: Any) -> None:
    """The block's first state (and the one after a reset) as lanes."""
    numbers, _, starts, _ = work
    hidden = states[0].shape[1]
    row_starts(rows, 0, 1, hidden, starts)
    for leaf in range(4):
        from_rows(states[leaf], starts, hidden, numbers, leaf * LANES, UNIT)
        if resets:
            from_rows(states[4 + leaf], starts, hidden, numbers, INIT + leaf * LANES, UNIT)


@nb.njit(**JIT)
def step_flags(given: Any, rows: Any, t: int, lanes: Any) -> bool:
    """Gaps and flags of event t as lanes; False where no sequence of the block has one."""
    _, dt, live, reset = given
    found = False
    for r in range(LANES):
        alive = live.size == 0 or live[rows[r], t] > 0
        lanes[LIVE, r] = 1.0 if alive else 0.0
        lanes[GAP, r] = dt[rows[r], t] if alive else 0.0  # what lies in padding, NaN included, must not get in
        lanes[RESET, r] = 1.0 if alive and reset.size > 0 and reset[rows[r], t] > 0 else 0.0
        found = found or alive
    return found


@nb.njit(**JIT)
def step_block(gates_x: Any, weight: Any, acts: Any, place: int, work: Any) -> None:
    """The silence before an event, then the event, whose gates stand in ``gates_x`` from ``starts`` on."""
    numbers, lanes, starts, gates = work
    hidden = weight.shape[1]
    gap, live, reset = load(lanes, GAP * LANES), load(lanes, LIVE * LANES), load(lanes, RESET * LANES)
    restart = total(reset) > 0
    for gate in range(7):
        from_rows(gates_x, starts, hidden, gates, gate * LANES, GATES)
        for r in range(LANES):
            starts[r] += hidden
    for i in range(0, hidden * UNIT, UNIT):
        if restart:
            for leaf in (C, TARGET, DECAY, OUT):
                store(numbers, i + leaf, where(reset, load(numbers, i + INIT + leaf), load(numbers, i + leaf)))
        target = load(numbers, i + TARGET)
        left = exp_decay(0.0 - load(numbers, i + DECAY) * gap)
        cell = fma(load(numbers, i + C) - target, left, target)
        store(numbers, i + CELL, cell)
        store(numbers, i + HIDDEN, load(numbers, i + OUT) * tanh(cell))
    for i in range(hidden):
        _unit(weight, i, live, (gates, numbers), acts, place + i * GATES)


@nb.njit(**JIT)
def _unit(weight: Any, i: int, live: Any, work: Any, acts: Any, place: int) -> None:
    """The seven gates of hidden unit i, and its new state."""
    gates, numbers = work
    hidden, at, g = weight.shape[1], i * UNIT, i * GATES
    i_in, i_bar, f_in = load(gates, g), load(gates, g + LANES), load(gates, g + 2 * LANES)
    f_bar, z = load(gates, g + 3 * LANES), load(gates, g + 4 * LANES)
    o, delta = load(gates, g + 5 * LANES), load(gates, g + 6 * LANES)
    for m in range(hidden):
        h = load(numbers, m * UNIT + HIDDEN)
        i_in = fma(weight[i, m], h, i_in)
        i_bar = fma(weight[hidden + i, m], h, i_bar)
        f_in = fma(weight[2 * hidden + i, m], h, f_in)
        f_bar = fma(weight[3 * hidden + i, m], h, f_bar)
        z = fma(weight[4 * hidden + i, m], h, z)
        o = fma(weight[5 * hidden + i, m], h, o)
        delta = fma(weight[6 * hidden + i, m], h, delta)
    i_in, i_bar, f_in, f_bar, z, o = sigmoid(i_in), sigmoid(i_bar), sigmoid(f_in), sigmoid(f_bar), tanh(z), sigmoid(o)
    decay, slope = softplus_sigmoid(delta)
    c = fma(f_in, load(numbers, at + CELL), i_in * z)
    target = fma(f_bar, load(numbers, at + TARGET), i_bar * z)
    store(numbers, at + C, where(live, c, load(numbers, at + C)))
    store(numbers, at + TARGET, where(live, target, load(numbers, at + TARGET)))
    store(numbers, at + DECAY, where(live, decay, load(numbers, at + DECAY)))
    store(numbers, at + OUT, where(live, o, load(numbers, at + OUT)))
    if acts.size > 0:
        stream(acts, place, i_in)
        stream(acts, place + LANES, i_bar)
        stream(acts, place + 2 * LANES, f_in)
        stream(acts, place + 3 * LANES, f_bar)
        stream(acts, place + 4 * LANES, z)
        stream(acts, place + 5 * LANES, o)
        stream(acts, place + 6 * LANES, slope)


@nb.njit(**JIT)
def _leave(out: Any, rows: Any, t: int, hidden: int, work: Any) -> None:
    """The states after event t, into their rows."""
    numbers, _, starts, _ = work
    row_starts(rows, t, out[0].shape[1], hidden, starts)
    for leaf in range(4):
        to_rows(out[leaf], starts, hidden, numbers, leaf * LANES, UNIT)
    if out[4].size > 0:
        to_rows(out[4], starts, hidden, numbers, HIDDEN, UNIT)
