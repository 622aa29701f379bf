"""Poisson processes with constant or piecewise-constant rates (Daley & Vere-Jones 2003, ch. 2): the null model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.tpp._process import PointProcess, Prediction
from eventflow.tpp._sample import _categorical, _exponential


class PoissonState(NamedTuple):
    """``elapsed`` (...,): time since the start of the span, in units of time_scale."""

    elapsed: Tensor


class Poisson(PointProcess):
    """Events that know nothing of one another: rate r_k(t), constant between ``edges``.

    Args:
        num_marks: K.
        rate: (K,) events per unit of time, or (P, K) for P pieces; None starts at 1/K per ``time_scale``.
        edges: the P-1 times after the span's start at which the rate changes; the last piece goes on for ever.
        time_scale: see :class:`PointProcess`.
    """

    closed_form = True

    def __init__(
        self, num_marks: int, *, rate: Sequence[float] | Sequence[Sequence[float]] | None = None,
        edges: Sequence[float] | None = None, time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale)
        change = torch.as_tensor([] if edges is None else edges, dtype=torch.float64) / self.time_scale
        if (change.diff() <= 0).any() or (change <= 0).any():
            raise InputError(f"Poisson(edges={edges}): expected increasing times after the start (> 0)")
        pieces = len(change) + 1
        if rate is None:
            start = torch.full((pieces, num_marks), 1.0 / num_marks)
        else:
            start = torch.atleast_2d(torch.as_tensor(rate, dtype=torch.get_default_dtype())) * self.time_scale
        if start.shape != (pieces, num_marks) or (start < 0).any():
            raise InputError(
                f"Poisson(rate=...) has shape {tuple(start.shape)}; expected ({pieces}, {num_marks}) nonnegative "
                "rates, one row for each piece between edges"
            )
        self.log_rate = nn.Parameter(start.log())
        self._starts: Tensor
        self.register_buffer("_starts", torch.cat([torch.zeros(1), change.to(torch.get_default_dtype())]))

    @property
    def rate(self) -> Tensor:
        """(P, K) events per unit of time."""
        return self.log_rate.exp() / self.time_scale

    def init(self, batch: int) -> PoissonState:
        return PoissonState(self.log_rate.new_zeros(batch))

    def _evolve(self, state: PoissonState, u: Tensor) -> PoissonState:
        return PoissonState(state.elapsed + u)

    def _update(self, state: PoissonState, mark: Tensor) -> PoissonState:
        return state

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> PoissonState:
        return PoissonState(torch.where(mask, u, 0).cumsum(1))

    def _piece(self, at: Tensor) -> Tensor:
        return torch.searchsorted(self._starts, at.contiguous(), right=True) - 1

    def _intensity(self, state: PoissonState, u: Tensor) -> Tensor:
        return self.log_rate.exp()[self._piece(state.elapsed + u)]

    def _log_intensity(self, state: PoissonState, mark: Tensor, u: Tensor) -> Tensor:
        return self.log_rate[self._piece(state.elapsed + u), mark]

    def _total(self, at: Tensor) -> Tensor:
        """Integral of the total rate over [0, at)."""
        ends = torch.cat([self._starts[1:], self._starts.new_full((1,), torch.inf)])
        inside = (torch.minimum(at[..., None], ends) - self._starts).clamp_min(0)
        return inside @ self.log_rate.exp().sum(-1)

    def _compensator(self, state: PoissonState, u: Tensor) -> Tensor:
        if len(self._starts) == 1:
            return self.log_rate.exp().sum() * (u + torch.zeros_like(state.elapsed))
        return self._total(state.elapsed + u) - self._total(state.elapsed + torch.zeros_like(u))

    def _sample(
        self, state: PoissonState, until: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:  # by inversion
        hazard = _exponential(torch.ones_like(until), generator)
        u = self._invert(state.elapsed, hazard)
        mark = _categorical(self._intensity(state, u.nan_to_num(posinf=0.0)), generator)
        return u.where(u < until, torch.inf), mark.where(u < until, -1)

    def _invert(self, elapsed: Tensor, hazard: Tensor) -> Tensor:
        """(N,) gaps after which the integrated rate has grown by ``hazard``; inf where it never does."""
        total, rates = self._total(elapsed) + hazard, self.log_rate.exp().sum(-1)
        reached = self._total(self._starts)  # at the start of each piece
        piece = torch.searchsorted(reached.contiguous(), total.contiguous(), right=True) - 1
        ahead = (total - reached[piece]) / rates[piece]
        return self._starts[piece] + ahead - elapsed

    @torch.no_grad()
    def predict_next(self, state: PoissonState) -> Prediction:
        """Closed form, piece by piece: in a piece of total rate R from gap a on, f(tau) = R S(a) exp(-R (tau - a))."""
        now = state.elapsed[..., None]
        rates = self.log_rate.exp()
        begin = (self._starts - now).clamp_min(0)
        end = torch.cat([begin[..., 1:], begin.new_full((*now.shape[:-1], 1), torch.inf)], -1)
        total = rates.sum(-1)
        hazard = (total * (end - begin)).nan_to_num(0.0)  # 0 * inf: a last piece without events
        before = torch.exp(-(hazard.cumsum(-1) - hazard).nan_to_num(0.0))
        gone = -torch.expm1(-hazard)
        mass = before * gone
        leftover = torch.where(gone < 1, hazard * torch.exp(-hazard), 0.0)
        inside = torch.where(total > 0, (gone - leftover) / total.clamp_min(1e-30), 0.0)
        whole = mass.sum(-1)
        probs = (mass / total.clamp_min(1e-30)) @ rates / whole[..., None]
        mean = (begin * mass + before * inside).sum(-1) / whole
        median = self._invert(state.elapsed, -torch.log1p(-0.5 * whole))
        return Prediction(mean * self.time_scale, median * self.time_scale, probs, 1 - whole)
