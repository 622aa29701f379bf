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
from eventflow.ops.ctlstm import _backward, _density, _entry, _forward, _intensity, _sequence

Array = NDArray[Any]
State = tuple[Tensor, Tensor, Tensor, Tensor]
Head = tuple[Tensor, Tensor, Tensor]
Rule = tuple[Tensor, Tensor]
Cell = tuple[Tensor, Tensor]
Events = tuple[Tensor, Tensor, Tensor, Tensor]
#: Events of one sequence whose gate gradients wait in the caches for the product with their hidden states.
CHUNK = 40


def scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, init: State, flags: tuple[Tensor | None, Tensor | None]
) -> tuple[State, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_scan`."""
    if dt.shape[1] == 0:
        return _four([leaf[:, None][:, :0] for leaf in state]), state
    leaves = _Scan.apply(gates_x, dt, weight_h, flags, *state, *init)
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
    out, _ = _run((*given, none, none), _arrays([weight_h], gates_x.dtype)[0], states, hidden=True)
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


def sequence(cell: Cell, events: Events, state: State, head: Head, rule: Rule) -> tuple[Tensor, State]:
    """See :func:`eventflow.ops.ctlstm.ctlstm_sequence`."""
    mark, dt, mask, scored = events
    if dt.shape[1] == 0:
        return torch.zeros_like(dt), state
    terms, *last = _Sequence.apply(*cell, dt, (mark, mask, scored), rule, *state, *head)
    return terms, _four(last)


def _run(given: Any, weight: Array, states: Any, *, hidden: bool = False, keep: bool = False) -> tuple[Any, Array]:
    """The forward kernel: (c, target, decay, out, hidden or empty), each with a spare row; the gates if kept."""
    batch, length, width = given[0].shape
    dtype, size = given[0].dtype, width // 7
    rows = _rows(given[2], batch)
    out = [_empty(batch + 1, length, size, dtype=dtype) for _ in range(4 + hidden)]
    out += [] if hidden else [_empty(0, 0, 0, dtype=dtype)]
    acts = _empty(len(rows[0]) if keep else 1, length if keep else 1, width * LANES, dtype=dtype)
    work = _work(_forward.UNIT, size, dtype)
    _entry.scan(given, (weight, states), rows, tuple(out), acts, work)
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
    def backward(ctx: Any, *above: Tensor) -> Any:  # type: ignore[override]
        weight, *after = ctx.saved_tensors
        dtype, (batch, length, hidden) = weight.dtype, after[0].shape
        given = ctx.given
        padded = _by_unit(_arrays([weight], dtype)[0])
        d_gates = _empty(batch + 1, length, 7 * hidden, dtype=padded.dtype)
        d_dt, left = (
            _empty(batch + 1, length, dtype=padded.dtype),
            _empty(batch + 1, length, hidden, dtype=padded.dtype),
        )
        d_leaves = tuple(_empty(batch + 1, hidden, dtype=padded.dtype) for _ in range(8))
        cell = (padded, ctx.acts, _arrays(after, dtype), ctx.states)
        grads = _arrays(above[:4], dtype), _arrays(above[4:], dtype)
        out, rows = (d_gates, d_dt, left, d_leaves), _rows(given[2], batch)
        _entry.scan_back(given, cell, rows, grads, out, _work_back(padded))
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
        _entry.intensity(states, _arrays([u], dtype)[0], head, out, work)
        return torch.from_numpy(out[:-1]).view(rows, queries, marks)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Any:  # type: ignore[override]
        from eventflow.ops.ctlstm import naive

        inputs = [
            x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
        ]
        with torch.enable_grad():
            out = naive.intensity(tuple(inputs[1:5]), inputs[0], tuple(inputs[5:]))  # type: ignore[arg-type]
        wanted = [x for x in inputs if x.requires_grad]
        grads = iter(torch.autograd.grad(out, wanted, above))
        return tuple(next(grads) if x.requires_grad else None for x in inputs)


class _Density(torch.autograd.Function):
    """The forward pass takes the gradient along, for an upstream gradient of 1; where the true one is the same for all
    rows (a sum or a mean of log-likelihoods: nearly always) the backward pass only multiplies; else it runs again."""

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
    def backward(ctx: Any, above: Tensor) -> Any:  # type: ignore[override]
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
    value, d_dt = _empty(rows, dtype=dtype), _empty(rows if wanted else 0, dtype=dtype)
    d_states = tuple(_empty(rows + 1 if wanted else 0, hidden, dtype=dtype) for _ in range(4))
    work = _work_aside(head, hidden, nodes, wanted=wanted)
    marks_of = np.zeros(0, np.int64) if mark is None else mark.detach().to(torch.int64).contiguous().numpy()
    gaps, upstream = _arrays([dt, above], dtype)
    _entry.density((gaps, marks_of, upstream), states, head, _arrays(rule, dtype), (value, d_dt, d_states), work)
    if not wanted:
        return torch.from_numpy(value), []
    grads = [d_dt, *(x[:rows] for x in d_states), *_gathered(work, marks, hidden)]
    return torch.from_numpy(value), [torch.from_numpy(x) for x in grads]


class _Sequence(torch.autograd.Function):
    """As in :class:`_Density`: the head's gradient is taken along for upstream gradients of 1, and only multiplied."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, weight: Tensor, dt: Tensor, events: Any, rule: Rule, *parts: Tensor) -> Any:  # type: ignore[override]
        ctx.given = (table, weight, dt, events, rule, parts)
        ctx.wanted = any(ctx.needs_input_grad)
        terms, last, ctx.kept = _sequence_run(ctx.given, None, wanted=ctx.wanted)
        ctx.save_for_backward(table, weight, dt, *parts)
        return (terms, *last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, *last: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors  # raises where an input was changed in the meantime
        kept, counted = ctx.kept, above[ctx.kept["counts"]]
        factor = counted[:1] if len(counted) else above.new_zeros(1)
        if bool((counted == factor).all()):
            d_head = [x * factor for x in kept["head"]]
        else:
            kept = _sequence_run(ctx.given, above, wanted=True)[2]
            d_head, above = kept["head"], torch.ones_like(above)
        d_table, d_weight, d_dt, d_start = _sequence_back(ctx.given, kept, above, last)
        return (d_table, d_weight, d_dt, None, None, *d_start, *d_head)


def _sequence_run(given: Any, above: Tensor | None, *, wanted: bool) -> tuple[Tensor, list[Tensor], dict[str, Any]]:
    """(log-densities, last states, what the way back needs)."""
    table, weight, dt, (mark, mask, scored), rule, parts = given
    dtype, (batch, length), hidden = dt.dtype, dt.shape, weight.shape[1]
    head, counts = _head(parts[4:], dtype), mask & scored
    gaps, upstream = _arrays([dt, torch.ones_like(dt) if above is None else above], dtype)
    inputs = (
        mark.detach().to(torch.int64).contiguous().numpy(),
        gaps,
        _flag(mask, dtype),
        _flag(counts, dtype),
        upstream,
    )
    tables, weights, *start = _arrays([table, weight, *parts[:4]], dtype)
    rows = _rows(inputs[2], batch)
    blocks, steps = (len(rows[0]), length) if wanted else (0, 0)
    saved = (
        _empty(max(blocks, 1), max(steps, 1), hidden * _forward.GATES, dtype=dtype),
        _empty(blocks, steps, hidden * _sequence.LEAVES, dtype=dtype),
        _empty(blocks, steps, hidden * _sequence.LEAVES + LANES, dtype=dtype),
    )
    terms, last = (
        _empty(batch + 1, length, dtype=dtype),
        tuple(_empty(batch + 1, hidden, dtype=dtype) for _ in range(4)),
    )
    aside = _work_aside(head, hidden, len(rule[0]), wanted=wanted)
    cell, law = (tables, weights, (*start, *start)), (head, _arrays(rule, dtype))
    _entry.sequence(inputs, cell, law, rows, (terms, last, saved), (_work(_forward.UNIT, hidden, dtype), aside))
    d_head = _gathered(aside, parts[4].shape[0], hidden) if wanted else []
    kept = {"inputs": inputs, "rows": rows, "saved": saved, "aside": aside, "counts": counts}
    kept["head"] = [torch.from_numpy(x) for x in d_head]
    return torch.from_numpy(terms[:batch]), [torch.from_numpy(x[:batch]) for x in last], kept


def _sequence_back(
    given: Any, kept: dict[str, Any], above: Tensor, last: Any
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Gradients of the table, the weight, the gaps and the first states: block by block, some events at a time."""
    table, weight, dt, *_ = given
    dtype, (batch, length), hidden = dt.dtype, dt.shape, weight.shape[1]
    padded, (read, write) = _by_unit(_arrays([weight], dtype)[0]), kept["rows"]
    chunk = -(-length // -(-length // CHUNK))
    gates = torch.empty(chunk * LANES, 7 * hidden, dtype=dtype)
    left, d_weight = torch.empty(chunk * LANES, hidden, dtype=dtype), torch.zeros(7 * hidden, hidden, dtype=dtype)
    d_dt, d_table = _empty(batch + 1, length, dtype=dtype), _zeros(*table.shape, dtype=dtype)
    d_start = tuple(_empty(batch + 1, hidden, dtype=dtype) for _ in range(4))
    out, work = (d_dt, d_table, d_start, gates.numpy(), left.numpy()), (_work_back(padded), kept["aside"])
    grads = _arrays([above], dtype)[0], _arrays(last, dtype)
    for b in range(len(read)):
        for end in range(length, 0, -chunk):
            first = max(end - chunk, 0)
            at = (read[b], write[b], b, first, end)
            _entry.sequence_back(kept["inputs"], (padded, kept["saved"]), grads, at, out, work)
            count = (end - first) * LANES
            d_weight.addmm_(gates[:count].t(), left[:count])
    starts = [torch.from_numpy(x[:batch]) for x in d_start]
    return torch.from_numpy(d_table), d_weight, torch.from_numpy(d_dt[:batch]), starts


def _by_unit(weight: Array) -> Array:
    """(7H, H) -> (H 7, H padded): the rows of each hidden unit's gates together."""
    hidden = weight.shape[1]
    padded = _zeros(7 * hidden, -(-hidden // _backward.TILE) * _backward.TILE, dtype=weight.dtype)
    padded[:, :hidden] = weight.reshape(7, hidden, hidden).transpose(1, 0, 2).reshape(7 * hidden, hidden)
    return padded


def _work_back(padded: Array) -> tuple[Array, ...]:
    hidden, dtype = len(padded) // 7, padded.dtype
    extra = _empty(hidden, _forward.GATES, dtype=dtype), _empty(padded.shape[1], LANES, dtype=dtype)
    return (*_work(_backward.UNIT, hidden, dtype), *extra)


def _work_aside(head: tuple[Array, Array, Array], hidden: int, nodes: int, *, wanted: bool) -> tuple[Array, ...]:
    (k, h), marks, dtype = head[0].shape, len(head[2]), head[0].dtype
    steps = (nodes + 1) | 1 if wanted else 1  # odd: consecutive hidden units then start in different cache sets
    hiddens, slopes = _zeros(h, steps, LANES, dtype=dtype), _zeros(k, steps, LANES, dtype=dtype)
    sums = (
        _zeros(*((k, h) if wanted else (0, 0)), LANES, dtype=dtype),
        _zeros(2, marks if wanted else 0, LANES, dtype=dtype),
    )
    work = _work(_density.UNIT, hidden, dtype, lanes=_density.LANE_SLOTS)
    return (*work, hiddens, slopes, *sums, np.zeros(LANES, np.int64))


def _gathered(work: tuple[Array, ...], marks: int, hidden: int) -> tuple[Array, Array, Array]:
    """The gradients of the head that stand in the lanes of the work arrays."""
    dtype = work[0].dtype
    d_head = _empty(marks, hidden, dtype=dtype), _empty(marks, dtype=dtype), _empty(marks, dtype=dtype)
    _entry.gather(work[5], work[6], d_head)
    return d_head


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
