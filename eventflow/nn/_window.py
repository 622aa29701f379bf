"""Softmax attention over the last events, as a cell: its memory is a queue of keys and values with their ages."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError
from eventflow.nn._cell import Cell, check_scan_shapes, map_state
from eventflow.ops.attention import Seen, self_attention


class WindowState(NamedTuple):
    """The last S events, oldest first; an empty slot has age inf, and zeros.

    ``key``, ``value`` (..., S, H); ``age`` (..., S): time since each event; ``query`` (..., H): that of the last event.
    """

    key: Tensor
    value: Tensor
    age: Tensor
    query: Tensor


class WindowAttention(Cell[WindowState]):
    """What is read is softmax attention of the last event's query over the last ``window`` events, itself included.

    y(t) = sum_j a_j v_j, a = softmax_j(q . k_j / sqrt(d) - r (t - t_j)), in each head (Vaswani et al. 2017,
    arXiv:1706.03762, eq. 1, over a sliding window as in Beltagy et al. 2020, arXiv:2004.05150). The penalty on age is
    ALiBi's (Press et al. 2022, arXiv:2108.12409) in physical time, with a learned rate r a head; ``decay=False``
    leaves it out, and silence then changes nothing that is read.

    Memory: O(window) a sequence, ``window (2 hidden_size + 1) + hidden_size`` numbers. ``scan`` returns the states
    after all T events, O(T window); :meth:`attend` returns what is read from them in O(T + window) blocks.

    Args:
        input_size: D features of an event.
        hidden_size: H, a multiple of ``heads``.
        window: events remembered.
        heads: that attend independently, each with H / heads coordinates.
        decay: penalise old events by a learned rate a head.

    Raises:
        InputError: a window or a number of heads below 1, or heads that do not divide H.
    """

    def __init__(self, input_size: int, hidden_size: int, *, window: int, heads: int = 1, decay: bool = True) -> None:
        super().__init__()
        check_heads("WindowAttention", hidden_size, heads)
        if window < 1:
            raise InputError(f"WindowAttention(window={window}): expected at least 1 event")
        self.input_size, self.hidden_size, self.window, self.heads = input_size, hidden_size, window, heads
        self.projection = nn.Linear(input_size, 3 * hidden_size)
        self.log_rate = nn.Parameter(initial_log_rates(heads)) if decay else None

    def init(self, batch: int) -> WindowState:
        return self.empty(batch, self.window)

    def empty(self, batch: int, slots: int) -> WindowState:
        """A state with fewer ``slots``, which :meth:`attend` takes too; it grows by one an event, up to ``window``."""
        zero = self.projection.weight.new_zeros(batch, slots, self.hidden_size)
        age = zero.new_full((batch, slots), torch.inf)
        return WindowState(zero, zero, age, zero.new_zeros(batch, self.hidden_size))

    def evolve(self, state: WindowState, dt: Tensor) -> WindowState:
        return state._replace(age=state.age + dt[..., None])

    def update(self, state: WindowState, x: Tensor) -> WindowState:
        query, key, value = self.projection(x).chunk(3, -1)
        fresh = state.age.new_zeros(()).expand(x.shape[:-1])
        lead = x.shape[:-1]
        joined = [
            torch.cat([old.expand(*lead, *old.shape[len(lead) :]), new.unsqueeze(len(lead))], len(lead))
            for old, new in ((state.key, key), (state.value, value), (state.age, fresh))
        ]
        drop = max(joined[2].shape[-1] - self.window, 0)
        return WindowState(joined[0][..., drop:, :], joined[1][..., drop:, :], joined[2][..., drop:], query)

    def read(self, state: WindowState) -> Tensor:
        split = (leaf.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for leaf in (state.key, state.value))
        key, value = split  # (..., heads, S, d)
        query = state.query.unflatten(-1, (self.heads, -1)) / math.sqrt(key.shape[-1])
        there = state.age.isfinite()
        logits = (key @ query[..., None])[..., 0]
        if self.log_rate is not None:
            age = torch.where(there, state.age, 0)
            logits = logits - self.log_rate.exp()[:, None] * age[..., None, :]
        weights = masked_softmax(logits, there[..., None, :])
        return (weights[..., None, :] @ value)[..., 0, :].flatten(-2)

    def scan(
        self, x: Tensor, dt: Tensor, state: WindowState | None = None, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[WindowState, WindowState]:  # fmt: skip
        """See :meth:`Cell.scan`: one product projects all events, and each state is a window of the row of events."""
        check_scan_shapes(self, x, dt, reset, mask)
        now = self.init(len(dt)) if state is None else state
        if dt.shape[1] == 0:
            return map_state(lambda leaf: leaf[:, None][:, :0], now), now
        if mask is not None:
            x, dt = torch.where(mask[..., None], x, 0), torch.where(mask, dt, 0)
            reset = None if reset is None else reset & mask
        states = self._windows(x, dt, now, reset, mask)
        return states, map_state(lambda leaf: leaf[:, -1], states)

    def _windows(
        self, x: Tensor, dt: Tensor, now: WindowState, reset: Tensor | None, mask: Tensor | None
    ) -> WindowState:
        slots = now.age.shape[1]
        rows = _Rows(mask, dt.shape, slots, dt.device)
        query, key, value = (rows.packed(part) for part in self.projection(x).chunk(3, -1))
        keys, values = rows.windows(torch.cat([now.key, key], 1)), rows.windows(torch.cat([now.value, value], 1))
        queries = rows.latest(torch.cat([now.query[:, None], query], 1))
        # the age of an event is what it was at the start, and the gaps of the events behind it in the window
        gaps = rows.windows(torch.cat([torch.zeros_like(now.age), rows.packed(dt)], 1))
        since = gaps[..., 1:].flip(-1).cumsum(-1).flip(-1)
        age = rows.windows(torch.cat([now.age, torch.zeros_like(dt)], 1))
        age = age + torch.cat([since, torch.zeros_like(age[..., :1])], -1)
        if reset is None:
            return WindowState(keys, values, age, queries)
        part = torch.cat([torch.zeros_like(reset[:, :1]).expand(-1, slots), rows.packed(reset)], 1).long().cumsum(1)
        same = rows.windows(part) == rows.latest(part[:, slots - 1 :])[..., None]
        return WindowState(
            torch.where(same[..., None], keys, 0), torch.where(same[..., None], values, 0),
            torch.where(same, age, torch.inf), queries,
        )  # fmt: skip

    def attend(
        self, x: Tensor, dt: Tensor, state: WindowState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """(B, T, H) what is read just after each event, and the final state, without holding the states in between.

        Args:
            x: (B, T, input_size) features.
            dt: (B, T) gap before each event.
            state: where to start; None is ``init(B)``. Its queue may have fewer slots than ``window``.
            mask: (B, T) bool; where False nothing happens, and what is returned there means nothing.
        """
        check_scan_shapes(self, x, dt, None, mask)
        now = self.init(len(dt)) if state is None else state
        if mask is not None:
            x, dt = torch.where(mask[..., None], x, 0), torch.where(mask, dt, 0)
        size, out = max(self.window, 128), [x.new_zeros(len(x), 0, self.hidden_size)]
        for i in range(0, x.shape[1], size):
            part = slice(i, i + size)
            y, now = self._block(self.projection(x[:, part]), dt[:, part], now, None if mask is None else mask[:, part])
            out.append(y)
        return torch.cat(out, 1), now

    def from_start(self, x: Tensor) -> Tensor:
        """(B, T, H) what is read just after each event of sequences that begin with these, as :meth:`attend` without
        silences: the quick way where whole sequences are at hand and old events are not penalised."""
        if self.log_rate is not None:
            raise InputError("WindowAttention.from_start: needs decay=False. Write: attend(x, dt)")
        stop = torch.arange(1, x.shape[1] + 1, device=x.device)[None]
        packed = self.projection(x).unflatten(-1, (3, self.heads, -1))
        return self_attention(packed, Seen((stop - self.window).clamp_min(0), stop)).flatten(2)

    def _block(
        self, projected: Tensor, dt: Tensor, now: WindowState, mask: Tensor | None
    ) -> tuple[Tensor, WindowState]:
        query, key, value = projected.chunk(3, -1)
        slots, length = now.age.shape[1], dt.shape[1]
        clock = dt.cumsum(1)
        real = torch.ones_like(dt, dtype=torch.bool) if mask is None else mask
        rank = torch.cat([torch.arange(1 - slots, 1, device=dt.device).expand(len(dt), -1), real.long().cumsum(1)], 1)
        behind = rank[:, slots:, None] - rank[:, None]
        seen = (behind >= 0) & (behind < self.window) & torch.cat([now.age.isfinite(), real], 1)[:, None]
        if mask is not None:  # what is not real sees itself: a softmax over nothing would be NaN
            seen = seen | torch.eye(length, slots + length, dtype=torch.bool, device=dt.device).roll(slots, 1)
        keys, values = torch.cat([now.key, key], 1), torch.cat([now.value, value], 1)
        q, k, v = (leaf.unflatten(-1, (self.heads, -1)).transpose(1, 2) for leaf in (query, keys, values))
        if self.log_rate is None:
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
        else:
            start = torch.where(now.age.isfinite(), -now.age, 0)
            age = clock[:, :, None] - torch.cat([start, clock], 1)[:, None]
            logits = q @ (k / math.sqrt(q.shape[-1])).transpose(-1, -2)
            y = masked_softmax(logits - self.log_rate.exp()[:, None, None] * age[:, None], seen[:, None]) @ v
        y = y.transpose(1, 2).flatten(2)
        return y, self._handed_on((query, keys, values), (now, clock, real), min(self.window, slots + length))

    def _handed_on(
        self, projected: tuple[Tensor, Tensor, Tensor], times: tuple[WindowState, Tensor, Tensor], keep: int
    ) -> WindowState:
        """The last ``keep`` slots after a block of events; ``times``: state before it, clock, which events are real."""
        (query, keys, values), (now, clock, real) = projected, times
        age = torch.cat([now.age + clock[:, -1:], clock[:, -1:] - clock], 1)
        if bool(real.all()):
            return WindowState(keys[:, -keep:], values[:, -keep:], age[:, -keep:], query[:, -1])
        there = torch.cat([torch.ones_like(now.age, dtype=torch.bool), real], 1)
        order = there.long().argsort(dim=1, stable=True)[
            :, -keep:
        ]  # what is not real comes first, and is dropped first
        kept = there.gather(1, order)
        age = torch.where(kept, age.gather(1, order), torch.inf)
        key, value = (torch.where(kept[..., None], _take(leaf, order), 0) for leaf in (keys, values))
        count = real.sum(1, keepdim=True)
        last = _take(
            torch.cat([now.query[:, None], _take(query, (~real).long().argsort(dim=1, stable=True))], 1), count
        )
        return WindowState(key, value, age, last[:, 0])


class _Rows:
    """Where the windows lie: the events of each row are packed to the left, behind the ``slots`` of the first state."""

    def __init__(self, mask: Tensor | None, shape: torch.Size, slots: int, device: torch.device) -> None:
        self.mask, self.slots = mask, slots
        if mask is not None:
            self.count = mask.long().cumsum(1)
            self.order = (~mask).long().argsort(dim=1, stable=True)
            self.index = self.count[..., None] + torch.arange(slots, device=device)

    def packed(self, events: Tensor) -> Tensor:
        """(B, T, ...) real events first."""
        return events if self.mask is None else _take(events, self.order)

    def windows(self, row: Tensor) -> Tensor:
        """(B, slots + T, ...) -> (B, T, slots, ...): the last slots after each event; a view without a mask."""
        if self.mask is None:
            return row[:, 1:].unfold(1, self.slots, 1).movedim(-1, 2)
        taken = _take(row, self.index.flatten(1))
        return taken.unflatten(1, self.index.shape[1:])

    def latest(self, row: Tensor) -> Tensor:
        """(B, 1 + T, ...) -> (B, T, ...): that of the last real event, the first where there was none."""
        return row[:, 1:] if self.mask is None else _take(row, self.count)


def _take(row: Tensor, index: Tensor) -> Tensor:
    """(B, N, ...) and (B, M) -> (B, M, ...)."""
    wide = index.reshape(*index.shape, *[1] * (row.dim() - 2)).expand(*index.shape, *row.shape[2:])
    return row.gather(1, wide)


def masked_softmax(logits: Tensor, there: Tensor) -> Tensor:
    """Softmax over the last axis of what is ``there``; zeros where nothing is."""
    weights = logits.masked_fill(~there, torch.finfo(logits.dtype).min).softmax(-1)
    return weights.masked_fill(~there, 0)


def check_heads(name: str, hidden_size: int, heads: int) -> None:
    """Raise :class:`InputError` unless ``heads`` divide ``hidden_size``."""
    if heads < 1 or hidden_size % heads:
        raise InputError(f"{name}(hidden_size={hidden_size}, heads={heads}): expected heads >= 1 that divide it")


def initial_log_rates(heads: int) -> Tensor:
    """Logarithms of rates from 1 to 1/256 per unit of time, a geometric sequence as ALiBi's; 1/16 for a single head."""
    return -math.log(256.0) * (torch.linspace(0, 1, heads) if heads > 1 else torch.full((1,), 0.5))
