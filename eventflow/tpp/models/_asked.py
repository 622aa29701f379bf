"""Point processes that answer all questions about a batch in one pass: intensities at the nodes of all its gaps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eventflow.events import PaddedBatch
from eventflow.nn import map_state
from eventflow.ops.quadrature import gauss_legendre_graded, linspace_mean
from eventflow.tpp._process import PointProcess, Rule


class AskedProcess(PointProcess):
    """A subclass writes :meth:`_ahead` (or :meth:`_terms`); the likelihoods of whole batches follow."""

    def _ahead(self, mark: Tensor, gap: Tensor, ahead: Tensor) -> Tensor:
        """(B, T + 1, R, K) intensities at ``ahead`` (B, T + 1, R), ascending times after the start (row 0) and after
        each event; the last one of each row is where its gap ends. Gaps (B, T) are 0 in the padding."""
        raise NotImplementedError

    def _ahead_in(self, batch: PaddedBatch, gap: Tensor, ahead: Tensor) -> Tensor:
        """:meth:`_ahead`, for a subclass that looks at more of a batch than marks and gaps."""
        return self._ahead(batch.mark, gap, ahead)

    def _parts(self, batch: PaddedBatch, rule: Rule) -> tuple[Tensor, Tensor]:
        """(B, T) log-intensities of the events at their times, and (B, T + 1) integrals over the gaps before them, with
        the last silence behind each last event."""
        self._check_marks(batch)
        gap = torch.where(batch.mask, self._gaps(batch.dt), 0)
        rows, length = torch.arange(len(batch), device=gap.device), gap.shape[1]
        u = torch.cat([gap, gap.new_zeros(len(batch), 1)], 1)
        u = u.index_put((rows, batch.lengths), self._gaps(batch.tail))
        nodes, weights = (torch.tensor(x, dtype=u.dtype, device=u.device) for x in rule)
        lam = self._ahead_in(batch, gap, u[..., None] * torch.cat([nodes, nodes.new_ones(1)]))
        here = lam[:, :length, -1].gather(-1, batch.mark[..., None])[..., 0].log()
        return here, u * (lam[:, :, :-1].sum(-1) @ weights)

    def _terms(self, batch: PaddedBatch, scored: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """(B, T) log-densities of the scored events, 0 elsewhere; (B,) integral over the last silence."""
        here, silence = self._parts(batch, rule)
        terms = torch.where(scored, here - silence[:, :-1] - math.log(self.time_scale), 0)
        return terms, silence.gather(1, batch.lengths[:, None])[:, 0]

    def _exact_log_prob(self, batch: PaddedBatch) -> Tensor:
        terms, tail = self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))
        return terms.sum(1) - tail

    def _easytpp_log_prob(self, batch: PaddedBatch) -> Tensor:
        scored = batch.mask & (torch.arange(batch.mask.shape[1], device=batch.mask.device) > 0)
        return self._terms(batch, scored, linspace_mean(self.easytpp_points))[0].sum(1)

    def event_log_prob(self, batch: PaddedBatch) -> Tensor:
        """See :meth:`PointProcess.event_log_prob`."""
        return self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))[0]

    def tail_log_prob(self, batch: PaddedBatch) -> Tensor:
        """See :meth:`PointProcess.tail_log_prob`."""
        return -self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))[1]


class QueuedProcess(AskedProcess):
    """One that looks back on the last ``window`` events, the start of the span among them.

    A subclass writes :meth:`_row` and :meth:`_queues` besides; its states may have fewer slots than ``window``.
    """

    window: int

    def _row(self, mark: Tensor, gap: Tensor) -> Any:
        """What the start and all events of a batch leave behind, S = 1 + T places."""
        raise NotImplementedError

    def _row_of(self, batch: PaddedBatch) -> Any:
        """:meth:`_row`, for a subclass that looks at more of a batch than marks and gaps."""
        return self._row(batch.mark, torch.where(batch.mask, self._gaps(batch.dt), 0))

    def _queues(self, row: Any, last: Tensor, slots: int) -> Any:
        """States (B, M, ...) with this many slots whose last event is at the places ``last`` (B, M) of the row."""
        raise NotImplementedError

    def encode(self, batch: PaddedBatch) -> Any:
        """See :meth:`PointProcess.encode`."""
        self._check_marks(batch)
        return self._queues(self._row_of(batch), batch.mask.long().cumsum(1), self.window)

    def left_states(self, batch: PaddedBatch) -> tuple[Any, Any]:
        """As :meth:`PointProcess.left_states`; the queues have no more slots than there are events to fill them."""
        self._check_marks(batch)
        row = self._row_of(batch)
        slots, lengths = min(self.window, 1 + batch.mask.shape[1]), batch.lengths[:, None]
        place = torch.arange(batch.mask.shape[1], device=lengths.device)
        left, last = (self._queues(row, c, slots) for c in (torch.minimum(place, lengths), lengths))
        return left, map_state(lambda leaf: leaf[:, 0], last)

    def _within(self, last: Tensor, place: Tensor) -> Tensor:
        """Which places belong to the window that ends with ``last``."""
        return (place <= last) & (place > last - self.window)
