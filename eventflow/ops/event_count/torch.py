"""``event_count`` in plain torch: any device, differentiable in x and y where the interpolation is bilinear."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from eventflow.ops.voxel_grid.torch import positions, result_dtype


def torch_event_count(
    t: Tensor, x: Tensor, y: Tensor, p: Tensor, *, shape: tuple[int, int, int, int],
    span: tuple[Tensor, Tensor] | None, interpolation: str,
) -> Tensor:  # fmt: skip
    """(bins, 2, height, width); ``span`` None is the closed [min t, max t]."""
    dtype = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
    bins, _, height, width = shape
    position, sign = positions(t, p, bins, span, torch.float64)
    channel = 2 * position.detach().floor().clamp(max=bins - 1).to(torch.int64) + (p <= 0)
    x, y = x.to(dtype), y.to(dtype)
    if interpolation == "nearest":
        x, y = torch.floor(x + 0.5), torch.floor(y + 0.5)
    flat, weight = torch.zeros(shape, dtype=dtype, device=t.device).reshape(-1), sign.abs().to(dtype)
    left, top = x.detach().floor(), y.detach().floor()
    for down, right in product((0, 1), repeat=2):
        row, column = (top + down).to(torch.int64), (left + right).to(torch.int64)
        share = weight * (y - top if down else 1 - (y - top)) * (x - left if right else 1 - (x - left))
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        cell = (channel * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
        flat = flat.index_add(0, cell, torch.where(inside, share, 0.0))
    return flat.reshape(shape).to(result_dtype(x, y))
