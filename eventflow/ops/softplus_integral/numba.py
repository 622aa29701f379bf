"""The compiled path: torch on the outside, ``_kernels`` inside; values and derivatives come from one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops._lanes import LANES
from eventflow.ops.softplus_integral._kernels import decays, lines

Array = NDArray[Any]


def line(a: Tensor, b: Tensor, nodes: Any, weights: Any) -> Tensor:
    """See :func:`eventflow.ops.softplus_integral.softplus_line`."""
    return _Curves.apply(nodes, weights, a, b)  # type: ignore[no-any-return]


def decay(a: Tensor, b: Tensor, rate: Tensor, nodes: Any, weights: Any) -> Tensor:
    """See :func:`eventflow.ops.softplus_integral.softplus_decay`."""
    return _Curves.apply(nodes, weights, a, b, rate)  # type: ignore[no-any-return]


class _Curves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Any, weights: Any, *given: Tensor) -> Tensor:  # type: ignore[override]
        shape = torch.broadcast_shapes(*(x.shape for x in given))
        ctx.shapes = [x.shape for x in given]
        number = given[0].detach().numpy().dtype
        curves = [_padded(x.expand(shape), number) for x in given]
        rule = np.asarray(nodes, number), np.asarray(weights, number)
        value, *slopes = (np.empty_like(curves[0]) for _ in range(len(given) + 1))
        kernel: Any = lines if len(given) == 2 else decays
        kernel(*curves, *rule, value, *slopes)
        size = shape.numel()
        ctx.save_for_backward(*(torch.from_numpy(x[:size]).view(shape) for x in slopes))
        return torch.from_numpy(value[:size]).view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        slopes = ctx.saved_tensors
        grads = [
            (grad * slope).sum_to_size(shape) if needed else None
            for slope, shape, needed in zip(slopes, ctx.shapes, ctx.needs_input_grad[2:], strict=True)
        ]
        return None, None, *grads


def _padded(curve: Tensor, number: Any) -> Array:
    """Flat, with zeros up to a multiple of the lanes."""
    size = curve.numel()
    out = np.zeros(-(-size // LANES) * LANES, number)
    out[:size] = curve.detach().reshape(-1).numpy()
    return out
