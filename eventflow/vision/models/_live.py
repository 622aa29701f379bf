"""Flow networks for running only: the same numbers to the last digits, without what training needs.

Batch-norms become part of the convolutions before them, weights lie as the processor's convolutions want them, images
lie channels last, transposed convolutions are computed as plain ones, large ones with Winograd's fewer products, those
of spikes without the silent ones, and what follows a convolution (gates, neurons) is one pass over memory.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

from eventflow.errors import InputError, did_you_mean
from eventflow.vision.models._folded import Folded
from eventflow.vision.models._live_layers import LIVE
from eventflow.vision.models._network import FlowNetwork

PRECISIONS = ("float32", "bfloat16")
N = TypeVar("N", bound=FlowNetwork[Any])


def live(network: N, *, precision: str = "float32") -> N:
    """A copy of a flow network, on the CPU, that runs faster and cannot be trained: the same contract, numbers within
    rounding.

    Its states are its own: begin with its ``init``. It holds its weights twice, those of large convolutions six times,
    those of spikes once more, and does not see later changes of the network's. Layers of classes that are not this
    room's stay as they are.

    Args:
        network: any flow network.
        precision: "float32" (of a float64 network: float64), or "bfloat16": factors of convolutions, and what they
            give, are rounded to 8 bits; sums, states, gates and neurons stay float32. Up to twice as fast where the
            processor has such products, and numbers differ in the third digit; a spiking network's spikes differ,
            and it is slower, as silent neurons are passed over in float32 only.

    Raises:
        InputError: an unknown precision; bfloat16 of a network that is not float32, or where it cannot be had.
    """
    if precision not in PRECISIONS:
        raise InputError(f"live(precision={precision!r}): {did_you_mean(precision, PRECISIONS)}")
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    _replace(copied)
    if precision == "bfloat16":
        for module in copied.modules():
            if isinstance(module, Folded):
                if module.weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
                    raise InputError(f"live(precision='bfloat16'): weights of {module.weight.dtype}; expected float32, "
                                     "and a torch with oneDNN")  # fmt: skip
                module.pack(torch.bfloat16)
    return copied


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        kind: Any = LIVE.get(type(child))  # type: ignore[call-overload]
        if kind is None:
            _replace(child)
        else:
            module.add_module(name, kind(child).requires_grad_(False))
