"""The definition of ``scan``: one step after another."""

from __future__ import annotations

import torch
from torch import Tensor


def naive_scan(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
    """a, b: (B, T, *D); h0, init: (B, *D); reset: (B, T) bool. Returns (B, T, *D)."""
    h, states = h0, []
    for t in range(b.shape[1]):
        gate = a[:, t]
        if reset is not None:
            new = reset[:, t].reshape((-1,) + (1,) * (h.dim() - 1))
            gate = gate if init is not None else torch.where(new, 0, gate)
            h = torch.where(new, 0 if init is None else init, h)
        h = gate * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1) if states else a * h0[:, None] + b
