"""EV-FlowNet (Zhu et al., RSS 2018), as Ponghiran et al. (ICCV 2023, arXiv 2210.01244) use it: no memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.vision.models._layers import ReLULayer, ReLUResidual
from eventflow.vision.models._network import FlowNetwork, Stages, UNet, UNetState, check_sizes


class EVFlowNetState(NamedTuple):
    """The window: the counts of the last ``bins`` bins (B, bins * channels, H, W), the newest last."""

    window: Tensor


class EVFlowNet(FlowNetwork[EVFlowNetState]):
    """A U-Net of convolution, batch-norm and ReLU over the counts of the last ``bins`` bins.

    16,582,656 parameters with the defaults. The state is the window that the network looks at, and nothing else:
    ``update`` only shifts it and is nearly free; ``read`` runs the network. The paper's 10 Hz is ten updates and one
    ``read``; ``step`` reads after every bin, a sliding window at the full rate, which costs the whole network each
    time.

    Args:
        width: channels of the finest decoder; encoder i has width 2^(i+1).
        depth: how many encoders halve the image, and decoders double it.
        residual_blocks: between them, at the coarsest size.
        channels: of one bin: counts of positive and negative events.
        bins: the window's length, in bins.

    Raises:
        InputError: a size below 1 (``residual_blocks``: 0).
    """

    def __init__(
        self, width: int = 32, depth: int = 4, *, residual_blocks: int = 2, channels: int = 2, bins: int = 10
    ) -> None:
        super().__init__()
        check_sizes(
            "EVFlowNet", width=(width, 1), depth=(depth, 1), residual_blocks=(residual_blocks, 0),
            channels=(channels, 1), bins=(bins, 1),
        )  # fmt: skip
        self.channels, self.depth, self.bins = channels, depth, bins
        self.unet = UNet(
            Stages(ReLULayer, lambda inputs, outputs: ReLULayer(inputs, outputs, up=True), ReLUResidual),
            channels=channels * bins, width=width, depth=depth, residual_blocks=residual_blocks,
        )  # fmt: skip

    def init(self, batch: int, height: int, width: int) -> EVFlowNetState:
        """A window without events."""
        self.check_size(height, width)
        like = self.unet.heads[0].weight
        assert isinstance(like, Tensor)
        return EVFlowNetState(like.new_zeros(batch, self.bins * self.channels, height, width))

    def forward(self, window: Tensor) -> tuple[Tensor, ...]:
        """Flows at every scale, coarse to fine, of windows (B, bins * channels, H, W), the oldest bin first.

        Raises:
            InputError: another number of channels, or a size that cannot be halved ``depth`` times.
        """
        if window.dim() != 4 or window.shape[1] != self.bins * self.channels:
            expected = f"(B, bins * channels={self.bins * self.channels}, H, W)"
            raise InputError(f"EVFlowNet: window is {tuple(window.shape)}; expected {expected}")
        self.check_size(*window.shape[2:])
        count = len(self.unet.encoders)
        state = UNetState(((),) * count, ((),) * len(self.unet.residuals), ((),) * count)
        return self.unet(window, state)[0]

    def update(self, state: EVFlowNetState, x: Tensor) -> EVFlowNetState:
        """The window, shifted by one bin; ``x`` (B, channels, H, W)."""
        self.check_input(x, state.window)
        return EVFlowNetState(torch.cat([state.window[:, self.channels :], x], 1))

    def read(self, state: EVFlowNetState) -> Tensor:
        """(B, 2, H, W): the flow over the window."""
        return self(state.window)[-1]

    def step_scales(self, state: EVFlowNetState, x: Tensor) -> tuple[tuple[Tensor, ...], EVFlowNetState]:
        """One bin: the flow at every scale, coarse to fine, and the state after it."""
        state = self.update(state, x)
        return self(state.window), state
