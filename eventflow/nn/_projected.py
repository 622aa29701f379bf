"""Cells that see their input through one linear map, which ``scan`` takes out of the loop."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn._cell import Cell, check_scan_shapes, map_state, where_state

S = TypeVar("S", bound=tuple)


class ProjectedCell(Cell[S]):
    """``update(s, x) == advance(s, project(x))``; subclasses write ``project`` and ``advance`` instead of ``update``.

    One product projects all the events of a batch; where the features come from a table (the embeddings of K marks),
    the projected table can be looked up instead: ``cell.scan_projected(cell.project(embedding.weight)[mark], dt)``.
    """

    gates_size: int

    def project(self, x: Tensor) -> Tensor:
        """(..., input_size) -> (..., gates_size): the gates' part that does not depend on the state, bias included."""
        raise NotImplementedError

    def advance(self, state: S, gates: Tensor) -> S:
        """The state just after an event whose projected features are ``gates`` (..., gates_size), now."""
        raise NotImplementedError

    def update(self, state: S, x: Tensor) -> S:
        """See :meth:`Cell.update`."""
        return self.advance(state, self.project(x))

    def scan(
        self, x: Tensor, dt: Tensor, state: S | None = None, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[S, S]:
        """See :meth:`Cell.scan`."""
        check_scan_shapes(self, x, dt, reset, mask)
        x = x if mask is None else torch.where(mask[..., None], x, 0)
        return self.scan_projected(self.project(x), dt, state, reset=reset, mask=mask)

    def scan_projected(
        self, gates: Tensor, dt: Tensor, state: S | None = None, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[S, S]:  # fmt: skip
        """As :meth:`scan`, from ``gates = project(x)`` (B, T, gates_size)."""
        self._check_projected(gates, dt, reset, mask)
        start = self.init(len(dt))
        now = start if state is None else state
        if mask is not None:
            gates, dt = torch.where(mask[..., None], gates, 0), torch.where(mask, dt, 0)
            reset = None if reset is None else reset & mask
        states = []
        for i, (gate, gap) in enumerate(zip(gates.unbind(1), dt.unbind(1), strict=True)):
            before = now if reset is None else where_state(reset[:, i], start, now)
            after = self.advance(self.evolve(before, gap), gate)
            now = after if mask is None else where_state(mask[:, i], after, now)
            states.append(now)
        if not states:
            return map_state(lambda leaf: leaf[:, None][:, :0], now), now
        return map_state(lambda *leaves: torch.stack(leaves, 1), *states), now

    def _check_projected(self, gates: Tensor, dt: Tensor, reset: Tensor | None, mask: Tensor | None) -> None:
        name = type(self).__name__
        if gates.dim() != 3 or gates.shape[-1] != self.gates_size:
            raise InputError(
                f"{name}.scan_projected: gates are {tuple(gates.shape)}; expected (B, T, {self.gates_size}). "
                "Write: cell.project(x)"
            )
        for key, value in (("dt", dt), ("reset", reset), ("mask", mask)):
            if value is not None and value.shape != gates.shape[:2]:
                raise InputError(
                    f"{name}.scan_projected: {key} is {tuple(value.shape)}; expected (B, T)={tuple(gates.shape[:2])}"
                )
