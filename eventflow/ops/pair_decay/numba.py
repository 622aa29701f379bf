"""The compiled path: torch on the outside, ``_kernels`` inside; what decays is computed anew in the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops._lanes import LANES
from eventflow.ops._trusted import row_by_row
from eventflow.ops.pair_decay import _kernels

if TYPE_CHECKING:
    from eventflow.ops.pair_decay import Pairs

Array = NDArray[Any]


@row_by_row
def pair_decay(pairs: Pairs, ahead: Tensor, value: Tensor, slow: Tensor, fast: Tensor) -> Tensor:
    """See :func:`eventflow.ops.pair_decay.pair_decay`."""
    return _PairDecay.apply(pairs.weight, pairs.seen, pairs.age, ahead, value, slow, fast)  # type: ignore[no-any-return]


class _PairDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, seen: Tensor, age: Tensor, ahead: Tensor, *rest: Tensor) -> Tensor:  # type: ignore[override]
        ctx.width, dtype = rest[0].shape[-1], rest[0].dtype
        plain = [_array(x.to(dtype)) for x in (weight, age, ahead)]
        ctx.given = (plain[0], _array(seen.to(torch.uint8)), plain[1], plain[2], *(_padded(x) for x in rest))
        out = np.empty((*ahead.shape, ctx.given[-1].shape[-1]), plain[0].dtype)
        kernel: Any = _kernels.forward
        kernel(*ctx.given, out)
        return torch.from_numpy(out)[..., : ctx.width]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        weight, value, fast = ctx.given[0], ctx.given[4], ctx.given[6]
        grads = [np.zeros_like(x) for x in (weight, value, value, fast)]
        _kernels.backward(ctx.given, _padded(grad), *grads)
        by_weight, *by_rest = (torch.from_numpy(x) for x in grads)
        return by_weight, None, None, None, *(x[..., : ctx.width] for x in by_rest)


def _array(x: Tensor) -> Array:
    return x.detach().contiguous().numpy()


def _padded(x: Tensor) -> Array:
    """With zeros behind the channels, up to a multiple of the lanes."""
    short = -x.shape[-1] % LANES
    return _array(torch.nn.functional.pad(x.detach(), (0, short)) if short else x)
