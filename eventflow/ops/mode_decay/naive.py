"""The definition: every number at every time, then their sum."""

from __future__ import annotations

import torch
from torch import Tensor


def mode_decay(weight: Tensor, rate: Tensor, pace: Tensor, ahead: Tensor) -> Tensor:
    """See :func:`eventflow.ops.mode_decay.mode_decay`."""
    fading = (rate * pace[..., None])[:, None]  # (M, 1, H, N)
    return (weight[:, None] * torch.exp(-fading * ahead[..., None, None])).sum(-1)
