"""The layers of the flow networks for running only: without gradients, on the CPU, images channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eventflow.ops.lif_step import lif_step
from eventflow.ops.lstm_gates import lstm_gates
from eventflow.ops.lstm_gates.naive import interleaved
from eventflow.vision.models._compact_flownet import GatedMemory, Patches, Refine, enlarge
from eventflow.vision.models._folded import Folded, folded
from eventflow.vision.models._layers import (
    FlowLayer,
    LSTMLayer,
    LSTMState,
    Neurons,
    ReLULayer,
    ReLUResidual,
    SpikeLayer,
    SpikeResidual,
)


class Doubled(nn.Module):
    """A transposed convolution of kernel 4, stride 2 and padding 1, as one of kernel 2 with four times the channels.

    Each of the four pixels that an input pixel becomes sees 2x2 inputs; what it is given stands where
    :func:`eventflow.ops.lstm_gates` says. The same sums, at the speed of an ordinary convolution.
    """

    def __init__(self, convolution: nn.ConvTranspose2d, norm: nn.BatchNorm2d, *, sparse: bool = False) -> None:
        super().__init__()
        weight, shift = folded(convolution.weight.transpose(0, 1), None, norm)  # (C, inputs, 4, 4)
        parts = [_part(weight, down, across) for down in (0, 1) for across in (0, 1)]
        plain = nn.Conv2d(weight.shape[1], 4 * len(weight), 2, padding=1, device="meta")
        plain.weight = nn.Parameter(torch.cat(parts))
        assert shift is not None
        plain.bias = nn.Parameter(shift.repeat(4))
        self.convolution = Folded(plain, sparse=sparse)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H + 1, W + 1, 4, C) of (B, C', H, W)."""
        return rows(self.convolution(x)).unflatten(-1, (4, -1))


def _part(weight: Tensor, down: int, across: int) -> Tensor:
    """The 2x2 kernel of the pixels at (2 i + down, 2 j + across)."""
    return weight[:, :, (1, 3) if down == 0 else (0, 2)][..., (1, 3) if across == 0 else (0, 2)].flip(-2, -1)


def rows(image: Tensor) -> Tensor:
    """(B, H, W, C), contiguous, of (B, C, H, W)."""
    return image.permute(0, 2, 3, 1).contiguous()


def image(pixels: Tensor) -> Tensor:
    """(B, C, H, W), channels last, of (B, H, W, C)."""
    return pixels.permute(0, 3, 1, 2)


def resampler(convolution: nn.Module, norm: nn.BatchNorm2d, *, sparse: bool = False) -> Folded | Doubled:
    """Either convolution of a layer, with its batch-norm; ``sparse``: of spikes."""
    if isinstance(convolution, nn.ConvTranspose2d):
        return Doubled(convolution, norm, sparse=sparse)
    assert isinstance(convolution, nn.Conv2d)
    return Folded(convolution, norm, sparse=sparse)


def pixels(resample: Folded | Doubled, x: Tensor) -> Tensor:
    """What :func:`lif_step` and :func:`lstm_gates` take: rows of an image, or phases."""
    return resample(x) if isinstance(resample, Doubled) else rows(resample(x))


class _LiveLayer(FlowLayer):
    def zeros(self, batch: int, height: int, width: int) -> Tensor:
        return super().zeros(batch, height, width).contiguous(memory_format=torch.channels_last)


class LiveReLU(_LiveLayer):
    """Of :class:`ReLULayer`."""

    def __init__(self, layer: ReLULayer) -> None:
        super().__init__()
        self.channels, self.resample = layer.channels, resampler(layer.convolution, layer.norm)

    def forward(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """As the layer's."""
        y = pixels(self.resample, x)
        return image((interleaved(y) if y.dim() == 5 else y).relu_()), state


class LiveReLUResidual(_LiveLayer):
    """Of :class:`ReLUResidual`."""

    def __init__(self, block: ReLUResidual) -> None:
        super().__init__()
        self.channels = block.channels
        self.first = Folded(block.first, block.first_norm, relu=True)
        self.second = Folded(block.second, block.second_norm, relu=True)

    def forward(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """As the block's."""
        return self.second.add_to(x.clone(memory_format=torch.channels_last), self.first(x)), state


class LiveLSTM(_LiveLayer):
    """Of :class:`LSTMLayer`."""

    def __init__(self, layer: LSTMLayer) -> None:
        super().__init__()
        self.channels, self.resample = layer.channels, resampler(layer.input, layer.norm)
        self.memory = Folded(layer.memory)

    def init(self, batch: int, height: int, width: int) -> LSTMState:
        """Zeros."""
        return LSTMState(self.zeros(batch, height, width), self.zeros(batch, height, width))

    def forward(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """As the layer's."""
        h, c = lstm_gates(pixels(self.resample, x), rows(self.memory(state.h)), rows(state.c))
        return image(h), LSTMState(image(h), image(c))

    def read(self, state: LSTMState) -> Tensor:
        """h."""
        return state.h


class _LiveNeurons(nn.Module):
    leak: Tensor
    threshold: Tensor

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        self.register_buffer("leak", neurons.leaky.beta.detach().reshape(-1).clone())
        self.register_buffer("threshold", neurons.leaky.threshold.detach().reshape(-1).clone())

    def forward(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and potentials, images, of currents (rows or phases) and potentials, an image."""
        spikes, v = lif_step(current, rows(v), self.leak, self.threshold)
        return image(spikes), image(v)

    def fire(self, v: Tensor) -> Tensor:
        """The spikes that potentials give."""
        return (v > self.threshold[:, None, None]).to(v.dtype)


class LiveSpike(_LiveLayer):
    """Of :class:`SpikeLayer`."""

    def __init__(self, layer: SpikeLayer) -> None:
        super().__init__()
        self.channels, self.resample = layer.channels, resampler(layer.convolution, layer.norm, sparse=True)
        self.neurons = _LiveNeurons(layer.neurons)

    def init(self, batch: int, height: int, width: int) -> Tensor:
        """At rest."""
        return self.zeros(batch, height, width)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As the layer's."""
        return self.neurons(pixels(self.resample, x), state)

    def read(self, state: Tensor) -> Tensor:
        """The spikes of the last step."""
        return self.neurons.fire(state)


class LiveSpikeResidual(_LiveLayer):
    """Of :class:`SpikeResidual`."""

    def __init__(self, block: SpikeResidual) -> None:
        super().__init__()
        self.channels = block.channels
        self.first = Folded(block.first, block.first_norm, sparse=True)
        self.second = Folded(block.second, block.second_norm, sparse=True)
        self.first_neurons, self.second_neurons = (
            _LiveNeurons(block.first_neurons), _LiveNeurons(block.second_neurons),
        )  # fmt: skip

    def init(self, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """At rest."""
        return self.zeros(batch, height, width), self.zeros(batch, height, width)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As the block's."""
        spikes, first = self.first_neurons(rows(self.first(x)), state[0])
        spikes, second = self.second_neurons(rows(self.second(spikes)), state[1])
        return x + spikes, (first, second)


class LiveMemory(nn.Module):
    """Of :class:`GatedMemory`."""

    def __init__(self, memory: GatedMemory) -> None:
        super().__init__()
        self.input, self.memory = Folded(memory.input, memory.norm), Folded(memory.memory)
        self.neighbours = Folded(memory.neighbours)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """As the memory's."""
        write, new = self.memory.add_to(self.input(x), self.neighbours(h)).sigmoid_().chunk(2, 1)
        return torch.lerp(h, new.mul_(2).sub_(1), write)


class LiveRefine(nn.Module):
    """Of :class:`Refine`."""

    def __init__(self, refine: Refine) -> None:
        super().__init__()
        self.own, self.coarser = Folded(refine.own, refine.norm), Folded(refine.coarser, refine.norm)
        self.coarser.bias = None  # the norm's shift is added once, with ``own``
        self.neighbours, self.mix = Folded(refine.neighbours), Folded(refine.mix, refine.mix_norm, relu=True)

    def forward(self, h: Tensor, coarser: Tensor) -> Tensor:
        """As the decoder's."""
        y = self.own(h).add_(enlarge(self.coarser(coarser), 2)).relu_()
        return self.mix.add_to(y, self.neighbours(y))


def live_patches(patches: Patches) -> Folded:
    """Of :class:`Patches`."""
    return Folded(patches.convolution, patches.norm, relu=True)


#: Class of a layer -> what runs in its place. Exact classes: another's forward may be another.
LIVE = {
    ReLULayer: LiveReLU, ReLUResidual: LiveReLUResidual, LSTMLayer: LiveLSTM, SpikeLayer: LiveSpike,
    SpikeResidual: LiveSpikeResidual, GatedMemory: LiveMemory, Refine: LiveRefine, Patches: live_patches,
    nn.Conv2d: Folded,
}  # fmt: skip
