"""``voxel_grid`` in plain torch: any device, differentiable in t, x and y (through the span, too, where it is theirs).

Polarity is a sign, which has no gradient.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def torch_voxel_grid(
    t: Tensor, x: Tensor, y: Tensor, p: Tensor, *, shape: tuple[int, int, int], span: tuple[Tensor, Tensor] | None,
    interpolation: str,
) -> Tensor:  # fmt: skip
    """(bins, height, width) in the dtype of :func:`result_dtype`; ``span`` None is the closed [min t, max t]."""
    dtype = torch.float64 if torch.float64 in (t.dtype, x.dtype, y.dtype) else torch.float32
    position, sign = positions(t, p, shape[0] - 1, span, dtype)
    if interpolation == "time":
        x, y = torch.floor(x.to(dtype)), torch.floor(y.to(dtype))
    elif interpolation == "nearest":
        x, y, position = (torch.floor(v.to(dtype) + 0.5) for v in (x, y, position))
    whole = (interpolation == "nearest", interpolation != "trilinear", interpolation != "trilinear")
    grid = torch.zeros(shape, dtype=dtype, device=t.device)
    grid = splat(grid, (position, y.to(dtype), x.to(dtype)), sign, whole)
    return grid.to(result_dtype(t, x, y))


def result_dtype(*columns: Tensor) -> torch.dtype:
    """float64 where a float64 column wants a gradient, else float32."""
    return torch.float64 if any(v.requires_grad and v.dtype == torch.float64 for v in columns) else torch.float32


def positions(
    t: Tensor, p: Tensor, top: int, span: tuple[Tensor, Tensor] | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(position in [0, top], sign in {-1, 0, +1}; 0 is outside the span), both (n,). Differences are taken first."""
    if not len(t):
        return t.to(dtype), t.to(dtype)
    start, end = (t.min(), t.max()) if span is None else span
    dt, length = (t - start).to(torch.float64), (end - start).to(torch.float64)
    inside = (dt >= 0) & ((dt <= length) if span is None else (dt < length))
    position = top * dt / torch.where(length > 0, length, 1.0)
    sign = torch.where(p > 0, 1.0, -1.0) * inside
    return torch.where(inside, position, 0.0).to(dtype), sign.to(dtype)


def splat(grid: Tensor, point: tuple[Tensor, Tensor, Tensor], weight: Tensor, whole: tuple[bool, ...]) -> Tensor:
    """``grid`` (bins, height, width) plus ``weight`` shared among the eight voxels around ``point`` (b, y, x).

    Axes that are ``whole`` hold whole numbers: nothing reaches the next voxel.
    """
    flat = grid.reshape(-1)
    base = [torch.floor(v.detach()) for v in point]
    if not whole[0]:
        base[0] = base[0].clamp(0, max(grid.shape[0] - 2, 0))
    for corner in product(*((0,) if w else (0, 1) for w in whole)):
        index = torch.zeros_like(weight, dtype=torch.int64)
        share, inside = weight, torch.ones_like(weight, dtype=torch.bool)
        for value, low, step, size in zip(point, base, corner, grid.shape, strict=True):
            at = low + step
            share = share * (1 - (value - low) if step == 0 else value - low)
            inside = inside & (at >= 0) & (at < size)
            index = index * size + at.clamp(0, size - 1).to(torch.int64)
        flat = flat.index_add(0, index, torch.where(inside, share, 0.0))
    return flat.reshape(grid.shape)
