"""The compiled path of the continuous-time LSTM: torch on the outside, kernels over sixteen lanes inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops._lanes import LANES
from eventflow.ops.ctlstm import _backward, _forward

Array = NDArray[Any]
State = tuple[Tensor, Tensor, Tensor, Tensor]


def scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, start: State, flags: tuple[Tensor | None, Tensor | None]
) -> tuple[State, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_scan`."""
    if dt.shape[1] == 0:
        return _four([leaf[:, None][:, :0] for leaf in state]), state
    leaves = _Scan.apply(gates_x, dt, weight_h, flags, *state, *start)
    return _four(leaves[:4]), _four(leaves[4:])


def step(gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State) -> tuple[Tensor, State]:
    """See :func:`eventflow.ops.ctlstm.ctlstm_step`."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (gates_x, dt, weight_h, *state)):
        from eventflow.ops.ctlstm import naive

        return naive.step(gates_x, dt, weight_h, state)
    given = _arrays([gates_x[:, None], dt[:, None]], gates_x.dtype)
    none = _empty(0, 0, dtype=gates_x.dtype)
    states = _arrays([*state, *state], gates_x.dtype)
    out, _ = _run((*given, none, none), *_arrays([weight_h], gates_x.dtype), states, hidden=True)
    left, *after = (torch.from_numpy(x[: len(dt), 0]) for x in (out[4], *out[:4]))
    return left, _four(after)


def _run(given: Any, weight: Array, states: Any, *, hidden: bool = False, keep: bool = False) -> tuple[Any, Array]:
    """The forward kernel: (c, target, decay, out, hidden or empty), each with a spare row; the gates if kept."""
    batch, length, width = given[0].shape
    dtype, size = given[0].dtype, width // 7
    rows = _rows(given[2], batch)
    out = [_empty(batch + 1, length, size, dtype=dtype) for _ in range(4 + hidden)]
    out += [] if hidden else [_empty(0, 0, 0, dtype=dtype)]
    acts = _empty(len(rows[0]) if keep else 1, length if keep else 1, width * LANES, dtype=dtype)
    work = (*_work(_forward.FORWARD_SLOTS, size, dtype),)
    _forward.forward(given, weight, states, rows, tuple(out), acts, work)
    return out, acts


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, dt: Tensor, weight: Tensor, flags: Any, *leaves: Tensor) -> Any:  # type: ignore[override]
        dtype = gates_x.dtype
        given = (*_arrays([gates_x, dt], dtype), _flag(flags[1], dtype), _flag(flags[0], dtype))
        weights, states = _arrays([weight], dtype)[0], _arrays(leaves, dtype)
        ctx.keep = any(ctx.needs_input_grad)
        out, acts = _run(given, weights, states, keep=ctx.keep)
        after = [torch.from_numpy(x[: len(dt)]) for x in out[:4]]
        if ctx.keep:
            ctx.given, ctx.states, ctx.acts = given, states, acts
            ctx.save_for_backward(weight, *after)
        return (*after, *(leaf[:, -1].clone() for leaf in after))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> Any:
        weight, *after = ctx.saved_tensors
        dtype, (batch, length, hidden) = weight.dtype, after[0].shape
        given, tile = ctx.given, _backward.TILE
        padded = _empty(7 * hidden, -(-hidden // tile) * tile, dtype=given[0].dtype)
        padded[:, hidden:] = 0
        padded[:, :hidden] = weight.detach().numpy()
        d_gates = _empty(batch + 1, length, 7 * hidden, dtype=padded.dtype)
        d_dt, left = _empty(batch + 1, length, dtype=padded.dtype), _empty(batch + 1, length, hidden, dtype=padded.dtype)
        d_leaves = tuple(_empty(batch + 1, hidden, dtype=padded.dtype) for _ in range(8))
        work = _work(_backward.BACKWARD_SLOTS, hidden, padded.dtype)
        extra = _empty(7 * hidden, LANES, dtype=padded.dtype), _empty(padded.shape[1], LANES, dtype=padded.dtype)
        saved = (ctx.acts, _arrays(after, dtype), ctx.states)
        grads = _arrays(above[:4], dtype), _arrays(above[4:], dtype)
        out, rows = (d_gates, d_dt, left, d_leaves), _rows(given[2], batch)
        _backward.backward(given, padded, saved, rows, grads, out, (*work, *extra))
        d_weight = None
        if ctx.needs_input_grad[2]:
            gates = torch.from_numpy(d_gates[:batch]).view(-1, 7 * hidden)
            d_weight = gates.t() @ torch.from_numpy(left[:batch]).view(-1, hidden)
        rest = (torch.from_numpy(x[:batch]) for x in (d_gates, d_dt, *d_leaves))
        d_x, d_gap, *d_states = rest
        return (d_x, d_gap, d_weight, None, *d_states)


def _rows(live: Array, batch: int) -> tuple[Array, Array]:
    """(read, write), each (blocks, LANES): sequences of like length share a block."""
    count = -(-batch // LANES) * LANES
    order = np.argsort(-live.sum(1), kind="stable") if live.size else np.arange(batch)
    read, write = np.zeros(count, np.int64), np.full(count, batch, np.int64)
    read[:batch] = write[:batch] = order
    return read.reshape(-1, LANES), write.reshape(-1, LANES)


def _work(slots: int, hidden: int, dtype: Any) -> tuple[Array, Array, Array]:
    return _empty(slots, hidden * LANES, dtype=dtype), _empty(3, LANES, dtype=dtype), np.zeros(LANES, np.int64)


def _empty(*shape: int, dtype: Any) -> Array:
    """From torch's allocator, which starts on a cache line: sixteen lanes then never straddle two."""
    kind = dtype if isinstance(dtype, torch.dtype) else getattr(torch, np.dtype(dtype).name)
    return torch.empty(shape, dtype=kind).numpy()


def _arrays(tensors: Any, dtype: torch.dtype) -> tuple[Array, ...]:
    return tuple(x.detach().to(dtype).contiguous().numpy() for x in tensors)


def _flag(flag: Tensor | None, dtype: torch.dtype) -> Array:
    return _empty(0, 0, dtype=dtype) if flag is None else flag.detach().to(dtype).contiguous().numpy()


def _four(leaves: Any) -> State:
    c, target, decay, out = leaves
    return c, target, decay, out
