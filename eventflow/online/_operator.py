"""What runs live: an operator with a state per key, and the table that holds the states of all keys.

Axes: N rows (one per key with an event now), C capacity of the table.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import map_state, state_leaves


@runtime_checkable
class Operator(Protocol):
    """A model that answers each event. Every point process of :mod:`eventflow.tpp` is one.

    One that is ``dated`` (an attribute, True) knows the stream's time: a new key's state is ``init_at(start)`` with
    ``start`` (N,) float64, when its observation began, in the data's unit.
    """

    def init(self, batch: int) -> Any:
        """The state of ``batch`` keys before anything was seen: NamedTuples of tensors (batch, ...)."""
        ...

    def observe(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], Any]:
        """One event of each of N keys, ``dt`` (N,) after their previous one: (answers (N, ...) by name, states after
        it).

        ``marks["mark"]`` is (N,) int64. The answers ``nll`` (of this event given the past) and ``next_t`` (from now to
        the next one) have a meaning of their own to :func:`eventflow.online.run`; others are passed on. Row i must
        depend on row i alone.
        """
        ...


class Moment(NamedTuple):
    """An event that was answered: whose it is, its mark, the gap before it, and whether it has a likelihood."""

    slot: int
    mark: int
    gap: float
    scored: bool


@runtime_checkable
class BlockLearner(Operator, Protocol):
    """An operator that stays as it is for ``block`` events, whosever they are, and then learns from them."""

    block: int

    @property
    def progress(self) -> dict[str, float]:
        """How learning goes: ``steps``, the prequential ``nll_per_event``, and that of the ``last_block``."""
        ...

    def learn_block(self, table: StateTable, events: list[Moment]) -> None:
        """Learn from the ``block`` events that came since the last time, in their order; it may change the states of
        their slots in ``table``."""
        ...

    def note(self, nlls: list[float]) -> None:
        """What was answered to scored events, before they are learned from."""
        ...

    def dump(self) -> tuple[dict[str, Any], list[Any]]:
        """(plain data, arrays): everything that was learned, and what learning goes on with."""
        ...

    def load(self, plain: dict[str, Any], arrays: list[Any]) -> None:
        """Inverse of :meth:`dump`."""
        ...


class StateTable:
    """One state per key, in a table that doubles when it is full and never forgets: leaves (C, ...).

    Args:
        operator: gives the state of a new key, ``init(1)``.
    """

    def __init__(self, operator: Operator) -> None:
        self._blank = operator.init(1)
        leaves = state_leaves(self._blank)
        for leaf in leaves:
            if leaf.dim() < 1 or leaf.shape[0] != 1:
                raise InputError(
                    f"{type(operator).__name__}.init(1) has a leaf of shape {tuple(leaf.shape)}; expected (1, ...)"
                )
            if leaf.device.type != "cpu":
                raise InputError(
                    f"{type(operator).__name__} is on {leaf.device}; it runs live on the CPU. Write: .cpu()"
                )
        self._name = type(operator).__name__
        self._blanks = [leaf.clone() for leaf in leaves]
        self._leaves = [leaf[:0].clone() for leaf in leaves]
        #: Bytes of one key's state: constant, however long its history.
        self.bytes_per_key = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
        #: dtype of gaps.
        self.dtype = next((leaf.dtype for leaf in leaves if leaf.is_floating_point()), torch.float64)

    def reserve(self, keys: int) -> None:
        """Have room for ``keys`` states; new ones are ``init``."""
        capacity = self._leaves[0].shape[0] if self._leaves else keys
        if keys > capacity:
            more = max(keys, 2 * capacity, 16) - capacity
            self._leaves = [
                torch.cat([leaf, blank.expand(more, *blank.shape[1:])])
                for leaf, blank in zip(self._leaves, self._blanks, strict=True)
            ]

    def gather(self, slots: Tensor) -> Any:
        """The states in these slots (N,)."""
        found = iter([leaf.index_select(0, slots) for leaf in self._leaves])
        return map_state(lambda _: next(found), self._blank)

    def scatter(self, slots: Tensor, state: Any) -> None:
        """Put the states of N different slots back."""
        for leaf, new in zip(self._leaves, state_leaves(state), strict=True):
            if new.shape[1:] != leaf.shape[1:] or new.dtype != leaf.dtype:
                raise InputError(
                    f"{self._name}.observe changed a leaf of the state from {tuple(leaf.shape[1:])} {leaf.dtype} to "
                    f"{tuple(new.shape[1:])} {new.dtype} per key; a live state has one size for ever"
                )
            leaf.index_copy_(0, slots, new)

    def dump(self, keys: int) -> list[Any]:
        """The first ``keys`` rows of each leaf, as arrays."""
        return [leaf[:keys].numpy() for leaf in self._leaves]

    def load(self, arrays: list[Any]) -> None:
        """Inverse of :meth:`dump`."""
        rows = [torch.from_numpy(array) for array in arrays]
        for blank, row in zip(self._blanks, rows, strict=True):
            if row.shape[1:] != blank.shape[1:] or row.dtype != blank.dtype:
                raise InputError("the snapshot's states have other shapes than this model's")
        self._leaves = rows
