"""Laws of ``evolve`` and ``step``, and of the transitions of linear cells."""

from __future__ import annotations

from typing import Any

import torch

from eventflow.nn import LinearCell, map_state
from eventflow.testing._cell_subject import Subject
from eventflow.testing._compare import same_state, same_tensor

ROWS = 5


@torch.no_grad()
def evolve_zero(subject: Subject) -> None:
    """``evolve(s, 0) == s``, to the last bit."""
    for dtype in (torch.float64, torch.float32):
        cell = subject.fresh().to(dtype)
        for batch in (ROWS, 64):
            given = map_state(lambda leaf, dtype=dtype: _in(leaf, dtype), subject.state(batch))
            for what, state in (("the first state", cell.init(batch)), ("a later state", given)):
                still = cell.evolve(state, torch.zeros(batch, dtype=dtype, device=subject.device))
                same_state(f"{what} after a silence of 0, {dtype}", still, state, exact=True)


@torch.no_grad()
def evolve_adds(subject: Subject) -> None:
    """``evolve(evolve(s, a), b) == evolve(s, a + b)``."""
    for state in (subject.cell.init(ROWS), subject.state(ROWS), subject.state(ROWS)):
        a, b = subject.gaps(ROWS), subject.gaps(ROWS)
        twice = subject.cell.evolve(subject.cell.evolve(state, a), b)
        same_state("the state after two silences, against one as long", twice, subject.cell.evolve(state, a + b))


@torch.no_grad()
def query_axes(subject: Subject) -> None:
    """``read(evolve(s[:, :, None], dt))`` with dt (B, T, M) is M queries of each state."""
    tape = subject.tape(2, 4)
    states, _ = subject.cell.scan(tape.x, tape.dt)
    dt = subject.gaps(2, 4, 3)
    together = subject.cell.read(subject.cell.evolve(map_state(lambda leaf: leaf[:, :, None], states), dt))
    single = [subject.cell.read(subject.cell.evolve(states, dt[..., i])) for i in range(3)]
    expected = torch.stack(single, 2)
    if together.shape[2:3] == (1,):  # a state that silence does not change may stay one
        together = together.expand_as(expected)
    same_tensor("what is read at 3 times after each event", together, expected)
    same_tensor("its last axis", torch.tensor(together.shape[-1]), torch.tensor(subject.cell.hidden_size))


@torch.no_grad()
def step_reads_the_left_limit(subject: Subject) -> None:
    """``step(s, x, dt) == (read(evolve(s, dt)), update(evolve(s, dt), x))``."""
    tape, state = subject.tape(ROWS, 1), subject.state(ROWS)
    x, dt = tape.x[:, 0], tape.dt[:, 0]
    y, after = subject.cell.step(state, x, dt)
    left = subject.cell.evolve(state, dt)
    same_tensor("what step reads, against read(evolve(s, dt))", y, subject.cell.read(left))
    same_state("the state after step, against update(evolve(s, dt), x)", after, subject.cell.update(left, x))


@torch.no_grad()
def lift_is_evolve_then_update(subject: Subject) -> None:
    """Linear cells: ``apply(lift(x, dt), s) == update(evolve(s, dt), x)``."""
    cell = subject.cell
    if isinstance(cell, LinearCell):
        (m, *_), (x, dt) = _transitions(subject, cell)
        for state in (cell.init(ROWS), subject.state(ROWS)):
            same_state("apply(lift(x, dt), s)", cell.apply(m, state), cell.update(cell.evolve(state, dt), x))


@torch.no_grad()
def compose_acts(subject: Subject) -> None:
    """Linear cells: ``apply(compose(a, b), s) == apply(b, apply(a, s))`` (associativity alone proves little)."""
    cell = subject.cell
    if isinstance(cell, LinearCell):
        (a, b, c), _ = _transitions(subject, cell)
        for state in (cell.init(ROWS), subject.state(ROWS)):
            same_state(
                "apply(compose(a, b), s)", cell.apply(cell.compose(a, b), state), cell.apply(b, cell.apply(a, state))
            )
            both = cell.apply(cell.compose(cell.compose(a, b), c), state)
            same_state("apply(compose(compose(a, b), c), s)", both, cell.apply(c, cell.apply(b, cell.apply(a, state))))


@torch.no_grad()
def compose_associates(subject: Subject) -> None:
    """Linear cells: ``compose(compose(a, b), c) == compose(a, compose(b, c))``."""
    cell = subject.cell
    if isinstance(cell, LinearCell):
        (a, b, c), _ = _transitions(subject, cell)
        left, right = cell.compose(cell.compose(a, b), c), cell.compose(a, cell.compose(b, c))
        same_state("compose(compose(a, b), c)", left, right)


def _transitions(subject: Subject, cell: LinearCell) -> tuple[list[Any], tuple[Any, Any]]:
    """Three transitions, and the (x, dt) of the first."""
    tape = subject.tape(ROWS, 3)
    return [cell.lift(tape.x[:, i], tape.dt[:, i]) for i in range(3)], (tape.x[:, 0], tape.dt[:, 0])


def _in(leaf: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The leaf of a float64 state as the cell in ``dtype`` would have it."""
    if leaf.is_complex():
        return leaf.to(dtype.to_complex())
    return leaf.to(dtype) if leaf.is_floating_point() else leaf
