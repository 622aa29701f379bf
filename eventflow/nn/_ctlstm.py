"""The continuous-time LSTM of the Neural Hawkes process (Mei & Eisner, NeurIPS 2017, arXiv:1612.09328)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn._projected import ProjectedCell
from eventflow.ops.ctlstm import ctlstm_scan


class CTLSTMState(NamedTuple):
    """All (..., H): the cell ``c`` now, the ``target`` it decays to, the rate of that ``decay``, the output gate."""

    c: Tensor
    target: Tensor
    decay: Tensor
    out: Tensor


class CTLSTM(ProjectedCell[CTLSTMState]):
    """An LSTM whose memory decays between events towards a target of its own: ``evolve`` is eq. 7, ``update`` eqs. 5-6.

    The state before the first event is zero. One linear map makes the seven gates, its rows in the order i, i_bar, f,
    f_bar, z, o, delta and its columns input, then hidden: the layout of EasyTPP's cell, whose weights load unchanged.

    Args:
        input_size: D features of an event.
        hidden_size: H.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.gates_size = input_size, hidden_size, 7 * hidden_size
        self.gates = nn.Linear(input_size + hidden_size, 7 * hidden_size)

    def init(self, batch: int) -> CTLSTMState:
        zero = self.gates.weight.new_zeros(batch, self.hidden_size)
        return CTLSTMState(zero, zero, zero, zero)

    def evolve(self, state: CTLSTMState, dt: Tensor) -> CTLSTMState:
        dt, apart = dt[..., None], state.c - state.target
        c = state.target + apart * torch.exp(-state.decay * dt)  # eq. 7
        # target + (c - target) may differ from c in the last bit, but no silence is no change; its slope is kept
        still = state.c - apart * state.decay * dt if dt.requires_grad else state.c
        return state._replace(c=torch.where(dt == 0, still, c))

    def read(self, state: CTLSTMState) -> Tensor:
        return state.out * torch.tanh(state.c)  # eq. 4b

    def update(self, state: CTLSTMState, x: Tensor) -> CTLSTMState:
        return _jump(state, self.gates(torch.cat([x, self.read(state)], -1)))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.gates.weight[:, : self.input_size], self.gates.bias)

    def advance(self, state: CTLSTMState, gates: Tensor) -> CTLSTMState:
        return _jump(state, gates + functional.linear(self.read(state), self.weight_h))

    @property
    def weight_h(self) -> Tensor:
        """(7H, H): the recurrent part of the gates' weight."""
        return self.gates.weight[:, self.input_size :]

    def scan_projected(
        self, gates: Tensor, dt: Tensor, state: CTLSTMState | None = None, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[CTLSTMState, CTLSTMState]:  # fmt: skip
        """See :meth:`ProjectedCell.scan_projected`; compiled where it can be (``ops.ctlstm``)."""
        self._check_projected(gates, dt, reset, mask)
        start = self.init(len(dt))
        now = start if state is None else state
        states, last = ctlstm_scan(gates, dt, self.weight_h, now, reset=reset, mask=mask, init=start)
        return CTLSTMState(*states), CTLSTMState(*last)


def _jump(state: CTLSTMState, gates: Tensor) -> CTLSTMState:
    """Eqs. 5-6: the state after an event, from the gates' pre-activations (..., 7H)."""
    i, i_bar, f, f_bar, z, o, delta = gates.chunk(7, -1)
    i, i_bar, f, f_bar, o = (torch.sigmoid(gate) for gate in (i, i_bar, f, f_bar, o))
    z = torch.tanh(z)
    decay = functional.softplus(delta, threshold=35.0)  # torch's default threshold of 20 costs 2e-9
    return CTLSTMState(f * state.c + i * z, f_bar * state.target + i_bar * z, decay, o)
