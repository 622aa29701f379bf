"""Cells whose event transitions compose, so that a whole sequence is one parallel prefix scan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from eventflow.nn._cell import Cell, check_scan_shapes, map_state, state_leaves, where_state

S = TypeVar("S", bound=tuple)


class LinearCell(Cell[S]):
    """A cell whose event transitions compose: ``scan`` becomes a parallel prefix scan over ``lift(x, dt)``.

    Laws: ``apply(lift(x, dt), s) == update(evolve(s, dt), x)``; ``compose(a, b)`` is "a, then b":
    ``apply(compose(a, b), s) == apply(b, apply(a, s))``; ``compose`` is associative. All three broadcast over leading
    axes. No identity element is needed, and ``init`` may be anything, learned too.

    ``nn.Module`` has an ``apply`` too: ``net.apply(fn)`` calls ``fn`` on every module. Both work: a subclass writes
    ``apply(self, m, state)``, and a call with one argument that is callable is taken for torch's (:func:`_either`).
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "apply" in cls.__dict__:
            cls.apply = _either(cls.apply)  # type: ignore[method-assign]

    def lift(self, x: Tensor, dt: Tensor) -> Any:
        """The transition "a silence of dt (...,), then an event with features x (..., input_size)"; leaves (..., *)."""
        raise NotImplementedError

    def compose(self, a: Any, b: Any) -> Any:
        """The transition ``a``, then ``b``."""
        raise NotImplementedError

    def apply(self, m: Any, state: S) -> S:  # type: ignore[override]
        """The state after transition ``m``."""
        raise NotImplementedError

    def scan(
        self, x: Tensor, dt: Tensor, state: S | None = None, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[S, S]:
        """See :meth:`Cell.scan`: the same numbers, in parallel over time."""
        check_scan_shapes(self, x, dt, reset, mask)
        start = self.init(len(dt))
        now = start if state is None else state
        if mask is not None:
            x, dt = torch.where(mask[..., None], x, 0), torch.where(mask, dt, 0)
            reset = None if reset is None else reset & mask
        if dt.shape[1] == 0:
            return map_state(lambda leaf: leaf[:, None][:, :0], now), now
        states = self.scan_transitions(self.lift(x, dt), now, start, reset=reset, mask=mask)
        return states, map_state(lambda leaf: leaf[:, -1], states)

    def scan_transitions(
        self, m: Any, state: S, start: S, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> S:
        """The states after transitions ``m``, leaves (B, T, ...), T >= 1; a subclass may know a faster way.

        Args:
            m: what ``lift`` gave, leaves (B, T, ...).
            state: before the first one; leaves (B, ...).
            start: the state after a reset; leaves (B, ...).
            reset: (B, T) bool, False wherever ``mask`` is.
            mask: (B, T) bool; where False the transition is skipped.
        """
        batch, length = state_leaves(m)[0].shape[:2]

        def along(value: S) -> S:
            return map_state(lambda leaf: leaf[:, None].expand(batch, length, *leaf.shape[1:]), value)

        if reset is None and mask is None:
            return self.apply(_prefix(self.compose, m), along(state))
        one = torch.ones(batch, length, dtype=torch.bool, device=state_leaves(m)[0].device)
        total = _prefix(self._join, _Element(~one if reset is None else reset, one if mask is None else mask, m))
        entry = where_state(total.reset, along(start), along(state))
        return where_state(total.valid, self.apply(total.m, entry), entry)

    def _join(self, a: _Element, b: _Element) -> _Element:
        """``a``, then ``b``; where ``b`` resets or ``a`` is empty, ``b`` alone; where ``b`` is empty, ``a`` alone.

        What is cut off may be NaN, and 0 * NaN would reach the gradient: it is replaced before it is composed.
        """
        alone = b.reset | ~a.valid
        joined = where_state(alone, b.m, self.compose(where_state(alone, b.m, a.m), b.m))
        return _Element(a.reset | b.reset, a.valid | b.valid, where_state(b.valid, joined, a.m))


class _Element(NamedTuple):
    """A run of events: was there a reset, was there an event at all, and the transition since the last reset."""

    reset: Tensor
    valid: Tensor
    m: Any


def _prefix(compose: Callable[[Any, Any], Any], elements: Any) -> Any:
    """All prefixes of ``elements``, leaves (B, T, ...), under an associative ``compose`` (Blelloch 1990).

    Pairs are composed, the half-length sequence is scanned, and what lies in between takes one more step.
    """
    length = state_leaves(elements)[0].shape[1]
    if length == 1:
        return elements
    first, second = (map_state(lambda leaf, i=i: leaf[:, i : length - 1 + i : 2], elements) for i in (0, 1))
    odd = _prefix(compose, compose(first, second))
    head = map_state(lambda leaf: leaf[:, :1], elements)
    if length == 2:
        return map_state(lambda a, b: torch.cat([a, b], 1), head, odd)
    before = map_state(lambda leaf: leaf[:, : (length - 1) // 2], odd)
    even = compose(before, map_state(lambda leaf: leaf[:, 2::2], elements))
    return map_state(_interleave, map_state(lambda a, b: torch.cat([a, b], 1), head, even), odd)


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    """even[0], odd[0], even[1], ... along axis 1; ``even`` is as long as ``odd``, or one longer."""
    pairs = torch.stack([even[:, : odd.shape[1]], odd], 2).flatten(1, 2)
    return pairs if even.shape[1] == odd.shape[1] else torch.cat([pairs, even[:, -1:]], 1)


def _either(apply: Callable[..., Any]) -> Callable[..., Any]:
    """``apply(m, state)`` as the subclass wrote it, and ``apply(fn)`` as ``nn.Module`` has it."""

    @functools.wraps(apply)
    def both(self: Any, *args: Any, **keywords: Any) -> Any:
        if len(args) == 1 and not keywords and callable(args[0]):
            return nn.Module.apply(self, args[0])  # pyright: ignore[reportArgumentType]
        return apply(self, *args, **keywords)

    return both
