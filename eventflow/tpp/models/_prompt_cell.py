"""Any cell with a pool of prompts: at an event it is also given what the pool holds for such a past, at such a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn import Cell
from eventflow.nn._cell import check_scan_shapes, fold
from eventflow.ops import scan
from eventflow.tpp.models._attention import sinusoids, spread
from eventflow.tpp.models._prompt_pool import PromptPool


class PromptState(NamedTuple):
    """``inner``: of the cell that is prompted; ``clock`` (...), float64: the stream's time; ``total`` (..., D) and
    ``weight`` (...), float64: features of the past, summed, and their number, both discounted; ``match`` (...) of the
    last retrieval."""

    inner: Any
    clock: Tensor
    total: Tensor
    weight: Tensor
    match: Tensor


class PromptCell(Cell[PromptState]):
    """Around any cell. At an event with features x, at time t of the stream::

        query = [mean of the features of the events so far, this one included; code(t)]
        x'    = x + mean of the N retrieved prompts, each being value_n + W code(t)

    and x' is what the inner cell is updated with. ``code`` are sines and cosines of the time. What is retrieved changes
    only at events, and depends on the events so far and on nothing else: whole sequences and live streams retrieve the
    same. All queries of a sequence are known before the inner cell runs, so that its ``scan`` stays as parallel as it
    was.

    Times given to ``evolve`` are counted from where :meth:`at` put the clock, or from 0.

    Args:
        cell: the inner cell; its sizes are this one's.
        prompts: M.
        retrieved: N.
        time_size: numbers of the code, even.
        fastest: its largest angular frequency, per unit of ``dt``; the others go geometrically down to
            10000^(2 / time_size - 1).
        discount: how much an event counts in the mean when the next one has come; 1 is the plain mean.
        match_weight: see :class:`PromptPool`.
        pool_every: see :class:`PromptPool`.
        encoder_every: see :class:`PromptPool`.

    Raises:
        InputError: sizes below 1 or odd, a discount outside (0, 1].
    """

    wide = ("clock", "total", "weight")

    def __init__(
        self, cell: Cell, *, prompts: int = 10, retrieved: int = 4, time_size: int = 16, fastest: float = 2.0,
        discount: float = 1.0, match_weight: float = 0.1, pool_every: int = 1, encoder_every: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        if time_size < 2 or time_size % 2 or not fastest > 0:
            raise InputError(f"time_size={time_size}, fastest={fastest}: expected an even size, fastest > 0")
        if not 0 < discount <= 1:
            raise InputError(f"discount={discount}: expected 0 < discount <= 1")
        self.cell, self.time_size, self.fastest, self.discount = cell, time_size, fastest, discount
        self.input_size, self.hidden_size = cell.input_size, cell.hidden_size
        self.pool = PromptPool(
            cell.input_size + time_size, (cell.input_size,), prompts=prompts, retrieved=retrieved,
            match_weight=match_weight, pool_every=pool_every, encoder_every=encoder_every,
        )  # fmt: skip
        self.time = nn.Linear(time_size, cell.input_size, bias=False)

    def init(self, batch: int) -> PromptState:
        zero = torch.zeros(batch, dtype=torch.float64, device=self.time.weight.device)
        match = self.time.weight.new_zeros(batch)
        return PromptState(self.cell.init(batch), zero, zero[:, None].expand(-1, self.input_size), zero, match)

    def at(self, state: PromptState, clock: Tensor) -> PromptState:
        """The state, at time ``clock`` of the stream, in the unit of ``dt``."""
        return state._replace(clock=clock.double().expand_as(state.clock))

    def evolve(self, state: PromptState, dt: Tensor) -> PromptState:
        clock = state.clock + dt
        return PromptState(
            self.cell.evolve(state.inner, dt), clock, state.total.expand(*clock.shape, -1),
            state.weight.expand_as(clock), state.match.expand_as(clock),
        )  # fmt: skip

    def read(self, state: PromptState) -> Tensor:
        return self.cell.read(state.inner)

    def update(self, state: PromptState, x: Tensor) -> PromptState:
        total = self.discount * state.total + x.detach().double()
        weight = self.discount * state.weight + 1
        prompted, match = self._prompted(x, state.clock, total, weight)
        return PromptState(self.cell.update(state.inner, prompted), state.clock, total, weight, match)

    def scan(
        self, x: Tensor, dt: Tensor, state: PromptState | None = None, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[PromptState, PromptState]:  # fmt: skip
        """See :meth:`Cell.scan`; with resets, one step after another."""
        if reset is not None or not dt.shape[1]:
            return fold(self, x, dt, state, reset=reset, mask=mask)
        check_scan_shapes(self, x, dt, reset, mask)
        now = self.init(len(dt)) if state is None else state
        real = torch.ones_like(dt, dtype=torch.bool) if mask is None else mask
        x, dt = torch.where(real[..., None], x, 0), torch.where(real, dt, 0)
        keep = torch.ones_like(dt, dtype=torch.float64).masked_fill(real, self.discount)
        clock = now.clock[:, None] + dt.double().cumsum(1)
        total = scan(keep, x.detach().double(), now.total)
        weight = scan(keep, real.double(), now.weight)
        prompted, match = self._prompted(x, clock, total, weight)
        match = torch.where(real.cumsum(1) > 0, match, now.match[:, None])
        inner, last = self.cell.scan(prompted, dt, now.inner, mask=mask)
        states = PromptState(inner, clock, total, weight, match)
        return states, PromptState(last, *(leaf[:, -1] for leaf in states[1:]))

    def _prompted(self, x: Tensor, clock: Tensor, total: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(what the inner cell is updated with (..., D), the match (...))."""
        code = sinusoids(clock, spread(self.time_size, self.fastest), x.dtype)
        past = (total / weight.clamp_min(1)[..., None]).to(x.dtype)
        chosen, match = self.pool.retrieve(torch.cat([past, code], -1))
        return x + self.pool.values[chosen].mean(-2) + self.time(code), match
