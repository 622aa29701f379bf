"""The path for the CPU: torch on the outside, ``_chunk`` inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from eventflow.ops.latent_hawkes import Gap, Layer, Stack, _entry
from eventflow.ops.latent_hawkes._chunk import Rows, Weights, Worker, arrays

#: Parts of a first layer, and of another one.
FIRST, OTHER = 3, 9


def signal(y: Tensor, below: Tensor | None, layer: Layer, keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_signal`."""
    vectors = [] if below is None else [layer.skip, layer.skip_bias, layer.gain, layer.shift]
    return _Signal.apply(y, below, keep, *vectors)  # type: ignore[no-any-return]


def compensator(gap: Gap, dt: Tensor, stack: Stack, rule: tuple[Any, Any], keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_compensator`."""
    parts = [part for layer in stack.layers for part in layer if part is not None]
    given = (dt, *gap, keep, rule, *stack.head, *parts)
    if not torch.is_grad_enabled():  # needs_input_grad would not know
        return _run(given, torch.ones_like(dt), wanted=False)[0]
    return _Compensator.apply(*given)  # type: ignore[no-any-return]


@torch.no_grad()
def intensity(gap: Gap, u: Tensor, stack: Stack, keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_intensity`; each moment is worked on as a gap of its own."""
    parts = [part for layer in stack.layers for part in layer if part is not None]
    one, none = u.new_ones(1), u.new_empty(len(u), gap.x.shape[1], 0)
    worker = Worker(_layers(parts), [part.contiguous() for part in stack.head], (one, one), gap.step.shape[2])
    leaves = [none if leaf is None else leaf for leaf in (gap.x, gap.step, gap.hold, keep)]
    times, out = u.reshape(-1), u.new_empty(u.numel(), len(stack.head[1]))
    for first in range(0, len(times), worker.each):
        now = times[first : first + worker.each]
        row = torch.arange(first, first + len(now)) // max(u.shape[1], 1)
        gaps = [Rows(*(leaf[row, i] for leaf in leaves)) for i in range(gap.x.shape[1])]
        worker.forward(gaps, now.contiguous())
        out[first : first + len(now)] = worker.lam
    return out.view(*u.shape, out.shape[1])


class _Signal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, below: Tensor | None, keep: Tensor | None, *vectors: Tensor) -> Tensor:  # type: ignore[override]
        none = y.new_empty(0, 0)
        y, lower, kept = (none if x is None else x.detach().contiguous() for x in (y, below, keep))
        weights = torch.stack(vectors).detach() if vectors else none
        out, scale = torch.empty_like(y), y.new_empty(len(y))
        _entry.signal(*arrays([y, lower, kept, weights, out, scale]))
        ctx.save_for_backward(y, lower, kept, weights, out, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> Any:  # type: ignore[override]
        y, lower, kept, weights, out, scale = ctx.saved_tensors
        d_y, d_lower, sums = torch.empty_like(y), torch.empty_like(lower), torch.zeros_like(weights)
        made, grads = arrays([out, scale]), arrays([d_y, d_lower, sums])
        _entry.signal_back(above.contiguous().numpy(), arrays([y, lower]), *arrays([kept, weights]), made, grads)
        return (d_y, d_lower if lower.numel() else None, None, *sums.unbind())


class _Compensator(torch.autograd.Function):
    """The forward pass takes the gradient along, for an upstream gradient of 1; where the true one is the same for all
    rows (a sum or a mean of log-likelihoods: nearly always) the backward pass only multiplies; else it runs again."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:  # type: ignore[override]
        wanted = any(ctx.needs_input_grad)
        value, ctx.grads = _run(given, torch.ones_like(given[0]), wanted=wanted)
        ctx.keep, ctx.rule = given[4:6]
        ctx.save_for_backward(*given[:4], *given[6:])
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> Any:  # type: ignore[override]
        saved = ctx.saved_tensors
        weigh = above[saved[0] != 0]  # a gap of 0 has no part in the gradients of the weights
        if bool((weigh == weigh[:1]).all()):
            factor = weigh[0] if len(weigh) else above.new_zeros(())
            rows = [None if g is None else g * above.view(-1, *[1] * (g.dim() - 1)) for g in ctx.grads[:4]]
            grads = [*rows, *(g * factor for g in ctx.grads[4:])]
        else:
            grads = _run((*saved[:4], ctx.keep, ctx.rule, *saved[4:]), above, wanted=True)[1]
        return (*grads[:4], None, None, *grads[4:])


def _run(given: Any, above: Tensor, *, wanted: bool) -> tuple[Tensor, list[Any]]:
    """(values (N,), gradients of dt, x, step, hold, the head and the layers' parts; or none)."""
    detached: Any = [None if a is None else a.detach() for a in given[:5]]
    dt, x, step, hold, keep = detached
    parts = [p.detach() for p in given[6:]]
    rule: Any = tuple(torch.tensor(part, dtype=dt.dtype) for part in given[5])
    worker = Worker(_layers(parts[3:]), [p.contiguous() for p in parts[:3]], rule, step.shape[2])
    value, none = torch.empty_like(dt), dt.new_empty(len(dt), step.shape[1], 0)
    held, kept = (none if a is None else a for a in (hold, keep))
    grads: list[Any] = [torch.empty_like(a) for a in (dt, x, step, held)] if wanted else []
    for first in range(0, len(dt), worker.each):
        part = slice(first, first + worker.each)
        gaps = [Rows(*(a[part, i].contiguous() for a in (x, step, held, kept))) for i in range(x.shape[1])]
        gap = dt[part].contiguous()
        mean = worker.forward(gaps, gap) @ worker.weights
        value[part] = gap * mean
        if wanted:
            up, out = above[part], tuple(g[part] for g in grads)
            out[0].copy_(up * mean)
            worker.backward((up * gap)[:, None] * worker.weights, gaps, gap, out)
    if wanted and hold is None:
        grads[3] = None
    return value, [*grads, *worker.d_head, *_parts(worker.sums)] if wanted else []


def _layers(parts: list[Tensor]) -> list[Weights]:
    found, none = [], parts[0].new_empty(0, 0)
    for start in (0, *range(FIRST, len(parts), OTHER)):
        rate, frequency, out, *rest = parts[start : start + (OTHER if start else FIRST)]
        own = torch.stack([rate, frequency]), out.t().contiguous()
        inner = (rest[0].contiguous(), rest[1].contiguous(), torch.stack(rest[2:])) if rest else (none, none, none)
        found.append(Weights(*own, *inner))
    return found


def _parts(sums: list[Weights]) -> list[Tensor]:
    """The gradients of the layers' parts, in their order."""
    found = []
    for i, layer in enumerate(sums):
        found += [*layer.rates.unbind(), layer.out.t()]
        found += [layer.inner, layer.bias, *layer.vectors.unbind()] if i else []
    return found
