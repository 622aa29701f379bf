"""The Neural Hawkes process (Mei & Eisner, NeurIPS 2017, arXiv:1612.09328).

lambda_k(t) = f_k(w_k . h(t)), f_k(x) = s_k softplus(x / s_k) (their eq. 4); h(t) from the continuous-time LSTM
(eqs. 5-7). The compensator has no closed form: it is a quadrature, fused with its gradient in ``ops.ctlstm``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eventflow.events import PaddedBatch
from eventflow.nn import CTLSTM, CTLSTMState, SoftplusIntensity, map_state
from eventflow.ops.ctlstm import ctlstm_compensator, ctlstm_intensity, ctlstm_log_prob, ctlstm_sequence
from eventflow.ops.quadrature import gauss_legendre_graded, linspace_mean
from eventflow.tpp._process import Rule
from eventflow.tpp.models._history import HistoryProcess, HistoryState


class NHP(HistoryProcess):
    """The continuous-time LSTM with a softplus intensity per mark.

    Args:
        num_marks: K.
        hidden_size: H, of the cell and of the embeddings.
        bos: begin each span with the paper's beginning-of-sequence mark (False: a zero state, as EasyTPP).
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    cell: CTLSTM
    smooth = False

    def __init__(
        self, num_marks: int, *, hidden_size: int = 64, bos: bool = True, time_scale: float = 1.0, quadrature: int = 20
    ) -> None:
        super().__init__(
            num_marks,
            CTLSTM(hidden_size, hidden_size),
            embedding_size=hidden_size,
            bos=bos,
            time_scale=time_scale,
            quadrature=quadrature,
        )
        self.head = SoftplusIntensity(hidden_size, num_marks)

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor, first: HistoryState | None = None) -> HistoryState:
        """The input gates of an event depend on its mark alone: one product with K embeddings, then a look-up."""
        gap = torch.where(mask, u, 0)
        table = self.cell.project(self.embedding.weight)
        first = self.init(len(mark)) if first is None else first
        states, _ = self.cell.scan_projected(table[mark], gap, first.cell, mask=mask)
        return HistoryState(states, torch.zeros_like(u))

    def event_log_prob(self, batch: PaddedBatch) -> Tensor:
        return self._sequence(batch, batch.scored)[0]

    def _exact_log_prob(self, batch: PaddedBatch) -> Tensor:
        terms, last = self._sequence(batch, batch.scored)
        return terms.sum(1) - self._compensator(last, self._gaps(batch.tail))

    def _easytpp_log_prob(self, batch: PaddedBatch) -> Tensor:
        scored = batch.mask.clone()
        scored[:, :1] = False
        return self._sequence(batch, scored, linspace_mean(self.easytpp_points))[0].sum(1)

    def _sequence(self, batch: PaddedBatch, scored: Tensor, rule: Rule | None = None) -> tuple[Tensor, HistoryState]:
        """((B, T) log-densities of the scored events, state after the last): the recurrence and the quadratures of all
        gaps in one compiled pass."""
        self._check_marks(batch)
        cell = self.cell.project(self.embedding.weight), self.cell.weight_h
        events = batch.mark, self._gaps(batch.dt), batch.mask, scored
        rule = rule or gauss_legendre_graded(self.quadrature)
        terms, last = ctlstm_sequence(cell, events, self.init(len(batch)).cell, self._head(), rule)
        terms = torch.where(scored, terms - math.log(self.time_scale), 0)
        return terms, HistoryState(CTLSTMState(*last), terms.new_zeros(len(batch)))

    def _head(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.head.weight, self.head.bias, self.head.log_scale

    def _memory(self, state: HistoryState, silence: Tensor) -> CTLSTMState:
        """The continuous-time LSTM ``silence`` after the last event."""
        return self.cell.evolve(state.cell, silence)

    def _rows(self, state: HistoryState, shape: tuple[int, ...]) -> Any:
        """The cell after the silence so far, broadcast to ``shape`` and flattened: (N, H) leaves."""
        now = self._memory(state, state.elapsed)
        return map_state(lambda leaf: leaf.expand(*shape, leaf.shape[-1]).reshape(-1, leaf.shape[-1]), now)

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        rows = (*shape[:-1], 1) if state.elapsed.shape[-1:] == (1,) else shape  # one state, many times: a query axis
        queries = u.expand(shape).reshape(math.prod(rows), 1 if rows == shape else shape[-1])  # also of no rows
        lam = ctlstm_intensity(self._rows(state, rows), queries, self._head())
        return lam.reshape(*shape, self.num_marks)

    def _log_density(self, state: HistoryState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        rows = self._rows(state, u.shape)
        rule = rule or gauss_legendre_graded(self.quadrature)
        return ctlstm_log_prob(rows, u.reshape(-1), mark.reshape(-1), self._head(), rule).reshape(u.shape)

    def _integrate(self, state: HistoryState, u: Tensor, nodes: Any, weights: Any) -> Tensor:
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        gaps = u.expand(shape).reshape(-1)
        return ctlstm_compensator(self._rows(state, shape), gaps, self._head(), (nodes, weights)).reshape(shape)

    def _bound(self, state: HistoryState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Every cell coordinate moves monotonically from c to its target, so w_k . h is bounded, coordinate by
        coordinate, by the larger of its two ends; f_k increases. The bound holds for ever."""
        cell = self._memory(state, state.elapsed + now)
        ends = torch.stack([cell.c, cell.target]).tanh() * cell.out
        terms = ends[:, :, None, :] * self.head.weight
        return self.head.activate(terms.amax(0).sum(-1) + self.head.bias).sum(-1), torch.full_like(now, torch.inf)
