"""The compiled path: torch on the outside, ``_kernels`` inside; what fades is computed anew in the backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from eventflow.ops._lanes import LANES
from eventflow.ops._trusted import row_by_row
from eventflow.ops.mode_decay import _kernels

Array = NDArray[Any]


@row_by_row
def mode_decay(weight: Tensor, rate: Tensor, pace: Tensor, ahead: Tensor) -> Tensor:
    """See :func:`eventflow.ops.mode_decay.mode_decay`."""
    short = -weight.shape[-1] % LANES
    if short:
        weight, rate = functional.pad(weight, (0, short)), functional.pad(rate, (0, short))
    return _ModeDecay.apply(weight, rate, pace, ahead)  # type: ignore[no-any-return]


class _ModeDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rate: Tensor, pace: Tensor, ahead: Tensor) -> Tensor:  # type: ignore[override]
        ctx.given = tuple(_array(x.to(weight.dtype)) for x in (weight, rate, pace, ahead))
        out = np.empty((*ahead.shape, weight.shape[1]), ctx.given[0].dtype)
        kernel: Any = _kernels.forward
        kernel(*ctx.given, out)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        weight, rate, pace, _ = ctx.given
        grads = np.empty_like(weight), np.zeros_like(rate), np.empty_like(pace)
        kernel: Any = _kernels.backward
        kernel(ctx.given, _array(grad), *grads)
        return *(torch.from_numpy(x) for x in grads), None


def _array(x: Tensor) -> Array:
    return x.detach().contiguous().numpy()
