"""The compiled path: torch on the outside, ``_kernels`` inside; weights are computed anew in the backward pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from eventflow.errors import InputError
from eventflow.ops._lanes import LANES
from eventflow.ops._trusted import row_by_row
from eventflow.ops.attention import _kernels

if TYPE_CHECKING:
    from eventflow.ops.attention import Seen

Array = NDArray[Any]


class _Plan(NamedTuple):
    """What both passes are told beside their arrays: who sees what, 1 / sqrt(d), and the rest."""

    seen: tuple[Array, Array, Array]
    scale: Any
    rest: Any


@row_by_row
def attention(query: Tensor, key: Tensor, value: Tensor, seen: Seen, rest: bool) -> Tensor:
    """See :func:`eventflow.ops.attention.attention`."""
    plan = _plan(seen, query, key, rest)
    return _Attention.apply(plan, *(_padded(x) for x in (query, key, value)))[..., : query.shape[-1]]  # type: ignore[no-any-return, index]


@row_by_row
@torch.no_grad()
def attention_and_total(query: Tensor, key: Tensor, value: Tensor, seen: Seen, rest: bool) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.attention.attention_and_total`."""
    plan, (rows, places, heads, width) = _plan(seen, query, key, rest), query.shape
    out, kept = _forward(plan, *(_padded(x) for x in (query, key, value)))
    top, inverse = torch.from_numpy(kept).view(rows, heads, -(-places // LANES), 2, LANES).movedim(3, 0)
    lane = torch.arange(places)
    lane[places // LANES * LANES :] += -places % LANES  # the lanes that a last block has to spare are its first
    total = (top - inverse.log()).flatten(2)[..., lane]
    return out[..., :width], torch.where(total < torch.inf, total, -torch.inf).transpose(1, 2)


@row_by_row
def self_attention(packed: Tensor, seen: Seen) -> Tensor:
    """See :func:`eventflow.ops.attention.self_attention`."""
    plan = _plan(seen, packed[:, :, 0], packed[:, :, 1], False)
    return _SelfAttention.apply(plan, _padded(packed))[..., : packed.shape[-1]]  # type: ignore[no-any-return, index]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        ctx.plan = plan
        out, ctx.kept = _forward(plan, query, key, value)
        ctx.save_for_backward(query, key, value)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        query, key, value = ctx.saved_tensors
        grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        _backward(ctx.plan, (query, key, value), (grad, ctx.kept), grads)
        return None, *grads


class _SelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, packed: Tensor) -> Tensor:  # type: ignore[override]
        ctx.plan = plan
        out, ctx.kept = _forward(plan, *packed.unbind(2))
        ctx.save_for_backward(packed)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        (packed,) = ctx.saved_tensors
        grads = torch.zeros(packed.shape, dtype=packed.dtype)
        _backward(ctx.plan, packed.unbind(2), (grad, ctx.kept), grads.unbind(2))
        return None, grads


def _plan(seen: Seen, query: Tensor, key: Tensor, rest: bool) -> _Plan:
    """Runs are cut to the keys there are."""
    (rows, places), slots, number = query.shape[:2], key.shape[1], _number(query)
    shape = torch.broadcast_shapes(seen.first.shape, seen.stop.shape)
    first, stop = (x.clamp(0, slots).expand(shape).contiguous().numpy().reshape(-1) for x in (seen.first, seen.stop))
    blocks = -(-shape[1] // LANES)
    edges, bounds = np.zeros((shape[0], blocks, 4), np.int64), np.empty(shape[0] * blocks * 2 * LANES, number)
    kernel: Any = _kernels.runs
    if rows and places:
        kernel(first, stop, edges, bounds)
    of = np.arange(rows) if seen.of is None else seen.of.contiguous().numpy()
    if len(of) and not 0 <= of.min() <= of.max() < len(key):
        raise InputError(f"attention: of={of.min()}..{of.max()}; expected the numbers of {len(key)} sequences")
    return _Plan((edges, bounds, of), number.type(1 / math.sqrt(query.shape[-1])), number.type(rest))


def _padded(x: Tensor) -> Tensor:
    """With zeros behind the channels, up to a multiple of the lanes, and channels side by side."""
    short = -x.shape[-1] % LANES
    x = functional.pad(x, (0, short)) if short else x
    return x if x.stride(-1) == 1 else x.contiguous()


def _flat(x: Tensor) -> Array:
    """The memory that a tensor spans, from its first element on."""
    span = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True)) if x.numel() else 0
    return x.detach().as_strided((span,), (1,)).numpy()


def _forward(plan: _Plan, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Array]:
    out = torch.empty_like(query) if query.is_contiguous() else _like(query)
    rows, places, heads, _ = query.shape
    kept = np.empty(rows * heads * -(-places // LANES) * 2 * LANES, _number(query))
    if query.numel():
        given = *(_flat(x) for x in (query, key, value)), _steps(query, key, value, out)
        options = tuple(query.shape), plan.scale, plan.rest
        kernel: Any = _kernels.forward
        kernel(given, plan.seen, options, _work(query, key), (_flat(out), kept))
    return out, kept


def _backward(plan: _Plan, given: Any, after: tuple[Tensor, Array], grads: Any) -> None:
    query, key, value = given
    grad = after[0] if after[0].stride(-1) == 1 else after[0].contiguous()
    if not query.numel():
        return
    steps = _steps(query, key, value, grad, *grads)
    arrays = *(_flat(x) for x in (query, key, value)), steps, _flat(grad), after[1]
    options = tuple(query.shape), plan.scale, plan.rest
    kernel: Any = _kernels.backward
    kernel(arrays, plan.seen, options, _work(query, key), tuple(_flat(x) for x in grads))


def _work(query: Tensor, key: Tensor) -> tuple[Array, ...]:
    """Scratch: queries and sums in lanes; weights and slopes of all keys; starts of rows; keys, values, gradients."""
    number, width, slots = _number(query), query.shape[-1], key.shape[1]
    lengths = width * LANES, width * LANES, (slots + 4) * LANES, (slots + 4) * LANES
    tables = (np.empty(slots * width, number) for _ in range(4))
    return *(np.zeros(n, number) for n in lengths), np.empty(LANES, np.int64), *tables


def _steps(*tensors: Tensor) -> Array:
    return np.array([x.stride()[:3] for x in tensors], np.int64)


def _like(query: Tensor) -> Tensor:
    """Empty, in the order of axes in which the queries lie in memory."""
    order = sorted(range(3), key=lambda axis: -query.stride(axis))
    shape = [query.shape[axis] for axis in order]
    return query.new_empty(*shape, query.shape[-1]).permute(*(order.index(axis) for axis in range(3)), 3)


def _number(x: Tensor) -> np.dtype[Any]:
    return np.dtype(np.float32 if x.dtype == torch.float32 else np.float64)
