"""The networks of the paper's authors, from a checkout of their repository, beside ours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.vision import EfficientSpikeFlowNet, EVFlowNet, FlowNetwork, LSTMFlowNet

_MODULE = "models.baseline_n_proposed_net"
#: Ours -> (their class, channels, ours at a small width).
_PAIRS: dict[str, tuple[str, int, Callable[[int], FlowNetwork[Any]]]] = {
    "EVFlowNet": ("NonSpikingEVFlowNet", 20, EVFlowNet),
    "LSTMFlowNet": ("LSTMEVFlowNet", 2, LSTMFlowNet),
    "EfficientSpikeFlowNet": ("EfficientSpikeFlowNet", 2, EfficientSpikeFlowNet),
}


class Authors:
    """Their classes.

    Args:
        checkout: of github.com/wponghiran/temporally_dense_flow.

    Raises:
        InputError: it is not there.
    """

    NAMES = tuple(_PAIRS)

    def __init__(self, checkout: Path) -> None:
        file = checkout / (_MODULE.replace(".", "/") + ".py")
        if not file.is_file():
            raise InputError(f"--official {checkout}: no {file}. Write: git clone "
                             f"https://github.com/wponghiran/temporally_dense_flow {checkout}")  # fmt: skip
        sys.path.insert(0, str(checkout.resolve()))
        try:
            self._module: Any = importlib.import_module(_MODULE)
        finally:
            sys.path.pop(0)

    def copy_of(self, name: str, network: FlowNetwork[Any]) -> nn.Module:
        """Their network with our weights."""
        kind, channels, _ = _PAIRS[name]
        unet: Any = network.unet  # type: ignore[attr-defined]
        options = {
            "num_pols": channels, "num_encoders": len(unet.encoders), "num_res_blocks": len(unet.residuals),
            "norm": "bn-all-ts", "c_mul": 2, "num_base_c": unet.heads[-1].weight.shape[1],
        }  # fmt: skip
        theirs = getattr(self._module, kind)(options).eval()
        for layer, other in zip([*unet.encoders, *unet.decoders], [*theirs.encoders, *theirs.decoders], strict=True):
            (_copy_lstm if name == "LSTMFlowNet" else _copy_layer)(layer, other)
        for block, other in zip(unet.residuals, getattr(theirs, "res_blocks", ()), strict=True):
            other.conn_1.weight.data.copy_(block.first.weight)
            other.conn_2.weight.data.copy_(block.second.weight)
            _copy_norms(block.first_norm, [other.bn_1])
            _copy_norms(block.second_norm, [other.bn_2])
        for head, other in zip(unet.heads, theirs.pred_blocks, strict=True):
            other.weight.data.copy_(head.weight)
        return theirs

    def check(self, name: str) -> None:
        """Raise AssertionError unless theirs gives our numbers, at a small width, over a few steps."""
        torch.manual_seed(1)
        ours = _PAIRS[name][2](4).eval()
        for layer in ours.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
        theirs = self.copy_of(name, ours)
        x = 3 * torch.rand(1, 10, 2, 32, 48)
        want = ours.scan(x)[0][:, -1]
        got = theirs(x)[-1] if name == "EVFlowNet" else theirs(x)[9]
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))

    def stepping(self, name: str, network: FlowNetwork[Any], x: Tensor) -> Callable[[], Any]:
        """A call that runs their network one step on; x (1, channels, H, W)."""
        theirs = self.copy_of(name, network)
        if name == "EVFlowNet":
            window = x.repeat(1, 10, 1, 1).unflatten(1, (10, 2))
            return lambda: theirs(window)
        state: list[Any] = [None, None]

        def step() -> Any:
            flow, *after = theirs(x[:, None], *state)
            half = len(after) // 2
            state[:] = after[:half], after[half:]
            return flow

        return step


def _copy_norms(norm: nn.BatchNorm2d, others: list[Any]) -> None:
    """One batch-norm into several that share its channels."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        parts = getattr(norm, name).detach().chunk(len(others))
        for part, other in zip(parts, others, strict=True):
            getattr(other, name).data.copy_(part)


def _copy_layer(layer: Any, other: Any) -> None:
    other.conn_1.weight.data.copy_(layer.convolution.weight)
    _copy_norms(layer.norm, [other.bn_1])
    if hasattr(layer, "neurons"):
        learned = layer.neurons.leaky.parametrizations
        other.lif_1.leak_proxy.data.copy_(learned.beta.original)
        other.lif_1.thresh.data.copy_(learned.threshold.original)


def _copy_lstm(layer: Any, other: Any) -> None:
    other.conv_x.weight.data.copy_(layer.input.weight)
    memory = layer.memory.weight
    if isinstance(other.conv_h, nn.ConvTranspose2d):
        memory = memory.transpose(0, 1).flip(2, 3)
    other.conv_h.weight.data.copy_(memory)
    _copy_norms(layer.norm, [other.bn_wfx, other.bn_wix, other.bn_wox, other.bn_wcx])
