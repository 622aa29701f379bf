"""PromptTPP on the attentive neural Hawkes process: retrieved prompts are keys and values beside the events' own."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import PaddedBatch
from eventflow.ops import scan
from eventflow.ops.attention import Seen, attention_and_total, joined
from eventflow.tpp.models._asked import QueuedProcess
from eventflow.tpp.models._attention import NOT_CONTINUED
from eventflow.tpp.models._attnhp import EVERY, AttNHP, AttNHPLook, AttNHPState, _attended, _layer
from eventflow.tpp.models._prompt_pool import PromptPool


class PromptAttNHPState(NamedTuple):
    """``keys``, ``values``, ``there``, ``clock``, ``elapsed``: as :class:`AttNHPState`. ``prompt_keys``,
    ``prompt_values`` (..., P, layers, heads, d): of the P = N length tokens retrieved at the last event; ``match``
    (...): theirs. ``total`` (..., d), ``weight`` (...), float64: the embeddings so far, summed, and their number, both
    discounted. ``start`` (...), float64: the stream's time where the span starts."""

    keys: Tensor
    values: Tensor
    there: Tensor
    prompt_keys: Tensor
    prompt_values: Tensor
    match: Tensor
    total: Tensor
    weight: Tensor
    start: Tensor
    clock: Tensor
    elapsed: Tensor


class _Row(NamedTuple):
    """Of the start and all events of a batch, S = 1 + T places: what :class:`PromptAttNHPState` names, (B, S, ...)."""

    keys: Tensor
    values: Tensor
    clock: Tensor
    prompt_keys: Tensor
    prompt_values: Tensor
    match: Tensor
    total: Tensor
    weight: Tensor
    start: Tensor


class PromptAttNHP(AttNHP):
    """An :class:`AttNHP` that attends to prompts besides the events.

    At each event, and at the start, N prompts are retrieved, by the mean of the embeddings so far and the code of the
    stream's time. Until the next event their tokens are among the keys and values of every layer: a token is projected
    as an event is, from its learned part in place of h and the time at which it was retrieved. The event itself is
    embedded with them, too.

    Args:
        num_marks: K.
        hidden_size: d, of each head.
        layers: of attention.
        heads: independent towers of layers.
        window: events each layer attends to, prompts not counted.
        prompts: M.
        retrieved: N.
        length: tokens of a prompt, each with a learned part for every layer and head.
        time_size: numbers that encode a time; see :class:`AttNHP`. Events count it from the span's start, prompts take
            the stream's.
        fastest: of its angular frequencies.
        discount: how much an event counts in the query's mean when the next one has come.
        match_weight: see :class:`PromptPool`.
        pool_every: see :class:`PromptPool`.
        encoder_every: see :class:`PromptPool`.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 16, layers: int = 2, heads: int = 2, window: int = 128,
        prompts: int = 10, retrieved: int = 4, length: int = 10, time_size: int = 16, fastest: float = 2.0,
        discount: float = 1.0, match_weight: float = 0.1, pool_every: int = 1, encoder_every: int = 2,
        time_scale: float = 1.0, quadrature: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(
            num_marks, hidden_size=hidden_size, layers=layers, heads=heads, window=window, time_size=time_size,
            fastest=fastest, time_scale=time_scale, quadrature=quadrature,
        )  # fmt: skip
        if length < 1 or not 0 < discount <= 1:
            raise InputError(f"length={length}, discount={discount}: expected at least 1, and 0 < discount <= 1")
        self.discount = discount
        self.pool = PromptPool(
            hidden_size + time_size, (length, layers, heads, hidden_size), prompts=prompts, retrieved=retrieved,
            match_weight=match_weight, pool_every=pool_every, encoder_every=encoder_every,
        )  # fmt: skip

    @property
    def prompts(self) -> PromptPool:
        """The pool."""
        return self.pool

    def _match(self, state: PromptAttNHPState | AttNHPLook) -> Tensor:
        if isinstance(state, AttNHPLook):
            return state.past.value[4][state.of, state.stop - 1]
        return state.match

    # -- the pool -------------------------------------------------------------------------------------------------

    def _retrieved(self, total: Tensor, weight: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """(which prompts (..., N), their match (...)) at these times of the stream."""
        past = (total / weight[..., None]).to(self.dtype)
        return self.pool.retrieve(torch.cat([past, self._encoding(time)], -1))

    def _tokens_of(self, chosen: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """(..., P, layers, heads, d) keys and values of prompts ``chosen`` (..., N) at ``time`` (...)."""
        size, values = self.hidden_size, self.pool.values
        weight, bias = self.weight[..., size:], self.bias[..., size:]  # of keys and values
        learned = values.flatten(0, 1).permute(1, 2, 0, 3) @ weight[:, :, self.time_size :]
        learned = learned.permute(2, 0, 1, 3).unflatten(0, values.shape[:2])
        timed = self._encoding(time) @ weight[:, :, : self.time_size].permute(2, 0, 1, 3).flatten(1)
        timed = timed.unflatten(-1, bias.shape) + bias
        keys, values = (learned[chosen].flatten(-5, -4) + timed.unsqueeze(-4)).chunk(2, -1)
        return keys, values

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> Any:
        return self.init_at(torch.zeros(batch, dtype=torch.float64, device=self.weight.device))

    def init_at(self, start: Tensor) -> PromptAttNHPState:
        """See :meth:`PointProcess.init_at`."""
        batch, number = len(start), self.pool.retrieved * self.pool.values.shape[1]
        shape = self.num_layers, self.heads, self.hidden_size
        queue, tokens = (self.weight.new_zeros(batch, slots, *shape) for slots in (self.window, number))
        there = torch.zeros(batch, self.window, dtype=torch.bool, device=queue.device)
        still, zero = self.weight.new_zeros(batch), torch.zeros_like(start, dtype=torch.float64)
        state = PromptAttNHPState(
            queue, queue, there, tokens, tokens, still, zero[:, None].expand(-1, self.hidden_size), zero,
            start.double() / self.time_scale, zero, still,
        )  # fmt: skip
        return self._update(state, torch.full((batch,), self.num_marks, device=queue.device))

    def _update(self, state: Any, mark: Tensor) -> Any:
        if isinstance(state, AttNHPLook):
            raise InputError(NOT_CONTINUED.format(name="PromptAttNHP"))
        clock = state.clock + state.elapsed
        time = state.start + clock
        total = self.discount * state.total + self.embedding(mark).detach().double()
        weight = self.discount * state.weight + 1
        chosen, match = self._retrieved(total, weight, time)
        tokens = self._tokens_of(chosen, time)
        queue = _joined(state._replace(prompt_keys=tokens[0], prompt_values=tokens[1]))

        def attend(layer: int, heads: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return _attended(query, *_layer(queue, layer), queue.there[:, None, None])

        key, value = self._events(mark[:, None], self._encoding(clock)[:, None], attend)
        keys, values = (torch.cat(pair, 1)[:, 1:] for pair in ((state.keys, key), (state.values, value)))
        there = torch.cat([state.there, torch.ones_like(mark[:, None]) > 0], 1)[:, 1:]
        still = torch.zeros_like(state.elapsed)
        return PromptAttNHPState(keys, values, there, *tokens, match, total, weight, state.start, clock, still)

    def _intensity(self, state: Any, u: Tensor) -> Tensor:
        return super()._intensity(state if isinstance(state, AttNHPLook) else _joined(state), u)

    def _attend(self, query: Tensor, layer: int, past: tuple[Tensor, ...], seen: Seen) -> Tensor:
        if len(past) == 2 or seen.of is None:  # prompts stand among the events
            return super()._attend(query, layer, past, seen)
        keys, values, *tokens = (x[..., layer, :, :] for x in past[:4])
        last = seen.of * keys.shape[1] + seen.stop[:, 0] - 1
        whole = Seen(torch.zeros_like(last[:1, None]), torch.full_like(last[:1, None], tokens[0].shape[1]), last)
        events = attention_and_total(query, keys, values, seen, rest=True)
        return joined(events, attention_and_total(query, tokens[0], tokens[1], whole))

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _asked_for(self, batch: PaddedBatch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """(which prompts, their match, (marks, clock, start, total, weight)), each (B, S, ...)."""
        gap = torch.where(batch.mask, self._gaps(batch.dt), 0)
        clock = torch.cat([gap.new_zeros(len(gap), 1), gap], 1).double().cumsum(1)
        start = (batch.start / self.time_scale)[:, None].expand_as(clock)
        mark = torch.cat([batch.mark.new_full((len(gap), 1), self.num_marks), batch.mark], 1)
        keep = torch.full_like(clock, self.discount)
        total = scan(keep, self.embedding(mark).detach().double())
        weight = scan(keep, torch.ones_like(clock))
        return *self._retrieved(total, weight, start + clock), (mark, clock, start, total, weight)

    def _row_of(self, batch: PaddedBatch) -> _Row:
        chosen, match, (mark, clock, start, total, weight) = self._asked_for(batch)
        tokens = self._tokens_of(chosen, start + clock)
        place = torch.arange(clock.shape[1], device=clock.device)
        seen = self._within(place[:, None] - 1, place)

        def attend(layer: int, heads: slice, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return _beside(query, (key, value, seen), [x[:, :, :, layer] for x in tokens])

        keys, values = self._events(mark, self._encoding(clock), attend)
        return _Row(keys, values, clock, *tokens, match, total, weight, start)

    def left_states(self, batch: PaddedBatch) -> tuple[Any, Any]:
        """As :meth:`AttNHP.left_states`; where gradients are taken, queues as :meth:`PointProcess.left_states`."""
        return QueuedProcess.left_states(self, batch) if torch.is_grad_enabled() else super().left_states(batch)

    def _looked_back_on(self, batch: PaddedBatch) -> tuple[tuple[Tensor, ...], Tensor]:
        row = self._row_of(batch)
        tokens = (leaf.flatten(0, 1) for leaf in (row.prompt_keys, row.prompt_values))
        return (row.keys, row.values, *tokens, row.match), row.clock

    def _queues(self, row: _Row, last: Tensor, slots: int) -> PromptAttNHPState:  # type: ignore[override]
        queue = super()._queues(row[:3], last, slots)
        line = torch.arange(len(last), device=last.device)[:, None]
        prompts = [leaf[line, last] for leaf in row[3:]]
        return PromptAttNHPState._make([*queue[:3], *prompts, queue.clock, queue.elapsed])

    def _ahead_in(self, batch: PaddedBatch, gap: Tensor, ahead: Tensor) -> Tensor:
        row = self._row_of(batch)
        z = self._encoding((row.clock[..., None] + ahead).flatten(1))
        h = self.token.expand(len(z), self.heads, z.shape[1], -1)  # type: ignore[union-attr]
        place = torch.arange(row.clock.shape[1], device=z.device)
        seen = self._within(place[:, None], place).repeat_interleave(ahead.shape[2], 0)
        for layer in range(self.num_layers):
            query = self._project(layer, EVERY, h, z)[..., : self.hidden_size]
            key, value = (x[:, :, layer].transpose(1, 2) for x in (row.keys, row.values))
            tokens = [x[:, :, :, layer] for x in (row.prompt_keys, row.prompt_values)]
            h = h + torch.tanh(_beside(query, (key, value, seen), tokens))
        return self.head(h.transpose(1, 2).flatten(2)).unflatten(1, ahead.shape[1:])

    def fit_terms(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """See :meth:`PointProcess.fit_terms`; a retrieval needs no attention, and so its match is found by itself."""
        log_prob = self._exact_log_prob(batch)
        _, match, _ = self._asked_for(batch)
        mask = torch.cat([torch.ones_like(match[:, :1], dtype=torch.bool), batch.mask], 1)
        return log_prob, -self.pool.match_weight * torch.where(mask, match, 0).sum(1)


def _joined(state: PromptAttNHPState) -> AttNHPState:
    """Events and prompts as one queue; empty slots come first, as there."""
    keys = torch.cat([state.keys, state.prompt_keys], -4)
    values = torch.cat([state.values, state.prompt_values], -4)
    prompted = torch.ones_like(state.prompt_keys[..., 0, 0, 0], dtype=torch.bool)
    return AttNHPState(keys, values, torch.cat([state.there, prompted], -1), state.clock, state.elapsed)


def _beside(query: Tensor, events: tuple[Tensor, Tensor, Tensor], tokens: list[Tensor]) -> Tensor:
    """sum_j f_j v_j / (1 + sum_j f_j) over events and, for each place, the tokens retrieved there.

    query: (B, heads, S J, d), J for each of S places; events: keys and values (B, heads, S, d), and which of them are
    seen (S J, S); tokens: keys and values (B, S, P, heads, d).
    """
    key, value, seen = events
    query = query / math.sqrt(query.shape[-1])
    logits = (query @ key.transpose(-1, -2)).masked_fill(~seen, torch.finfo(query.dtype).min)
    places = tokens[0].shape[1]
    prompted = torch.einsum("bhsjd,bsphd->bhsjp", query.unflatten(2, (places, -1)), tokens[0]).flatten(2, 3)
    weights = torch.cat([logits, prompted, torch.zeros_like(query[..., :1])], -1).softmax(-1)
    count = key.shape[2]
    mine = weights[..., count:-1].unflatten(2, (places, -1))
    return weights[..., :count] @ value + torch.einsum("bhsjp,bsphd->bhsjd", mine, tokens[1]).flatten(2, 3)
