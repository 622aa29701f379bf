"""What comes next, many events ahead: sampled continuations, or one event expected after another.

All rows advance together, one event a round, each carrying its own state: the past is never encoded again. Axes: the
state's leading axes (...), M draws of each, N events ahead, K marks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import map_state, state_leaves
from eventflow.tpp._sample import HORIZON

if TYPE_CHECKING:
    from eventflow.tpp._process import PointProcess

#: Numbers that the states of the rows under way may hold at once: bounds memory, changes no draw's law.
BUDGET = 1 << 25


class Continuations(NamedTuple):
    """Events after now, in order.

    t: (..., M, N) float64 time from now, in the data's unit; inf where no event came.
    mark: (..., M, N) int64; -1 where no event came.
    """

    t: Tensor
    mark: Tensor

    @property
    def counts(self) -> Tensor:
        """(..., M) events of each continuation."""
        return (self.mark >= 0).sum(-1)


class Forecast(NamedTuple):
    """A sequence of events that a model expects from each of V positions, in order.

    t: (V, N) float64 time from the position's event, in the data's unit; inf where there is none.
    mark: (V, N) int64; -1 where there is none.
    score: (V, N, K) float64: how likely each mark is at that place; only their order matters.
    """

    t: Tensor
    mark: Tensor
    score: Tensor


@torch.no_grad()
def continue_from(
    process: PointProcess, state: Any, *, steps: int | None = None, horizon: float | None = None,
    num_samples: int = 1, generator: torch.Generator | None = None,
) -> Continuations:  # fmt: skip
    """See :meth:`PointProcess.continue_from`."""
    if steps is None and horizon is None:
        raise InputError("continue_from: how far? Write: continue_from(state, steps=10), or horizon=2.5")
    if steps is not None and steps < 1 or num_samples < 1 or (horizon is not None and not horizon >= 0):
        raise InputError(
            f"continue_from(steps={steps}, horizon={horizon}, num_samples={num_samples}): expected at least 1 step and "
            "1 sample, and a horizon >= 0"
        )
    lead = state.elapsed.shape
    flat = map_state(lambda leaf: leaf.flatten(0, len(lead) - 1) if lead else leaf[None], state)
    size = max(1, BUDGET // (num_samples * max(1, sum(leaf[:1].numel() for leaf in state_leaves(flat)))))
    limit = math.inf if horizon is None else float(horizon)
    parts = [
        _continue(process, map_state(lambda x, i=i: _repeated(x[i : i + size], num_samples), flat), steps, limit,
                  generator)
        for i in range(0, max(len(flat.elapsed), 1), size)
    ]  # fmt: skip
    width = max(t.shape[1] for t, _ in parts)
    t = torch.cat([torch.nn.functional.pad(t, (0, width - t.shape[1]), value=math.inf) for t, _ in parts])
    mark = torch.cat([torch.nn.functional.pad(k, (0, width - k.shape[1]), value=-1) for _, k in parts])
    return Continuations(t.view(*lead, num_samples, width), mark.view(*lead, num_samples, width))


def _repeated(leaf: Tensor, times: int) -> Tensor:
    return leaf.repeat_interleave(times, 0) if times > 1 else leaf


def _continue(
    process: PointProcess, state: Any, steps: int | None, horizon: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """(R, N) times and marks of R rows; N is ``steps``, or the most events that a row had within the horizon."""
    clock = torch.zeros_like(state.elapsed, dtype=torch.float64)
    rows = torch.arange(len(clock), device=clock.device)
    times, marks = [], []
    while len(rows) and (steps is None or len(times) < steps):
        until = ((horizon - clock[rows]) / process.time_scale).clamp_max(HORIZON).to(state.elapsed.dtype)
        u, mark = process._sample(state, until, generator)
        came = clock[rows] + u.double() * process.time_scale
        keep = torch.isfinite(u) & (came < horizon)
        rows, u, mark = rows[keep], u[keep], mark[keep]
        clock[rows] = came[keep]
        if not len(rows):
            break
        state = state if bool(keep.all()) else map_state(lambda leaf, k=keep: leaf[k], state)
        state = process._update(process._evolve(state, u), mark)
        times.append(torch.full_like(clock, math.inf).index_copy(0, rows, clock[rows]))
        marks.append(torch.full_like(clock, -1, dtype=torch.int64).index_copy(0, rows, mark))
    missing = 0 if steps is None else steps - len(times)
    times += [torch.full_like(clock, math.inf)] * missing
    marks += [torch.full_like(clock, -1, dtype=torch.int64)] * missing
    if not times:
        return clock.new_zeros(len(clock), 0), rows.new_zeros(len(clock), 0)
    return torch.stack(times, 1), torch.stack(marks, 1)


@torch.no_grad()
def expect_from(process: PointProcess, state: Any, *, steps: int) -> Forecast:
    """One event after another, each where the model expects it: the mean gap, and the likeliest mark at that time.

    It is the chain that HoTPP evaluates; scores are log p(mark | that time). Where no event is expected (an infinite
    mean gap), the chain ends. States have one leading axis.
    """
    return _chain(process, state, steps, None)


@torch.no_grad()
def score_along(process: PointProcess, state: Any, drawn: Continuations) -> Forecast:
    """The forecast that consists of given events ``drawn`` (V, N), with the model's own scores of their marks."""
    return _chain(process, state, drawn.t.shape[1], drawn)


def _chain(process: PointProcess, state: Any, steps: int, drawn: Continuations | None) -> Forecast:
    clock = torch.zeros_like(state.elapsed, dtype=torch.float64)
    times, marks, scores = [], [], []
    for j in range(steps):
        now = process.predict_next(state).mean.double() + clock if drawn is None else drawn.t[:, j]
        gone = ~torch.isfinite(now) | torch.isinf(clock)
        u = torch.where(gone, 0.0, (now - clock) / process.time_scale).to(state.elapsed.dtype)
        probs = _mark_probs(process, state, u)
        mark = probs.argmax(-1) if drawn is None else drawn.mark[:, j].clamp_min(0)
        clock = torch.where(gone, torch.inf, now)
        times.append(clock)
        marks.append(torch.where(gone, -1, mark))
        scores.append(probs.log())
        if j + 1 < steps:
            state = process._update(process._evolve(state, u), mark)
    return Forecast(torch.stack(times, 1), torch.stack(marks, 1), torch.stack(scores, 1))


def _mark_probs(process: PointProcess, state: Any, u: Tensor) -> Tensor:
    """(V, K) p(mark | an event comes after u), float64, kept above 1e-12; even where no event can come."""
    lam = process._intensity(state, u).double().nan_to_num(0.0)
    total = lam.sum(-1, keepdim=True)
    probs = torch.where(total > 0, lam / total, 1 / lam.shape[-1])
    return probs.clamp_min(1e-12)
