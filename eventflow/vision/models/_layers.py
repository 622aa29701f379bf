"""The layers of the flow networks: a convolution, batch-norm, and what remembers.

Axes: B images, C channels, H rows, W columns. Every layer is ``y, state = layer(x, state)``; ``init(batch, height,
width)`` gives the state before the first step, for outputs of that size; ``read(state)`` gives y again where the state
holds it. States are values: they go in and come out, and none is kept on the module.

Batch-norm normalises by the statistics of the step's batch in training, and by the running ones in eval: then a step
depends neither on the other images of the batch nor on other steps, and a stream gives the numbers of a batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn
from torch.nn.utils import parametrize

SMALLEST_THRESHOLD = 0.01


class LSTMState(NamedTuple):
    """Of one convolutional LSTM: output h and memory c, each (B, C, H, W)."""

    h: Tensor
    c: Tensor


class FlowLayer(nn.Module):
    """What an encoder, a decoder or a residual block is."""

    channels: int

    def init(self, batch: int, height: int, width: int) -> Any:
        """The state before anything was seen, for outputs (batch, channels, height, width); () where none is needed."""
        return ()

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The layer's output and its next state."""
        raise NotImplementedError

    def zeros(self, batch: int, height: int, width: int) -> Tensor:
        """(batch, channels, height, width), where the weights are and of their dtype."""
        return next(self.parameters()).new_zeros(batch, self.channels, height, width)


def resampler(inputs: int, outputs: int, *, up: bool) -> nn.Conv2d | nn.ConvTranspose2d:
    """3x3 with stride 2, which halves height and width; ``up``: transposed 4x4 with stride 2, which doubles them."""
    if up:
        return _spread(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), inputs)
    return _spread(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), inputs)


def _spread(convolution: Any, inputs: int) -> Any:
    """Uniform weights in +-sqrt(1/inputs), as the authors start; batch-norm undoes their scale."""
    bound = math.sqrt(1 / inputs)
    nn.init.uniform_(convolution.weight, -bound, bound)
    return convolution


class ReLULayer(FlowLayer):
    """Convolution, batch-norm, ReLU: no memory."""

    def __init__(self, inputs: int, outputs: int, *, up: bool = False) -> None:
        super().__init__()
        self.channels = outputs
        self.convolution = resampler(inputs, outputs, up=up)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """relu(BN(W x))."""
        return torch.relu(self.norm(self.convolution(x))), state


class ReLUResidual(FlowLayer):
    """Two 3x3 convolutions with batch-norm beside the identity: no memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.first = _spread(nn.Conv2d(channels, channels, 3, padding=1, bias=False), channels)
        self.second = _spread(nn.Conv2d(channels, channels, 3, padding=1, bias=False), channels)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """relu(x + BN(W2 relu(BN(W1 x))))."""
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(x + self.second_norm(self.second(inner))), state


class LSTMLayer(FlowLayer):
    """A convolutional LSTM that resamples its input: no peepholes, no biases, batch-norm on the input's path.

    f, i, o, g = W_x * x + W_h * h;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c'), where the
    input's path is normalised per gate and channel (one batch-norm over all 4C channels is the same), the memory's is
    not.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool = False) -> None:
        super().__init__()
        self.channels = outputs
        self.input = resampler(inputs, 4 * outputs, up=up)
        self.norm = nn.BatchNorm2d(4 * outputs)
        self.memory = nn.Conv2d(outputs, 4 * outputs, 3, padding=1, bias=False)
        fan_in = inputs * (4 if up else 9)  # a pixel of a transposed 4x4 convolution of stride 2 sees 2x2 inputs
        gains = [nn.init.calculate_gain(name) for name in ("sigmoid", "sigmoid", "sigmoid", "tanh")]
        for gain, x, h in zip(
            gains, self.input.weight.chunk(4, 1 if up else 0), self.memory.weight.chunk(4), strict=True
        ):
            nn.init.normal_(x, std=gain / math.sqrt(fan_in))
            with torch.no_grad():
                h.copy_(nn.init.orthogonal_(torch.empty_like(h), gain=gain))

    def init(self, batch: int, height: int, width: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.zeros(batch, height, width), self.zeros(batch, height, width))

    def forward(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """h' and (h', c')."""
        forget, write, out, new = (self.norm(self.input(x)) + self.memory(state.h)).chunk(4, 1)
        c = torch.sigmoid(forget) * state.c + torch.sigmoid(write) * torch.tanh(new)
        h = torch.sigmoid(out) * torch.tanh(c)
        return h, LSTMState(h, c)

    def read(self, state: LSTMState) -> Tensor:
        """h."""
        return state.h


class Neurons(nn.Module):
    """C leaky integrate-and-fire neurons per pixel: ``spikes, v = neurons(current, v)``.

    v' = leak v [v <= threshold] + current; a spike where v' > threshold. Leak and threshold are learned per channel:
    the leak is a sigmoid (so 0 < leak < 1), the threshold at least 0.01. The reset is hard and not differentiated;
    backwards a spike is an arctan, of slope 1 / (1 + (pi (v' - threshold))^2) (Fang et al., ICCV 2021).

    :meth:`definition` is snntorch's ``Leaky``, whose parameters and surrogate these are; ``forward`` gives the same
    numbers and gradients in half of its passes over memory.
    """

    def __init__(self, channels: int, *, threshold: float) -> None:
        super().__init__()
        shape = (channels, 1, 1)
        kind: Any = snntorch.Leaky  # whose signature knows no tensors
        self.leaky = kind(
            torch.full(shape, 0.5), torch.full(shape, threshold), spike_grad=surrogate.atan(alpha=2.0),
            learn_beta=True, learn_threshold=True, reset_mechanism="zero",
        )  # fmt: skip
        snntorch.SpikingNeuron.instances.remove(self.leaky)  # else that list keeps every neuron alive for ever
        parametrize.register_parametrization(self.leaky, "beta", _Sigmoid())
        parametrize.register_parametrization(self.leaky, "threshold", _AtLeast())

    def forward(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes (0 or 1) and membrane potentials before their reset, each of the current's shape."""
        v = torch.addcmul(current, torch.where(v > self.leaky.threshold, 0, v), self.leaky.beta)
        return self.fire(v), v

    def definition(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` is: one call of snntorch's ``Leaky``."""
        spikes, v = self.leaky(current, v)
        self.leaky.mem = v.new_zeros(0)  # Leaky keeps what it saw; nothing of ours may depend on it, or hold the graph
        self.leaky.reset = v.new_zeros(0)
        return spikes.to(current.dtype), v

    def fire(self, v: Tensor) -> Tensor:
        """The spikes that potentials give: the same as ``forward`` gave with them."""
        if torch.is_grad_enabled():
            return self.leaky.spike_grad(v - self.leaky.threshold).to(v.dtype)
        return (v > self.leaky.threshold).to(v.dtype)


class _Sigmoid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def right_inverse(self, y: Tensor) -> Tensor:
        return torch.logit(y)


class _AtLeast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(SMALLEST_THRESHOLD)

    def right_inverse(self, y: Tensor) -> Tensor:
        return y


class SpikeLayer(FlowLayer):
    """Convolution, batch-norm, spiking neurons; the state is their potentials."""

    def __init__(self, inputs: int, outputs: int, *, threshold: float, up: bool = False) -> None:
        super().__init__()
        self.channels = outputs
        self.convolution = resampler(inputs, outputs, up=up)
        self.norm = nn.BatchNorm2d(outputs)
        self.neurons = Neurons(outputs, threshold=threshold)

    def init(self, batch: int, height: int, width: int) -> Tensor:
        """At rest."""
        return self.zeros(batch, height, width)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and potentials."""
        return self.neurons(self.norm(self.convolution(x)), state)

    def read(self, state: Tensor) -> Tensor:
        """The spikes of the last step."""
        return self.neurons.fire(state)


class SpikeResidual(FlowLayer):
    """Two spiking 3x3 convolutions; their spikes are added to the input, so that the sum is a small whole number."""

    def __init__(self, channels: int, *, threshold: float) -> None:
        super().__init__()
        self.channels = channels
        self.first = _spread(nn.Conv2d(channels, channels, 3, padding=1, bias=False), channels)
        self.second = _spread(nn.Conv2d(channels, channels, 3, padding=1, bias=False), channels)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.first_neurons, self.second_neurons = (Neurons(channels, threshold=threshold) for _ in range(2))

    def init(self, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """At rest."""
        return self.zeros(batch, height, width), self.zeros(batch, height, width)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x plus the second layer's spikes, and both layers' potentials."""
        spikes, first = self.first_neurons(self.first_norm(self.first(x)), state[0])
        spikes, second = self.second_neurons(self.second_norm(self.second(spikes)), state[1])
        return x + spikes, (first, second)
