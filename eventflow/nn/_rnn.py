"""The recurrent cells that do not see time: between events nothing happens (feed the gap as a feature, if it matters).

Parameters have the names and layout of torch's one-layer ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``, whose ``state_dict``
loads unchanged.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError, did_you_mean
from eventflow.nn._projected import ProjectedCell

S = TypeVar("S", bound=tuple)


class HiddenState(NamedTuple):
    """``h`` (..., H)."""

    h: Tensor


class LSTMState(NamedTuple):
    """``h`` (..., H), what is read; ``c`` (..., H), the memory."""

    h: Tensor
    c: Tensor


class _Recurrent(ProjectedCell[S]):
    """Weights (G H, D) and (G H, H) and two biases (G H,) of G gates, uniform in +-1/sqrt(H) as torch's."""

    def __init__(self, sizes: tuple[int, int], gates: int, bias: bool) -> None:
        super().__init__()
        self.input_size, self.hidden_size = sizes
        self.gates_size = gates * self.hidden_size
        bound = 1 / math.sqrt(self.hidden_size)

        def draw(*tail: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(self.gates_size, *tail).uniform_(-bound, bound))

        self.weight_ih_l0, self.weight_hh_l0 = draw(self.input_size), draw(self.hidden_size)
        self.bias_ih_l0, self.bias_hh_l0 = (draw(), draw()) if bias else (None, None)

    def _project(self, x: Tensor) -> Tensor:
        bias = None if self.bias_ih_l0 is None or self.bias_hh_l0 is None else self.bias_ih_l0 + self.bias_hh_l0
        return functional.linear(x, self.weight_ih_l0, bias)

    def _zeros(self, batch: int) -> Tensor:
        return self.weight_hh_l0.new_zeros(batch, self.hidden_size)

    def evolve(self, state: S, dt: Tensor) -> S:
        """Nothing happens between events."""
        return state


class RNN(_Recurrent[HiddenState]):
    """Elman's network: h' = f(W x + b + W' h + b') (Elman 1990; torch's ``nn.RNN``).

    Args:
        input_size: D features of an event.
        hidden_size: H.
        nonlinearity: f, "tanh" or "relu".
        bias: with b and b'.

    Raises:
        InputError: another nonlinearity.
    """

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", bias: bool = True) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"RNN(nonlinearity={nonlinearity!r}): {did_you_mean(nonlinearity, ('tanh', 'relu'))}")
        super().__init__((input_size, hidden_size), 1, bias)
        self.nonlinearity = nonlinearity

    def init(self, batch: int) -> HiddenState:
        return HiddenState(self._zeros(batch))

    def read(self, state: HiddenState) -> Tensor:
        return state.h

    def project(self, x: Tensor) -> Tensor:
        return self._project(x)

    def advance(self, state: HiddenState, gates: Tensor) -> HiddenState:
        h = gates + functional.linear(state.h, self.weight_hh_l0)
        return HiddenState(h.tanh() if self.nonlinearity == "tanh" else h.relu())


class LSTM(_Recurrent[LSTMState]):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000; torch's ``nn.LSTM``).

    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'); rows in the order i, f, g, o.

    Args:
        input_size: D features of an event.
        hidden_size: H.
        bias: with the two biases.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__((input_size, hidden_size), 4, bias)

    def init(self, batch: int) -> LSTMState:
        return LSTMState(self._zeros(batch), self._zeros(batch))

    def read(self, state: LSTMState) -> Tensor:
        return state.h

    def project(self, x: Tensor) -> Tensor:
        return self._project(x)

    def advance(self, state: LSTMState, gates: Tensor) -> LSTMState:
        i, f, g, o = (gates + functional.linear(state.h, self.weight_hh_l0)).chunk(4, -1)
        c = f.sigmoid() * state.c + i.sigmoid() * g.tanh()
        return LSTMState(o.sigmoid() * c.tanh(), c)


class GRU(_Recurrent[HiddenState]):
    """Gated recurrent unit (Cho et al. 2014, with the reset gate after the product, as torch's ``nn.GRU``).

    n = tanh(W_n x + b_n + sigmoid(r) (W'_n h + b'_n)), h' = (1 - sigmoid(z)) n + sigmoid(z) h; rows r, z, n.

    Args:
        input_size: D features of an event.
        hidden_size: H.
        bias: with the two biases.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__((input_size, hidden_size), 3, bias)

    def init(self, batch: int) -> HiddenState:
        return HiddenState(self._zeros(batch))

    def read(self, state: HiddenState) -> Tensor:
        return state.h

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight_ih_l0, self.bias_ih_l0)

    def advance(self, state: HiddenState, gates: Tensor) -> HiddenState:
        r_x, z_x, n_x = gates.chunk(3, -1)
        r_h, z_h, n_h = functional.linear(state.h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, -1)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        return HiddenState(n + torch.sigmoid(z_x + z_h) * (state.h - n))
