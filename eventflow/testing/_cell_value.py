"""Laws of the state as a value: it has one size and one dtype, is never hidden in the cell, and nothing is mutated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import fold, map_state, state_leaves
from eventflow.testing._cell_subject import Subject
from eventflow.testing._compare import leaf_names, same_state, same_tensor

ROWS = 3


@torch.no_grad()
def dtype_kept(subject: Subject) -> None:
    """A cell in float32 keeps float32, one in float64 keeps float64: all that is read, and all states but the leaves
    that it says are ``wide``."""
    for dtype in (torch.float32, torch.float64):
        cell = subject.fresh().to(dtype)
        tape, start = subject.tape(ROWS, 5), cell.init(ROWS)
        x, dt = tape.x.to(dtype), tape.dt.to(dtype)
        for name, leaf in zip(leaf_names(start), state_leaves(start), strict=True):
            kind = leaf.real.dtype if leaf.is_complex() else leaf.dtype
            if kind.is_floating_point and kind != (torch.float64 if name in cell.wide else dtype):
                raise AssertionError(f"init gives leaf {name} in {leaf.dtype} to a cell in {dtype}")
        step_y, stepped = cell.step(start, x[:, 0], dt[:, 0])
        states, last = cell.scan(x, dt, reset=tape.reset, mask=tape.mask)
        for what, state in (("step", stepped), ("scan", states), ("scan's final state", last)):
            for name, leaf, first in zip(leaf_names(start), state_leaves(state), state_leaves(start), strict=True):
                if leaf.dtype != first.dtype:
                    raise AssertionError(f"{what} gives leaf {name} in {leaf.dtype}; init gave {first.dtype}")
        for what, y in (("step", step_y), ("read", cell.read(states))):
            if y.dtype != dtype:
                raise AssertionError(f"{what} gives {y.dtype} from a cell in {dtype}")


@torch.no_grad()
def state_size(subject: Subject) -> None:
    """The state has the same size after any number of events: leaves (B, ...), and (B, T, ...) from ``scan``."""
    start = subject.cell.init(ROWS)
    shapes = [tuple(leaf.shape) for leaf in state_leaves(start)]
    for name, shape in zip(leaf_names(start), shapes, strict=True):
        if shape[:1] != (ROWS,):
            raise AssertionError(f"init({ROWS}) gives leaf {name} of shape {shape}; expected ({ROWS}, ...)")
    for length in (1, 2, 33):
        tape = subject.tape(ROWS, length)
        states, last = subject.cell.scan(tape.x, tape.dt)
        along = [(ROWS, length, *shape[1:]) for shape in shapes]
        for what, state, expected in (
            ("step", fold(subject.cell, tape.x, tape.dt)[1], shapes),
            ("scan's final state", last, shapes),
            ("scan", states, along),
        ):
            seen = [tuple(leaf.shape) for leaf in state_leaves(state)]
            if seen != expected:
                raise AssertionError(f"after {length} events {what} has leaves {seen}; expected {expected}")


def inputs_untouched(subject: Subject) -> None:
    """No method changes what it was given, nor the cell's parameters and buffers."""
    tape, state, cell = subject.tape(ROWS, 4), subject.state(ROWS), subject.cell
    given: dict[str, Tensor] = {"x": tape.x, "dt": tape.dt, "reset": tape.reset, "mask": tape.mask, **cell.state_dict()}
    given |= {f"state.{name}": leaf for name, leaf in zip(leaf_names(state), state_leaves(state), strict=True)}
    kept = {name: value.clone() for name, value in given.items()}
    calls: dict[str, Callable[[], Any]] = {
        "init": lambda: cell.init(ROWS),
        "evolve": lambda: cell.evolve(state, tape.dt[:, 0]),
        "update": lambda: cell.update(state, tape.x[:, 0]),
        "read": lambda: cell.read(state),
        "step": lambda: cell.step(state, tape.x[:, 0], tape.dt[:, 0]),
        "scan": lambda: cell.scan(tape.x, tape.dt, state, reset=tape.reset, mask=tape.mask),
    }
    for method, call in calls.items():
        call()
        for name, value in given.items():
            same_tensor(f"{method} changed its input {name}: it", value, kept[name], exact=True)


@torch.no_grad()
def read_is_pure(subject: Subject) -> None:
    """Reading, now or ahead, any number of times, changes neither the state nor what comes after."""
    tape = subject.tape(ROWS, 6)
    quiet, _ = fold(subject.cell, tape.x, tape.dt)
    state, cell = subject.cell.init(ROWS), subject.fresh()
    for i in range(6):
        before = map_state(torch.clone, state)
        first = cell.read(state)
        cell.read(cell.evolve(state, 0.5 * tape.dt[:, i] + 1))
        same_tensor(f"a second read after {i} events", cell.read(state), first, exact=True)
        same_state(f"the state that was read after {i} events", state, before, exact=True)
        state = cell.step(state, tape.x[:, i], tape.dt[:, i])[1]
        same_state(f"state {i} of a run with reads", state, map_state(lambda leaf, i=i: leaf[:, i], quiet))


@torch.no_grad()
def no_hidden_state(subject: Subject) -> None:
    """Two streams through one cell, event by event in turn, are two streams alone: nothing is kept on the cell."""
    tapes = [subject.tape(2, 7) for _ in range(2)]
    alone = []
    for tape in tapes:
        cell, state = subject.fresh(), subject.cell.init(2)
        for i in range(7):
            state = cell.step(state, tape.x[:, i], tape.dt[:, i])[1]
        alone.append(state)
    cell, states = subject.fresh(), [subject.cell.init(2) for _ in tapes]
    for i in range(7):
        states = [cell.step(s, t.x[:, i], t.dt[:, i])[1] for s, t in zip(states, tapes, strict=True)]
    for i, (seen, expected) in enumerate(zip(states, alone, strict=True)):
        same_state(f"stream {i} of two in turn, against it alone", seen, expected)


def input_errors(subject: Subject) -> None:
    """Shapes that do not fit raise InputError: features, gaps, resets, masks."""
    tape, scan = subject.tape(2, 5), subject.cell.scan
    longer = subject.tape(2, 6)
    calls: dict[str, Callable[[], Any]] = {
        "x with a feature too many": lambda: scan(torch.cat([tape.x, tape.x[..., :1]], -1), tape.dt),
        "dt with an event too many": lambda: scan(tape.x, longer.dt),
        "reset with an event too many": lambda: scan(tape.x, tape.dt, reset=longer.reset),
        "mask with an event too many": lambda: scan(tape.x, tape.dt, mask=longer.mask),
    }
    for what, call in calls.items():
        try:
            call()
        except InputError:
            continue
        except Exception as error:
            raise AssertionError(f"scan, given {what}, raises {type(error).__name__}: {error}") from error
        raise AssertionError(f"scan takes {what} without an error")
