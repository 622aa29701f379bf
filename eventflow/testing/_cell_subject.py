"""What the laws of a cell are checked on: the cell, and random events, states and cuts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eventflow.nn import Cell, fold, map_state, state_leaves


class Tape(NamedTuple):
    """Events of B sequences: features (B, T, D), gaps (B, T), and where a sequence starts and an event is real."""

    x: Tensor
    dt: Tensor
    reset: Tensor
    mask: Tensor

    def cut(self, rows: slice, columns: slice) -> Tape:
        """Some rows and columns."""
        return Tape(*(part[rows, columns] for part in self))


@dataclass
class Subject:
    """A private float64 copy of the cell, with a generator of its own."""

    cell: Cell
    seed: int
    lengths: tuple[int, ...]
    draw: Callable[[torch.Generator, tuple[int, int]], Tensor] | None
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    @property
    def device(self) -> torch.device:
        """Where the cell lives."""
        tensors = [*self.cell.parameters(), *self.cell.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def fresh(self) -> Cell:
        """Another copy, as a new process would load it."""
        return copy.deepcopy(self.cell)

    def uniform(self, *shape: int) -> Tensor:
        """In [0, 1), float64, on the cell's device."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float64).to(self.device)

    def integer(self, low: int, high: int) -> int:
        """In [low, high)."""
        return int(torch.randint(low, high, (), generator=self.generator))

    def gaps(self, *shape: int) -> Tensor:
        """Exponential with mean 1; a fifth are 0 (ties), a twentieth 50 times as long."""
        kind, gap = self.uniform(*shape), -torch.log1p(-self.uniform(*shape))
        return torch.where(kind < 0.2, 0.0, torch.where(kind > 0.95, 50 * gap, gap))

    def tape(self, batch: int, length: int) -> Tape:
        """Random events, with resets and holes."""
        shape = (batch, length)
        if self.draw is None:
            x = torch.randn(*shape, self.cell.input_size, generator=self.generator, dtype=torch.float64)
        else:
            x = self.draw(self.generator, shape)
        return Tape(x.to(self.device), self.gaps(*shape), self.uniform(*shape) < 0.1, self.uniform(*shape) < 0.8)

    def state(self, batch: int) -> Any:
        """A state in the middle of things: three events after the start, each row by itself."""
        tape = self.tape(batch, 3)
        with torch.no_grad():
            return map_state(torch.clone, fold(self.cell, tape.x, tape.dt)[1])

    def parameters(self) -> dict[str, Tensor]:
        """Trained parameters by name."""
        return {name: p for name, p in self.cell.named_parameters() if p.requires_grad}

    def loss(self, states: Any, last: Any) -> Tensor:
        """A number that depends on every second state, on what is read from it, and on the final state."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        kept = map_state(lambda leaf: leaf[:, ::2], states)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for leaf in [self.cell.read(kept), *state_leaves(kept), *state_leaves(last)]:
            leaf = torch.view_as_real(leaf) if leaf.is_complex() else leaf
            if leaf.is_floating_point():
                weight = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(self.device)
                total = total + (torch.where(torch.isfinite(leaf), leaf, 0) * weight).sum()
        return total


def differentiable(state: Any) -> Any:
    """A copy whose floating and complex leaves ask for gradients."""

    def copy_leaf(leaf: Tensor) -> Tensor:
        leaf = leaf.detach().clone()
        return leaf.requires_grad_() if leaf.is_floating_point() or leaf.is_complex() else leaf

    return map_state(copy_leaf, state)


def gradients(loss: Tensor, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Of ``loss``, zero where it does not depend on an input."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs.values())
    return torch.autograd.grad(loss, list(inputs.values()), allow_unused=True, materialize_grads=True)


def asked(state: Any, names: list[str]) -> dict[str, Tensor]:
    """The leaves of a state that ask for gradients, by name."""
    return {f"state.{name}": leaf for name, leaf in zip(names, state_leaves(state), strict=True) if leaf.requires_grad}
