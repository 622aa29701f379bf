"""Products and sums whose every row is computed by the same sequence of operations, whatever the batch.

A BLAS picks its kernel, its blocking and so its order of additions by the shape of the whole batch: the same row gives
other last bits alone than among others. Here ``out[n, o]`` always is ``bias[o]``, plus ``x[n, 0] w[0, o]``, plus
``x[n, 1] w[1, o]``, ..., each product and each sum rounded (no fused multiply-add, no reassociation), so that a live
model that steps 1000 keys at once gives the very numbers of stepping them one by one. It is what ``naive.py`` says, to
the last bit, on any machine.

Axes: N rows, D inputs, O outputs. float32 and float64, on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["rowwise_linear", "rowwise_matmul", "rowwise_sum"]


def rowwise_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """x (..., D), weight (O, D), bias (O,) -> (..., O): ``torch.nn.functional.linear`` with a fixed order of sums.

    ``backend``: "numba" ("auto"; first derivatives) or "naive" (the definition).
    """
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise InputError(
            f"rowwise_linear: x is {tuple(x.shape)}, weight {tuple(weight.shape)}; expected (..., D), (O, D)"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise InputError(f"rowwise_linear: bias is {tuple(bias.shape)}; expected (O,)=({weight.shape[0]},)")
    return _module(backend, x).linear(x, weight, bias)


def rowwise_matmul(a: Tensor, b: Tensor, *, backend: str = "auto") -> Tensor:
    """a (..., N, D) @ b (..., D, O) -> (..., N, O); leading axes broadcast. The sums run over d = 0, 1, ... from 0."""
    if a.dim() < 2 or b.dim() < 2 or a.shape[-1] != b.shape[-2]:
        raise InputError(f"rowwise_matmul: {tuple(a.shape)} @ {tuple(b.shape)}; expected (..., N, D) @ (..., D, O)")
    return _module(backend, a).matmul(a, b)


def rowwise_sum(x: Tensor, *, backend: str = "auto") -> Tensor:
    """x (..., D) -> (...): ((x[0] + x[1]) + x[2]) + ..., from 0, in x's dtype."""
    if x.dim() < 1:
        raise InputError("rowwise_sum: x is a scalar; expected (..., D)")
    return _module(backend, x).total(x)


def _module(backend: str, like: Tensor) -> Any:
    import torch

    if like.dtype not in (torch.float32, torch.float64) or like.device.type != "cpu":
        raise InputError(f"rowwise: {like.dtype} on {like.device}; expected float32 or float64 on the CPU")
    if backend == "naive":
        from eventflow.ops.rowwise import naive

        return naive
    if backend in ("auto", "numba"):
        from eventflow.ops.rowwise import numba

        return numba
    raise InputError(f"rowwise(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
