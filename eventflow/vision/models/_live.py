"""Flow networks for running only: the same numbers to the last digits, without what training needs.

Batch-norms become part of the convolutions before them, weights lie as the processor's convolutions want them, images
lie channels last, transposed convolutions are computed as plain ones, and what follows a convolution (gates, neurons)
is one pass over memory.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from eventflow.vision.models._live_layers import LIVE
from eventflow.vision.models._network import FlowNetwork

N = TypeVar("N", bound=FlowNetwork[Any])


def live(network: N) -> N:
    """A copy of a flow network, on the CPU, that runs faster and cannot be trained: the same contract, numbers within
    rounding.

    Its states are its own: begin with its ``init``. It holds its weights twice, and does not see later changes of the
    network's. Layers of classes that are not this room's stay as they are.
    """
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    _replace(copied)
    return copied


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        kind: Any = LIVE.get(type(child))  # type: ignore[call-overload]
        if kind is None:
            _replace(child)
        else:
            module.add_module(name, kind(child).requires_grad_(False))
