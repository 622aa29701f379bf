"""The attentive neural Hawkes process (Yang, Mei & Eisner, ICLR 2022, arXiv:2201.00044).

What is asked for a time t starts as an embedding h^0 and attends, layer by layer, to all earlier events::

    h^l(t) = h^(l-1)(t) + tanh(sum_j f_j v_j / (1 + sum_j f_j)),    f_j = exp(q . k_j / sqrt(d))

with q, k, v linear in (z(time), h^(l-1)); events were embedded in the same way, each when it came. The intensity is a
softplus of the last layer at t: it moves between events because its queries do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError
from eventflow.events import PaddedBatch
from eventflow.nn import SoftplusIntensity
from eventflow.ops.quadrature import gauss_legendre_graded, linspace_mean
from eventflow.tpp._process import PointProcess, Rule
from eventflow.tpp.models._attention import phases

#: Attention weights held at once when states are asked.
CHUNK = 1 << 24


class AttNHPState(NamedTuple):
    """The queue of the last S events, oldest first: ``keys``, ``values`` (..., S, layers, heads, d), ``there`` (..., S)
    which slots are filled; ``clock`` (...), float64: time of the last event since the start; ``elapsed`` (...)."""

    keys: Tensor
    values: Tensor
    there: Tensor
    clock: Tensor
    elapsed: Tensor


class AttNHP(PointProcess):
    """Attention at the time that is asked for.

    Times are counted from the span's start, in units of ``time_scale``, where a beginning-of-sequence event stands.

    Args:
        num_marks: K.
        hidden_size: d, of each head.
        layers: of attention.
        heads: independent towers of layers, whose last layers are read side by side.
        window: events each layer attends to; live memory and time of an event are O(window).
        mark_queries: ask once for each mark, beginning with its embedding, as in the paper (K times the work); False
            asks once for all marks, as its authors' faster code and EasyTPP.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    easytpp_points = 10
    #: Numbers that encode a time, EasyTPP's.
    time_size = 4

    def __init__(
        self, num_marks: int, *, hidden_size: int = 16, layers: int = 2, heads: int = 2, window: int = 128,
        mark_queries: bool = False, time_scale: float = 1.0, quadrature: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        if min(hidden_size, layers, heads, window) < 1:
            raise InputError(
                f"AttNHP(hidden_size={hidden_size}, layers={layers}, heads={heads}, window={window}): expected at "
                "least 1 of each"
            )
        self.hidden_size, self.num_layers, self.heads, self.window = hidden_size, layers, heads, window
        self.embedding = nn.Embedding(num_marks + 1, hidden_size)
        self.query = None if mark_queries else nn.Parameter(torch.zeros(1, hidden_size))
        width = self.time_size + hidden_size
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(layers, heads, width, 3 * hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(layers, heads, 3 * hidden_size).uniform_(-bound, bound))
        self.head = SoftplusIntensity(heads * hidden_size, num_marks)

    # -- layers ---------------------------------------------------------------------------------------------------

    def _encoding(self, time: Tensor) -> Tensor:
        """(...) float64 -> (..., time_size): sines and cosines, in turn."""
        angle = phases(time, self.time_size, self.dtype)
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)

    def _project(self, layer: int, part: slice, h: Tensor, z: Tensor) -> Tensor:
        """(..., heads, R, n) queries (part 0:d), or keys and values (d:3d), of h (..., heads, R, d)."""
        weight, bias = self.weight[layer, :, :, part], self.bias[layer, :, None, part]
        return z.unsqueeze(-3) @ weight[:, : self.time_size] + h @ weight[:, self.time_size :] + bias

    def _past(self, mark: Tensor, gap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, S, layers, heads, d) keys and values of the start and all events, S = 1 + T; (B, S) their times."""
        size, first = self.hidden_size, mark.new_full((len(mark), 1), self.num_marks)
        clock = torch.cat([gap.new_zeros(len(mark), 1), gap], 1).double().cumsum(1)
        z = self._encoding(clock)
        h = self.embedding(torch.cat([first, mark], 1))[:, None].expand(-1, self.heads, -1, -1)
        place = torch.arange(h.shape[2], device=h.device)
        seen = self._within(place[:, None] - 1, place)
        keys, values = [], []
        for layer in range(self.num_layers):
            key, value = self._project(layer, slice(size, None), h, z).chunk(2, -1)
            keys.append(key)
            values.append(value)
            if layer + 1 < self.num_layers:
                query = self._project(layer, slice(size), h, z)
                h = h + torch.tanh(_fused(query, key, value, seen))
        return torch.stack(keys, 1).movedim(-2, 1), torch.stack(values, 1).movedim(-2, 1), clock

    def _within(self, last: Tensor, place: Tensor) -> Tensor:
        """Which places belong to the window that ends with ``last``."""
        return (place <= last) & (place > last - self.window)

    def _tokens(self, times: int) -> Tensor:
        """(times J, d): what asking begins with; J = K for a query a mark, else 1."""
        token = self.embedding.weight[: self.num_marks] if self.query is None else self.query
        return token.expand(times, *token.shape).reshape(-1, self.hidden_size)

    def _lambda(self, h: Tensor) -> Tensor:
        """(N, heads, R J, d) -> (N, R, K)."""
        h = h.transpose(1, 2).flatten(2)
        if self.query is not None:
            return self.head(h)
        h = h.unflatten(1, (-1, self.num_marks))
        return self.head.activate((h * self.head.weight).sum(-1) + self.head.bias)

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> AttNHPState:
        zero = self.weight.new_zeros(batch, self.window, self.num_layers, self.heads, self.hidden_size)
        there = torch.zeros(batch, self.window, dtype=torch.bool, device=zero.device)
        clock = zero.new_zeros(batch, dtype=torch.float64)
        state = AttNHPState(zero, zero, there, clock, zero.new_zeros(batch))
        return self._update(state, torch.full((batch,), self.num_marks, device=zero.device))

    def _evolve(self, state: AttNHPState, u: Tensor) -> AttNHPState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: AttNHPState, mark: Tensor) -> AttNHPState:
        size, clock = self.hidden_size, state.clock + state.elapsed
        z = self._encoding(clock)[:, None]
        h = self.embedding(mark)[:, None, None].expand(-1, self.heads, -1, -1)
        fresh = []
        for layer in range(self.num_layers):
            fresh.append(self._project(layer, slice(size, None), h, z)[:, :, 0])
            if layer + 1 < self.num_layers:
                query = self._project(layer, slice(size), h, z)
                h = h + torch.tanh(_attended(query, *_layer(state, layer), state.there))
        key, value = torch.stack(fresh, 1)[:, None].chunk(2, -1)
        drop = max(state.there.shape[1] + 1 - self.window, 0)
        joined = (
            torch.cat([old, new], 1)[:, drop:]
            for old, new in (
                (state.keys, key),
                (state.values, value),
                (state.there, torch.ones_like(mark[:, None]) > 0),
            )
        )
        return AttNHPState._make([*joined, clock, torch.zeros_like(state.elapsed)])

    def _intensity(self, state: AttNHPState, u: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        rows = (*shape[:-1], 1) if state.elapsed.shape[-1:] == (1,) else shape  # one state, many times: a query axis
        count, lead = math.prod(rows), state.elapsed.dim()
        times = (state.clock + (state.elapsed + u)).expand(shape).reshape(count, -1)
        leaves = [x.expand(*rows, *x.shape[lead:]).reshape(count, *x.shape[lead:]) for x in state[:3]]
        queue = AttNHPState._make([*leaves, times, times])
        tokens = 1 if self.query is not None else self.num_marks
        size = max(1, CHUNK // (self.heads * tokens * max(times.shape[1], 1) * state.there.shape[-1]))
        parts = [self._asked(AttNHPState._make(x[i : i + size] for x in queue)) for i in range(0, max(count, 1), size)]
        return torch.cat(parts).reshape(*shape, self.num_marks)

    def _asked(self, queue: AttNHPState) -> Tensor:
        """(N, R, K) intensities of N queues at times ``clock`` (N, R)."""
        z = self._encoding(queue.clock)
        h = self._tokens(z.shape[1]).expand(len(z), self.heads, -1, -1)
        z = z.repeat_interleave(h.shape[2] // max(z.shape[1], 1), 1) if z.shape[1] else z
        for layer in range(self.num_layers):
            query = self._project(layer, slice(self.hidden_size), h, z)
            h = h + torch.tanh(_attended(query, *_layer(queue, layer), queue.there))
        return self._lambda(h)

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> AttNHPState:
        past = self._past(mark, torch.where(mask, u, 0))
        return self._queues(past, mask.long().cumsum(1), self.window)

    def left_states(self, batch: PaddedBatch) -> tuple[AttNHPState, AttNHPState]:
        """As :meth:`PointProcess.left_states`; the queues have no more slots than there are events to fill them."""
        self._check_marks(batch)
        past = self._past(batch.mark, torch.where(batch.mask, self._gaps(batch.dt), 0))
        slots, lengths = min(self.window, past[2].shape[1]), batch.lengths[:, None]
        place = torch.arange(batch.mask.shape[1], device=lengths.device)
        left, last = (self._queues(past, c, slots) for c in (torch.minimum(place, lengths), lengths))
        return left, AttNHPState._make(leaf[:, 0] for leaf in last)

    def _queues(self, past: tuple[Tensor, Tensor, Tensor], last: Tensor, slots: int) -> AttNHPState:
        """States (B, M, ...) whose last event is at the places ``last`` (B, M) of the past."""
        keys, values, clock = past
        index = last[..., None] + torch.arange(1 - slots, 1, device=last.device)
        row, there = torch.arange(len(last), device=last.device)[:, None, None], index >= 0
        held = (torch.where(there[..., None, None, None], x[row, index.clamp_min(0)], 0) for x in (keys, values))
        clock = clock.gather(1, last)
        return AttNHPState._make([*held, there, clock, torch.zeros_like(clock, dtype=keys.dtype)])

    def _parts(self, batch: PaddedBatch, rule: Rule) -> tuple[Tensor, Tensor]:
        """(B, T) log-intensities of the events at their times, and (B, T + 1) integrals over the gaps before them, with
        the last silence behind each last event: all from one attention of all queries to all events."""
        self._check_marks(batch)
        gap = torch.where(batch.mask, self._gaps(batch.dt), 0)
        keys, values, clock = self._past(batch.mark, gap)
        rows, length = torch.arange(len(batch), device=gap.device), gap.shape[1]
        u = torch.cat([gap, gap.new_zeros(len(batch), 1)], 1)
        u = u.index_put((rows, batch.lengths), self._gaps(batch.tail))
        nodes, weights = (torch.tensor(x, dtype=u.dtype, device=u.device) for x in rule)
        ahead = u[..., None] * torch.cat([nodes, nodes.new_ones(1)])
        z = self._encoding((clock[..., None] + ahead).flatten(1))
        h = self._tokens(z.shape[1]).expand(len(z), self.heads, -1, -1)
        place = torch.arange(length + 1, device=u.device)
        seen = self._within(place[:, None], place).repeat_interleave(h.shape[2] // (length + 1), 0)
        z = z.repeat_interleave(h.shape[2] // z.shape[1], 1)
        for layer in range(self.num_layers):
            query = self._project(layer, slice(self.hidden_size), h, z)
            key, value = (x[:, :, layer].transpose(1, 2) for x in (keys, values))
            h = h + torch.tanh(_fused(query, key, value, seen))
        lam = self._lambda(h).unflatten(1, (length + 1, -1))
        here = lam[:, :length, -1].gather(-1, batch.mark[..., None])[..., 0].log()
        return here, u * (lam[:, :, :-1].sum(-1) @ weights)

    def _terms(self, batch: PaddedBatch, scored: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """(B, T) log-densities of the scored events, 0 elsewhere; (B,) integral over the last silence."""
        here, silence = self._parts(batch, rule)
        terms = torch.where(scored, here - silence[:, :-1] - math.log(self.time_scale), 0)
        return terms, silence.gather(1, batch.lengths[:, None])[:, 0]

    def _exact_log_prob(self, batch: PaddedBatch) -> Tensor:
        terms, tail = self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))
        return terms.sum(1) - tail

    def _easytpp_log_prob(self, batch: PaddedBatch) -> Tensor:
        scored = batch.mask & (torch.arange(batch.mask.shape[1], device=batch.mask.device) > 0)
        return self._terms(batch, scored, linspace_mean(self.easytpp_points))[0].sum(1)

    def event_log_prob(self, batch: PaddedBatch) -> Tensor:
        """See :meth:`PointProcess.event_log_prob`."""
        return self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))[0]

    def tail_log_prob(self, batch: PaddedBatch) -> Tensor:
        """See :meth:`PointProcess.tail_log_prob`."""
        return -self._terms(batch, batch.scored, gauss_legendre_graded(self.quadrature))[1]


def _layer(state: AttNHPState, layer: int) -> tuple[Tensor, Tensor]:
    """(N, heads, S, d) keys and values of one layer."""
    return state.keys[:, :, layer].transpose(1, 2), state.values[:, :, layer].transpose(1, 2)


def _attended(query: Tensor, key: Tensor, value: Tensor, there: Tensor) -> Tensor:
    """sum_j f_j v_j / (1 + sum_j f_j) of (N, heads, R, d) queries to slots that are ``there`` (N, S)."""
    logits = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    logits = logits.masked_fill(~there[:, None, None], torch.finfo(logits.dtype).min)
    weights = torch.cat([logits, torch.zeros_like(logits[..., :1])], -1).softmax(-1)[..., :-1]
    return weights @ value


def _fused(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """The same for the queries and events of whole sequences, ``seen`` (R, S): a key of zeros is the 1."""
    key, value = (functional.pad(x, (0, 0, 0, 1)) for x in (key, value))
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=functional.pad(seen, (0, 1), value=True)
    )
