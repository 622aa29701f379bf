"""Laws of the batch: rows, padding and earlier sequences never matter; packed == padded == one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eventflow.nn import map_state, where_state
from eventflow.testing._cell_subject import Subject, Tape, asked, differentiable, gradients
from eventflow.testing._compare import leaf_names, same_gradients, same_state

JUNK = (float("nan"), float("inf"), -1e30)


def reset_isolates(subject: Subject) -> None:
    """What lies before a reset, NaN too, reaches neither values nor gradients of inputs after it."""
    length = 11
    tape, state = subject.tape(2, length), subject.state(2)
    poison = map_state(lambda leaf: torch.full_like(leaf, torch.nan) if leaf.is_floating_point() else leaf, state)
    for cut in (0, 1, 6, length - 1):
        reset = torch.zeros_like(tape.reset)
        reset[:, cut] = True
        before = torch.arange(length, device=subject.device) < cut
        dirty = torch.where(before[:, None], torch.nan, tape.x), torch.where(before, torch.nan, tape.dt)
        results = []
        for x, dt, start in ((*dirty, poison), (tape.x, tape.dt, state)):
            x, dt = x.clone().requires_grad_(), dt.clone().requires_grad_()
            states, last = subject.cell.scan(x, dt, start, reset=reset)
            after = map_state(lambda leaf, cut=cut: leaf[:, cut:], states)
            grads = gradients(subject.loss(after, last), {"x": x, "dt": dt})
            results.append((map_state(torch.detach, after), [grad[:, cut:] for grad in grads]))
        same_state(f"states from a reset at {cut} on, with NaN before it", results[0][0], results[1][0])
        same_gradients(f"from a reset at {cut} on, with NaN before it", results[0][1], results[1][1], ["x", "dt"])


@torch.no_grad()
def padding_values(subject: Subject) -> None:
    """What lies in padding (NaN, infinity, a reset) never matters, and the state is carried through it unchanged."""
    tape, state = _holes(subject), subject.state(4)
    clean, last = subject.cell.scan(tape.x, tape.dt, state, reset=tape.reset & tape.mask, mask=tape.mask)
    for junk in JUNK:
        x, dt = _fill(tape, junk)
        seen, final = subject.cell.scan(x, dt, state, reset=tape.reset | ~tape.mask, mask=tape.mask)
        same_state(f"states, with {junk} in padding", seen, clean)
        same_state(f"final state, with {junk} in padding", final, last)
    same_state("state of a row that is all padding", map_state(_second, last), map_state(_second, state))


def padding_gradients(subject: Subject) -> None:
    """What lies in padding (NaN, infinity) reaches no gradient: of inputs, gaps, parameters, given state."""
    tape, start = _holes(subject), subject.state(4)
    results, inputs = [], {}
    for x, dt in ((tape.x, tape.dt), *(_fill(tape, junk) for junk in JUNK)):
        x, dt, state = x.clone().requires_grad_(), dt.clone().requires_grad_(), differentiable(start)
        states, last = subject.cell.scan(x, dt, state, mask=tape.mask)
        inputs = {"x": x, "dt": dt, **asked(state, leaf_names(state)), **subject.parameters()}
        results.append(gradients(subject.loss(states, last), inputs))
    for junk, seen in zip(JUNK, results[1:], strict=True):
        same_gradients(f"with {junk} in padding", seen, results[0], list(inputs))
    for name, grad in zip(("x", "dt"), results[0], strict=False):
        if (grad[~tape.mask] != 0).any():
            raise AssertionError(f"{name} in padding has a gradient")


@torch.no_grad()
def packed(subject: Subject) -> None:
    """Packed end to end with resets == padded with a mask == one sequence at a time."""
    lengths = (5, 1, 0, 9, 2)
    tape = subject.tape(len(lengths), max(lengths))
    mask = torch.arange(max(lengths), device=subject.device) < torch.tensor(lengths, device=subject.device)[:, None]
    padded, finals = subject.cell.scan(tape.x, tape.dt, mask=mask)
    starts = [sum(lengths[:i]) for i, n in enumerate(lengths) if n]
    reset = torch.zeros(1, sum(lengths), dtype=torch.bool, device=subject.device)
    reset[0, starts] = True
    end_to_end, _ = subject.cell.scan(tape.x[mask][None], tape.dt[mask][None], subject.state(1), reset=reset)
    same_state("states packed, against padded", map_state(lambda leaf: leaf[0], end_to_end), _real(padded, mask))
    for i, n in enumerate(lengths):
        part = tape.cut(slice(i, i + 1), slice(0, n))
        states, last = subject.cell.scan(part.x, part.dt)
        row = map_state(lambda leaf, i=i, n=n: leaf[i : i + 1, :n], padded)
        same_state(f"states of sequence {i} ({n} events), padded against alone", row, states)
        final = map_state(lambda leaf, i=i: leaf[i : i + 1], finals)
        same_state(f"final state of sequence {i} ({n} events), padded against alone", final, last)


@torch.no_grad()
def batch_independence(subject: Subject) -> None:
    """A row alone == the row in a batch, beside rows in other states and rows of NaN."""
    tape = subject.tape(4, 9)
    fresh = torch.tensor([True, False, False, True], device=subject.device)
    state = where_state(fresh, subject.cell.init(4), subject.state(4))
    nan = torch.arange(4, device=subject.device) == 2
    x = torch.where(nan[:, None, None], torch.nan, tape.x)
    together, last = subject.cell.scan(x, tape.dt, state, reset=tape.reset, mask=tape.mask)
    for i in (0, 1, 3):
        row = tape.cut(slice(i, i + 1), slice(None))
        start = map_state(lambda leaf, i=i: leaf[i : i + 1], state)
        states, final = subject.cell.scan(row.x, row.dt, start, reset=row.reset, mask=row.mask)
        same_state(f"states of row {i} of 4", map_state(lambda leaf, i=i: leaf[i : i + 1], together), states)
        same_state(f"final state of row {i} of 4", map_state(lambda leaf, i=i: leaf[i : i + 1], last), final)


@torch.no_grad()
def batch_permutation(subject: Subject) -> None:
    """Rows in another order give the same rows in that order."""
    tape, state = subject.tape(5, 9), subject.state(5)
    order = torch.randperm(5, generator=subject.generator).to(subject.device)
    states, last = subject.cell.scan(tape.x, tape.dt, state, reset=tape.reset, mask=tape.mask)
    mixed = Tape(*(part[order] for part in tape))
    start = map_state(lambda leaf: leaf[order], state)
    seen, final = subject.cell.scan(mixed.x, mixed.dt, start, reset=mixed.reset, mask=mixed.mask)
    same_state(f"states of rows in the order {order.tolist()}", seen, map_state(lambda leaf: leaf[order], states))
    same_state(f"final states of rows in the order {order.tolist()}", final, map_state(lambda leaf: leaf[order], last))


def _holes(subject: Subject) -> Tape:
    """Four rows: holes anywhere, all padding, none, padded on the right."""
    tape = subject.tape(4, 10)
    mask = tape.mask.clone()
    mask[0, 3], mask[1], mask[2], mask[3, :6], mask[3, 6:] = False, False, True, True, False
    return tape._replace(mask=mask)


def _fill(tape: Tape, junk: float) -> tuple[Tensor, Tensor]:
    return torch.where(tape.mask[..., None], tape.x, junk), torch.where(tape.mask, tape.dt, junk)


def _real(states: Any, mask: Tensor) -> Any:
    return map_state(lambda leaf: leaf[mask], states)


def _second(leaf: Tensor) -> Tensor:
    return leaf[1]
