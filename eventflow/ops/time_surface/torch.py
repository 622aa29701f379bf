"""The time surface in plain torch: any device, differentiable in t, ``at`` and ``tau``."""

from __future__ import annotations

import torch
from torch import Tensor


def torch_time_surface(
    t: Tensor, x: Tensor, y: Tensor, p: Tensor, *, size: tuple[int, int], at: Tensor, tau: Tensor, decay: str
) -> Tensor:
    """(2, height, width); times are taken relative to ``at`` before they are rounded."""
    height, width = size
    age = (at - t).to(torch.float64)
    keep = age >= 0
    cell = (((p <= 0) * height + y.to(torch.int64)) * width + x.to(torch.int64))[keep]
    never = torch.full((2 * height * width,), float("inf"), dtype=torch.float64, device=t.device)
    youngest = never.scatter_reduce(0, cell, age[keep], "amin", include_self=True)
    seen = torch.isfinite(youngest)
    safe = torch.where(seen, youngest, 0.0) / tau
    value = torch.exp(-safe) if decay == "exponential" else (1 - safe).clamp(min=0)
    wide = any(v.requires_grad and v.dtype == torch.float64 for v in (t, at, tau))
    return torch.where(seen, value, 0.0).reshape(2, height, width).to(torch.float64 if wide else torch.float32)
