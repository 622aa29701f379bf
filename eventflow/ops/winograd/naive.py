"""The definition: the plain convolution; and the transform of its weights.

With n - 1 points a_j and one at infinity, n = k + 3: a signal d of n numbers filtered by g of k gives the four numbers
A^T ((G g) * (B^T d)), where G has the rows (1, a_j, ..., a_j^(k-1)) / prod_l (a_j - a_l).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

POINTS = {3: (0.0, 1.0, -1.0, 2.0, -2.0), 2: (0.0, 1.0, -1.0, 2.0)}


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int) -> Tensor:
    """What :func:`eventflow.ops.winograd.winograd` computes: (B, H', W', C') of (B, H, W, C)."""
    return conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding).permute(0, 2, 3, 1)


def winograd_kernel(weight: Tensor) -> Tensor:
    """See :func:`eventflow.ops.winograd.winograd_kernel`."""
    size = weight.shape[-1]
    points = POINTS[size]
    rows = [
        [a**power / math.prod(a - b for b in points if b != a) for power in range(size)] for a in points
    ]  # fmt: skip
    left = torch.tensor([*rows, [0.0] * (size - 1) + [1.0]], dtype=torch.float64)
    tiles = torch.einsum("ia,ocab,jb->ijco", left, weight.double(), left)
    return tiles.flatten(0, 1).float().contiguous()
