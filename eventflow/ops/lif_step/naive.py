"""The definition."""

from __future__ import annotations

import torch
from torch import Tensor

from eventflow.ops.lstm_gates.naive import interleaved


def lif_step(current: Tensor, v: Tensor, leak: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.lif_step.lif_step`."""
    current = interleaved(current) if current.dim() == 5 else current
    v = leak * torch.where(v > threshold, 0, v) + current
    return (v > threshold).to(v.dtype), v
