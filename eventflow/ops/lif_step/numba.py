"""The compiled path: one pass over memory."""

from __future__ import annotations

from typing import Any

import numba as nb
import torch
from torch import Tensor


def lif_step(current: Tensor, v: Tensor, leak: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.lif_step.lif_step`."""
    spikes, after = torch.empty_like(v), torch.empty_like(v)
    given = tuple(tensor.numpy() for tensor in (current.reshape(*current.shape[:3], -1), v, leak, threshold))
    _step(given, spikes.numpy(), after.numpy(), current.dim() == 5)
    return spikes, after


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _step(given: Any, spikes: Any, after: Any, phases: bool) -> None:  # pragma: no cover - compiled
    current, v, leak, threshold = given
    batch, height, width, channels = v.shape
    none, one = v.dtype.type(0), v.dtype.type(1)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                row, column, start = i, j, 0
                if phases:
                    row, column, start = (i + 1) // 2, (j + 1) // 2, ((i % 2) * 2 + j % 2) * channels
                seen = current[b, row, column, start : start + channels]
                old, new, sent = v[b, i, j], after[b, i, j], spikes[b, i, j]
                for k in range(channels):
                    kept = none if old[k] > threshold[k] else leak[k] * old[k]
                    new[k] = kept + seen[k]
                    sent[k] = one if new[k] > threshold[k] else none
