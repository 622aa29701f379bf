"""CompactFlowNet, a design of this project: 100 flows a second on one core; ``models/compact_flownet/card.md`` says why
each part is as it is.

Axes: B recordings, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eventflow.errors import InputError
from eventflow.vision.models._network import FlowNetwork, check_sizes

#: Every stride of the stem; the finest level has a quarter of the image's height and width.
STRIDE = 4


class CompactState(NamedTuple):
    """The memory of each level, fine to coarse: (B, C, H / 4, W / 4), (B, 2C, H / 8, W / 8), ..., all in (-1, 1)."""

    memories: tuple[Tensor, ...]


class GatedMemory(nn.Module):
    """A light gated unit at every pixel: no reset gate, one depthwise convolution to look at the neighbours.

    z, a = BN(W_x x) + W_h (D * h);  h' = h + sigmoid(z) (tanh(a / 2) - h), a convex combination, which keeps h in
    (-1, 1) however long a stream is. (Ravanelli et al., "Light gated recurrent units", 2018, with a bounded candidate.)

    The gates' biases start such that channels remember for 1.5 to 20 steps (Tallec & Ollivier, ICLR 2018).
    """

    def __init__(self, channels: int, *, kernel: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.neighbours = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.memory = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        steps = torch.logspace(math.log10(1.5), math.log10(20), channels)
        with torch.no_grad():
            self.norm.bias[:channels] = -torch.log(steps - 1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """h' (B, C, H, W) of x and h, each (B, C, H, W)."""
        gates = torch.sigmoid(self.norm(self.input(x)) + self.memory(self.neighbours(h))).to(h.dtype)  # if mixed
        write, new = gates.chunk(2, 1)
        return torch.lerp(h, 2 * new - 1, write)  # 2 sigmoid(a) - 1 is tanh(a / 2), and several times as fast


class Refine(nn.Module):
    """A level's memory joined with what the coarser level made of its own, at the finer one's size."""

    def __init__(self, channels: int, coarser: int) -> None:
        super().__init__()
        self.own = nn.Conv2d(channels, channels, 1, bias=False)
        self.coarser = nn.Conv2d(coarser, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.neighbours = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.mix_norm = nn.BatchNorm2d(channels)

    def forward(self, h: Tensor, coarser: Tensor) -> Tensor:
        """(B, C, H, W) of h (B, C, H, W) and (B, C', H / 2, W / 2)."""
        y = torch.relu(self.norm(self.own(h) + enlarge(self.coarser(coarser), 2)))
        return torch.relu(y + self.mix_norm(self.mix(self.neighbours(y))))


def enlarge(x: Tensor, factor: int) -> Tensor:
    """(B, C, factor H, factor W), bilinear between pixels' centres: a flipped image gives the flipped one."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class Patches(nn.Module):
    """Convolution, batch-norm, ReLU; an even kernel of even stride, whose windows lie symmetrically in the image.

    So a flipped image has the same windows, flipped; with an odd kernel and stride 2 it has others.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=(kernel - stride) // 2, bias=False
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """relu(BN(W x)): (B, C', H / stride, W / stride)."""
        return torch.relu(self.norm(self.convolution(x)))


class CompactFlowNet(FlowNetwork[CompactState]):
    """A recurrent network that makes 100 flows a second of 288x384 on one core of a CPU.

    The first layer looks at 8x8 windows every 4 pixels; each level (a quarter of the image, an eighth, ...) has one
    :class:`GatedMemory`; a decoder without memory of its own joins the levels and predicts the flow coarse to fine,
    each level a correction of the enlarged coarser one. So :meth:`update` is the encoder, :meth:`read` the decoder, and
    the flow may be read less often than events are counted.

    Args:
        width: channels of the finest level; the next ones have 2 width, 4 width, ...
        depth: how often the image is halved, down to the coarsest level: at least 2, which is one level.
        channels: of one bin: counts of positive and negative events.
        kernel: of the convolution through which memories see their neighbours; odd.

    Raises:
        InputError: a size below its smallest, or an even kernel.
    """

    def __init__(self, width: int = 32, depth: int = 4, *, channels: int = 2, kernel: int = 3) -> None:
        super().__init__()
        check_sizes(
            "CompactFlowNet", width=(width, 1), depth=(depth, 2), channels=(channels, 1), kernel=(kernel, 1)
        )  # fmt: skip
        if kernel % 2 == 0:
            raise InputError(f"CompactFlowNet: kernel={kernel}; expected an odd number, as it has a centre")
        self.channels, self.depth = channels, depth
        self.sizes = sizes = [width * 2**i for i in range(depth - 1)]
        strides = [(channels, 2 * STRIDE, STRIDE), *((size, 2, 2) for size in sizes)]
        self.encoders = nn.ModuleList(
            Patches(inputs, size, kernel=window, stride=stride)
            for size, (inputs, window, stride) in zip(sizes, strides, strict=False)
        )
        self.memories = nn.ModuleList(GatedMemory(size, kernel=kernel) for size in sizes)
        self.decoders = nn.ModuleList(Refine(size, 2 * size) for size in reversed(sizes[:-1]))
        self.heads = nn.ModuleList(nn.Conv2d(size, 2, 1, bias=False) for size in reversed(sizes))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what 1x1 convolutions are fastest in

    def init(self, batch: int, height: int, width: int) -> CompactState:
        """Zeros."""
        self.check_size(height, width)
        like: Tensor = self.heads[0].weight  # type: ignore[assignment]

        def zeros(level: int, channels: int) -> Tensor:
            shape = (batch, channels, height // STRIDE >> level, width // STRIDE >> level)
            return like.new_zeros(shape).contiguous(memory_format=torch.channels_last)

        return CompactState(tuple(zeros(i, size) for i, size in enumerate(self.sizes)))

    def update(self, state: CompactState, x: Tensor) -> CompactState:
        """The memories after a bin with event counts ``x`` (B, channels, H, W)."""
        self.check_input(x, state.memories[0], scale=STRIDE)
        memories = []
        for encoder, memory, h in zip(self.encoders, self.memories, state.memories, strict=True):
            x = memory(encoder(x), h)
            memories.append(x)
        return CompactState(tuple(memories))

    def read(self, state: CompactState) -> Tensor:
        """(B, 2, H, W): the flow at the last bin's end."""
        return self.scales(state)[-1]

    def scales(self, state: CompactState) -> tuple[Tensor, ...]:
        """The flow at every level, coarse to fine (B, 2, H / 2^k, W / 2^k), and at full size; in its pixels."""
        *finer, y = state.memories
        flows = [self._flow(0, y)]
        for i, h in enumerate(reversed(finer)):
            y = self.decoders[i](h, y)
            flows.append(enlarge(flows[-1], 2) + self._flow(i + 1, y))
        return *flows, enlarge(flows[-1], STRIDE)

    def _flow(self, level: int, y: Tensor) -> Tensor:
        return self.heads[level](y).contiguous()  # planes: two channels are enlarged four times as fast so

    def step_scales(self, state: CompactState, x: Tensor) -> tuple[tuple[Tensor, ...], CompactState]:
        """One bin: the flow at every scale, coarse to fine, and the state after it."""
        state = self.update(state, x)
        return self.scales(state), state
