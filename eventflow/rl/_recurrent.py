"""A value function that remembers: temporal differences through a recurrent cell, one event at a time.

Axes: T events, D inputs, N states, H hidden.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from eventflow.errors import InputError
from eventflow.nn import Cell, DiagSSM
from eventflow.ops.gvf import GVFStream
from eventflow.ops.rtrl import RTRLResult, RTRLRule, RTRLState, RTRLStream, Sizes, rtrl_init, rtrl_scan

#: The cell's parameters, in the order of the flat vector; head and offset follow.
_NAMES = ("log_rate", "frequency", "weight_in", "weight_out", "bias")


class RecurrentTD:
    """TD(lambda) with a diagonal recurrent state, all of it learned, by exact real-time recurrent learning.

    v = head . LeakyReLU(LayerNorm(cell.read(h))) + offset: a network of stream-x (Elsayed et al. 2024,
    arXiv:2410.14606) whose input is the state of a :class:`~eventflow.nn.DiagSSM`, which evolves between events and
    is updated by them. Every parameter has a trace; the step is ObGD's. Memory is constant: P weights, P traces and
    N (D + 2) complex sensitivities (:mod:`eventflow.ops.rtrl`). The state is a value.

    Args:
        cell: where to start from: a complex DiagSSM that starts at zero. It is copied.
        lambda_: of the traces, per event.
        step_size: alpha of ObGD.
        bound: kappa of ObGD; 0: none.

    Raises:
        InputError: another kind of cell: its exact gradients need the whole history (see ``StreamTD(features=)``).
    """

    def __init__(self, cell: Cell, *, lambda_: float = 0.8, step_size: float = 1.0, bound: float = 2.0) -> None:
        if not isinstance(cell, DiagSSM) or cell.real or cell.start is not None:
            kind = type(cell).__name__
            raise InputError(
                f"RecurrentTD({kind}): exact gradients in constant memory need a diagonal recurrence; expected "
                "DiagSSM(D, H), complex and with learn_init=False. To learn from the states of any cell, its own "
                "weights fixed, write: StreamTD(cell.input_size, features=cell)"
            )
        if not 0 <= lambda_ <= 1 or not step_size > 0 or not bound >= 0:
            raise InputError(
                f"RecurrentTD(lambda_={lambda_}, step_size={step_size}, bound={bound}): expected lambda_ in [0, 1], "
                "step_size > 0, bound >= 0"
            )
        self._cell = copy.deepcopy(cell).double()
        self.rule = RTRLRule(step_size, bound, lambda_)
        self.sizes = Sizes(cell.input_size, cell.num_states, cell.hidden_size)

    def init(self) -> RTRLState:
        """The cell's weights and a head of zeros: nothing is predicted yet."""
        parts = [self._cell.get_parameter(name).detach().numpy().ravel() for name in _NAMES]
        return rtrl_init(np.concatenate([*parts, np.zeros(self.sizes.hidden + 1)]), self.sizes)

    def scan(self, stream: RTRLStream, state: RTRLState | None = None, *, backend: str = "auto") -> RTRLResult:
        """Learn from events in turn: the values just after each, temporal-difference errors, and the state after."""
        return rtrl_scan(stream, self.init() if state is None else state, self.rule, self.sizes, backend=backend)

    def cell(self, state: RTRLState) -> DiagSSM:
        """The cell with the weights that were learned."""
        learned, at = copy.deepcopy(self._cell), self.sizes.parameters
        with torch.no_grad():
            for i, name in enumerate(_NAMES):
                weight = learned.get_parameter(name)
                weight.copy_(torch.from_numpy(state.weight[at[i] : at[i + 1]]).view(weight.shape))
        return learned


def with_bias(features: np.ndarray, dt: np.ndarray, signals: np.ndarray, reset: np.ndarray | None = None) -> GVFStream:
    """A stream for linear questions: a feature that is always 1 is put before the others."""
    return GVFStream(np.concatenate([np.ones((len(dt), 1)), features], 1), dt, signals, None, reset)
