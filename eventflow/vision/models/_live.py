"""Flow networks for running only: the same numbers to the last digits, without what training needs.

Batch-norms become part of the convolutions before them, weights lie as the processor's convolutions want them, images
lie channels last, and what follows a convolution is done in its pass. Layers that know how have a method ``live()``.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from eventflow.vision.models._folded import Folded
from eventflow.vision.models._network import FlowNetwork

N = TypeVar("N", bound=FlowNetwork[Any])


def live(network: N) -> N:
    """A copy of a flow network that runs faster and cannot be trained: the same contract, numbers within rounding.

    Its states are its own: begin with its ``init``. A copy holds its weights twice, and does not see later changes of
    the network's.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    _replace(copied)
    return copied


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if hasattr(child, "live"):
            module.add_module(name, child.live())  # type: ignore[operator]
        elif isinstance(child, nn.Conv2d):
            module.add_module(name, Folded(child))
        else:
            _replace(child)
