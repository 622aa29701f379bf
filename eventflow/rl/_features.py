"""The state of a recurrent cell as what a streaming learner sees, its weights as they are.

Axes: T events, D inputs of the cell, H hidden.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import Cell
from eventflow.nn._cell import map_state, state_leaves
from eventflow.ops.streamx import Array


class CellFeatures:
    """Carries one state of a cell along a stream and reads it just after each event.

    Args:
        cell: any; it is copied, and its weights stay as they are.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = copy.deepcopy(cell).eval().requires_grad_(False)
        self.size = cell.hidden_size
        self._dtype = next((p.dtype for p in cell.parameters()), torch.float64)
        self._state: Any = self.cell.init(1)

    @torch.no_grad()
    def begin(self, x: Array) -> Array:
        """(H,) after the first event (D,) of a stretch: the state is the cell's ``init`` before it."""
        self._state = self.cell.update(self.cell.init(1), self._tensor(x)[None])
        return self._read()

    @torch.no_grad()
    def step(self, x: Array, dt: float) -> Array:
        """(H,) after a gap and an event."""
        self._state = self._after(x, dt)
        return self._read()

    @torch.no_grad()
    def peek(self, x: Array, dt: float) -> Array:
        """What :meth:`step` would give; nothing changes."""
        return self.cell.read(self._after(x, dt))[0].double().numpy()

    def scan(self, x: Array, dt: Array, reset: Array) -> Array:
        """(T, H) of a stretch of events in one pass, from the state on; where ``reset``, a new stretch begins."""
        found, self._state = cell_features(self.cell, x, dt, self._state, reset=reset)
        return found

    def arrays(self) -> dict[str, Array]:
        """Weights and state, for a file."""
        weights = {f"cell.{name}": value.numpy() for name, value in self.cell.state_dict().items()}
        return weights | {f"state.{i}": leaf.numpy() for i, leaf in enumerate(state_leaves(self._state))}

    def restore(self, arrays: dict[str, Array], where: str) -> None:
        """Take over what :meth:`arrays` gave.

        Raises:
            InputError: it was another cell.
        """
        given = {n.removeprefix("cell."): torch.from_numpy(v) for n, v in arrays.items() if n.startswith("cell.")}
        own = self.cell.state_dict()
        if {n: v.shape for n, v in given.items()} != {n: v.shape for n, v in own.items()}:
            raise InputError(f"{where}: features were another cell than this {type(self.cell).__name__}")
        self.cell.load_state_dict(given)
        leaves = iter([torch.from_numpy(arrays[f"state.{i}"]) for i in range(len(state_leaves(self._state)))])
        self._state = map_state(lambda _: next(leaves), self._state)

    def _after(self, x: Array, dt: float) -> Any:
        gap = torch.tensor([dt], dtype=torch.float64).to(self._dtype)
        return self.cell.update(self.cell.evolve(self._state, gap), self._tensor(x)[None])

    def _read(self) -> Array:
        return self.cell.read(self._state)[0].double().numpy()

    def _tensor(self, x: Array) -> Tensor:
        return torch.as_tensor(np.asarray(x), dtype=self._dtype)


def cell_features(cell: Cell, x: Any, dt: Any, state: Any = None, *, reset: Any = None) -> tuple[np.ndarray, Any]:
    """(T, H) what ``cell.read`` says just after each event, and the last state: features of any cell, weights fixed.

    One parallel ``scan`` for the whole stretch; fed in chunks, with the state handed on, it gives the same features.

    Args:
        cell: any.
        x: (T, D).
        dt: (T,) gaps before the events.
        state: where to start; None is ``cell.init(1)``.
        reset: (T,) bool, where a new sequence starts.
    """
    dtype = next((p.dtype for p in cell.parameters()), torch.float64)
    inputs, gaps = (torch.as_tensor(np.asarray(part), dtype=dtype)[None] for part in (x, dt))
    cuts = None if reset is None else torch.as_tensor(np.asarray(reset, bool))[None]
    with torch.no_grad():
        states, last = cell.scan(inputs, gaps, state, reset=cuts)
        return cell.read(states)[0].double().numpy(), last
