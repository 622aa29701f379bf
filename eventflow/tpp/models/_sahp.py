"""The self-attentive Hawkes process (Zhang, Lipani, Kirnap & Yilmaz, ICML 2020, arXiv:1907.07561).

lambda_k(t) = softplus(mu_k + (eta_k - mu_k) exp(-gamma_k (t - t_j))), with mu = gelu(W_mu h), eta =
gelu(W_eta h), gamma = softplus(W_gamma h) of the last event's h, h from self-attention over the events so
far, with a positional encoding whose phase is shifted by time (eq. 8).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn._heads import log_scaled_softplus, scaled_softplus
from eventflow.ops.quadrature import gauss_legendre_graded
from eventflow.ops.softplus_integral import softplus_decay
from eventflow.tpp._process import Rule
from eventflow.tpp.models._attention import AttentionProcess, AttentionState, phases


class SAHP(AttentionProcess):
    """Self-attention, and an intensity that decays exponentially, before the softplus, from eta towards mu.

    Args:
        num_marks: K.
        hidden_size: H, even, a multiple of ``heads``.
        layers: of the transformer.
        heads: of each layer.
        window: events each layer attends to; live memory and time of an event are O(window).
        compat: "easytpp": bare attention (no residual, no norm, no feed-forward network), zero state at the start.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    before_first = -1.0

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, layers: int = 2, heads: int = 2, window: int = 128,
        compat: str | None = None, time_scale: float = 1.0, quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(
            num_marks, hidden_size=hidden_size, layers=layers, heads=heads, window=window, compat=compat,
            time_scale=time_scale, quadrature=quadrature,
        )  # fmt: skip
        self.shift = nn.Linear(1, hidden_size // 2, bias=False)
        self.ends = nn.Linear(hidden_size, 3 * num_marks, bias=False)
        self.log_scale = nn.Parameter(
            torch.full((num_marks,), -math.log(num_marks * math.log(2)))
        )  # one event per unit

    def _tick(self, clock: Tensor, gap: Tensor) -> Tensor:
        return clock + 1

    def _clocks(self, gap: Tensor) -> Tensor:
        return torch.arange(gap.shape[1], dtype=torch.float64, device=gap.device).expand(gap.shape)

    def _encoding(self, clock: Tensor, gap: Tensor) -> Tensor:
        """Eq. 8: sin and cos of (frequency x place in the sequence + weight x gap before the event)."""
        angle = phases(clock, self.hidden_size, gap.dtype) + self.shift(gap[..., None])
        return torch.cat([angle.sin(), angle.cos()], -1)

    def _curve(self, state: AttentionState) -> tuple[Tensor, Tensor, Tensor]:
        """(..., K) mu, what is left of eta - mu now, and gamma."""
        mu, eta, gamma = self.ends(state.h).chunk(3, -1)
        mu, gamma = functional.gelu(mu), functional.softplus(gamma)
        return mu, (functional.gelu(eta) - mu) * torch.exp(-gamma * state.elapsed[..., None]), gamma

    def _intensity(self, state: AttentionState, u: Tensor) -> Tensor:
        mu, jump, gamma = self._curve(state)
        return scaled_softplus(mu + jump * torch.exp(-gamma * u[..., None]), self.log_scale)

    def _log_density(self, state: AttentionState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        curve = self._curve(state)
        mu, jump, gamma = (part.gather(-1, mark[..., None])[..., 0] for part in curve)
        logs = log_scaled_softplus(mu + jump * torch.exp(-gamma * u), self.log_scale[mark])
        return logs - self._silence(curve, u, rule or gauss_legendre_graded(self.quadrature))

    def _integrate(self, state: AttentionState, u: Tensor, nodes: Any, weights: Any) -> Tensor:
        return self._silence(self._curve(state), u, (nodes, weights))

    def _silence(self, curve: tuple[Tensor, Tensor, Tensor], u: Tensor, rule: Rule) -> Tensor:
        """(...) integral of the total intensity over the next u."""
        mu, jump, gamma = curve
        scale = self.log_scale.exp()
        return u * (softplus_decay(mu / scale, jump / scale, gamma * u[..., None], rule) @ scale)

    def _bound(self, state: AttentionState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Each mark moves monotonically from where it is now to mu: the larger of the two bounds it for ever."""
        far = scaled_softplus(self._curve(state)[0], self.log_scale)
        return torch.maximum(self._intensity(state, now), far).sum(-1), torch.full_like(now, torch.inf)
