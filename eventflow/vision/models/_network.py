"""The contract of flow networks, and the U-Net that they share.

Axes: B recordings, T steps, C input channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn import where_state
from eventflow.nn._recorded import Recorded
from eventflow.vision.models._layers import FlowLayer

S = TypeVar("S", bound=tuple)


class UNetState(NamedTuple):
    """The states of all layers, in the order in which they are passed."""

    encoders: tuple[Any, ...]
    residuals: tuple[Any, ...]
    decoders: tuple[Any, ...]


class Stages(NamedTuple):
    """How to make layers: ``encoder(inputs, outputs)``, ``decoder(inputs, outputs)``, ``residual(channels)``."""

    encoder: Callable[[int, int], FlowLayer]
    decoder: Callable[[int, int], FlowLayer]
    residual: Callable[[int], FlowLayer]


class UNet(nn.Module):
    """Encoders that halve, residual blocks, decoders that double, and a flow at every size.

    Encoder i has width 2^(i+1) channels, decoders the mirror image, down to ``width``. A decoder sees the one before,
    the encoder of its size, and (but the first) the flow predicted one size below; the first sees its encoder only once
    if there is no residual block between. Flow heads are 1x1 convolutions without bias.
    """

    def __init__(self, stages: Stages, *, channels: int, width: int, depth: int, residual_blocks: int) -> None:
        super().__init__()
        sizes = [width * 2**i for i in range(depth + 1)]
        self.encoders = nn.ModuleList(stages.encoder(sizes[i] if i else channels, sizes[i + 1]) for i in range(depth))
        self.residuals = nn.ModuleList(stages.residual(sizes[-1]) for _ in range(residual_blocks))
        self.decoders = nn.ModuleList()
        for i in reversed(range(depth)):
            first = i == depth - 1
            inputs = sizes[i + 1] * (1 if first and not residual_blocks else 2) + (0 if first else 2)
            self.decoders.append(stages.decoder(inputs, sizes[i]))
        self.heads = nn.ModuleList(nn.Conv2d(size, 2, 1, bias=False) for size in reversed(sizes[:-1]))

    def init(self, batch: int, height: int, width: int) -> UNetState:
        """All layers' first states, for images (batch, C, height, width)."""
        depth = len(self.encoders)

        def states(layers: Any, halvings: list[int]) -> tuple[Any, ...]:
            pairs = zip(layers, halvings, strict=True)
            return tuple(layer.init(batch, height >> h, width >> h) for layer, h in pairs)

        return UNetState(
            states(self.encoders, list(range(1, depth + 1))),
            states(self.residuals, [depth] * len(self.residuals)),
            states(self.decoders, list(reversed(range(depth)))),
        )

    def forward(self, x: Tensor, state: UNetState) -> tuple[tuple[Tensor, ...], UNetState]:
        """Flows (B, 2, H / 2^k, W / 2^k), coarse to fine, the last at full size; and the next state."""
        skips, encoders, residuals, decoders, flows = [], [], [], [], []
        for layer, before in zip(self.encoders, state.encoders, strict=True):
            x, after = layer(x, before)
            skips.append(x)
            encoders.append(after)
        for layer, before in zip(self.residuals, state.residuals, strict=True):
            x, after = layer(x, before)
            residuals.append(after)
        for i, (layer, head, before) in enumerate(zip(self.decoders, self.heads, state.decoders, strict=True)):
            parts = [x, *([skips[-1 - i]] if i or len(self.residuals) else []), *flows[-1:]]
            x, after = layer(torch.cat(parts, 1), before)
            flows.append(head(x))
            decoders.append(after)
        return tuple(flows), UNetState(tuple(encoders), tuple(residuals), tuple(decoders))


class FlowNetwork(Recorded, nn.Module, Generic[S]):
    """A network that turns a stream of event counts into a stream of flow fields.

    The contract is that of ``eventflow.nn.Cell`` (the state is a value; ``scan`` equals the folded ``step``), with
    three differences that images ask for:

    - ``init`` takes the image's height and width, which the states' shapes depend on;
    - there is no ``evolve`` and no ``dt``: the bins tile time, and silence is a bin without events. The length of a bin
      (10 ms at 100 Hz) belongs to what the network was trained on;
    - what ``step`` returns is read *after* the update: the flow as it is at the bin's end. ``scan`` returns those flows
      and the final state only, as the states of all steps would not fit into memory.

    A flow is (B, 2, H, W): the displacement (x, y) in pixels over the time that the network was trained for (in the
    paper the last 100 ms, whatever the length of a bin).
    """

    channels: int
    depth: int

    def init(self, batch: int, height: int, width: int) -> S:
        """The state of ``batch`` recordings before anything was seen.

        Raises:
            InputError: height or width is no multiple of 2^depth.
        """
        raise NotImplementedError

    def update(self, state: S, x: Tensor) -> S:
        """The state after a bin with event counts ``x`` (B, channels, H, W), positive first as ``event_count``'s."""
        raise NotImplementedError

    def read(self, state: S) -> Tensor:
        """(B, 2, H, W): the flow at the last bin's end; a pure query."""
        raise NotImplementedError

    def step_scales(self, state: S, x: Tensor) -> tuple[tuple[Tensor, ...], S]:
        """As :meth:`step`, with the flow at every scale: (B, 2, H / 2^k, W / 2^k), coarse to fine."""
        raise NotImplementedError

    def step(self, state: S, x: Tensor) -> tuple[Tensor, S]:
        """One bin: the flow at its end (B, 2, H, W), and the state after it."""
        flows, state = self.step_scales(state, x)
        return flows[-1], state

    def scan(self, x: Tensor, state: S | None = None, *, reset: Tensor | None = None) -> tuple[Tensor, S]:
        """The flows after each bin (B, T, 2, H, W), and the final state; the same numbers as folding :meth:`step`.

        Args:
            x: (B, T, channels, H, W) event counts.
            state: where to start; None is ``init(B, H, W)``.
            reset: (B, T) bool; where True a new recording starts with that bin: the state is ``init`` before it.
        """
        self._check_scan(x, reset)
        start = self.init(x.shape[0], *x.shape[-2:])
        now, flows = start if state is None else state, []
        for i, counts in enumerate(x.unbind(1)):
            before = now if reset is None else where_state(reset[:, i], start, now)
            flow, now = self.step(before, counts)
            flows.append(flow)
        if not flows:
            return x.new_zeros(x.shape[0], 0, 2, *x.shape[-2:]), now
        return torch.stack(flows, 1), now

    def _check_scan(self, x: Tensor, reset: Tensor | None) -> None:
        name = type(self).__name__
        if x.dim() != 5 or x.shape[2] != self.channels:
            raise InputError(f"{name}.scan: x is {tuple(x.shape)}; expected (B, T, channels={self.channels}, H, W)")
        if reset is not None and reset.shape != x.shape[:2]:
            raise InputError(f"{name}.scan: reset is {tuple(reset.shape)}; expected (B, T)={tuple(x.shape[:2])}")

    def check_size(self, height: int, width: int) -> None:
        """Raise :class:`InputError` for images that cannot be halved ``depth`` times."""
        unit = 2**self.depth
        if min(height, width) < unit or height % unit or width % unit:
            near = tuple(max(unit, size - size % unit) for size in (height, width))
            raise InputError(
                f"{type(self).__name__}: images of {height}x{width}; expected multiples of {unit} (2^depth). "
                f"Write: CenterCrop({near}), or pad with zeros"
            )

    def check_input(self, x: Tensor, like: Tensor, *, scale: int = 1) -> None:
        """Raise :class:`InputError` if ``x`` is no (B, channels, H, W) of the B, scale H, scale W of ``like``."""
        expected = (like.shape[0], self.channels, like.shape[-2] * scale, like.shape[-1] * scale)
        if x.shape != expected:
            raise InputError(
                f"{type(self).__name__}: x is {tuple(x.shape)}; the state is for (B, channels, H, W)={expected}"
            )


def check_sizes(owner: str, **sizes: tuple[int, int]) -> None:
    """Raise :class:`InputError` for the first ``name=(value, smallest)`` that is no whole number, or below."""
    for name, (value, smallest) in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            raise InputError(f"{owner}: {name}={value!r}; expected a whole number of {smallest} or more")


class RecurrentFlowNetwork(FlowNetwork[UNetState]):
    """A flow network whose memory is in its layers, and whose last decoder's state holds its last output."""

    unet: UNet

    def init(self, batch: int, height: int, width: int) -> UNetState:
        """Zeros."""
        self.check_size(height, width)
        return self.unet.init(batch, height, width)

    def update(self, state: UNetState, x: Tensor) -> UNetState:
        """The state after a bin with event counts ``x`` (B, channels, H, W)."""
        return self.step_scales(state, x)[1]

    def read(self, state: UNetState) -> Tensor:
        """(B, 2, H, W): the flow at the last bin's end; zero before the first."""
        last: Any = self.unet.decoders[-1]
        return self.unet.heads[-1](last.read(state.decoders[-1]))

    def step_scales(self, state: UNetState, x: Tensor) -> tuple[tuple[Tensor, ...], UNetState]:
        """One bin: the flow at every scale, coarse to fine, and the state after it."""
        self.check_input(x, state_leaf(state.decoders[-1]))
        return self.unet(x, state)


def state_leaf(state: Any) -> Tensor:
    """The first tensor of a layer's state."""
    return state if isinstance(state, Tensor) else state[0]
