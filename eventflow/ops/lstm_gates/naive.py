"""The definition."""

from __future__ import annotations

import torch
from torch import Tensor


def lstm_gates(x: Tensor, memory: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.lstm_gates.lstm_gates`."""
    x = interleaved(x) if x.dim() == 5 else x
    forget, write, out, new = (x + memory).chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(write) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(c), c


def interleaved(phases: Tensor) -> Tensor:
    """(B, 2h, 2w, C) of phases (B, h + 1, w + 1, 4, C)."""
    batch, height, width, _, channels = phases.shape
    out = phases.new_empty(batch, 2 * (height - 1), 2 * (width - 1), channels)
    for down in (0, 1):
        for across in (0, 1):
            rows, columns = slice(down, down + height - 1), slice(across, across + width - 1)
            out[:, down::2, across::2] = phases[:, rows, columns, 2 * down + across]
    return out
