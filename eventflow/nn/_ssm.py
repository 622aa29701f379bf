"""Diagonal state-space layers with events as impulses: S4D, S5 and the latent linear Hawkes process in one class."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError
from eventflow.nn._linear import LinearCell
from eventflow.ops import scan


class DiagState(NamedTuple):
    """``x`` (..., N), complex or real."""

    x: Tensor


class Affine(NamedTuple):
    """The transition x -> gain x + shift; both (..., N)."""

    gain: Tensor
    shift: Tensor


class DiagSSM(LinearCell[DiagState]):
    """x' = Lambda x between events, x += B u at an event, y = 2 Re(C x) + b (real: C x + b), Lambda diagonal, Re < 0.

    Events are impulses, as in the impulse variant of S2P2 (Chang et al. 2025, arXiv:2412.19634); diagonal and
    complex as in S4D (Gu et al. 2022, arXiv:2206.11893), with many inputs and outputs as S5 (Smith et al. 2023,
    arXiv:2208.04933). Lambda = -exp(log_rate) + i frequency can never become unstable.

    Initial values are S4D-Lin's, in units of the time that ``dt`` is in (mean gaps, in a point process): with a step
    drawn log-uniformly from ``steps`` for each of the N coordinates, rate = step / 2 and frequency = pi n step. B is
    scaled so that coordinates driven once a unit of time have variance 1.

    The exponential Hawkes process is this cell, exactly: :meth:`hawkes`.

    Args:
        input_size: D features of an event.
        hidden_size: H outputs.
        num_states: N; None is H.
        real: a real Lambda: decays that do not oscillate.
        learn_init: the state before the first event is a parameter (else zero).
        steps: (lowest, highest) of the steps.

    Raises:
        InputError: steps that are not 0 < lowest <= highest.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, num_states: int | None = None, real: bool = False,
        learn_init: bool = False, steps: tuple[float, float] = (1e-3, 1e-1),
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < steps[0] <= steps[1]:
            raise InputError(f"DiagSSM(steps={steps}): expected 0 < lowest <= highest, e.g. (1e-3, 1e-1)")
        self.input_size, self.hidden_size, self.real = input_size, hidden_size, real
        self.num_states = n = hidden_size if num_states is None else num_states
        step = torch.empty(n).uniform_(math.log(steps[0]), math.log(steps[1])).exp()
        self.log_rate = nn.Parameter((step / 2).log())
        self.frequency = None if real else nn.Parameter(math.pi * torch.arange(n) * step)
        parts = () if real else (2,)  # complex weights are kept as pairs: .to(dtype) and optimisers know only real ones
        size = math.prod(parts)
        gain = (-torch.expm1(-step)).sqrt()[(...,) + (None,) * (len(parts) + 1)]
        self.weight_in = nn.Parameter(gain * torch.randn(n, *parts, input_size) / math.sqrt(size * input_size))
        self.weight_out = nn.Parameter(torch.randn(hidden_size, n, *parts) / math.sqrt(2 * size * n))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.start = nn.Parameter(torch.zeros(n, *parts)) if learn_init else None

    @classmethod
    def hawkes(cls, base: Tensor, jump: Tensor, rate: Tensor) -> DiagSSM:
        """lambda_k(t) = base_k + sum over past events j of jump[k, m_j] exp(-rate[k, m_j] (t - t_j)), as a cell.

        Its input is the mark as a one-hot vector of K numbers; ``read`` gives the K intensities (the left limits, when
        the state was evolved up to an event that has not been fed in yet).

        Args:
            base: (K,) intensities without any event.
            jump: (K, K) rise of the intensity of mark k at an event of mark j.
            rate: (K, K), or (K,) for decays that depend on the exciting mark j alone (K states, not K^2), or ().

        Raises:
            InputError: shapes that do not fit, a rate that is not positive.
        """
        k = len(base)
        if jump.shape != (k, k) or rate.shape not in ((), (k,), (k, k)) or not bool((rate > 0).all()):
            raise InputError(
                f"DiagSSM.hawkes: base {tuple(base.shape)}, jump {tuple(jump.shape)}, rate {tuple(rate.shape)}; "
                "expected (K,), (K, K), and (), (K,) or (K, K), with rate > 0"
            )
        pairs = rate.dim() == 2
        cell = cls(k, k, num_states=k * k if pairs else k, real=True).to(base.dtype)
        eye = torch.eye(k, dtype=base.dtype)
        with torch.no_grad():
            cell.log_rate.copy_(rate.log().reshape(-1) if pairs else rate.log().expand(k))
            cell.weight_in.copy_(
                eye.repeat(k, 1) if pairs else eye
            )  # state (k, j), at k K + j, counts events of mark j
            cell.weight_out.copy_((eye[:, :, None] * jump[:, None]).reshape(k, -1) if pairs else jump)
            cell.bias.copy_(base)
        return cell

    def init(self, batch: int) -> DiagState:
        if self.start is not None:
            start = self.start if self.real else torch.view_as_complex(self.start)
            return DiagState(start.expand(batch, self.num_states))
        zero = self.log_rate.new_zeros(batch, self.num_states)
        return DiagState(zero if self.real else torch.complex(zero, zero))

    def evolve(self, state: DiagState, dt: Tensor) -> DiagState:
        return DiagState(self._decay(dt) * state.x)

    def update(self, state: DiagState, x: Tensor) -> DiagState:
        return DiagState(state.x + self._impulse(x))

    def read(self, state: DiagState) -> Tensor:
        if self.real:
            return functional.linear(state.x, self.weight_out, self.bias)
        conjugate = 2 * self.weight_out * self.weight_out.new_tensor([1, -1])  # 2 Re(C x) = 2 (Re C Re x - Im C Im x)
        return functional.linear(torch.view_as_real(state.x).flatten(-2), conjugate.flatten(1), self.bias)

    def lift(self, x: Tensor, dt: Tensor) -> Affine:
        return Affine(self._decay(dt), self._impulse(x))

    def compose(self, a: Affine, b: Affine) -> Affine:
        return Affine(b.gain * a.gain, b.gain * a.shift + b.shift)

    def apply(self, m: Affine, state: DiagState) -> DiagState:  # type: ignore[override]
        return DiagState(m.gain * state.x + m.shift)

    def scan_transitions(
        self, m: Affine, state: DiagState, start: DiagState, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> DiagState:
        """See :meth:`LinearCell.scan_transitions`: these transitions are what ``ops.scan`` runs."""
        gain, shift = m
        if mask is not None:
            gain, shift = torch.where(mask[..., None], gain, 1), torch.where(mask[..., None], shift, 0)
        return DiagState(scan(gain, shift, state.x, reset=reset, init=start.x))

    def _decay(self, dt: Tensor) -> Tensor:
        """exp(Lambda dt), (..., N); a phase that has overflowed belongs to a modulus of 0."""
        modulus = torch.exp(-self.log_rate.exp() * dt[..., None])
        if self.frequency is None:
            return modulus
        return torch.polar(modulus, torch.where(modulus > 0, self.frequency * dt[..., None], 0))

    def _impulse(self, x: Tensor) -> Tensor:
        """B u, (..., N)."""
        if self.real:
            return functional.linear(x, self.weight_in)
        return torch.view_as_complex(functional.linear(x, self.weight_in.flatten(0, 1)).unflatten(-1, (-1, 2)))
