"""Point processes given by the law of the next gap instead of an intensity: any cell, any duration head."""

from __future__ import annotations

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import Cell, DurationHead
from eventflow.tpp._process import Prediction, Rule
from eventflow.tpp._sample import _categorical, _exponential
from eventflow.tpp.models._history import HistoryProcess, HistoryState


class DurationProcess(HistoryProcess):
    """A history process whose head is the law of the next gap: likelihood, survival and samples in closed form.

    Args:
        num_marks: K.
        cell: takes ``embedding_size + 1`` features: the mark's embedding and log(1 + gap).
        head: a :class:`DurationHead` (cell.hidden_size, num_marks).
        time_scale: see :class:`PointProcess`.
    """

    closed_form = True

    def __init__(self, num_marks: int, cell: Cell, head: DurationHead, *, time_scale: float = 1.0) -> None:
        super().__init__(num_marks, cell, embedding_size=cell.input_size - 1, gap_features=1, time_scale=time_scale)
        if head.mark_logits.weight.shape != (num_marks, cell.hidden_size):
            seen = tuple(head.mark_logits.weight.shape)
            raise InputError(
                f"the head has (num_marks, hidden_size)={seen}; expected {(num_marks, cell.hidden_size)}. "
                f"Write: {type(head).__name__}({cell.hidden_size}, {num_marks})"
            )
        self.head = head

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        log_marks = self.head.mark_logits(h).log_softmax(-1)
        return (self.head.log_hazard(h, state.elapsed + u)[..., None] + log_marks).exp()

    def _log_intensity(self, state: HistoryState, mark: Tensor, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        return self.head.log_hazard(h, state.elapsed + u) + self._log_mark(h, mark)

    def _log_mark(self, h: Tensor, mark: Tensor) -> Tensor:
        return self.head.mark_logits(h).log_softmax(-1).gather(-1, mark[..., None])[..., 0]

    def _log_density(self, state: HistoryState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        if rule is not None:
            return super()._log_density(state, mark, u, rule)
        h = self.cell.read(state.cell)
        log_density = self.head.log_density(h, state.elapsed + u) - self.head.log_survival(h, state.elapsed)
        return log_density + self._log_mark(h, mark)

    def _compensator(self, state: HistoryState, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        now = state.elapsed + torch.zeros_like(u)
        return self.head.log_survival(h, now) - self.head.log_survival(h, now + u)

    def _sample(
        self, state: HistoryState, until: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:  # by inversion
        h = self.cell.read(state.cell)
        target = self.head.log_survival(h, state.elapsed) - _exponential(torch.ones_like(until), generator)
        u = (self.head.quantile(h, target) - state.elapsed).clamp_min(0)
        mark = _categorical(self.head.mark_logits(h).softmax(-1), generator)
        return u.where(u < until, torch.inf), mark.where(u < until, -1)

    @torch.no_grad()
    def predict_next(self, state: HistoryState) -> Prediction:
        """Closed form where the head has one; otherwise by quadrature."""
        h = self.cell.read(state.cell)
        beyond = self.head.mean_beyond(h, state.elapsed)
        if beyond is None:
            return super().predict_next(state)
        log_survival = self.head.log_survival(h, state.elapsed)
        mean = (beyond * torch.exp(-log_survival) - state.elapsed).clamp_min(0)
        median = (self.head.quantile(h, log_survival - 0.6931471805599453) - state.elapsed).clamp_min(0)
        probs = self.head.mark_logits(h).softmax(-1)
        return Prediction(mean * self.time_scale, median * self.time_scale, probs, torch.zeros_like(mean))
