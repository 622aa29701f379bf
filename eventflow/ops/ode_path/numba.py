"""The compiled path: torch on the outside, ``_kernels`` inside; the way back solves each gap once more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops._lanes import LANES
from eventflow.ops._trusted import row_by_row
from eventflow.ops.ode_path._kernels import backward, forward

if TYPE_CHECKING:
    from eventflow.ops.ode_path import Field

Array = NDArray[Any]


@row_by_row
def ode_path(field: Field, start: Tensor, jumps: Tensor, times: Tensor, step: float) -> Tensor:
    """See :func:`eventflow.ops.ode_path.ode_path`."""
    return _Path.apply(step, times, *field, start, jumps)  # type: ignore[no-any-return]


class _Path(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: float, times: Tensor, *given: Tensor) -> Tensor:  # type: ignore[override]
        *field, start, jumps = given
        (batch, rows, reads), size, dtype = times.shape, start.shape[1], start.detach().numpy().dtype
        ctx.sizes, ctx.step = (size, field[0].shape[0], batch, rows), dtype.type(step)
        ctx.times = times.detach().to(start.dtype).reshape(batch * rows, reads).contiguous().numpy()
        ctx.model = _model(field)
        latest = float(ctx.times.max()) if ctx.times.size else 0.0
        ctx.work = _work(math.ceil(latest / step) + 2, ctx.model, dtype)
        width = ctx.model[3].shape[0]
        ctx.after, ctx.out = np.zeros((batch * rows, width), dtype), np.empty((batch * rows, reads, width), dtype)
        forward(ctx.model, _padded(start), _padded(jumps), ctx.times, ctx.step, ctx.work, ctx.after, ctx.out)
        return torch.from_numpy(ctx.out).view(batch, rows, reads, width)[..., :size]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        size, units, batch, rows = ctx.sizes
        width, dtype = ctx.model[3].shape[0], ctx.after.dtype
        by = [np.zeros_like(x) for x in ctx.model[:5]]
        by += [np.zeros((batch, width), dtype), np.zeros((batch, rows - 1, width), dtype)]
        given = np.zeros(ctx.out.shape, dtype)
        given[..., :size] = grad.reshape(*given.shape[:2], size).numpy()
        backward(ctx.model, ctx.times, ctx.step, ctx.work, ctx.after, ctx.out, given, tuple(by))
        inner, shift, outer, drift, jump, start, jumps = (torch.from_numpy(x) for x in by)
        weights = inner[:, :units].t(), shift[:units], outer[:, :size].t(), drift[:size], jump[:, :size].t()
        return None, None, *weights, start[:, :size], jumps[..., :size]


def _model(field: Any) -> tuple[Array, ...]:
    inner, shift, outer, drift, jump = (x.detach() for x in field)
    return tuple(_padded(x) for x in (inner.t(), shift, outer.t(), drift, jump.t(), inner, outer, jump))


def _work(knots: int, model: tuple[Array, ...], dtype: Any) -> tuple[Array, ...]:
    """See ``_kernels``: states, slopes, inputs, units, k, left, nothing, gs, gf, pre, turned, gk."""
    width, size = model[3].shape[0], model[1].shape[0]
    shapes = (knots * width,) * 2 + (4 * knots * width, 4 * knots * size, 4 * width, width, max(width, size))
    shapes += (knots * width,) * 2 + (size, width, width)
    return tuple(np.zeros(n, dtype) for n in shapes)


def _padded(x: Tensor) -> Array:
    """With zeros behind the last axis, up to a multiple of the lanes."""
    short = -x.shape[-1] % LANES
    return (torch.nn.functional.pad(x.detach(), (0, short)) if short else x.detach()).contiguous().numpy()
