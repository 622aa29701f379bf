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
from eventflow.ops.ctlstm import _entry, _forward, _intensity, _sequence
from eventflow.ops.ctlstm import _memory as memory

Array = NDArray[Any]
State = tuple[Tensor, Tensor, Tensor, Tensor]
Head = tuple[Tensor, Tensor, Tensor]
Rule = tuple[Tensor, Tensor]
Cell = tuple[Tensor, Tensor]
Events = tuple[Tensor, Tensor, Tensor, Tensor]
#: Events of one sequence whose gate gradients wait in the caches for the product with their hidden states.
CHUNK = 40
_NO_MARKS = np.zeros(0, np.int64)


def scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, init: State, flags: tuple[Tensor | None, Tensor | None]
) -> tuple[State, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_scan`."""
    if dt.shape[1] == 0:
        return _four([leaf[:, None][:, :0] for leaf in state]), state
    leaves = _apply(_Scan, gates_x, dt, weight_h, flags, *state, *init)
    return _four(leaves[:4]), _four(leaves[4:])


@row_by_row
def step(gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State) -> tuple[Tensor, State]:
    """See :func:`eventflow.ops.ctlstm.ctlstm_step`."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (gates_x, dt, weight_h, *state)):
        from eventflow.ops.ctlstm import naive

        return naive.step(gates_x, dt, weight_h, state)
    dtype = gates_x.dtype
    none = memory.flag(None, dtype)
    gates, dts, weight, *states = memory.arrays([gates_x[:, None], dt[:, None], weight_h, *state], dtype)
    out, _ = _run((gates, dts, none, none), (weight, (*states, *states)), dtype, hidden=True)
    left, *after = (x[: len(dt), 0] for x in (out[4], *out[:4]))
    return left, _four(after)


@row_by_row
def intensity(state: State, u: Tensor, head: Head) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_intensity`; gradients by way of the definition."""
    return _Intensity.apply(u, *state, *head)  # type: ignore[no-any-return]


@row_by_row
def compensator(state: State, dt: Tensor, head: Head, rule: Rule) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_compensator`."""
    return _apply(_Density, dt, None, rule, *state, *head)  # type: ignore[no-any-return]


@row_by_row
def log_prob(state: State, dt: Tensor, mark: Tensor, head: Head, rule: Rule) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_log_prob`."""
    return _apply(_Density, dt, mark, rule, *state, *head)  # type: ignore[no-any-return]


def sequence(cell: Cell, events: Events, state: State, head: Head, rule: Rule) -> tuple[Tensor, State]:
    """See :func:`eventflow.ops.ctlstm.ctlstm_sequence`."""
    mark, dt, mask, scored = events
    if dt.shape[1] == 0:
        return torch.zeros_like(dt), state
    terms, *last = _apply(_Sequence, *cell, dt, (mark, mask, scored), rule, *state, *head)
    return terms, _four(last)


def _run(
    given: Any, cell: Any, dtype: torch.dtype, *, hidden: bool = False, keep: bool = False
) -> tuple[list[Tensor], Array]:
    """The forward kernel: (c, target, decay, out, hidden or empty), each with a spare row; the gates if kept."""
    batch, length, width = given[0].shape
    rows, size = memory.rows_of(given[2], batch), width // 7
    out = [torch.empty(batch + 1, length, size, dtype=dtype) for _ in range(4)]
    out.append(torch.empty(batch + 1, length, size, dtype=dtype) if hidden else torch.empty(0, 0, 0, dtype=dtype))
    acts = memory.empty(*((len(rows[0]), length, width * LANES) if keep else (0, 0, 0)), dtype=dtype)
    _entry.scan(given, cell, rows, tuple(x.numpy() for x in out), acts, memory.work_ahead(size, dtype))
    return out, acts


def _apply(function: type[torch.autograd.Function], *given: Any) -> Any:
    """Apply; without gradients being wanted, on tensors that need none (``needs_input_grad`` would not know)."""
    if not torch.is_grad_enabled():
        given = tuple(x.detach() if isinstance(x, Tensor) else x for x in given)
    return function.apply(*given)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, dt: Tensor, weight: Tensor, flags: Any, *leaves: Tensor) -> Any:  # type: ignore[override]
        dtype = gates_x.dtype
        given = (*memory.arrays([gates_x, dt], dtype), memory.flag(flags[1], dtype), memory.flag(flags[0], dtype))
        weights, *states = memory.arrays([weight, *leaves], dtype)
        ctx.keep = any(ctx.needs_input_grad)
        out, acts = _run(given, (weights, tuple(states)), dtype, keep=ctx.keep)
        after = [x[: len(dt)] for x in out[:4]]
        if ctx.keep:
            ctx.given, ctx.states, ctx.acts = given, tuple(states), acts
            ctx.save_for_backward(weight, *after)
        return (*after, *(leaf[:, -1].clone() for leaf in after))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> Any:  # type: ignore[override]
        weight, *after = ctx.saved_tensors
        dtype, (batch, length, hidden) = after[0].dtype, after[0].shape
        sizes = [(length, 7 * hidden), (length,), (length, hidden), *[(hidden,)] * 8]
        out = [torch.empty(batch + 1, *size, dtype=dtype) for size in sizes]
        d_gates, d_dt, left, *d_leaves = (x.numpy() for x in out)
        cell = (memory.by_unit(weight.to(dtype)), ctx.acts, memory.arrays(after, dtype), ctx.states)
        grads = memory.arrays(above[:4], dtype), memory.arrays(above[4:], dtype)
        rows, work = memory.rows_of(ctx.given[2], batch), memory.work_back(hidden, dtype)
        _entry.scan_back(ctx.given, cell, rows, grads, (d_gates, d_dt, left, tuple(d_leaves)), work)
        d_x, d_gap, before, *d_states = (x[:batch] for x in out)
        d_weight = d_x.view(-1, 7 * hidden).t() @ before.view(-1, hidden) if ctx.needs_input_grad[2] else None
        return (d_x, d_gap, d_weight, None, *d_states)


class _Intensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, *parts: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(u, *parts)
        dtype, (rows, queries), (marks, hidden) = u.dtype, u.shape, parts[4].shape
        out = torch.empty(rows * queries + 1, marks, dtype=dtype)
        numbers, _, starts, *_ = memory.work_ahead(hidden, dtype)
        numbers = memory.scratch("intensity", hidden, _intensity.UNIT, dtype=dtype)
        sizes = {"intensity hidden": (hidden, 1), "intensity marks": (marks,), "intensity gaps": (1,)}
        extra = (memory.scratch(name, *size, LANES, dtype=dtype) for name, size in sizes.items())
        node, nothing = memory.arrays([torch.ones(1)], dtype)[0], memory.scratch("none", 0, 0, 0, dtype=dtype)
        states, (times,) = memory.arrays(parts[:4], dtype), memory.arrays([u], dtype)
        _entry.intensity(
            states, times, memory.head_of(parts[4:], dtype), out.numpy(), (numbers, *extra, starts, node, nothing)
        )
        return out[:-1].view(rows, queries, marks)

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
    head = memory.head_of(parts[4:], dtype)
    gaps, upstream, *states = memory.arrays([dt, above, *parts[:4]], dtype)
    kinds = _NO_MARKS if mark is None else memory.arrays([mark], torch.int64)[0]
    value, d_dt = (torch.empty(n, dtype=dtype) for n in (rows, rows if wanted else 0))
    d_states = [torch.empty(rows + 1 if wanted else 0, hidden, dtype=dtype) for _ in range(4)]
    out = value.numpy(), d_dt.numpy(), tuple(x.numpy() for x in d_states)
    rules = memory.rule_of(rule, dtype, marked=mark is not None)
    work = memory.work_aside(head, hidden, len(rule[0]), wanted=wanted)
    _entry.density((gaps, kinds, upstream), tuple(states), head, rules, out, work)
    return value, [d_dt, *(x[:rows] for x in d_states), *_gathered(work, marks, hidden)] if wanted else []


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
    head, counts = memory.head_of(parts[4:], dtype), mask & scored
    upstream = torch.ones_like(dt) if above is None else above
    inputs = (*memory.arrays([mark], torch.int64), *memory.arrays([dt, mask, counts, upstream], dtype))
    tables, weights, *start = memory.arrays([table, weight, *parts[:4]], dtype)
    rows = memory.rows_of(inputs[2], batch)
    blocks, steps = (len(rows[0]), length) if wanted else (0, 0)
    acts, leaves = hidden * _forward.GATES, hidden * _sequence.LEAVES
    saved = (
        memory.empty(blocks, steps, acts, dtype=dtype),
        memory.empty(blocks, steps, leaves, dtype=dtype),
        memory.empty(blocks, steps, leaves + LANES, dtype=dtype),
    )
    terms = torch.empty(batch + 1, length, dtype=dtype)
    last = [torch.empty(batch + 1, hidden, dtype=dtype) for _ in range(4)]
    out = terms.numpy(), tuple(x.numpy() for x in last), saved
    aside = memory.work_aside(head, hidden, len(rule[0]), wanted=wanted)
    cell, law = (tables, weights, (*start, *start)), (head, memory.rule_of(rule, dtype, marked=True))
    _entry.sequence(inputs, cell, law, rows, out, (memory.work_ahead(hidden, dtype), aside))
    kept = {"inputs": inputs, "rows": rows, "saved": saved, "aside": aside, "counts": counts}
    kept["head"] = _gathered(aside, len(head[2]), hidden) if wanted else []
    return terms[:batch], [x[:batch] for x in last], kept


def _sequence_back(given: Any, kept: dict[str, Any], above: Tensor, last: Any) -> tuple[Any, ...]:
    """Gradients of the table, the weight, the gaps and the first states: block by block, some events at a time."""
    table, weight, dt, *_ = given
    dtype, (batch, length), hidden = dt.dtype, dt.shape, weight.shape[1]
    padded, (read, write) = memory.by_unit(weight.to(dtype)), kept["rows"]
    chunk = -(-length // -(-length // CHUNK))
    gates = torch.from_numpy(memory.scratch("gate rows", chunk * LANES, 7 * hidden, dtype=dtype))
    left = torch.from_numpy(memory.scratch("hidden rows", chunk * LANES, hidden, dtype=dtype))
    d_weight, d_table = torch.zeros(7 * hidden, hidden, dtype=dtype), torch.zeros(table.shape, dtype=dtype)
    d_dt, *d_start = (torch.empty(batch + 1, n, dtype=dtype) for n in (length, *[hidden] * 4))
    out = d_dt.numpy(), d_table.numpy(), tuple(x.numpy() for x in d_start), gates.numpy(), left.numpy()
    grads = memory.arrays([above], dtype)[0], memory.arrays(last, dtype)
    work = memory.work_back(hidden, dtype), kept["aside"]
    for b in range(len(read)):
        for end in range(length, 0, -chunk):
            first = max(end - chunk, 0)
            at = (read[b], write[b], b, first, end)
            _entry.sequence_back(kept["inputs"], (padded, kept["saved"]), grads, at, out, work)
            count = (end - first) * LANES
            d_weight.addmm_(gates[:count].t(), left[:count])
    return d_table, d_weight, d_dt[:batch], [x[:batch] for x in d_start]


def _gathered(work: tuple[Array, ...], marks: int, hidden: int) -> list[Tensor]:
    """The gradients of the head that stand in the lanes of the work arrays."""
    d_head = [torch.from_numpy(np.empty(size, work[0].dtype)) for size in ((marks, hidden), marks, marks)]
    _entry.gather(work[5], work[6], tuple(x.numpy() for x in d_head))
    return d_head


def _four(leaves: Any) -> State:
    c, target, decay, out = leaves
    return c, target, decay, out
