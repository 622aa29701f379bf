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

from eventflow.errors import InputError, did_you_mean
from eventflow.events import PaddedBatch
from eventflow.nn import SoftplusIntensity, map_state
from eventflow.nn._cell import Shared
from eventflow.nn._window import masked_softmax
from eventflow.ops.attention import Seen, attention
from eventflow.tpp._query import by_rows
from eventflow.tpp.models._asked import QueuedProcess
from eventflow.tpp.models._attention import NOT_CONTINUED, frequencies, sinusoids, spread

#: Queries, and attention weights of EasyTPP's variant, held at once when states are asked: what stays in a cache.
QUERIES, CHUNK = 1 << 13, 1 << 18
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


class AttNHPLook(NamedTuple):
    """A state that can be asked, not continued: ``past``, keys and values (B, S, layers, heads, d) of whole sequences
    (and what a subclass adds); ``of`` (...) which sequence, ``stop`` (...) how many of its places lie behind;
    ``clock``, ``elapsed`` as above."""

    past: Shared
    of: Tensor
    stop: Tensor
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
        run, there = Seen((place - self.window).clamp_min(0)[None], place[None]), self._seen(place[:, None], place)

        def attend(layer: int, heads: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if self.compat:
                return _softmax(query, key, value, there)
            query, key, value = (x.transpose(1, 2) for x in (query, key, value))
            return attention(query, key, value, run, rest=True).transpose(1, 2)

        return *self._events(torch.cat([start, mark], 1), self._encoding(clock), attend), clock

    def _seen(self, last: Tensor, place: Tensor) -> Tensor:
        """Which places are attended to by what comes after ``last``; EasyTPP has no event at the start, place 0."""
        seen = self._within(last, place)
        return seen & (place > 0) if self.compat else seen

    def _askers(self) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        """(J, heads d) what asking begins with; of each layer what makes queries of z (time_size, heads d), of h, in
        one product for all heads (heads d, heads d), and their bias (heads d,)."""
        token = self.embedding.weight[: self.num_marks] if self.query is None else self.query
        weight, bias = self.weight[..., : self.hidden_size], self.bias[..., : self.hidden_size].flatten(1)
        by_z = weight[:, :, : self.time_size].transpose(1, 2).flatten(2)
        by_h = [torch.block_diag(*layer) for layer in weight[:, :, self.time_size :]]
        return token.repeat(1, self.heads), list(zip(by_z, by_h, bias, strict=True))

    def _attend(self, query: Tensor, layer: int, past: tuple[Tensor, ...], seen: Seen) -> Tensor:
        """What queries (N, R, heads, d) attend to in one layer of ``past``, (N, R, heads, d)."""
        key, value = (x[:, :, layer] for x in past)
        return attention(query, key, value, seen, rest=True)

    def _climbed(self, times: Tensor, past: tuple[Tensor, ...], seen: Seen) -> Tensor:
        """(N, R, K) intensities at times (N, R), counted from the start: up all layers at once, over the runs ``seen``
        of keys and values (B, S, layers, heads, d). ``seen`` may have R J places, J = K for a query a mark, else 1."""
        token, asking = self._askers()
        z, each, width = self._encoding(times).flatten(0, 1), len(token), token.shape[1]
        h, shape = token, (len(times), times.shape[1] * each, self.heads, self.hidden_size)
        if each > 1:
            z, h = z.repeat_interleave(each, 0), h.repeat(times.numel(), 1)
        for layer, (by_z, by_h, bias) in enumerate(asking):
            query = torch.addmm(torch.addmm(bias, h, by_h), z, by_z).view(shape)
            h = h + self._attend(query, layer, past, seen).reshape(len(z), width).tanh()
        h = h.view(*times.shape, each, width)
        if self.query is not None:
            return self.head(h[:, :, 0])
        return self.head.activate((h * self.head.weight).sum(-1) + self.head.bias)

    def _asking(self, layer: int, h: Tensor, z: Tensor, past: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """EasyTPP's h (..., heads, R, d) one layer up, of queries at times encoded in z (..., R, time_size), which
        attend to themselves too. past: keys and values (..., heads, S, d), and which of them are seen."""
        query, key, value = self._project(layer, EVERY, h, z).chunk(3, -1)
        return h + torch.tanh(_attended(query, *past, (key, value)))

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> AttNHPState:
        zero = self.weight.new_zeros(batch, self.window, self.num_layers, self.heads, self.hidden_size)
        there = torch.zeros(batch, self.window, dtype=torch.bool, device=zero.device)
        clock = zero.new_zeros(batch, dtype=torch.float64)
        state = AttNHPState(zero, zero, there, clock, zero.new_zeros(batch))
        return state if self.compat else self._update(state, torch.full((batch,), self.num_marks, device=zero.device))

    def _evolve(self, state: AttNHPState, u: Tensor) -> AttNHPState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: AttNHPState | AttNHPLook, mark: Tensor) -> AttNHPState:
        if isinstance(state, AttNHPLook):
            raise InputError(NOT_CONTINUED.format(name="AttNHP"))
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

    def _intensity(self, state: AttNHPState | AttNHPLook, u: Tensor) -> Tensor:
        flat, ahead, shape = by_rows(state, u)
        times, count = flat.clock[:, None] + ahead, len(ahead)
        if isinstance(flat, AttNHPLook):
            past, stop, of = flat.past.value, flat.stop[:, None], flat.of
            seen = Seen((stop - self.window).clamp_min(0), stop, of)
        else:
            past, slots = (flat.keys, flat.values), flat.there.shape[1]
            stop = torch.full_like(flat.there[:, :1], slots, dtype=torch.int64)
            seen = Seen(stop - flat.there.sum(1, keepdim=True), stop, torch.arange(count, device=stop.device))
            if self.compat:
                return self._asked(*past, flat.there, times).reshape(*shape, self.num_marks)
        size = max(1, QUERIES // max(times.shape[1], 1))
        parts = [
            self._climbed(times[i : i + size], past, Seen(*(x[i : i + size] for x in seen)))  # type: ignore[union-attr, misc]
            for i in range(0, max(count, 1), size)
        ]
        return torch.cat(parts).reshape(*shape, self.num_marks)

    def _asked(self, keys: Tensor, values: Tensor, there: Tensor, times: Tensor) -> Tensor:
        """(N, R, K) EasyTPP's intensities of N queues at times (N, R)."""
        size, parts = max(1, CHUNK // (self.heads * max(times.shape[1], 1) * there.shape[1])), []
        for i in range(0, max(len(times), 1), size):
            z, part = self._encoding(times[i : i + size]), slice(i, i + size)
            parts.append(self._up(z, (keys[part], values[part]), there[part, None, None]))
        return torch.cat(parts)

    def _up(self, z: Tensor, past: tuple[Tensor, Tensor], there: Tensor) -> Tensor:
        """(N, R, K) EasyTPP's intensities of queries at times encoded in z (N, R, time_size)."""
        h = z.new_zeros(len(z), self.heads, z.shape[1], self.hidden_size)
        for layer in range(self.num_layers):
            key, value = (x[:, :, layer].transpose(1, 2) for x in past)
            h = self._asking(layer, h, z, (key, value, there))
        return self.head(h.transpose(1, 2).flatten(2))

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

    def left_states(self, batch: PaddedBatch) -> tuple[AttNHPState | AttNHPLook, AttNHPState | AttNHPLook]:
        """As :meth:`PointProcess.left_states`: states to be asked, not continued, which share keys and values."""
        if self.compat:
            return super().left_states(batch)
        self._check_marks(batch)
        shared, clock = self._looked_back_on(batch)
        place, lengths = torch.arange(batch.mask.shape[1], device=clock.device), batch.lengths[:, None]
        line, past = torch.arange(len(batch), device=clock.device)[:, None], Shared(shared)

        def states(last: Tensor) -> AttNHPLook:
            elapsed = torch.zeros_like(last, dtype=shared[0].dtype)
            return AttNHPLook(past, line.expand_as(last), last + 1, clock.gather(1, last), elapsed)

        left, last = states(torch.minimum(place, lengths)), states(lengths)
        return left, map_state(lambda leaf: leaf[:, 0], last)

    def _looked_back_on(self, batch: PaddedBatch) -> tuple[tuple[Tensor, ...], Tensor]:
        """(what :class:`AttNHPLook` calls past, (B, S) times) of a batch."""
        keys, values, clock = self._row(batch.mark, torch.where(batch.mask, self._gaps(batch.dt), 0))
        return (keys, values), clock

    def _ahead(self, mark: Tensor, gap: Tensor, ahead: Tensor) -> Tensor:
        keys, values, clock = self._row(mark, gap)
        times, place = (clock[..., None] + ahead).flatten(1), torch.arange(clock.shape[1], device=clock.device)
        if self.compat:
            seen = self._seen(place[:, None], place).repeat_interleave(ahead.shape[2], 0)
            return self._up(self._encoding(times), (keys, values), seen).unflatten(1, ahead.shape[1:])
        stop = (place + 1).repeat_interleave(ahead.shape[2] * (1 if self.query is not None else self.num_marks))[None]
        seen = Seen((stop - self.window).clamp_min(0), stop)
        return self._climbed(times, (keys, values), seen).unflatten(1, ahead.shape[1:])


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
