"""Recurrent marked temporal point process (Du et al., KDD 2016).

lambda*(t) = exp(v . h_j + w (t - t_j) + b) (their eq. 11), marks ~ softmax(V h_j + c) (eq. 10): the compensator, and so
the likelihood (eq. 12), survival and inverse, are in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eventflow.nn import RNN
from eventflow.tpp._sample import _categorical, _exponential
from eventflow.tpp.models._history import HistoryProcess, HistoryState

#: The log-intensity stops growing here: e^15 events per mean gap. Without it a long gap overflows when w > 0.
CEILING = 15.0


class RMTPP(HistoryProcess):
    """Args: num_marks K; hidden_size and embedding_size; time_scale: see :class:`PointProcess`."""

    closed_form = True

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, embedding_size: int = 32, time_scale: float = 1.0
    ) -> None:
        cell = RNN(embedding_size + 1, hidden_size)
        super().__init__(num_marks, cell, embedding_size=embedding_size, gap_features=1, time_scale=time_scale)
        self.level = nn.Linear(hidden_size, 1)  # v, b
        self.slope = nn.Parameter(torch.zeros(()))  # w
        self.marks = nn.Linear(hidden_size, num_marks)  # V, c

    def _log_total(self, state: HistoryState, u: Tensor) -> Tensor:
        """Log of the total intensity before the ceiling."""
        return self.level(self.cell.read(state.cell))[..., 0] + self.slope * (state.elapsed + u)

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        total = self._log_total(state, u).clamp_max(CEILING)
        return (total[..., None] + self.marks(self.cell.read(state.cell)).log_softmax(-1)).exp()

    def _log_intensity(self, state: HistoryState, mark: Tensor, u: Tensor) -> Tensor:
        log_probs = self.marks(self.cell.read(state.cell)).log_softmax(-1)
        return self._log_total(state, u).clamp_max(CEILING) + log_probs.gather(-1, mark[..., None])[..., 0]

    def _until_ceiling(self, level: Tensor) -> Tensor:
        """How long the log-intensity keeps to its line, from ``level`` on."""
        rising = (CEILING - level).clamp_min(0) / self.slope.clamp_min(1e-12)
        return torch.where(self.slope > 0, rising, torch.where(level > CEILING, 0.0, torch.inf))

    def _compensator(self, state: HistoryState, u: Tensor) -> Tensor:
        level = self._log_total(state, torch.zeros_like(u))
        on_line = torch.minimum(u, self._until_ceiling(level).detach())
        start = level.clamp_max(CEILING).exp()
        return start * on_line * _expm1_ratio(self.slope * on_line) + math_ceiling(level) * (u - on_line)

    def _sample(
        self, state: HistoryState, until: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:  # by inversion
        hazard = _exponential(torch.ones_like(until), generator)
        u = self._invert(state, hazard)
        mark = _categorical(self.marks(self.cell.read(state.cell)).softmax(-1), generator)
        return u.where(u < until, torch.inf), mark.where(u < until, -1)

    def _invert(self, state: HistoryState, hazard: Tensor) -> Tensor:
        level = self._log_total(state, torch.zeros_like(hazard))
        start, line = level.clamp_max(CEILING).exp(), self._until_ceiling(level)
        ratio = self.slope * hazard / start
        on_line = torch.where(ratio > -1, torch.log1p(ratio.clamp_min(-1 + 1e-12)) / self.slope, torch.inf)
        if bool(self.slope == 0):
            on_line = hazard / start
        finite = line.nan_to_num(posinf=0.0)
        beyond = finite + (hazard - start * finite * _expm1_ratio(self.slope * finite)) / math_ceiling(level)
        return torch.where(on_line <= line, on_line, beyond)


def math_ceiling(like: Tensor) -> Tensor:
    """The largest intensity, as a tensor like ``like``."""
    return torch.full_like(like, CEILING).exp()


def _expm1_ratio(x: Tensor) -> Tensor:
    """(e^x - 1) / x, 1 at 0, with gradients that are finite there."""
    small = x.abs() < 1e-4
    safe = torch.where(small, 1.0, x)
    return torch.where(small, 1 + x / 2 + x**2 / 6, torch.expm1(safe) / safe)
