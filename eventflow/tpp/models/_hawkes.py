"""The multivariate Hawkes process with exponential kernels (Hawkes 1971; O(n) likelihood: Ogata 1981, Ozaki 1979).

lambda_i(t) = mu_i + sum over past events j of alpha[i, k_j] exp(-beta[i, k_j] (t - t_j)); the branching ratios are
alpha / beta, and the process is stationary where their matrix has spectral radius below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.ops import scan
from eventflow.tpp._process import PointProcess

Matrix = Sequence[Sequence[float]]


class HawkesState(NamedTuple):
    """``excitation`` (..., K, K): what marks j still add to the intensity of marks i; ``elapsed`` (...,)."""

    excitation: Tensor
    elapsed: Tensor


class Hawkes(PointProcess):
    """Self- and mutually exciting events; likelihood and compensator in closed form.

    Args:
        num_marks: K.
        mu: (K,) background rates, events per unit of time; None starts at half the mean rate.
        alpha: (K, K) jumps, ``alpha[i, j]``: how much an event j adds at once to the intensity of marks i; >= 0.
        beta: decay rates, a number or (K, K), per unit of time; > 0. None starts at 1 per ``time_scale``.
        time_scale: see :class:`PointProcess`.
    """

    closed_form = True

    def __init__(
        self, num_marks: int, *, mu: Sequence[float] | None = None, alpha: Matrix | None = None,
        beta: float | Matrix | None = None, time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale)
        k = num_marks
        start_mu = torch.full((k,), 0.5 / k) if mu is None else self._given("mu", mu, (k,))
        start_alpha = torch.full((k, k), 0.5 / k) if alpha is None else self._given("alpha", alpha, (k, k))
        start_beta = torch.ones(k, k) if beta is None else self._given("beta", beta, (k, k))
        if (start_beta <= 0).any():
            raise InputError("Hawkes(beta=...): every decay rate must be > 0")
        self.log_mu = nn.Parameter(start_mu.log())
        self.log_alpha = nn.Parameter(start_alpha.log())
        self.log_beta = nn.Parameter(start_beta.log())

    def _given(self, name: str, value: object, shape: tuple[int, ...]) -> Tensor:
        """A given parameter in units of time_scale."""
        x = torch.as_tensor(value, dtype=torch.get_default_dtype())
        if x.dim() == 0:
            x = x.expand(shape)
        if x.shape != shape or not (x >= 0).all() or not x.isfinite().all():
            raise InputError(f"Hawkes({name}=...) has shape {tuple(x.shape)}; expected {shape}, finite and >= 0")
        return x * self.time_scale

    @property
    def mu(self) -> Tensor:
        """(K,) background rates, per unit of time."""
        return self.log_mu.exp() / self.time_scale

    @property
    def alpha(self) -> Tensor:
        """(K, K) jumps of the intensity, per unit of time."""
        return self.log_alpha.exp() / self.time_scale

    @property
    def beta(self) -> Tensor:
        """(K, K) decay rates, per unit of time."""
        return self.log_beta.exp() / self.time_scale

    @property
    def branching(self) -> Tensor:
        """(K, K) expected direct offspring i of an event j."""
        return (self.log_alpha - self.log_beta).exp()

    def init(self, batch: int) -> HawkesState:
        zero = self.log_mu.new_zeros(batch)
        return HawkesState(zero[:, None, None].expand(batch, self.num_marks, self.num_marks), zero)

    def _evolve(self, state: HawkesState, u: Tensor) -> HawkesState:
        return HawkesState(state.excitation * self._decay(u), state.elapsed + u)

    def _decay(self, u: Tensor) -> Tensor:
        return torch.exp(-self.log_beta.exp() * u[..., None, None])

    def _update(self, state: HawkesState, mark: Tensor) -> HawkesState:
        return HawkesState(state.excitation + self._jump(mark), torch.zeros_like(state.elapsed))

    def _jump(self, mark: Tensor) -> Tensor:
        """(..., K, K): alpha's column of the mark, in that column."""
        one_hot = nn.functional.one_hot(mark, self.num_marks).to(self.log_alpha)
        return self.log_alpha.exp() * one_hot[..., None, :]

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> HawkesState:
        real = mask[..., None, None]
        decay = torch.where(real, self._decay(torch.where(mask, u, 0)), 1)
        excitation = scan(decay, torch.where(real, self._jump(mark), 0))
        return HawkesState(excitation, torch.zeros_like(u))

    def _intensity(self, state: HawkesState, u: Tensor) -> Tensor:
        return self.log_mu.exp() + (state.excitation * self._decay(u)).sum(-1)

    def _compensator(self, state: HawkesState, u: Tensor) -> Tensor:
        beta = self.log_beta.exp()
        grown = state.excitation * (-torch.expm1(-beta * u[..., None, None]) / beta)
        return self.log_mu.exp().sum() * u + grown.sum((-1, -2))

    def _bound(self, state: HawkesState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Between events the intensity only falls, so its value now bounds it for ever."""
        return self._intensity(state, now).sum(-1), torch.full_like(now, torch.inf)
