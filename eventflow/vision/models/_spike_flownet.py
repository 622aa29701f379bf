"""EfficientSpike-FlowNet: Ponghiran, Liyanagedera, Roy, "Event-based temporally dense optical flow estimation with
sequential learning", ICCV 2023, arXiv 2210.01244."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eventflow.errors import InputError
from eventflow.vision.models._layers import SMALLEST_THRESHOLD, SpikeLayer, SpikeResidual
from eventflow.vision.models._network import RecurrentFlowNetwork, Stages, UNet, UNetState, check_sizes


class EfficientSpikeFlowNet(RecurrentFlowNetwork):
    """A U-Net of spiking neurons: convolution, batch-norm, leaky integrate-and-fire, in every layer.

    5,036,736 parameters with the defaults. The flow is a 1x1 convolution of the finest decoder's spikes of the step.

    Args:
        width: channels of the finest decoder; encoder i has width 2^(i+1).
        depth: how many encoders halve the image, and decoders double it.
        residual_blocks: between them, at the coarsest size.
        channels: of one bin: counts of positive and negative events.
        threshold: of all neurons at the start.

    Raises:
        InputError: a size below 1 (``residual_blocks``: 0), or a threshold below 0.01.
    """

    def __init__(
        self, width: int = 32, depth: int = 4, *, residual_blocks: int = 0, channels: int = 2, threshold: float = 1.0
    ) -> None:
        super().__init__()
        check_sizes(
            "EfficientSpikeFlowNet", width=(width, 1), depth=(depth, 1), residual_blocks=(residual_blocks, 0),
            channels=(channels, 1),
        )  # fmt: skip
        if not threshold >= SMALLEST_THRESHOLD:
            raise InputError(f"EfficientSpikeFlowNet: threshold={threshold}; expected {SMALLEST_THRESHOLD} or more")
        self.channels, self.depth = channels, depth
        self.unet = UNet(
            Stages(
                lambda inputs, outputs: SpikeLayer(inputs, outputs, threshold=threshold),
                lambda inputs, outputs: SpikeLayer(inputs, outputs, threshold=threshold, up=True),
                lambda size: SpikeResidual(size, threshold=threshold),
            ),
            channels=channels, width=width, depth=depth, residual_blocks=residual_blocks,
        )  # fmt: skip

    def firing_rates(self, state: UNetState) -> dict[str, Tensor]:
        """Layer -> (B,): the share of its neurons that spiked at the last step; all 0 before the first."""
        rates = {}
        for kind in ("encoders", "decoders"):
            layers: Any = getattr(self.unet, kind)
            for i, (layer, potentials) in enumerate(zip(layers, getattr(state, kind), strict=True)):
                rates[f"{kind}.{i}"] = _share(layer.read(potentials))
        blocks: Any = self.unet.residuals
        for i, (block, pair) in enumerate(zip(blocks, state.residuals, strict=True)):
            rates[f"residuals.{i}.first"] = _share(block.first_neurons.fire(pair[0]))
            rates[f"residuals.{i}.second"] = _share(block.second_neurons.fire(pair[1]))
        return rates


def _share(spikes: Tensor) -> Tensor:
    return spikes.detach().mean((1, 2, 3))
