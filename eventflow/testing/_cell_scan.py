"""Laws of ``scan``: it is the folded ``step``, in any chunks, across crashes, and without looking ahead."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eventflow.nn import Cell, fold, map_state, state_leaves
from eventflow.testing._cell_subject import Subject, Tape, asked, differentiable, gradients
from eventflow.testing._compare import leaf_names, same_gradients, same_state

ROWS = 3


def scan_values(subject: Subject) -> None:
    """The states of ``scan`` are those of the folded ``step``, with and without a given state, resets, masks."""
    for what, seen, expected in _scans(subject):
        same_state(what, seen[0], expected[0])


def scan_final(subject: Subject) -> None:
    """The final state of ``scan`` is that of the folded ``step``, and the last of its states."""
    for what, seen, expected in _scans(subject):
        same_state(f"final state, {what}", seen[1], expected[1])
        same_state(f"last of the states, {what}", map_state(lambda leaf: leaf[:, -1], seen[0]), expected[1])


def scan_gradients(subject: Subject) -> None:
    """The gradients of ``scan`` are those of the folded ``step``: inputs, gaps, parameters, given state."""
    for length in subject.lengths:
        tape, start = subject.tape(ROWS, length), subject.state(ROWS)
        for what, options in _options(tape):
            results = []
            for scan in (type(subject.cell).scan, fold):
                x, dt, state = tape.x.clone().requires_grad_(), tape.dt.clone().requires_grad_(), differentiable(start)
                states, last = scan(subject.cell, x, dt, state, **options)
                inputs = {"x": x, "dt": dt, **asked(state, leaf_names(state)), **subject.parameters()}
                results.append(gradients(subject.loss(states, last), inputs))
            same_gradients(f"length {length}{what}", results[0], results[1], list(inputs))


@torch.no_grad()
def scan_empty(subject: Subject) -> None:
    """A scan over no events gives no states, and the given state back."""
    state = subject.state(2)
    tape = subject.tape(2, 0)
    for options in ({}, {"reset": tape.reset, "mask": tape.mask}):
        states, last = subject.cell.scan(tape.x, tape.dt, state, **options)
        same_state("final state", last, state, exact=True)
        same_state("states", states, map_state(lambda leaf: leaf[:, None][:, :0], state))


@torch.no_grad()
def chunking(subject: Subject) -> None:
    """Cut anywhere (empty chunks too), handing the state over: the same states and the same final state."""
    length = 19
    tape, state = subject.tape(ROWS, length), subject.state(ROWS)
    whole, last = subject.cell.scan(tape.x, tape.dt, state, reset=tape.reset, mask=tape.mask)
    for cuts in ([1], [length - 1], *([subject.integer(0, length + 1) for _ in range(4)] for _ in range(4))):
        edges = [0, *sorted(cuts), length]
        now, pieces = state, []
        for lo, hi in zip(edges, edges[1:], strict=False):
            part = tape.cut(slice(None), slice(lo, hi))
            states, now = subject.cell.scan(part.x, part.dt, now, reset=part.reset, mask=part.mask)
            pieces.append(states)
        together = map_state(lambda *leaves: torch.cat(leaves, 1), *pieces)
        same_state(f"states, cut at {sorted(cuts)}", together, whole)
        same_state(f"final state, cut at {sorted(cuts)}", now, last)


@torch.no_grad()
def resume(subject: Subject) -> None:
    """Snapshot, crash, load the bytes into a new process, go on: bit for bit the uninterrupted run."""
    length, every = 21, 4
    tape = subject.tape(2, length)
    steady = _steps(subject.fresh(), subject.cell.init(2), tape, range(length))
    for write, read in ((_torch_bytes, _from_torch), (pickle.dumps, pickle.loads)):
        cell, state, done = subject.fresh(), subject.cell.init(2), []
        crash = subject.integer(every + 1, length)
        snapshot, position = write(state), 0
        for i in range(crash):  # what was written after the last snapshot is lost with the crash
            state = _steps(cell, state, tape, [i])[0]
            done.append(state)
            if (i + 1) % every == 0:
                snapshot, position = write(state), i + 1
        kept = done[:position] + _steps(subject.fresh(), read(snapshot), tape, range(position, length))
        for i, (seen, expected) in enumerate(zip(kept, steady, strict=True)):
            same_state(f"state {i}, crash at {crash}, snapshot at {position}", seen, expected, exact=True)


def causality(subject: Subject) -> None:
    """Nothing depends on what comes later; what is read just before an event does not depend on that event."""
    length, cut = 17, 9
    tape, state = subject.tape(ROWS, length), subject.state(ROWS)
    later = torch.arange(length, device=subject.device) >= cut
    x, dt = tape.x.clone().requires_grad_(), tape.dt.clone().requires_grad_()
    states, _ = subject.cell.scan(x, dt, state)
    early = map_state(lambda leaf: leaf[:, :cut], states)
    grads = gradients(subject.loss(early, early), {"x": x, "dt": dt})
    for name, grad in zip(("x", "dt"), grads, strict=True):
        if (grad[:, cut:] != 0).any():
            raise AssertionError(f"states before event {cut} have a gradient with respect to {name} of later events")
    with torch.no_grad():
        noise = torch.where(later[:, None], torch.nan, tape.x), torch.where(later, torch.nan, tape.dt)
        changed = map_state(lambda leaf: leaf[:, :cut], subject.cell.scan(*noise, state)[0])
        same_state(f"states before event {cut}, when later events become NaN", changed, map_state(torch.detach, early))
        left, other = (subject.cell.step(state, features[:, 0], tape.dt[:, 0])[0] for features in (tape.x, tape.x + 1))
        if not torch.equal(left, other):
            raise AssertionError("step reads a left limit that depends on the features of the event itself")


def _options(tape: Tape) -> list[tuple[str, dict[str, Tensor]]]:
    return [
        ("", {}),
        (", with resets", {"reset": tape.reset}),
        (", with a mask", {"mask": tape.mask}),
        (", with resets and a mask", {"reset": tape.reset, "mask": tape.mask}),
    ]


def _scans(subject: Subject) -> list[tuple[str, Any, Any]]:
    """(what, scan, fold) for all lengths, from the start and from a given state, with and without resets and masks."""
    found = []
    with torch.no_grad():
        for length in subject.lengths:
            tape, given = subject.tape(ROWS, length), subject.state(ROWS)
            for name, state in (("from the start", None), ("from a given state", given)):
                for what, options in _options(tape):
                    seen = subject.cell.scan(tape.x, tape.dt, state, **options)
                    expected = fold(subject.cell, tape.x, tape.dt, state, **options)
                    found.append((f"length {length}, {name}{what}", seen, expected))
    return found


def _steps(cell: Cell, state: Any, tape: Tape, positions: Sequence[int]) -> list[Any]:
    """The states after the events at ``positions``, one step after another."""
    states = []
    for i in positions:
        state = cell.step(state, tape.x[:, i], tape.dt[:, i])[1]
        states.append(state)
    return states


def _torch_bytes(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save([leaf.clone() for leaf in state_leaves(state)], buffer)
    return pickle.dumps((map_state(lambda leaf: leaf[:0], state), buffer.getvalue()))


def _from_torch(data: bytes) -> Any:
    structure, leaves = pickle.loads(data)
    loaded = iter(torch.load(io.BytesIO(leaves), weights_only=True))
    return map_state(lambda _: next(loaded), structure)
