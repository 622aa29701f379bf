"""A Hawkes process whose background and excitation change at known times: a drifting stream with a known optimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn import map_state
from eventflow.ops import scan
from eventflow.ops.quadrature import gauss_legendre, next_event
from eventflow.tpp._process import PointProcess
from eventflow.tpp._query import Prediction, queried

Matrix = Sequence[Sequence[float]]

ORDER, PANELS = 8, 44  # nodes a panel; panels that double in width, so that the last ends > 1e11 first ones away
ROWS = 4096  # states that are forecast at once


class DriftingState(NamedTuple):
    """``excitation`` (..., K, K): what marks j still add to marks i; ``at`` (...,): time since the span's start, in
    units of time_scale; ``elapsed`` (...,)."""

    excitation: Tensor
    at: Tensor
    elapsed: Tensor


class DriftingHawkes(PointProcess):
    """lambda_i(t) = mu_i(t) + sum over past events j of alpha[i, k_j](t_j) exp(-beta (t - t_j)).

    mu and alpha are constant between ``edges``; an event excites as much as alpha says at its own time, also beyond
    the next edge. Likelihood and compensator in closed form. Not for training (edges are given): the law behind
    drifting data, whose likelihood no learner can beat on average.

    Args:
        num_marks: K.
        mu: (P, K) background rates of the P pieces, events per unit of time.
        alpha: (P, K, K) jumps; ``alpha[p][i][j]``: what an event j in piece p adds to the intensity of marks i.
        beta: decay rate of all excitation, per unit of time; > 0.
        edges: the P - 1 times after the span's start at which the parameters change.
        time_scale: see :class:`PointProcess`.

    Raises:
        InputError: shapes that do not go together, negative rates, edges that do not rise.
    """

    closed_form = True

    def __init__(
        self, num_marks: int, *, mu: Matrix, alpha: Sequence[Matrix], beta: float, edges: Sequence[float],
        time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale)
        change = torch.as_tensor(edges, dtype=torch.float64).reshape(-1) / self.time_scale
        if (change.diff() <= 0).any() or (change <= 0).any() or not beta > 0:
            raise InputError(f"DriftingHawkes(edges={edges}, beta={beta}): expected rising times > 0, and beta > 0")
        pieces, k = len(change) + 1, num_marks
        self.mu = nn.Parameter(self._given("mu", mu, (pieces, k)))
        self.alpha = nn.Parameter(self._given("alpha", alpha, (pieces, k, k)))
        self.beta = nn.Parameter(torch.tensor(float(beta)) * self.time_scale)
        self._starts: Tensor
        self.register_buffer("_starts", torch.cat([torch.zeros(1, dtype=torch.float64), change]).to(self.mu.dtype))

    def _given(self, name: str, value: object, shape: tuple[int, ...]) -> Tensor:
        x = torch.as_tensor(value, dtype=torch.get_default_dtype())
        if x.shape != shape or not (x >= 0).all() or not x.isfinite().all():
            raise InputError(f"DriftingHawkes({name}=...) has shape {tuple(x.shape)}; expected {shape}, each >= 0")
        return x * self.time_scale

    def init(self, batch: int) -> DriftingState:
        zero = self.mu.new_zeros(batch)
        return DriftingState(zero[:, None, None].expand(batch, self.num_marks, self.num_marks), zero, zero)

    def _evolve(self, state: DriftingState, u: Tensor) -> DriftingState:
        return DriftingState(state.excitation * self._decay(u), state.at + u, state.elapsed + u)

    def _update(self, state: DriftingState, mark: Tensor) -> DriftingState:
        jump = self._jump(mark, state.at)
        return DriftingState(state.excitation + jump, state.at, torch.zeros_like(state.elapsed))

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> DriftingState:
        gap = torch.where(mask, u, 0)
        at, real = gap.cumsum(1), mask[..., None, None]
        decay = self._decay(gap).expand(*mask.shape, self.num_marks, self.num_marks)
        excitation = scan(torch.where(real, decay, 1), torch.where(real, self._jump(mark, at), 0))
        return DriftingState(excitation, at, torch.zeros_like(gap))

    def _intensity(self, state: DriftingState, u: Tensor) -> Tensor:
        return self.mu[self._piece(state.at + u)] + (state.excitation * self._decay(u)).sum(-1)

    def _compensator(self, state: DriftingState, u: Tensor) -> Tensor:
        grown = -torch.expm1(-self.beta * u) / self.beta * state.excitation.sum((-1, -2))
        return self._background(state.at + u) - self._background(state.at + torch.zeros_like(u)) + grown

    def _bound(self, state: DriftingState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Excitation only falls between events; the background never exceeds its highest piece."""
        excited = (state.excitation * self._decay(now)).sum((-1, -2))
        return self.mu.sum(-1).max() + excited, torch.full_like(now, torch.inf)

    @torch.no_grad()
    def predict_next(self, state: DriftingState) -> Prediction:
        """By quadrature on panels that end where the parameters change, so that no jump lies inside one."""
        lead = state.elapsed.shape
        flat = map_state(lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), state)
        parts = [self._forecast(map_state(lambda x, i=i: x[i : i + ROWS], flat)) for i in range(0, len(flat.at), ROWS)]
        parts = parts or [self._forecast(flat)]
        scale = (self.time_scale, self.time_scale, 1.0, 1.0)
        found = [np.concatenate(column) * by for column, by in zip(zip(*parts, strict=True), scale, strict=True)]
        mean, median, probs, never = (torch.from_numpy(column).to(state.elapsed) for column in found)
        return Prediction(mean.view(lead), median.view(lead), probs.view(*lead, -1), never.view(lead))

    def _forecast(self, state: DriftingState) -> tuple[Any, ...]:
        now = self._intensity(state, torch.zeros_like(state.at)).sum(-1)
        first = (0.25 / now.double().clamp_min(1e-300)).clamp_max(2.0**-4)
        doubling = first[:, None] * 2.0 ** torch.arange(PANELS, device=first.device)
        changes = (self._starts - state.at[:, None]).double().clamp_min(0)
        edges = torch.cat([changes, doubling], 1).sort(1).values  # the first start lies at 0 or before: edge 0 is there
        width = edges.diff(dim=1)
        nodes = torch.from_numpy(gauss_legendre(ORDER)[0].copy()).to(first)
        at = (edges[:, :-1, None] + width[..., None] * nodes).to(state.at)
        lam = self._intensity(queried(state, 1), at.flatten(1)).unflatten(1, at.shape[1:])
        return next_event(lam.cpu().numpy(), width.cpu().numpy())

    def _piece(self, at: Tensor) -> Tensor:
        return torch.searchsorted(self._starts, at.detach().contiguous(), right=True) - 1

    def _jump(self, mark: Tensor, at: Tensor) -> Tensor:
        """(..., K, K): alpha's column of the mark, of the piece it falls in, in that column."""
        one_hot = nn.functional.one_hot(mark, self.num_marks).to(self.alpha)
        return self.alpha[self._piece(at)] * one_hot[..., None, :]

    def _decay(self, u: Tensor) -> Tensor:
        return torch.exp(-self.beta * u[..., None, None])

    def _background(self, at: Tensor) -> Tensor:
        """Integral of the total background over [0, at)."""
        ends = torch.cat([self._starts[1:], self._starts.new_full((1,), torch.inf)])
        inside = (torch.minimum(at[..., None], ends) - self._starts).clamp_min(0)
        return inside @ self.mu.sum(-1)
