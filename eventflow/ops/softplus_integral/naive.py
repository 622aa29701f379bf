"""The definition: every node of every curve, then their weighted sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def line(a: Tensor, b: Tensor, nodes: Any, weights: Any) -> Tensor:
    """See :func:`eventflow.ops.softplus_integral.softplus_line`."""
    x, w = (torch.tensor(part, dtype=a.dtype, device=a.device) for part in (nodes, weights))
    return functional.softplus(a[..., None] + b[..., None] * x, threshold=40.0) @ w


def decay(a: Tensor, b: Tensor, rate: Tensor, nodes: Any, weights: Any) -> Tensor:
    """See :func:`eventflow.ops.softplus_integral.softplus_decay`."""
    x, w = (torch.tensor(part, dtype=a.dtype, device=a.device) for part in (nodes, weights))
    return functional.softplus(a[..., None] + b[..., None] * torch.exp(-rate[..., None] * x), threshold=40.0) @ w
