"""What a step of a flow network costs in arithmetic: multiply-accumulates, and accumulates where inputs are spikes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eventflow.nn import map_state
from eventflow.vision.models._network import FlowNetwork

#: Joules of a 32-bit floating-point multiply-accumulate and of an accumulate, 45 nm.
#: Source: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014; the numbers that papers on
#: spiking networks use: 3.7 pJ + 0.9 pJ, 0.9 pJ.
MAC_JOULE, AC_JOULE = 4.6e-12, 0.9e-12


class LayerWork(NamedTuple):
    """One convolution, in one step of one recording.

    dense: multiply-accumulates if every input counted. macs: those with inputs that are no spikes. acs: accumulates:
    the dense count of inputs that are spikes times the share of them that fired.
    """

    name: str
    dense: float
    macs: float
    acs: float


class Work(NamedTuple):
    """Of a whole step, per recording: the mean over those that were looked at."""

    layers: tuple[LayerWork, ...]

    @property
    def dense(self) -> float:
        """Multiply-accumulates if every input counted."""
        return sum(layer.dense for layer in self.layers)

    @property
    def macs(self) -> float:
        """Multiply-accumulates."""
        return sum(layer.macs for layer in self.layers)

    @property
    def acs(self) -> float:
        """Accumulates."""
        return sum(layer.acs for layer in self.layers)

    @property
    def joules(self) -> float:
        """The estimate: memory, neurons' own arithmetic and batch-norm (folded into weights) not included."""
        return self.macs * MAC_JOULE + self.acs * AC_JOULE


def work_of(network: FlowNetwork[Any], counts: Tensor, state: Any) -> tuple[Work, Any]:
    """The work of the steps ``counts`` (B, T, C, H, W), from ``state`` on; and the state after them.

    Counted as papers on spiking networks do: in a network with ``firing_rates``, channels of a convolution's input that
    are nothing but 0 and 1 are spikes (not those of the network's own input), and each costs an accumulate per weight
    that it meets.
    """
    was_training = network.training
    network.eval()
    seen: dict[str, list[float]] = {}
    names = {weight.data_ptr(): name.removesuffix(".weight") for name, weight in network.named_parameters()}
    batch, steps = counts.shape[:2]
    try:
        with torch.enable_grad():  # as it is defined: what is fused for inference does the same work
            for x in counts.unbind(1):
                with _Count(names, seen, spiking=hasattr(network, "firing_rates")):
                    _, state = network.step(state, x)
    finally:
        network.train(was_training)
    layers = [LayerWork(name, *(value / (steps * batch) for value in sums)) for name, sums in seen.items()]
    return Work(tuple(layers)), map_state(torch.Tensor.detach, state)


class _Count(TorchDispatchMode):
    """Adds up the convolutions that are run inside."""

    def __init__(self, names: dict[int, str], seen: dict[str, list[float]], *, spiking: bool) -> None:
        super().__init__()
        self.names, self.seen, self.spiking, self.first = names, seen, spiking, True

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self._add(args[0], args[1], bool(args[6]), out)
        return out

    def _add(self, x: Tensor, weight: Tensor, transposed: bool, out: Tensor) -> None:
        kernel = math.prod(weight.shape[2:])
        # each input (transposed: each output otherwise) meets kernel x channels weights
        places = x[:, 0].numel() if transposed else out[:, 0].numel()
        outputs = weight.shape[1] if transposed else weight.shape[0]
        inputs = weight.shape[0] if transposed else weight.shape[1]
        channel = places * kernel * outputs  # dense work of one input channel
        spikes = ((x == 0) | (x == 1)).flatten(2).all(2).all(0) & (self.spiking and not self.first)
        self.first = False
        share = (x != 0).to(torch.float64).mean((0, 2, 3))[spikes].sum().item()
        count = int(spikes.sum())
        name = self.names.get(weight.data_ptr(), "convolution")
        sums = self.seen.setdefault(name, [0.0, 0.0, 0.0])
        for i, value in enumerate((channel * inputs, channel * (inputs - count), channel * share)):
            sums[i] += value
