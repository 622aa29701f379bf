"""The event spike tensor in plain torch: any device; differentiable in t and in whatever the kernel depends on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eventflow.ops.voxel_grid.torch import positions


def torch_spike_tensor(
    t: Tensor, x: Tensor, y: Tensor, p: Tensor, *, shape: tuple[int, int, int, int],
    span: tuple[Tensor, Tensor] | None, kernel: str | Callable[[Tensor], Tensor], measure: str,
) -> Tensor:  # fmt: skip
    """(bins, 2, height, width); ``span`` None is the closed [min t, max t]."""
    bins, _, height, width = shape
    dtype = torch.float64 if t.dtype == torch.float64 and t.requires_grad else torch.float32
    share, sign = positions(t, p, 1, span, torch.float64)
    distance = (torch.arange(bins, device=t.device)[:, None] - share * (bins - 1)).to(dtype)
    if callable(kernel):
        weight = kernel(distance)
    elif kernel == "triangle":
        weight = (1 - distance.abs()).clamp(min=0)
    else:
        weight = torch.where(distance >= 0, torch.exp(-distance.clamp(min=0)), 0.0)
    value = sign.abs() * (share if measure == "time" else 1.0)
    cell = ((p <= 0) * height + y.to(torch.int64)) * width + x.to(torch.int64)
    flat = torch.zeros(bins, 2 * height * width, dtype=weight.dtype, device=t.device)
    return flat.index_add(1, cell, weight * value.to(weight.dtype)).reshape(shape)
