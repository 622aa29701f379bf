"""The contract of all that has memory: between events a state evolves, at an event it is updated, any time it is read.

Axes: B sequences, T events, D features, H hidden. States are NamedTuples (nested ones too) of tensors with any leading
axes; gaps broadcast against those leading axes, so that ``evolve(states[:, :, None], dt[:, :, M])`` queries M times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn._recorded import Recorded

S = TypeVar("S", bound=tuple)


class Shared:
    """A part of a state that all its rows have in common, such as a table they look things up in: carried along as it
    is where leaves are cut, spread or moved; states can be joined only if it is the same."""

    def __init__(self, value: Any) -> None:
        self.value = value


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply ``function`` leaf by leaf to states of the same structure; structure and types are kept."""
    head = states[0]
    if isinstance(head, Tensor):
        return function(*states)
    if isinstance(head, Shared):
        if any(other is not head for other in states):
            raise InputError("states that look back on different batches cannot be joined. Write: model.encode(batch)")
        return head
    leaves = [map_state(function, *parts) for parts in zip(*states, strict=True)]
    return type(head)(*leaves) if hasattr(head, "_fields") else type(head)(leaves)


def state_leaves(state: Any) -> list[Tensor]:
    """The tensors of a state, in order, but what is :class:`Shared`."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, Shared):
        return []
    return [leaf for part in state for leaf in state_leaves(part)]


def where_state(condition: Tensor, yes: Any, no: Any) -> Any:
    """``yes`` where ``condition`` (over the leading axes) holds, else ``no``, leaf by leaf."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition.reshape(condition.shape + (1,) * (a.dim() - condition.dim())), a, b)

    return map_state(pick, yes, no)


class Cell(Recorded, nn.Module, Generic[S]):
    """A hybrid system. Subclasses write ``init``, ``evolve``, ``update``, ``read`` (and may write a faster ``scan``).

    The state is a value: it goes in as an argument and comes out as a result, and is never kept on ``self``.
    Constructors are ``(input_size, hidden_size, *, ...)``.
    """

    input_size: int
    hidden_size: int
    #: Leaves of the state that are float64 whatever the cell's dtype: clocks, sums over all of the past.
    wide: tuple[str, ...] = ()

    def init(self, batch: int) -> S:
        """The state of ``batch`` sequences before anything was seen: leaves (batch, ...)."""
        raise NotImplementedError

    def evolve(self, state: S, dt: Tensor) -> S:
        """The state after a silence of ``dt`` (broadcast over the leading axes of the leaves)."""
        raise NotImplementedError

    def update(self, state: S, x: Tensor) -> S:
        """The state just after an event with features ``x`` (..., input_size), now."""
        raise NotImplementedError

    def read(self, state: S) -> Tensor:
        """(..., hidden_size): a pure query, at any time."""
        raise NotImplementedError

    def step(self, state: S, x: Tensor, dt: Tensor) -> tuple[Tensor, S]:
        """One event after a gap ``dt`` (B,): the left limit ``read(evolve(state, dt))``, and the state after it."""
        left = self.evolve(state, dt)
        return self.read(left), self.update(left, x)

    def scan(
        self, x: Tensor, dt: Tensor, state: S | None = None, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[S, S]:
        """The states after each event, leaves (B, T, ...), and the final one; the same numbers as folding :meth:`step`.

        Args:
            x: (B, T, input_size) features.
            dt: (B, T); ``dt[:, i]`` is the gap *before* event i.
            state: where to start; None is ``init(B)``.
            reset: (B, T) bool; where True a new sequence starts: the state is ``init`` before the gap of that event.
            mask: (B, T) bool; where False nothing happens, no time passes, and the state is carried unchanged.
        """
        return fold(self, x, dt, state, reset=reset, mask=mask)


def check_scan_shapes(cell: Cell, x: Tensor, dt: Tensor, reset: Tensor | None, mask: Tensor | None) -> None:
    """Raise :class:`InputError` that names the first argument of ``scan`` with a wrong shape."""
    if x.dim() != 3 or x.shape[-1] != cell.input_size:
        raise InputError(
            f"{type(cell).__name__}.scan: x is {tuple(x.shape)}; expected (B, T, input_size={cell.input_size})"
        )
    for name, value in (("dt", dt), ("reset", reset), ("mask", mask)):
        if value is not None and value.shape != x.shape[:2]:
            raise InputError(
                f"{type(cell).__name__}.scan: {name} is {tuple(value.shape)}; expected (B, T)={tuple(x.shape[:2])}"
            )


def fold(
    cell: Cell[S], x: Tensor, dt: Tensor, state: S | None = None, *, reset: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[S, S]:  # fmt: skip
    """The definition of ``scan``: one step after another."""
    check_scan_shapes(cell, x, dt, reset, mask)
    start = cell.init(len(dt))
    now = start if state is None else state
    if mask is not None:  # what lies in padding, NaN included, must reach neither values nor gradients
        x, dt = torch.where(mask[..., None], x, 0), torch.where(mask, dt, 0)
        reset = None if reset is None else reset & mask
    states = []
    for i, (features, gap) in enumerate(zip(x.unbind(1), dt.unbind(1), strict=True)):  # indexing is slow backwards
        before = now if reset is None else where_state(reset[:, i], start, now)
        after = cell.step(before, features, gap)[1]
        now = after if mask is None else where_state(mask[:, i], after, now)
        states.append(now)
    if not states:
        return map_state(lambda leaf: leaf[:, None][:, :0], now), now
    return map_state(lambda *leaves: torch.stack(leaves, 1), *states), now
