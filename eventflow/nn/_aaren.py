"""Attention as a recurrent network: a learned, constant query, and a state of constant size."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.nn._linear import LinearCell
from eventflow.nn._window import check_heads, initial_log_rates


class AarenState(NamedTuple):
    """A softmax in progress: ``top`` (..., heads), the largest logit; ``mass`` (..., heads) and ``total``
    (..., heads, d), the sums of exp(logit - top) and of exp(logit - top) value. Empty: -inf, 0, 0."""

    top: Tensor
    mass: Tensor
    total: Tensor


class Ageing(NamedTuple):
    """The transition "all logits fall by ``fall`` (..., heads), then the events in ``state`` join"."""

    fall: Tensor
    state: AarenState


class Aaren(LinearCell[AarenState]):
    """y(t) = sum_j w_j v_j / sum_j w_j over all past events, w_j = exp(q . k_j / sqrt(d) - r (t - t_j)).

    Feng et al. 2024 (arXiv:2405.13956), sec. 3: the query q is a parameter, so that softmax attention over the whole
    past is a fold of (top, mass, total) with an associative merge, computed in parallel when training. The decay in
    time is ours: between events all logits fall alike, which keeps the merge exact; ``decay=False`` is the paper's.
    Events at the same time may come in any order. Memory: ``hidden_size + 2 heads`` numbers, whatever was seen.

    Args:
        input_size: D features of an event.
        hidden_size: H, a multiple of ``heads``.
        heads: with a query, a decay and H / heads coordinates each.
        decay: let logits fall with age, by a learned rate a head.

    Raises:
        InputError: heads that do not divide H.
    """

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 1, decay: bool = True) -> None:
        super().__init__()
        check_heads("Aaren", hidden_size, heads)
        self.input_size, self.hidden_size, self.heads = input_size, hidden_size, heads
        self.projection = nn.Linear(input_size, 2 * hidden_size)
        self.query = nn.Parameter(torch.randn(heads, hidden_size // heads))
        self.log_rate = nn.Parameter(initial_log_rates(heads)) if decay else None

    def init(self, batch: int) -> AarenState:
        zero = self.query.new_zeros(batch, *self.query.shape)
        return AarenState(zero[..., 0] - torch.inf, zero[..., 0], zero)

    def evolve(self, state: AarenState, dt: Tensor) -> AarenState:
        return state if self.log_rate is None else _aged(state, self._fall(dt))

    def update(self, state: AarenState, x: Tensor) -> AarenState:
        return _merged(state, self._event(x))

    def read(self, state: AarenState) -> Tensor:
        mass = torch.where(state.mass > 0, state.mass, 1)
        return (state.total / mass[..., None]).flatten(-2)

    def lift(self, x: Tensor, dt: Tensor) -> Ageing:
        return Ageing(self._fall(dt), self._event(x))

    def compose(self, a: Ageing, b: Ageing) -> Ageing:
        return Ageing(a.fall + b.fall, _merged(_aged(a.state, b.fall), b.state))

    def apply(self, m: Ageing, state: AarenState) -> AarenState:  # type: ignore[override]
        return _merged(_aged(state, m.fall), m.state)

    def _fall(self, dt: Tensor) -> Tensor:
        if self.log_rate is None:
            return dt.new_zeros(()).expand(*dt.shape, self.heads)
        return self.log_rate.exp() * dt[..., None]

    def _event(self, x: Tensor) -> AarenState:
        key, value = (part.unflatten(-1, (self.heads, -1)) for part in self.projection(x).chunk(2, -1))
        logit = (key * self.query).sum(-1) / math.sqrt(self.query.shape[-1])
        return AarenState(logit, torch.ones_like(logit), value)


def _aged(state: AarenState, fall: Tensor) -> AarenState:
    return state._replace(top=state.top - fall)


def _merged(a: AarenState, b: AarenState) -> AarenState:
    """Of two sets of events; ``b`` has at least one (two empty ones would have no largest logit)."""
    top = torch.maximum(a.top, b.top)
    p, q = torch.exp(a.top - top), torch.exp(b.top - top)
    return AarenState(top, p * a.mass + q * b.mass, p[..., None] * a.total + q[..., None] * b.total)
