"""Recurrent marked temporal point process (Du et al., KDD 2016).

lambda*(t) = exp(v . h_j + w (t - t_j) + b) (their eq. 11), marks ~ softmax(V h_j + c) (eq. 10): the compensator, and so
the likelihood (eq. 12), survival and inverse, are in closed form (:class:`eventflow.nn.Gompertz`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError, did_you_mean
from eventflow.nn import RNN, Cell, Gompertz, HiddenState, MarkedGompertz
from eventflow.nn._cell import check_scan_shapes
from eventflow.tpp.models._history import HistoryState
from eventflow.tpp.models._neural import DurationProcess


class RMTPP(DurationProcess):
    """A recurrent network, an intensity that rises or falls exponentially in the time since the last event.

    Args:
        num_marks: K.
        hidden_size: H, of the network.
        embedding_size: of a mark.
        mark_slopes: a slope w_k for each mark, so that which mark comes depends on when; the paper has one w.
        compat: "easytpp": mark slopes, a network that sees the time since the start of the span and no gaps, zero
            state at the start, embeddings of size H.
        time_scale: see :class:`PointProcess`.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, embedding_size: int = 32, mark_slopes: bool = False,
        compat: str | None = None, time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        if compat not in (None, "easytpp"):
            raise InputError(f"RMTPP(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        head = (MarkedGompertz if mark_slopes or compat else Gompertz)(hidden_size, num_marks)
        cell = RNN(embedding_size + 1, hidden_size) if compat is None else _ClockedRNN(hidden_size, hidden_size)
        super().__init__(num_marks, cell, head, sees_gaps=compat is None, time_scale=time_scale)
        self.compat = compat

    def init(self, batch: int) -> HistoryState:
        if self.compat is None:
            return super().init(batch)
        return HistoryState(self.cell.init(batch), self.embedding.weight.new_zeros(batch))


class _ClockedState(NamedTuple):
    """``h`` (..., H); ``clock`` (...,): the time since the start of the span."""

    h: Tensor
    clock: Tensor


class _ClockedRNN(Cell[_ClockedState]):
    """An Elman network that is given a linear embedding of the time at which an event comes, added to its features."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.time = nn.Linear(1, input_size)
        self.rnn = RNN(input_size, hidden_size)

    def init(self, batch: int) -> _ClockedState:
        h = self.rnn.init(batch).h
        return _ClockedState(h, h.new_zeros(batch))

    def evolve(self, state: _ClockedState, dt: Tensor) -> _ClockedState:
        return state._replace(clock=state.clock + dt)

    def update(self, state: _ClockedState, x: Tensor) -> _ClockedState:
        return state._replace(h=self.rnn.update(HiddenState(state.h), self._timed(x, state.clock)).h)

    def read(self, state: _ClockedState) -> Tensor:
        return state.h

    def scan(
        self, x: Tensor, dt: Tensor, state: _ClockedState | None = None, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[_ClockedState, _ClockedState]:  # fmt: skip
        if reset is not None:  # the clock starts anew: fold
            return super().scan(x, dt, state, reset=reset, mask=mask)
        check_scan_shapes(self, x, dt, reset, mask)
        first = self.init(len(x)) if state is None else state
        gaps = dt if mask is None else torch.where(mask, dt, 0)
        clock = torch.cat([first.clock[:, None], gaps], 1).cumsum(1)[:, 1:]
        states, last = self.rnn.scan(self._timed(x, clock), dt, HiddenState(first.h), mask=mask)
        return _ClockedState(states.h, clock), _ClockedState(last.h, clock[:, -1] if dt.shape[1] else first.clock)

    def _timed(self, x: Tensor, clock: Tensor) -> Tensor:
        return x + self.time(clock[..., None])
