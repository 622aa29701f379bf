"""The compiled path of the continuous-time LSTM: torch on the outside, kernels over sixteen lanes inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops._lanes import LANES
from eventflow.ops._trusted import row_by_row
from eventflow.ops.ctlstm import _backward, _density, _forward, _intensity

Array = NDArray[Any]
State = tuple[Tensor, Tensor, Tensor, Tensor]
Head = tuple[Tensor, Tensor, Tensor]
Rule = tuple[Tensor, Tensor]


def scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, start: State, flags: tuple[Tensor | None, Tensor | None]
) -> tuple[State, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_scan`."""
    if dt.shape[1] == 0:
        return _four([leaf[:, None][:, :0] for leaf in state]), state
    leaves = _Scan.apply(gates_x, dt, weight_h, flags, *state, *start)
    return _four(leaves[:4]), _four(leaves[4:])


@row_by_row
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


@row_by_row
def intensity(state: State, u: Tensor, head: Head) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_intensity`; gradients by way of the definition."""
    return _Intensity.apply(u, *state, *head)  # type: ignore[no-any-return]


@row_by_row
def compensator(state: State, dt: Tensor, head: Head, rule: Rule) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_compensator`."""
    return _Density.apply(dt, None, rule, *state, *head)  # type: ignore[no-any-return]


@row_by_row
def log_prob(state: State, dt: Tensor, mark: Tensor, head: Head, rule: Rule) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_log_prob`."""
    return _Density.apply(dt, mark, rule, *state, *head)  # type: ignore[no-any-return]


def _run(given: Any, weight: Array, states: Any, *, hidden: bool = False, keep: bool = False) -> tuple[Any, Array]:
    """The forward kernel: (c, target, decay, out, hidden or empty), each with a spare row; the gates if kept."""
    batch, length, width = given[0].shape
    dtype, size = given[0].dtype, width // 7
    rows = _rows(given[2], batch)
    out = [_empty(batch + 1, length, size, dtype=dtype) for _ in range(4 + hidden)]
    out += [] if hidden else [_empty(0, 0, 0, dtype=dtype)]
    acts = _empty(len(rows[0]) if keep else 1, length if keep else 1, width * LANES, dtype=dtype)
    work = _work(_forward.UNIT, size, dtype)
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
        by_unit = weight.detach().numpy().reshape(7, hidden, hidden).transpose(1, 0, 2)
        padded[:, :hidden] = by_unit.reshape(7 * hidden, hidden)
        d_gates = _empty(batch + 1, length, 7 * hidden, dtype=padded.dtype)
        d_dt, left = _empty(batch + 1, length, dtype=padded.dtype), _empty(batch + 1, length, hidden, dtype=padded.dtype)
        d_leaves = tuple(_empty(batch + 1, hidden, dtype=padded.dtype) for _ in range(8))
        work = _work(_backward.UNIT, hidden, padded.dtype)
        extra = _empty(hidden, _forward.GATES, dtype=padded.dtype), _empty(padded.shape[1], LANES, dtype=padded.dtype)
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


class _Intensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, *parts: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(u, *parts)
        dtype, (rows, queries), (marks, hidden) = u.dtype, u.shape, parts[4].shape
        states, head = _arrays(parts[:4], dtype), _head(parts[4:], dtype)
        out = _empty(rows * queries + 1, marks, dtype=dtype)
        work = (
            _empty(hidden, _intensity.UNIT, dtype=dtype), _empty(hidden, 1, LANES, dtype=dtype),
            _empty(marks, LANES, dtype=dtype), _empty(1, LANES, dtype=dtype), np.zeros(LANES, np.int64),
        )  # fmt: skip
        _intensity.intensity(states, _arrays([u], dtype)[0], head, out, work)
        return torch.from_numpy(out[:-1]).view(rows, queries, marks)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Any:
        from eventflow.ops.ctlstm import naive

        inputs = [x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)]
        with torch.enable_grad():
            out = naive.intensity(tuple(inputs[1:5]), inputs[0], tuple(inputs[5:]))  # type: ignore[arg-type]
        wanted = [x for x in inputs if x.requires_grad]
        grads = iter(torch.autograd.grad(out, wanted, above))
        return tuple(next(grads) if x.requires_grad else None for x in inputs)


class _Density(torch.autograd.Function):
    """The forward pass takes the gradient along, for an upstream gradient of 1; where the true one is the same for all
    rows (a sum or a mean of log-likelihoods: nearly always) the backward pass only multiplies, else it runs once more."""

    @staticmethod
    def forward(ctx: Any, dt: Tensor, mark: Tensor | None, rule: Rule, *parts: Tensor) -> Tensor:  # type: ignore[override]
        wanted = any(ctx.needs_input_grad)
        value, grads = _density_run((dt, mark, torch.ones_like(dt)), parts, rule, wanted=wanted)
        if wanted:
            ctx.save_for_backward(dt, *parts)
            ctx.mark, ctx.rule, ctx.grads = mark, rule, grads
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> Any:
        dt, *parts = ctx.saved_tensors
        weigh = above if ctx.mark is not None else above[dt != 0]  # a gap of 0 has no part in the head's gradient
        if weigh.numel() and bool((weigh == weigh[0]).all()):
            row = above[:, None]
            d_dt, *d_states = ctx.grads[:5]
            grads = [d_dt * above, *(x * row for x in d_states), *(x * weigh[0] for x in ctx.grads[5:])]
        else:
            _, grads = _density_run((dt, ctx.mark, above), parts, ctx.rule, wanted=True)
        return (grads[0], None, None, *grads[1:])


def _density_run(given: Any, parts: Any, rule: Rule, *, wanted: bool) -> tuple[Tensor, list[Tensor]]:
    """(values (N,), gradients of dt, the state and the head, or none)."""
    dt, mark, above = given
    dtype, rows, (marks, hidden) = dt.dtype, len(dt), parts[4].shape
    states, head, nodes = _arrays(parts[:4], dtype), _head(parts[4:], dtype), len(rule[0])
    steps = (nodes + 1) | 1 if wanted else 1  # odd: consecutive hidden units then start in different cache sets
    value, d_dt = _empty(rows, dtype=dtype), _empty(rows if wanted else 0, dtype=dtype)
    d_states = tuple(_empty(rows + 1 if wanted else 0, hidden, dtype=dtype) for _ in range(4))
    padded = head[0].shape
    sums = _zeros(*(padded if wanted else (0, 0)), LANES, dtype=dtype), _zeros(2, marks if wanted else 0, LANES, dtype=dtype)
    work = (
        *_work(_density.UNIT, hidden, dtype, lanes=_density.LANE_SLOTS), _zeros(padded[1], steps, LANES, dtype=dtype),
        _zeros(padded[0], steps, LANES, dtype=dtype), *sums, np.zeros(LANES, np.int64),
    )  # fmt: skip
    marks_of = np.zeros(0, np.int64) if mark is None else mark.detach().to(torch.int64).contiguous().numpy()
    gaps, upstream = _arrays([dt, above], dtype)
    _density.density((gaps, marks_of, upstream), states, head, _arrays(rule, dtype), (value, d_dt, d_states), work)
    if not wanted:
        return torch.from_numpy(value), []
    d_head = _empty(marks, hidden, dtype=dtype), _empty(marks, dtype=dtype), _empty(marks, dtype=dtype)
    _density.gather(*sums, d_head)
    grads = [d_dt, *(x[:rows] for x in d_states), *d_head]
    return torch.from_numpy(value), [torch.from_numpy(x) for x in grads]


def _head(parts: Any, dtype: torch.dtype) -> tuple[Array, Array, Array]:
    """weight (K padded, H padded), bias (K padded,), scale (K,)."""
    weight, bias, log_scale = _arrays(parts, dtype)
    marks, hidden = weight.shape
    tile = _intensity.MARKS
    padded = _zeros(-(-marks // tile) * tile, -(-hidden // tile) * tile, dtype=dtype)
    padded[:marks, :hidden] = weight
    biases = _zeros(len(padded), dtype=dtype)
    biases[:marks] = bias
    return padded, biases, np.exp(log_scale)


def _rows(live: Array, batch: int) -> tuple[Array, Array]:
    """(read, write), each (blocks, LANES): sequences of like length share a block."""
    count = -(-batch // LANES) * LANES
    order = np.argsort(-live.sum(1), kind="stable") if live.size else np.arange(batch)
    read, write = np.zeros(count, np.int64), np.full(count, batch, np.int64)
    read[:batch] = write[:batch] = order
    return read.reshape(-1, LANES), write.reshape(-1, LANES)


def _work(unit: int, hidden: int, dtype: Any, *, lanes: int = 3) -> tuple[Array, Array, Array]:
    return _empty(hidden, unit, dtype=dtype), _empty(lanes, LANES, dtype=dtype), np.zeros(LANES, np.int64)


def _zeros(*shape: int, dtype: Any) -> Array:
    out = _empty(*shape, dtype=dtype)
    out.fill(0)
    return out


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
