"""Products and reductions of torch rewritten with row-wise sums (:mod:`eventflow.ops.rowwise`); signatures as torch's.

They are called with the mode off, so only functions known to be batch-invariant may stand here: IEEE arithmetic,
``amax``, and ``exp``/``log``/``sqrt`` through :func:`elementwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.online._elementwise import elementwise
from eventflow.ops.rowwise.numba import linear as rowwise_linear
from eventflow.ops.rowwise.numba import matmul as rowwise_matmul
from eventflow.ops.rowwise.numba import total as rowwise_sum

Dims = int | Sequence[int] | None


def _exp(x: Tensor) -> Tensor:
    return elementwise(torch.exp, (x,), {})


def _log(x: Tensor) -> Tensor:
    return elementwise(torch.log, (x,), {})


# -- products ------------------------------------------------------------


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    if a.dim() == 0 or b.dim() == 0:
        raise InputError("matmul of a scalar; write a * b")
    if b.dim() == 1:
        return rowwise_sum(a * b)
    if a.dim() == 1:
        return rowwise_matmul(a[None], b)[..., 0, :]
    return rowwise_matmul(a, b)


def _rmatmul(a: Tensor, b: Tensor) -> Tensor:
    return _matmul(b, a)


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return bias * beta + _matmul(a, b) * alpha


def _einsum(equation: str, *operands: Any) -> Tensor:
    parts = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if len(parts) > 2 or "..." in equation:
        raise InputError(f"batch_invariant: einsum({equation!r}); write it as products of two tensors with named axes")
    left, _, right = equation.replace(" ", "").partition("->")
    names = left.split(",")
    result = right if "->" in equation else "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    if any(len(set(name)) < len(name) for name in names):
        raise InputError(f"batch_invariant: einsum({equation!r}) takes a diagonal; write .diagonal() first")
    order = result + "".join(sorted(set(left) - {","} - set(result)))
    product = _aligned(parts[0], names[0], order)
    for part, name in zip(parts[1:], names[1:], strict=True):
        product = product * _aligned(part, name, order)
    summed = len(order) - len(result)
    return rowwise_sum(product.flatten(-summed)) if summed else product


def _aligned(x: Tensor, names: str, order: str) -> Tensor:
    x = x.permute([names.index(c) for c in order if c in names])
    return x[tuple(slice(None) if c in names else None for c in order)]


# -- sums ------------------------------------------------------------


def _sum(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    if (dim == -1 or dim == (-1,)) and not keepdim and x.dim():
        return rowwise_sum(x)
    dims = sorted(d % max(x.dim(), 1) for d in _as_dims(x, dim))
    if not dims:
        return x.clone()
    kept = [d for d in range(x.dim()) if d not in dims]
    out = rowwise_sum(x.permute(*kept, *dims).flatten(len(kept)))
    if keepdim:
        for d in dims:
            out = out.unsqueeze(d)
    return out


def _as_dims(x: Tensor, dim: Dims) -> Sequence[int]:
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return range(x.dim())
    return (dim,) if isinstance(dim, int) else dim


def _count(x: Tensor, dim: Dims) -> int:
    return int(torch.Size(x.shape[d] for d in _as_dims(x, dim)).numel())


def _mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    return _sum(x, dim, keepdim, dtype=dtype) / _count(x, dim)


def _var(x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int = 1) -> Tensor:
    away = x - _mean(x, dim, True)
    return _sum(away * away, dim, keepdim) / max(_count(x, dim) - (correction if unbiased else 0), 0)


def _std(x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int = 1) -> Tensor:
    return _var(x, dim, unbiased, keepdim, correction=correction).sqrt()


def _norm(
    x: Tensor, p: float | str | None = 2, dim: Dims = None, keepdim: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    if p in (2, 2.0, None, "fro"):
        return _sum(x * x, dim, keepdim).sqrt()
    if p == 1:
        return _sum(x.abs(), dim, keepdim)
    raise InputError(f"batch_invariant: norm(p={p!r}); write p=1 or p=2")


def _vector_norm(x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:  # noqa: A002
    return _norm(x, ord, dim, keepdim)


def _logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    dims = tuple(_as_dims(x, dim))
    top = x.amax(dims, keepdim=True)
    top = torch.where(top.isfinite(), top, torch.zeros_like(top))
    out = _log(_sum(_exp(x - top), dims, True)) + top
    return out if keepdim else out.reshape(_sum_shape(x, dims))


def _sum_shape(x: Tensor, dims: Sequence[int]) -> list[int]:
    gone = {d % x.dim() for d in dims}
    return [n for d, n in enumerate(x.shape) if d not in gone]


def _softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    weights = _exp(x - x.amax(dim, keepdim=True))
    return weights / _sum(weights, dim, True)


def _log_softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    away = x - x.amax(dim, keepdim=True)
    return away - _log(_sum(_exp(away), dim, True))


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    away = x - _mean(x, dims, True)
    out = away / (_mean(away * away, dims, True) + eps).sqrt()
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    out = x / (_mean(x * x, tuple(range(-len(shape), 0)), True) + eps).sqrt()
    return out if weight is None else out * weight


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if training and p:
        raise InputError("batch_invariant: dropout draws at random; a live model draws nothing. Write: model.eval()")
    return x


ROUTES: dict[str, Callable[..., Any]] = {
    "matmul": _matmul, "mm": _matmul, "bmm": _matmul, "mv": _matmul, "dot": _matmul, "inner": rowwise_linear,
    "__rmatmul__": _rmatmul, "addmm": _addmm, "addmv": _addmm, "baddbmm": _addmm, "einsum": _einsum,
    "sum": _sum, "mean": _mean, "var": _var, "std": _std, "norm": _norm, 
    "linalg_vector_norm": _vector_norm, "logsumexp": _logsumexp, "special_logsumexp": _logsumexp, "softmax": _softmax,
    "log_softmax": _log_softmax, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "dropout": _dropout,
    "special_softmax": _softmax, "special_log_softmax": _log_softmax,
}  # fmt: skip
