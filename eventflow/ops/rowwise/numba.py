"""The compiled path: the sequence of ``naive.py`` for each element, vectorised across elements.

Without ``fastmath`` LLVM may neither reorder nor fuse, so vectorising over outputs, unrolling over d and the remainder
loops all give the same bits. The inner loop runs over contiguous outputs and takes four d at a time, in order, to halve
the traffic: about 10 G multiply-adds/s in float64 on an AVX-512 core, half of what BLAS does.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Array = NDArray[Any]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_linear`; a weight whose ``.t()`` is contiguous is not copied."""
    offset = weight.new_zeros(weight.shape[0]) if bias is None else bias
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or offset.requires_grad):
        return _Linear.apply(x, weight, offset)  # type: ignore[no-any-return]
    return _linear(x, weight, offset)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_matmul`."""
    if b.dim() == 2:
        return linear(a, b.t(), None)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return _Matmul.apply(a, b)  # type: ignore[no-any-return]
    return _matmul(a, b)


def total(x: Tensor) -> Tensor:
    """See :func:`eventflow.ops.rowwise.rowwise_sum`."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _Total.apply(x)  # type: ignore[no-any-return]
    return _total(x)


def product(x: Tensor, right: Array, bias: Array) -> Tensor:
    """bias (O,) + x (..., D) right (D, O), without gradients, for callers that keep the last two as arrays."""
    x = x.contiguous()
    rows = x if x.dim() == 2 else x.view(x.shape[:-1].numel(), x.shape[-1])
    out = np.empty((rows.shape[0], right.shape[1]), right.dtype)
    _product(rows.numpy(), right, bias, out)
    return torch.from_numpy(out) if x.dim() == 2 else torch.from_numpy(out).view(*x.shape[:-1], out.shape[1])


def as_right(weight: Tensor, dtype: torch.dtype) -> Array:
    """weight (O, D) as the (D, O) array that :func:`product` takes; not copied if its ``.t()`` is contiguous."""
    return weight.detach().to(dtype).t().contiguous().numpy()


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return product(x.detach(), as_right(weight, x.dtype), bias.detach().to(x.dtype).contiguous().numpy())


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = a.detach().expand(*lead, -1, -1).reshape(lead.numel(), *a.shape[-2:]).contiguous()
    right = b.detach().to(a.dtype).expand(*lead, -1, -1).reshape(lead.numel(), *b.shape[-2:]).contiguous()
    out = torch.empty(left.shape[0], left.shape[1], right.shape[2], dtype=a.dtype)
    _products(left.numpy(), right.numpy(), np.zeros(right.shape[2], out.numpy().dtype), out.numpy())
    return out.view(*lead, *out.shape[1:])


def _total(x: Tensor) -> Tensor:
    x = x.detach().contiguous()
    rows = x.view(x.shape[:-1].numel(), x.shape[-1]).numpy()
    out = np.empty(rows.shape[0], rows.dtype)
    _sums(rows, out)
    return torch.from_numpy(out).view(x.shape[:-1])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _product(x: Array, w: Array, bias: Array, out: Array) -> None:
    """out (N, O) = bias (O,) + x (N, D) w (D, O)."""
    rows, depth = x.shape
    width = w.shape[1]
    whole = depth - depth % 4
    for n in range(rows):
        y = out[n]
        for o in range(width):
            y[o] = bias[o]
        for d in range(0, whole, 4):
            x0, x1, x2, x3 = x[n, d], x[n, d + 1], x[n, d + 2], x[n, d + 3]
            w0, w1, w2, w3 = w[d], w[d + 1], w[d + 2], w[d + 3]
            for o in range(width):
                a = y[o] + x0 * w0[o]
                a = a + x1 * w1[o]
                a = a + x2 * w2[o]
                y[o] = a + x3 * w3[o]
        for d in range(whole, depth):
            x0, w0 = x[n, d], w[d]
            for o in range(width):
                y[o] = y[o] + x0 * w0[o]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _products(a: Array, b: Array, zero: Array, out: Array) -> None:
    for i in range(a.shape[0]):
        _product(a[i], b[i], zero, out[i])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _sums(x: Array, out: Array) -> None:
    """out (N,) = x (N, D) summed from the left; four rows at a time, since one row's additions wait for each other."""
    rows, depth = x.shape
    whole = rows - rows % 4
    zero = out.dtype.type(0)
    for n in range(0, whole, 4):
        s0 = s1 = s2 = s3 = zero
        for d in range(depth):
            s0 += x[n, d]
            s1 += x[n + 1, d]
            s2 += x[n + 2, d]
            s3 += x[n + 3, d]
        out[n], out[n + 1], out[n + 2], out[n + 3] = s0, s1, s2, s3
    for n in range(whole, rows):
        s0 = zero
        for d in range(depth):
            s0 += x[n, d]
        out[n] = s0


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        flat, rows = (v.reshape(x.shape[:-1].numel(), v.shape[-1]) for v in (grad, x))
        return grad @ weight, flat.t() @ rows, flat.sum(0)


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _matmul(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a, b = ctx.saved_tensors
        return (grad @ b.mT).sum_to_size(a.shape), (a.mT @ grad).sum_to_size(b.shape)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.depth = x.shape[-1]
        return _total(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad[..., None].expand(*grad.shape, ctx.depth)
