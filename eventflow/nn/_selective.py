"""A selective state-space cell in real time: Mamba's input-dependent step, input and output weights (Gu & Dao 2023)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn._linear import LinearCell
from eventflow.ops.mode_decay import mode_decay
from eventflow.ops.scan import scan


class SelectiveState(NamedTuple):
    """``x`` (..., H N), N numbers a channel; ``pace`` (..., H) at which time passes, ``select`` (..., N) what is read
    of each channel, ``through`` (..., H) what passes the states by, ``gate`` (..., H): set by the last event."""

    x: Tensor
    pace: Tensor
    select: Tensor
    through: Tensor
    gate: Tensor


class SelectiveMove(NamedTuple):
    """A run of events: the gap ``dt`` (...) before its first, the decay (its logarithm) and the sum that follow
    (..., H N), and what its last event sets."""

    dt: Tensor
    log_gain: Tensor
    shift: Tensor
    pace: Tensor
    select: Tensor
    through: Tensor
    gate: Tensor


class SelectiveSSM(LinearCell[SelectiveState]):
    """x' = -exp(log_rate) pace x between events; an event adds delta B(v) v, and is read as (C(v) x + skip v) silu(z).

    (v, z) is linear in the event's features, v through a silu; delta, B and C are linear in v, delta through a softplus
    (Mamba, arXiv:2312.00752, sec. 3.2 and algorithm 2). Two things differ, for events in real time: the decay between
    two events is exp(-rate pace dt), where pace is the *earlier* event's delta and dt the real gap (so that the state
    at any time is known before the next event); and there is no convolution over neighbouring events.

    Args:
        input_size: D features of an event.
        hidden_size: H channels and outputs.
        state_size: N numbers a channel.
    """

    def __init__(self, input_size: int, hidden_size: int, *, state_size: int = 16) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.state_size = input_size, hidden_size, state_size
        self.enter = nn.Linear(input_size, 2 * hidden_size)
        self.choose = nn.Linear(hidden_size, 2 * state_size, bias=False)
        self.delta = nn.Linear(hidden_size, hidden_size)
        step = torch.empty(hidden_size).uniform_(math.log(1e-2), math.log(1.0)).exp()
        with torch.no_grad():
            self.delta.bias.copy_(step.expm1().log())
            self.delta.weight.mul_(0.1)
        rates = torch.arange(1.0, state_size + 1).log()
        self.log_rate = nn.Parameter(rates.repeat(hidden_size, 1))
        self.skip = nn.Parameter(torch.ones(hidden_size))

    def init(self, batch: int) -> SelectiveState:
        h, n = self.hidden_size, self.state_size
        zero = self.skip.new_zeros
        pace = functional.softplus(self.delta.bias).expand(batch, h)
        return SelectiveState(zero(batch, h * n), pace, zero(batch, n), zero(batch, h), zero(batch, h))

    def evolve(self, state: SelectiveState, dt: Tensor) -> SelectiveState:
        return state._replace(x=self._decay(state.pace, dt) * state.x)

    def update(self, state: SelectiveState, x: Tensor) -> SelectiveState:
        added, pace, select, through, gate = self._entered(x)
        return SelectiveState(state.x + added, pace, select, through, gate)

    def read(self, state: SelectiveState) -> Tensor:
        seen = (state.x.unflatten(-1, (self.hidden_size, -1)) * state.select[..., None, :]).sum(-1)
        return (seen + state.through) * functional.silu(state.gate)

    def read_ahead(self, state: SelectiveState, dt: Tensor) -> Tensor:
        """(M, J, hidden_size): ``read`` of states (M, ...) after silences ``dt`` (M, J), without holding them."""
        weight = state.x.unflatten(-1, (self.hidden_size, -1)) * state.select[..., None, :]
        seen = mode_decay(weight, self.log_rate.exp(), state.pace, dt)
        return (seen + state.through[:, None]) * functional.silu(state.gate)[:, None]

    def lift(self, x: Tensor, dt: Tensor) -> SelectiveMove:
        added, pace, select, through, gate = self._entered(x)
        return SelectiveMove(dt, torch.zeros_like(added), added, pace, select, through, gate)

    def compose(self, a: SelectiveMove, b: SelectiveMove) -> SelectiveMove:
        """The first gap decays at the pace of the state that is moved, which is not known yet: it stays symbolic."""
        log_gain = b.log_gain - self._rate(a.pace) * b.dt[..., None]
        shift = torch.exp(log_gain) * a.shift + b.shift
        return SelectiveMove(a.dt, a.log_gain + log_gain, shift, b.pace, b.select, b.through, b.gate)

    def apply(self, m: SelectiveMove, state: SelectiveState) -> SelectiveState:  # type: ignore[override]
        gain = torch.exp(m.log_gain - self._rate(state.pace) * m.dt[..., None])
        return SelectiveState(gain * state.x + m.shift, m.pace, m.select, m.through, m.gate)

    def scan_transitions(
        self, m: SelectiveMove, state: SelectiveState, start: SelectiveState, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> SelectiveState:  # fmt: skip
        """See :meth:`LinearCell.scan_transitions`: single events set all but x; then the gains are known, and x is a
        linear recurrence."""
        leaves = (m.pace, m.select, m.through, m.gate)
        if mask is not None:  # what the last real event has set, before the first one the state
            place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
            latest = torch.where(mask, place, 0).cummax(1).values
            row = torch.arange(len(mask), device=mask.device)[:, None]
            pairs = zip(state[1:], leaves, strict=True)
            leaves = tuple(torch.cat([first[:, None], leaf], 1)[row, latest] for first, leaf in pairs)
        pace = torch.cat([state.pace[:, None], leaves[0][:, :-1]], 1)
        if reset is not None:
            pace = torch.where(reset[..., None], start.pace[:, None], pace)
        gain, shift = self._decay(pace, m.dt), m.shift
        if mask is not None:
            gain, shift = torch.where(mask[..., None], gain, 1), torch.where(mask[..., None], shift, 0)
        return SelectiveState(scan(gain, shift, state.x, reset=reset, init=start.x), *leaves)

    def _rate(self, pace: Tensor) -> Tensor:
        """(..., H N)"""
        return (self.log_rate.exp() * pace[..., None]).flatten(-2)

    def _decay(self, pace: Tensor, dt: Tensor) -> Tensor:
        return torch.exp(-self._rate(pace) * dt[..., None])

    def _entered(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What an event adds to the states, and pace, select, through, gate after it."""
        v, gate = self.enter(x).chunk(2, -1)
        v = functional.silu(v)
        delta = functional.softplus(self.delta(v))
        into, select = self.choose(v).chunk(2, -1)
        added = ((delta * v)[..., None] * into[..., None, :]).flatten(-2)
        return added, delta, select, self.skip * v, gate
