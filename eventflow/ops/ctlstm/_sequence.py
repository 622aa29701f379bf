"""Whole sequences at once: the recurrence, and the log-density of each event beside it (compiled).

The state before a gap is in the caches when the recurrence reaches it, so the quadrature of the gap is done there, with
the gradient of its value; nothing but the log-densities leaves the block of sixteen sequences. Work arrays, lanes and
rows are those of ``_forward``, ``_backward`` and ``_density``.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, from_rows, load, splat, store, stream, to_rows
from eventflow.ops.ctlstm import _backward, _density, _forward
from eventflow.ops.ctlstm._backward import BEFORE, HIDDEN, clear, gates_to_rows, through_step
from eventflow.ops.ctlstm._density import ABOVE, D_C, D_CELL, D_GAP, D_OUT, D_RATE, SCORED, VALUE, block
from eventflow.ops.ctlstm._forward import GAP, LIVE, row_starts, start, step_block, step_flags

LEAVES = 4 * LANES  # c, target, decay, out of a hidden unit
AHEAD, ASIDE, BACK = _forward.UNIT, _density.UNIT, _backward.UNIT


@nb.njit(**JIT)
def forward(given: Any, cell: Any, law: Any, rows: Any, out: Any, work: Any) -> None:
    """Fill ``out``.

    Args:
        given: mark (B, T) int64, dt (B, T), live (B, T) and scored (B, T), 1.0 or 0.0, gradient from above (B, T).
        cell: gates of each mark (J, 7H), weight (7H, H), and four (B, H) to start from, twice.
        law: head and rule, as in ``density``.
        rows: (read, write).
        out: log-densities (B + 1, T), 0 where not scored; c, target, decay, out after the last event, four (B + 1, H);
            and for the way back, on cache lines, or of size 0 where it is not gone: gates (blocks, T, H GATES),
            states before each gap (blocks, T, H LEAVES), gradients of the log-density with respect to them, and to the
            gap (blocks, T, H LEAVES + R).
        work: of ``_forward`` and of ``_density``.
    """
    table, weight, states = cell
    read, write = rows
    acts, before, slopes = out[2]
    ahead, aside = work
    length, hidden, keep = given[1].shape[1], weight.shape[1], before.size > 0
    for b in range(read.shape[0]):
        start(states, read[b], False, ahead)
        for t in range(length):
            spot = b * length + t
            if flags(given, (read[b], write[b]), t, ahead[1], aside):
                if keep:
                    _keep(ahead[0], before, spot * hidden * LEAVES, hidden)
                _density_here(law, slopes, spot, ahead[0], aside)
                for r in range(LANES):
                    ahead[2][r] = aside[7][r] * table.shape[1]
                step_block(table, weight, acts, spot * acts.shape[2], ahead)
            for r in range(LANES):
                out[0][write[b, r], t] = aside[1][VALUE, r]
        row_starts(write[b], 0, 1, hidden, ahead[2])
        for leaf in range(4):
            to_rows(out[1][leaf], ahead[2], hidden, ahead[0], leaf * LANES, AHEAD)


@nb.njit(**JIT)
def flags(given: Any, rows: Any, t: int, ahead: Any, aside: Any) -> bool:
    """Gaps, marks and flags of event t as lanes, VALUE 0; False where no sequence of the block has one."""
    mark, dt, live, scored, above = given
    read, write = rows
    lanes, kinds = aside[1], aside[7]
    found = step_flags((mark, dt, live, live[:0]), read, t, ahead)
    for r in range(LANES):
        if write[r] >= dt.shape[0]:
            ahead[LIVE, r] = 0.0  # a padding lane
        alive = ahead[LIVE, r] > 0
        counts = alive and scored[read[r], t] > 0
        lanes[_density.GAP, r], lanes[VALUE, r] = ahead[GAP, r], 0.0
        lanes[SCORED, r], lanes[ABOVE, r] = (1.0, above[read[r], t]) if counts else (0.0, 0.0)
        kinds[r] = mark[read[r], t] if alive else 0
    return found


@nb.njit(**JIT)
def _density_here(law: Any, slopes: Any, spot: int, state: Any, aside: Any) -> None:
    """The log-densities of the scored events in VALUE, and their gradients into ``slopes``."""
    head, rule = law
    numbers, lanes = aside[0], aside[1]
    hidden, wanted, place = numbers.shape[0], slopes.size > 0, spot * slopes.shape[2]
    some = False
    for r in range(LANES):
        some = some or lanes[SCORED, r] > 0
    if some:
        _copy(state, AHEAD, numbers, 0, ASIDE, hidden)
        block(head, rule, True, wanted, aside)
        for r in range(LANES):
            lanes[VALUE, r] = lanes[VALUE, r] if lanes[SCORED, r] > 0 else 0.0
    if wanted:
        zero = splat(numbers.dtype.type(0))
        for i in range(hidden):
            leaves, unit = place + i * LEAVES, i * ASIDE
            stream(slopes, leaves, load(numbers, unit + D_C) if some else zero)
            stream(slopes, leaves + LANES, load(numbers, unit + D_CELL) if some else zero)
            stream(slopes, leaves + 2 * LANES, load(numbers, unit + D_RATE) if some else zero)
            stream(slopes, leaves + 3 * LANES, load(numbers, unit + D_OUT) if some else zero)
        stream(slopes, place + hidden * LEAVES, load(lanes, D_GAP * LANES) if some else zero)


@nb.njit(**JIT)
def _keep(state: Any, before: Any, place: int, hidden: int) -> None:
    """The four leaves of each unit, for the way back."""
    for i in range(hidden):
        for leaf in range(0, LEAVES, LANES):
            stream(before, place + i * LEAVES + leaf, load(state, i * AHEAD + leaf))


@nb.njit(**JIT)
def _copy(source: Any, unit: int, target: Any, place: int, step: int, hidden: int) -> None:
    """The four leaves of each unit, from ``source`` (``unit`` numbers apart) to ``target`` (from place, step apart)."""
    for i in range(hidden):
        for leaf in range(0, LEAVES, LANES):
            store(target, place + i * step + leaf, load(source, i * unit + leaf))


@nb.njit(**JIT)
def backward(given: Any, cell: Any, above: Any, at: Any, out: Any, work: Any) -> None:
    """Events t1 - 1 down to t0 of one block; the running gradient stays in ``work`` from one call to the next.

    Args:
        given: see ``forward``.
        cell: weight as in ``_backward.backward``; what ``forward`` kept.
        above: gradients of the log-densities (B, T), which multiply those kept; of the last states, four (B, H).
        at: read and write (R,) of the block, its number, t0, t1.
        out: gradients of dt (B + 1, T), of the gates of each mark (J, 7H, added to), of the first states, four
            (B + 1, H); gate gradients (S, 7H) and hidden states (S, H), S >= (t1 - t0) R, by t and lane.
        work: of ``_backward``, and of ``_density`` for the flags.
    """
    weight, (acts, before, slopes) = cell
    read, write, b, t0, t1 = at
    back, aside = work
    numbers, lanes, starts, gates, _ = back
    length, hidden = given[1].shape[1], numbers.shape[0]
    if t1 == length:
        row_starts(read, 0, 1, hidden, starts)
        for leaf in range(4):
            from_rows(above[1][leaf], starts, hidden, numbers, leaf * LANES, BACK)
    for t in range(t1 - 1, t0 - 1, -1):
        spot = b * length + t
        alive = flags(given, (read, write), t, lanes, aside)
        if alive:
            _copy(before[b, t], LEAVES, numbers, BEFORE, BACK, hidden)
            d_gap = through_step(weight, acts, spot * acts.shape[2], hidden, back)
            for r in range(LANES):
                aside[1][ABOVE, r] = above[0][read[r], t] if aside[1][SCORED, r] > 0 else 0.0
            store(aside[1], VALUE * LANES, _add_density(slopes, spot * slopes.shape[2], d_gap, numbers, aside[1]))
        else:
            clear(gates, 0, 7, _forward.GATES)
            clear(numbers, HIDDEN, 1, BACK)
        for r in range(LANES):
            out[0][write[r], t] = aside[1][VALUE, r]
        _rows_out((t - t0) * LANES, out, (numbers, lanes, starts, gates), aside[7])
    if t0 == 0:
        row_starts(write, 0, 1, hidden, starts)
        for leaf in range(4):
            to_rows(out[2][leaf], starts, hidden, numbers, leaf * LANES, BACK)


@nb.njit(**JIT)
def _add_density(slopes: Any, place: int, d_gap: Any, numbers: Any, lanes: Any) -> Any:
    """What the log-density adds to the gradient of the state before its gap; the gradient of the gap, with its part."""
    above, hidden = load(lanes, ABOVE * LANES), numbers.shape[0]
    for i in range(hidden):
        for leaf in range(0, LEAVES, LANES):
            at = i * BACK + leaf
            store(numbers, at, fma(above, load(slopes, place + i * LEAVES + leaf), load(numbers, at)))
    return fma(above, load(slopes, place + hidden * LEAVES), d_gap)


@nb.njit(**JIT)
def _rows_out(first: int, out: Any, back: Any, kinds: Any) -> None:
    """Gate gradients and hidden states into their rows, and the former to those of their marks."""
    numbers, lanes, starts, gates = back
    _, d_table, _, gate_rows, hidden_rows = out
    width, hidden = gate_rows.shape[1], hidden_rows.shape[1]
    for r in range(LANES):
        starts[r] = (first + r) * width
    gates_to_rows(gate_rows, gates, starts)
    for r in range(LANES):
        starts[r] = (first + r) * hidden
    to_rows(hidden_rows, starts, hidden, numbers, HIDDEN, BACK)
    for r in range(LANES):
        if lanes[LIVE, r] > 0:
            source, target = (first + r) * width, kinds[r] * width
            whole = width - width % LANES
            for c in range(0, whole, LANES):
                store(d_table, target + c, load(d_table, target + c) + load(gate_rows, source + c))
            for c in range(whole, width):
                d_table[kinds[r], c] += gate_rows[first + r, c]
