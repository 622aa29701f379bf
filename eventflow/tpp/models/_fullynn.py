"""A fully neural point process (Omi, Ueda & Aihara, NeurIPS 2019, arXiv:1905.09690).

The network is the integral of the intensity since the last event, the cumulative hazard; the intensity is its
derivative, so that the likelihood needs no quadrature. Positive weights from time to output make it increase::

    Lambda_k(u) = softplus(a_k(u)) - softplus(a_k(0)) + r_k u,    lambda_k = d Lambda_k / du

a_k is a network with tanh units of u and of the history's state h, which enters the first layer and the last;
r_k = softplus(linear(h)).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError, did_you_mean
from eventflow.nn import LSTM
from eventflow.tpp._process import Rule
from eventflow.tpp._sample import _categorical, _exponential
from eventflow.tpp.models._history import HistoryProcess, HistoryState

#: The second feature of time is log(1 + SHARP u): gaps far below the mean are told apart.
SHARP = 64.0
HALVINGS = 80  # of the bracket, where a draw is inverted


class _Hazard(NamedTuple):
    """(..., K) softplus(a_k) at a time, and its derivative by that time."""

    value: Tensor
    slope: Tensor


class FullyNN(HistoryProcess):
    """A recurrent network, and a network of positive weights for the integrated intensity of each mark.

    Compensator and density are in closed form, and the intensity is a derivative written out by hand: no gradient is
    taken in ``forward``, so it works without autograd, and training differentiates it once more.

    Args:
        num_marks: K.
        hidden_size: H, of the recurrent network and of each layer of the hazard's.
        embedding_size: of a mark.
        layers: of tanh units in the hazard's network.
        compat: "easytpp": EasyTPP's network with its parameters one for one (no r_k, time as it is, zero state at
            the start), whose hazard is bounded; None is the process described above.
        time_scale: see :class:`PointProcess`.
    """

    closed_form = True

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, embedding_size: int = 32, layers: int = 3,
        compat: str | None = None, time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        if compat not in (None, "easytpp"):
            raise InputError(f"FullyNN(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        if layers < 1:
            raise InputError(f"FullyNN(layers={layers}): expected at least 1")
        super().__init__(
            num_marks, LSTM(embedding_size + 1, hidden_size), embedding_size=embedding_size, gap_features=1,
            bos=compat is None, time_scale=time_scale,
        )  # fmt: skip
        self.compat = compat
        self.history = nn.Linear(hidden_size, hidden_size)
        self.time = _positive(1 if compat else 2, hidden_size, largest=1.0 if compat else 2.0)
        self.rise = nn.ParameterList(_positive(hidden_size, hidden_size) for _ in range(layers - 1))
        self.shift = nn.Parameter(torch.empty(layers - 1, hidden_size).uniform_(-1, 1))
        self.out = _positive(hidden_size, num_marks)
        self.level = nn.Parameter(torch.zeros(num_marks))
        self.gate = None if compat else nn.Linear(hidden_size, num_marks, bias=False)
        self.rate = None if compat else nn.Linear(hidden_size, num_marks)
        if self.rate is not None:
            with torch.no_grad():  # tanh units that bend at times spread over several decades
                bends = math.log1p(8 * SHARP) * torch.rand(hidden_size)
                self.history.bias.copy_(-functional.softplus(self.time[1]) * bends)
            nn.init.constant_(self.rate.bias, math.log(math.expm1(0.5 / num_marks)))

    # -- the network ----------------------------------------------------------------------------------------------

    def features(self, mark: Tensor, gap: Tensor) -> Tensor:
        if self.compat is None:
            return super().features(mark, gap)
        return torch.cat([self.embedding(mark), gap[..., None]], -1)

    def _clock(self, age: Tensor) -> tuple[Tensor, Tensor]:
        """(..., F) features of time, and their derivatives."""
        one, age = torch.ones_like(age)[..., None], age[..., None]
        if self.compat is not None:
            return age, one
        return torch.cat([age, torch.log1p(SHARP * age)], -1), torch.cat([one, SHARP / (1 + SHARP * age)], -1)

    def _weights(self) -> list[Tensor]:
        """From time to output, all positive."""
        return [functional.softplus(raw) for raw in (self.time, *self.rise, self.out)]

    def _past(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(..., H) and (..., K): what the history adds to the first layer, and to the last."""
        return self.history(h), self.level if self.gate is None else self.level + self.gate(h)

    def _value(self, past: tuple[Tensor, Tensor], age: Tensor) -> Tensor:
        """(..., K) softplus(a_k)."""
        first, *rest = self._weights()
        z = torch.tanh(past[0] + self._clock(age)[0] @ first)
        for weight, shift in zip(rest[:-1], self.shift, strict=True):
            z = torch.tanh(z @ weight + shift)
        return functional.softplus(z @ rest[-1] + past[1], threshold=40.0)

    def _hazard(self, past: tuple[Tensor, Tensor], age: Tensor) -> _Hazard:
        """The same with its derivative by time, forward through the layers."""
        first, *rest = self._weights()
        clock, pace = self._clock(age)
        z = torch.tanh(past[0] + clock @ first)
        dz = (1 - z * z) * (pace @ first)
        for weight, shift in zip(rest[:-1], self.shift, strict=True):
            z, dz = torch.tanh(z @ weight + shift), dz @ weight
            dz = (1 - z * z) * dz
        a = z @ rest[-1] + past[1]
        return _Hazard(functional.softplus(a, threshold=40.0), torch.sigmoid(a) * (dz @ rest[-1]))

    def _rates(self, h: Tensor) -> Tensor | float:
        """(..., K) r_k."""
        return 0.0 if self.rate is None else functional.softplus(self.rate(h))

    # -- the process ----------------------------------------------------------------------------------------------

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        return self._hazard(self._past(h), state.elapsed + u).slope + self._rates(h)

    def _log_density(self, state: HistoryState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        """In closed form by any rule: EasyTPP, too, integrates nothing here (its compat leaves Lambda(0) in)."""
        h = self.cell.read(state.cell)
        past, rates = self._past(h), self._rates(h)
        there = self._hazard(past, state.elapsed + u)
        grown = (there.value + rates * u[..., None]).sum(-1)
        if self.compat is None or rule is None:
            grown = grown - self._value(past, state.elapsed).sum(-1)
        return (there.slope + rates).gather(-1, mark[..., None])[..., 0].log() - grown

    def _compensator(self, state: HistoryState, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        past = self._past(h)
        now = state.elapsed + torch.zeros_like(u)
        grown = self._value(past, now + u) - self._value(past, now)
        return (grown + self._rates(h) * u[..., None]).sum(-1)

    def _sample(self, state: HistoryState, until: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """By inversion: the hazard of the next gap is exponential with mean 1, and the hazard increases."""
        target = _exponential(torch.ones_like(until), generator)
        low, high = torch.zeros_like(until), until
        if self.rate is not None:  # the linear term alone gets there by then
            high = torch.minimum(until, target / self._slowest(state))
        comes = self._compensator(state, high) >= target * (1 - 1e-6)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            before = self._compensator(state, middle) < target
            low, high = torch.where(before, middle, low), torch.where(before, high, middle)
        comes = comes & (high < until)
        lam = self._intensity(state, high)
        return high.where(comes, torch.inf), _categorical(lam, generator).where(comes, -1)

    def _slowest(self, state: HistoryState) -> Tensor:
        """(...) sum of r_k: the total intensity never falls below it; per ``time_scale``."""
        return self._rates(self.cell.read(state.cell)).sum(-1)  # type: ignore[union-attr]


def _positive(rows: int, columns: int, *, largest: float | None = None) -> nn.Parameter:
    """Weights (rows, columns) whose softplus is uniform in (0, largest]; by default a column adds up to about 2."""
    draw = torch.rand(rows, columns).clamp_min(1e-3) * (4 / rows if largest is None else largest)
    return nn.Parameter(torch.log(torch.expm1(draw)))
