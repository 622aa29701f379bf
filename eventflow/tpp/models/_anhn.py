"""The attentive neural Hawkes network: the temporal model of the graph regularised point process, without its graph
(Xue et al., IJCNN 2021, arXiv:2211.11758), as EasyTPP lays it out.

An LSTM reads the marks; attention says how much each earlier event j excites since event i, in every channel, and each
pair of events has decay rates of its own::

    x(t) = mu_i + sum_{j <= i} a_ij h_j exp(-delta_ij (t - t_j)),    lambda_k(t) = f_k(w_k . x(t) + b_k)
    mu_i = sigmoid(W h_i + b),    delta_ij = softplus(D [h_j, h_i] + d),    a_ij = the heads' softmax_j(q_i . k_j / c)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn import LSTM, LSTMState, SoftplusIntensity
from eventflow.nn._window import check_heads, masked_softmax
from eventflow.ops.pair_decay import Pairs, pair_decay
from eventflow.tpp.models._asked import QueuedProcess


class ANHNState(NamedTuple):
    """The queue of the last S events, oldest first: ``past`` (..., S, 3 H), their h_j, keys and parts of the rates;
    ``weight`` (..., S) that the last event gives them; ``age`` (..., S) when it came, inf where a slot is empty;
    ``cell``: the LSTM's; ``elapsed`` (...)."""

    past: Tensor
    weight: Tensor
    age: Tensor
    cell: LSTMState
    elapsed: Tensor


class ANHN(QueuedProcess):
    """An LSTM, and a sum over past events that fade at rates of their own.

    Args:
        num_marks: K.
        hidden_size: H, a multiple of ``heads``.
        heads: of the attention.
        window: events the attention sees; live memory and time of an event are O(window).
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, heads: int = 2, window: int = 128, time_scale: float = 1.0,
        quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        check_heads("ANHN", hidden_size, heads)
        if window < 1:
            raise InputError(f"ANHN(window={window}): expected at least 1 event")
        self.hidden_size, self.heads, self.window = hidden_size, heads, window
        self.embedding = nn.Embedding(num_marks + 1, hidden_size)
        self.cell = LSTM(hidden_size, hidden_size)
        self.base = nn.Linear(hidden_size, hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.rate_past = nn.Linear(hidden_size, hidden_size, bias=False)
        self.rate_now = nn.Linear(hidden_size, hidden_size)
        self.head = SoftplusIntensity(hidden_size, num_marks)

    # -- what events leave behind ---------------------------------------------------------------------------------

    def _kept(self, h: Tensor) -> Tensor:
        """(..., 3 H) of an event: h, its key, its part of the rates."""
        return torch.cat([h, self.key(h), self.rate_past(h)], -1)

    def _weights(self, h: Tensor, keys: Tensor, there: Tensor) -> Tensor:
        """(..., I, J) attention of events h (..., I, H) to keys (..., J, H), summed over heads."""
        query, key = (x.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for x in (self.query(h), keys))
        logits = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
        return masked_softmax(logits, there.unsqueeze(-3)).sum(-3)

    def _sum(self, pairs: Pairs, ahead: Tensor, past: Tensor, h: Tensor) -> Tensor:
        """(B, I, R, H) x at times ahead of events h (B, I, H)."""
        size = self.hidden_size
        decayed = pair_decay(pairs, ahead, past[..., :size], past[..., 2 * size :], self.rate_now(h))
        return torch.sigmoid(self.base(h))[:, :, None] + decayed

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> ANHNState:
        zero = self.query.weight.new_zeros(batch, self.window, 3 * self.hidden_size)
        age = zero.new_full((batch, self.window), torch.inf)
        state = ANHNState(zero, torch.zeros_like(age), age, self.cell.init(batch), zero.new_zeros(batch))
        return self._update(state, torch.full((batch,), self.num_marks, device=zero.device))

    def _evolve(self, state: ANHNState, u: Tensor) -> ANHNState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: ANHNState, mark: Tensor) -> ANHNState:
        cell = self.cell.update(state.cell, self.embedding(mark))
        drop = max(state.age.shape[1] + 1 - self.window, 0)
        past = torch.cat([state.past, self._kept(cell.h)[:, None]], 1)[:, drop:]
        age = torch.cat([state.age + state.elapsed[:, None], torch.zeros_like(state.age[:, :1])], 1)[:, drop:]
        there = age.isfinite()[:, None]
        size = self.hidden_size
        weight = self._weights(cell.h[:, None], past[..., size : 2 * size], there)[:, 0]
        return ANHNState(past, weight, age, cell, torch.zeros_like(state.elapsed))

    def _flat(self, state: ANHNState, u: Tensor) -> tuple[Pairs, Tensor, Tensor, Tensor]:
        """(N, 1, ...) what :meth:`_sum` takes, for the times u ahead of all states."""
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        one = state.elapsed.shape[-1:] == (1,)  # one state, many times: a query axis
        rows, lead = (*shape[:-1], 1) if one else shape, state.elapsed.dim()
        leaves = (state.past, state.weight, state.age, state.cell.h)
        past, weight, age, h = (x.expand(*rows, *x.shape[lead:]).reshape(-1, *x.shape[lead:]) for x in leaves)
        ahead = (state.elapsed + u).expand(shape).reshape(math.prod(rows), 1, -1)
        there = age.isfinite()
        return Pairs(weight[:, None], there[:, None], torch.where(there, age, 0)[:, None]), ahead, past, h[:, None]

    def _intensity(self, state: ANHNState, u: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        return self.head(self._sum(*self._flat(state, u))).reshape(*shape, self.num_marks)

    def _bound(self, state: ANHNState, now: Tensor) -> tuple[Tensor, Tensor]:
        """Every term fades: the rising ones, and the falling ones, bound what they will ever be by what they are."""
        pairs, ahead, past, h = self._flat(state, now)
        size = self.hidden_size
        base = torch.sigmoid(self.base(h))[:, :, None]
        parts = []
        for values in (past[..., :size].clamp_min(0), past[..., :size].clamp_max(0)):
            parts.append(pair_decay(pairs, ahead, values, past[..., 2 * size :], self.rate_now(h)))
        up, down = self.head.weight.clamp_min(0), self.head.weight.clamp_max(0)
        most = nn.functional.linear(base, self.head.weight, self.head.bias)
        most = most + parts[0] @ up.t() + parts[1] @ down.t()
        return self.head.activate(most).sum(-1).reshape(now.shape), torch.full_like(now, torch.inf)

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _row(self, mark: Tensor, gap: Tensor) -> tuple[LSTMState, Tensor, Tensor]:
        """The start and all events, S = 1 + T: LSTM's states (B, S, H), what they leave (B, S, 3 H), times (B, S)."""
        mark = torch.cat([mark.new_full((len(mark), 1), self.num_marks), mark], 1)
        clock = torch.cat([gap.new_zeros(len(gap), 1), gap], 1).double().cumsum(1)
        table = self.cell.project(self.embedding.weight)
        cells, _ = self.cell.scan_projected(table[mark], torch.zeros_like(clock, dtype=gap.dtype))
        return cells, self._kept(cells.h), clock

    def _ahead(self, mark: Tensor, gap: Tensor, ahead: Tensor) -> Tensor:
        cells, past, clock = self._row(mark, gap)
        place = torch.arange(clock.shape[1], device=clock.device)
        seen = self._within(place[:, None], place).expand(len(mark), -1, -1)
        size = self.hidden_size
        weight = self._weights(cells.h, past[..., size : 2 * size], seen)
        age = (clock[:, :, None] - clock[:, None]).to(past.dtype)
        return self.head(self._sum(Pairs(weight, seen, age), ahead, past, cells.h))

    def _queues(self, row: tuple[LSTMState, Tensor, Tensor], last: Tensor, slots: int) -> ANHNState:
        """States (B, M, ...) whose last event is at the places ``last`` (B, M) of the row."""
        cells, past, clock = row
        index = last[..., None] + torch.arange(1 - slots, 1, device=last.device)
        line, there = torch.arange(len(last), device=last.device)[:, None, None], index >= 0
        held = torch.where(there[..., None], past[line, index.clamp_min(0)], 0)
        since = clock.gather(1, last)[..., None] - clock[line, index.clamp_min(0)]
        age = torch.where(there, since, torch.inf).to(past.dtype)
        h, c = (x[line[..., 0], last] for x in cells)
        size = self.hidden_size
        weight = self._weights(h[..., None, :], held[..., size : 2 * size], there[..., None, :])[..., 0, :]
        return ANHNState(held, weight, age, LSTMState(h, c), torch.zeros_like(last, dtype=past.dtype))
