"""The attentive neural Hawkes process (Yang, Mei & Eisner, ICLR 2022, arXiv:2201.00044).

What is asked for a time t starts as an embedding h^0 and attends, layer by layer, to all earlier events::

    h^l(t) = h^(l-1)(t) + tanh(sum_j f_j v_j / (1 + sum_j f_j)),    f_j = exp(q . k_j / sqrt(d))

with q, k, v linear in (z(time), h^(l-1)); events were embedded in the same way, each when it came. The intensity is a
softplus of the last layer at t: it moves between events because its queries do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError, did_you_mean
from eventflow.nn import SoftplusIntensity
from eventflow.nn._window import masked_softmax
from eventflow.tpp.models._asked import QueuedProcess
from eventflow.tpp.models._attention import frequencies, sinusoids, spread

#: Attention weights held at once when states are asked: as many as stay in a core's cache.
CHUNK = 1 << 18
EVERY = slice(None)
#: What (layer, heads, query, key, value) of events attend to.
Attend = Callable[[int, slice, Tensor, Tensor, Tensor], Tensor]


class AttNHPState(NamedTuple):
    """The queue of the last S events, oldest first: ``keys``, ``values`` (..., S, layers, heads, d), ``there`` (..., S)
    which slots are filled; ``clock`` (...), float64: time of the last event since the start; ``elapsed`` (...)."""

    keys: Tensor
    values: Tensor
    there: Tensor
    clock: Tensor
    elapsed: Tensor


class AttNHP(QueuedProcess):
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
        time_size: numbers that encode a time, even: sines and cosines whose angular frequencies go geometrically from
            ``fastest`` to 10000^(2 / time_size - 1), per ``time_scale``.
        fastest: of them. Gaps far below 1 / fastest look alike.
        compat: "easytpp": EasyTPP's variant, its parameters one for one (see ``models/attnhp/card.md``).
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    easytpp_points = 10

    def __init__(
        self, num_marks: int, *, hidden_size: int = 16, layers: int = 2, heads: int = 2, window: int = 128,
        mark_queries: bool = False, time_size: int = 16, fastest: float = 2.0, compat: str | None = None,
        time_scale: float = 1.0, quadrature: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        if min(hidden_size, layers, heads, window) < 1:
            raise InputError(
                f"AttNHP(hidden_size={hidden_size}, layers={layers}, heads={heads}, window={window}): expected at "
                "least 1 of each"
            )
        if time_size < 2 or time_size % 2 or not fastest > 0:
            raise InputError(f"AttNHP(time_size={time_size}, fastest={fastest}): expected an even size, fastest > 0")
        if compat not in (None, "easytpp"):
            raise InputError(f"AttNHP(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        if compat and mark_queries:
            raise InputError("AttNHP(compat='easytpp', mark_queries=True): EasyTPP asks once for all marks")
        self.hidden_size, self.num_layers, self.heads, self.window = hidden_size, layers, heads, window
        self.time_size, self.fastest, self.compat = time_size, fastest, compat
        self.embedding = nn.Embedding(num_marks + (compat is None), hidden_size)
        start = torch.zeros(1, hidden_size)
        self.register_buffer("still", start if compat else None, persistent=False)
        self.token = None if mark_queries or compat else nn.Parameter(start)
        width = self.time_size + hidden_size
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(layers, heads, width, 3 * hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(layers, heads, 3 * hidden_size).uniform_(-bound, bound))
        self.head = SoftplusIntensity(heads * hidden_size, num_marks)

    # -- layers ---------------------------------------------------------------------------------------------------

    @property
    def query(self) -> Tensor | None:
        """(1, d) what asking begins with; None where it begins with each mark's embedding."""
        return self.token if self.compat is None else self.still  # type: ignore[return-value]

    def _encoding(self, time: Tensor) -> Tensor:
        """(...) float64 -> (..., time_size): sines and cosines, in turn."""
        known = frequencies(self.time_size) if self.compat else spread(self.time_size, self.fastest)
        return sinusoids(time, known, self.dtype)

    def _project(self, layer: int, heads: slice, h: Tensor, z: Tensor) -> Tensor:
        """(..., heads, R, 3 d) queries, keys and values of h (..., heads, R, d)."""
        weight, bias = self.weight[layer, heads], self.bias[layer, heads, None]
        return z.unsqueeze(-3) @ weight[:, : self.time_size] + h @ weight[:, self.time_size :] + bias

    def _events(self, mark: Tensor, z: Tensor, attend: Attend) -> tuple[Tensor, Tensor]:
        """(B, R, layers, heads, d) keys and values of events (B, R), embedded layer by layer.

        EasyTPP's: what was attended to goes up as it is, and what the top of one head leaves is the next one's bottom.
        """
        h = self.embedding(mark)[:, None]
        towers = [slice(i, i + 1) for i in range(self.heads)] if self.compat else [EVERY]
        h = torch.tanh(h) if self.compat else h.expand(-1, self.heads, -1, -1)
        parts = []
        for heads in towers:
            layers = []
            for layer in range(self.num_layers):
                query, key, value = self._project(layer, heads, h, z).chunk(3, -1)
                layers.append(torch.cat([key, value], -1))
                if self.compat:
                    h = attend(layer, heads, query, key, value)
                elif layer + 1 < self.num_layers:
                    h = h + torch.tanh(attend(layer, heads, query, key, value))
            parts.append(torch.stack(layers, 1))
        key, value = torch.cat(parts, 2).movedim(-2, 1).chunk(2, -1)
        return key, value

    def _row(self, mark: Tensor, gap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, S, layers, heads, d) keys and values of the start and all events, S = 1 + T; (B, S) their times."""
        start = mark.new_full((len(mark), 1), 0 if self.compat else self.num_marks)
        clock = torch.cat([gap.new_zeros(len(mark), 1), gap], 1).double().cumsum(1)
        place = torch.arange(clock.shape[1], device=clock.device)
        seen = self._seen(place[:, None] - int(self.compat is None), place)

        def attend(layer: int, heads: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return _softmax(query, key, value, seen) if self.compat else _fused(query, key, value, seen)

        return *self._events(torch.cat([start, mark], 1), self._encoding(clock), attend), clock

    def _seen(self, last: Tensor, place: Tensor) -> Tensor:
        """Which places are attended to by what comes after ``last``; EasyTPP has no event at the start, place 0."""
        seen = self._within(last, place)
        return seen & (place > 0) if self.compat else seen

    def _asking(self, layer: int, h: Tensor, z: Tensor, past: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """h one layer up, of queries (..., heads, R, d) at times encoded in z (..., R, time_size).

        past: keys and values (..., heads, S, d), and which of them are seen. In EasyTPP a query attends to itself too.
        """
        query, key, value = self._project(layer, EVERY, h, z).chunk(3, -1)
        if self.compat:
            return h + torch.tanh(_attended(query, *past, (key, value)))
        if past[2].dim() == 2:
            return h + torch.tanh(_fused(query, *past))
        return h + torch.tanh(_attended(query, *past))

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
        return state if self.compat else self._update(state, torch.full((batch,), self.num_marks, device=zero.device))

    def _evolve(self, state: AttNHPState, u: Tensor) -> AttNHPState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: AttNHPState, mark: Tensor) -> AttNHPState:
        clock = state.clock + state.elapsed
        drop = max(state.there.shape[1] + 1 - self.window, 0)
        there = torch.cat([state.there, torch.ones_like(mark[:, None]) > 0], 1)[:, drop:]

        def attend(layer: int, heads: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = _layer(state, layer)
            if not self.compat:
                return _attended(query, keys, values, state.there[:, None, None])
            keys, values = torch.cat([keys[:, heads], key], 2), torch.cat([values[:, heads], value], 2)
            return _softmax(query, keys[:, :, drop:], values[:, :, drop:], there[:, None, None])

        key, value = self._events(mark[:, None], self._encoding(clock)[:, None], attend)
        keys, values = (torch.cat(pair, 1)[:, drop:] for pair in ((state.keys, key), (state.values, value)))
        return AttNHPState(keys, values, there, clock, torch.zeros_like(state.elapsed))

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
        if self.compat:
            for layer in range(self.num_layers):
                h = self._asking(layer, h, z, (*_layer(queue, layer), queue.there[:, None, None]))
            return self._lambda(h)
        h, seen = h.transpose(0, 1), functional.pad(queue.there, (0, 1), value=True)[:, None]
        bias = torch.zeros_like(seen, dtype=h.dtype).masked_fill(~seen, torch.finfo(h.dtype).min)
        bias = bias.expand(self.heads, -1, -1, -1).flatten(0, 1)
        for layer in range(self.num_layers):
            h = self._looking_back(layer, h, z, queue, bias)
        return self._lambda(h.transpose(0, 1))

    def _looking_back(self, layer: int, h: Tensor, z: Tensor, queue: AttNHPState, bias: Tensor) -> Tensor:
        """As :meth:`_asking` of (heads, N, R, d), each of N rows to its own queue; ``bias`` (heads N, 1, S + 1) is the
        least float where a slot is empty, and the last slot is a key of zeros, the 1."""
        size, shape = self.hidden_size, h.shape
        weight, start = self.weight[layer, :, :, :size], self.bias[layer, :, None, :size]
        query = torch.baddbmm(start, z.flatten(0, 1).expand(self.heads, -1, -1), weight[:, : self.time_size])
        query = torch.baddbmm(query, h.flatten(1, 2), weight[:, self.time_size :]).view(-1, shape[2], size)
        key, value = (
            functional.pad(x[:, :, layer].permute(2, 0, 1, 3), (0, 0, 0, 1)).flatten(0, 1)
            for x in (queue.keys, queue.values)
        )
        logits = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=1 / math.sqrt(size))
        return h + torch.bmm(logits.softmax(-1), value).view(shape).tanh()

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _queues(self, row: tuple[Tensor, Tensor, Tensor], last: Tensor, slots: int) -> AttNHPState:
        """States (B, M, ...) whose last event is at the places ``last`` (B, M) of the row."""
        keys, values, clock = row
        index = last[..., None] + torch.arange(1 - slots, 1, device=last.device)
        line, there = torch.arange(len(last), device=last.device)[:, None, None], self._seen(last[..., None], index)
        index = torch.where(there & (index >= 0), index, keys.shape[1])  # a place of zeros
        there = index < keys.shape[1]
        held = (torch.cat([x, torch.zeros_like(x[:, :1])], 1)[line, index] for x in (keys, values))
        clock = clock.gather(1, last)
        return AttNHPState._make([*held, there, clock, torch.zeros_like(clock, dtype=keys.dtype)])

    def _ahead(self, mark: Tensor, gap: Tensor, ahead: Tensor) -> Tensor:
        keys, values, clock = self._row(mark, gap)
        z = self._encoding((clock[..., None] + ahead).flatten(1))
        h = self._tokens(z.shape[1]).expand(len(z), self.heads, -1, -1)
        place = torch.arange(clock.shape[1], device=clock.device)
        seen = self._seen(place[:, None], place).repeat_interleave(h.shape[2] // len(place), 0)
        z = z.repeat_interleave(h.shape[2] // z.shape[1], 1)
        for layer in range(self.num_layers):
            key, value = (x[:, :, layer].transpose(1, 2) for x in (keys, values))
            h = self._asking(layer, h, z, (key, value, seen))
        return self._lambda(h).unflatten(1, (len(place), -1))


def _layer(state: AttNHPState, layer: int) -> tuple[Tensor, Tensor]:
    """(N, heads, S, d) keys and values of one layer."""
    return state.keys[:, :, layer].transpose(1, 2), state.values[:, :, layer].transpose(1, 2)


def _attended(
    query: Tensor, key: Tensor, value: Tensor, there: Tensor, own: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """sum_j f_j v_j / (1 + sum_j f_j) of (N, heads, R, d) queries to slots that are ``there`` (broadcasts to N, heads,
    R, S); with the queries' ``own`` keys and values, these stand in the place of the 1."""
    scale = 1 / math.sqrt(query.shape[-1])
    logits = ((query * scale) @ key.transpose(-1, -2)).masked_fill(~there, torch.finfo(query.dtype).min)
    itself = torch.zeros_like(query[..., :1]) if own is None else (query * scale * own[0]).sum(-1, keepdim=True)
    weights = torch.cat([logits, itself], -1).softmax(-1)
    sums = weights[..., :-1] @ value
    return sums if own is None else sums + weights[..., -1:] * own[1]


def _softmax(query: Tensor, key: Tensor, value: Tensor, there: Tensor) -> Tensor:
    """Plain attention to what is ``there``; zeros where nothing is."""
    logits = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    return masked_softmax(logits, there.expand_as(logits)) @ value


def _fused(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """The same for the queries and events of whole sequences, ``seen`` (R, S): a key of zeros is the 1."""
    key, value = (functional.pad(x, (0, 0, 0, 1)) for x in (key, value))
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=functional.pad(seen, (0, 1), value=True)
    )
