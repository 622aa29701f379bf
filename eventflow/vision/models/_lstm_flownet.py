"""LSTM-FlowNet: Ponghiran, Liyanagedera, Roy, "Event-based temporally dense optical flow estimation with sequential
learning", ICCV 2023, arXiv 2210.01244."""

from __future__ import annotations

from eventflow.vision.models._layers import LSTMLayer, ReLUResidual
from eventflow.vision.models._network import RecurrentFlowNetwork, Stages, UNet, check_sizes


class LSTMFlowNet(RecurrentFlowNetwork):
    """A U-Net in which every encoder and decoder is a convolutional LSTM; the residual blocks are of ReLU.

    53,629,632 parameters with the defaults.

    Args:
        width: channels of the finest decoder; encoder i has width 2^(i+1).
        depth: how many encoders halve the image, and decoders double it.
        residual_blocks: between them, at the coarsest size.
        channels: of one bin: counts of positive and negative events.

    Raises:
        InputError: a size below 1 (``residual_blocks``: 0).
    """

    def __init__(self, width: int = 32, depth: int = 4, *, residual_blocks: int = 2, channels: int = 2) -> None:
        super().__init__()
        check_sizes(
            "LSTMFlowNet", width=(width, 1), depth=(depth, 1), residual_blocks=(residual_blocks, 0),
            channels=(channels, 1),
        )  # fmt: skip
        self.channels, self.depth = channels, depth
        self.unet = UNet(
            Stages(LSTMLayer, lambda inputs, outputs: LSTMLayer(inputs, outputs, up=True), ReLUResidual),
            channels=channels, width=width, depth=depth, residual_blocks=residual_blocks,
        )  # fmt: skip
