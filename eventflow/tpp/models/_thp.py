"""The transformer Hawkes process (Zuo, Jiang, Li, Zhao & Zha, ICML 2020, arXiv:2002.09291).

lambda_k(t) = f_k(alpha_k (t - t_j) / t_j + w_k . h(t_j) + b_k), f_k(x) = s_k softplus(x / s_k), h from a
transformer over the events so far, with a sinusoidal encoding of their times (eq. 2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eventflow.nn import SoftplusIntensity
from eventflow.nn._heads import log_scaled_softplus
from eventflow.ops.quadrature import gauss_legendre_graded
from eventflow.ops.softplus_integral import softplus_line
from eventflow.tpp._process import Rule
from eventflow.tpp.models._attention import (
    AttentionProcess,
    AttentionState,
    feed_forward,
    phases,
)


class THP(AttentionProcess):
    """A transformer, and an intensity that rises or falls linearly, before the softplus, since the last event.

    Times are counted from the span's start, in units of ``time_scale``; the division is by t_j + 1, as in its
    authors' code, since t_j may be 0.

    Args:
        num_marks: K.
        hidden_size: H, even, a multiple of ``heads``.
        layers: of the transformer.
        heads: of each layer.
        window: events each layer attends to; live memory and time of an event are O(window).
        compat: "easytpp": bare attention (no residual, no norm), one feed-forward network in all layers, alpha_k
            (t - t_j) undivided, zero state at the start.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    every_layer = True

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, layers: int = 2, heads: int = 2, window: int = 128,
        compat: str | None = None, time_scale: float = 1.0, quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(
            num_marks, hidden_size=hidden_size, layers=layers, heads=heads, window=window, compat=compat,
            time_scale=time_scale, quadrature=quadrature,
        )  # fmt: skip
        self.head = SoftplusIntensity(hidden_size, num_marks)
        self.slope = nn.Parameter(torch.full((num_marks,), -0.1))
        self.shared = feed_forward(hidden_size) if compat else None

    def _after(self, layer: nn.Module, x: Tensor, attended: Tensor) -> Tensor:
        return layer(x, attended) if self.shared is None else self.shared(attended)

    def _tick(self, clock: Tensor, gap: Tensor) -> Tensor:
        return clock + gap

    def _clocks(self, gap: Tensor) -> Tensor:
        return gap.double().cumsum(1)

    def _encoding(self, clock: Tensor, gap: Tensor) -> Tensor:
        """Eq. 2: sines and cosines of the time of the event, in turn."""
        angle = phases(clock, self.hidden_size, gap.dtype)
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)

    def _line(self, state: AttentionState) -> tuple[Tensor, Tensor]:
        """(..., K) what goes into the softplus now, and how fast it moves."""
        slope = self.slope.expand(*state.clock.shape, -1)
        if self.compat is None:
            slope = slope / (state.clock + 1).to(slope.dtype)[..., None]
        base = nn.functional.linear(state.h, self.head.weight, self.head.bias)
        return base + state.elapsed[..., None] * slope, slope

    def _intensity(self, state: AttentionState, u: Tensor) -> Tensor:
        now, slope = self._line(state)
        return self.head.activate(now + u[..., None] * slope)

    def _log_density(self, state: AttentionState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        line = self._line(state)
        now, slope = (part.gather(-1, mark[..., None])[..., 0] for part in line)
        logs = log_scaled_softplus(now + u * slope, self.head.log_scale[mark])
        return logs - self._silence(line, u, rule or gauss_legendre_graded(self.quadrature))

    def _integrate(self, state: AttentionState, u: Tensor, nodes: Any, weights: Any) -> Tensor:
        return self._silence(self._line(state), u, (nodes, weights))

    def _silence(self, line: tuple[Tensor, Tensor], u: Tensor, rule: Rule) -> Tensor:
        """(...) integral of the total intensity over the next u."""
        now, slope = line
        scale = self.head.log_scale.exp()
        return u * (softplus_line(now / scale, u[..., None] * slope / scale, rule) @ scale)

    def _bound(self, state: AttentionState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Each mark's intensity is monotone: over a window its larger end bounds it, and the sum bounds the total."""
        here = self._intensity(state, now)
        window = (2.0 / here.sum(-1).clamp_min(1e-9)).clamp(1e-6, 4.0)
        return torch.maximum(here, self._intensity(state, now + window)).sum(-1), window
