"""The definition: every pair, every time, every channel, then the sum over what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from eventflow.ops.pair_decay import Pairs


def pair_decay(pairs: Pairs, ahead: Tensor, value: Tensor, slow: Tensor, fast: Tensor) -> Tensor:
    """See :func:`eventflow.ops.pair_decay.pair_decay`."""
    rate = functional.softplus(slow[:, None] + fast[:, :, None], threshold=40.0)  # (B, I, J, H)
    age = torch.where(pairs.seen, pairs.age, 0)[:, :, None] + ahead[..., None]  # (B, I, R, J)
    weight = torch.where(pairs.seen, pairs.weight, 0)
    left = torch.exp(-rate[:, :, None] * age[..., None])
    return torch.einsum("bij,bjh,birjh->birh", weight, value, left)
