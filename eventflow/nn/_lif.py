"""Leaky integrate-and-fire neurons in continuous time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError
from eventflow.nn._projected import ProjectedCell

#: No threshold falls below: at zero silence would fire.
_LEAST = 0.01
#: Of the arctan that a spike is backwards: its slope is 1 / (1 + (pi (v - threshold))^2), as snntorch has it.
_SHARPNESS = 2.0


class LIFState(NamedTuple):
    """``spikes`` (..., H), 0 or 1, of the last event; ``v`` (..., H), membrane potentials, reset where they fired."""

    spikes: Tensor
    v: Tensor


class LIF(ProjectedCell[LIFState]):
    """Leaky integrate-and-fire neurons: between events a potential leaks, an event adds a current, enough of it fires.

    Silence: v <- exp(-rate dt) v. At an event: v <- v + W x + b; neurons with v > threshold spike, and their v becomes
    0. Spikes are what is read, until the next event. Rate and threshold are learned, each neuron has its own. The reset
    is not differentiated; backwards a spike is an arctan (Fang et al., *Incorporating learnable membrane time
    constant*, ICCV 2021). With gaps of 1 these are the numbers and the gradients of ``snntorch.Leaky(exp(-rate),
    reset_mechanism="zero")`` (Eshraghian et al., *Training spiking neural networks using lessons from deep learning*,
    Proc. IEEE 2023).

    Args:
        input_size: D features of an event.
        hidden_size: H.
        time_constant: 1 / rate at the start, in the unit of ``dt``.
        threshold: of all neurons at the start.
        bias: with b.

    Raises:
        InputError: a time constant that is not positive, or a threshold below 0.01.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, time_constant: float = 1.0, threshold: float = 1.0,
        bias: bool = True,
    ) -> None:  # fmt: skip
        if not 0 < time_constant < math.inf or not threshold >= _LEAST:
            raise InputError(
                f"LIF(time_constant={time_constant}, threshold={threshold}): expected a positive time constant and a "
                f"threshold of at least {_LEAST}"
            )
        super().__init__()
        self.input_size, self.hidden_size, self.gates_size = input_size, hidden_size, hidden_size
        bound = 1 / math.sqrt(input_size)
        self.weight = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound)) if bias else None
        self.log_rate = nn.Parameter(torch.full((hidden_size,), -math.log(time_constant)))
        self.threshold = nn.Parameter(torch.full((hidden_size,), float(threshold)))

    def init(self, batch: int) -> LIFState:
        zero = self.weight.new_zeros(batch, self.hidden_size)
        return LIFState(zero, zero)

    def evolve(self, state: LIFState, dt: Tensor) -> LIFState:
        v = state.v * torch.exp(-self.log_rate.exp() * dt[..., None])
        return LIFState(state.spikes.expand_as(v), v)

    def read(self, state: LIFState) -> Tensor:
        return state.spikes

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def advance(self, state: LIFState, gates: Tensor) -> LIFState:
        from snntorch.surrogate import ATan

        v = state.v + gates
        spikes = ATan.apply(v - self.threshold.clamp_min(_LEAST), _SHARPNESS).to(v.dtype)
        return LIFState(spikes, torch.where(spikes.detach() > 0, 0, v))
