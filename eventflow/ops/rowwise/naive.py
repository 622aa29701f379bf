"""The definition: one multiplication and one addition after another, each rounded. Shapes as in the package."""

from __future__ import annotations

import torch
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_linear`."""
    out = x.new_zeros(*x.shape[:-1], weight.shape[0]) if bias is None else bias.expand(*x.shape[:-1], -1)
    for d in range(x.shape[-1]):
        out = out + x[..., d, None] * weight[:, d]
    return out


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_matmul`."""
    lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = a.new_zeros(*lead, a.shape[-2], b.shape[-1])
    for d in range(a.shape[-1]):
        out = out + a[..., :, d, None] * b[..., d, None, :]
    return out


def total(x: Tensor) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_sum`."""
    out = x.new_zeros(x.shape[:-1])
    for d in range(x.shape[-1]):
        out = out + x[..., d]
    return out
