"""The definition: the plain convolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv2d


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int) -> Tensor:
    """What :func:`eventflow.ops.sparse_convolution.sparse_convolution` computes: (B, H', W', C') of (B, H, W, C)."""
    return conv2d(x.permute(0, 3, 1, 2), weight, bias, stride=stride, padding=padding).permute(0, 2, 3, 1)
