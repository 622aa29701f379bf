"""Drawing events: thinning under a verified bound (Lewis & Shedler 1979; Ogata 1981), and whole realisations.

A bound is a promise, and it is checked: each proposal's intensity is compared with the bound it was drawn under. Where
a model has an analytic bound it always holds; where a numeric one is broken, it is enlarged and the wait drawn anew.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.nn import map_state
from eventflow.tpp._query import queried

if TYPE_CHECKING:
    from eventflow.tpp._process import PointProcess

log = logging.getLogger(__name__)

SLACK = 1e-5  # rounding that a bound may be exceeded by, relative
ROUNDS = 100_000  # proposals per event, before we say that something is wrong
HORIZON = 2.0**40  # in units of time_scale: where no event has come by then, none comes


@torch.no_grad()
def sample_next(
    process: PointProcess, state: Any, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """(gap (...), mark (...)) in the data's unit; (inf, -1) where no event comes: :meth:`PointProcess.sample_next`."""
    lead = state.elapsed.shape
    flat = map_state(lambda leaf: leaf.flatten(0, len(lead) - 1) if lead else leaf[None], state)
    u, mark = process._sample(flat, torch.full_like(flat.elapsed, HORIZON), generator)
    return (u * process.time_scale).view(lead), mark.view(lead)


def thin(process: PointProcess, state: Any, until: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """(gap (N,), mark (N,)) of the next event of each row before ``until``, else (inf, -1); in units of time_scale."""
    gap, mark = torch.full_like(until, torch.inf), torch.full(until.shape, -1, device=until.device)
    now, inflate = torch.zeros_like(until), torch.ones_like(until)
    rows = (until > 0).nonzero()[:, 0]
    for _ in range(ROUNDS):
        if not len(rows):
            return gap, mark
        here = map_state(lambda leaf, r=rows: leaf[r], state)
        bound, valid_for = process._bound(here, now[rows])
        bound = bound * inflate[rows]
        wait = _exponential(bound, generator)
        moved = torch.minimum(wait, valid_for)
        arrived = torch.minimum(now[rows] + moved, until[rows])
        lam = process._intensity(here, arrived)
        total = lam.sum(-1)
        broken = total > bound * (1 + SLACK)
        if broken.any():
            log.info("thinning bound exceeded by %d of %d rows; enlarged and drawn again", int(broken.sum()), len(rows))
            inflate[rows[broken]] *= 2 * (total / bound.clamp_min(1e-30))[broken].clamp_max(1e6)
        proposed = ~broken & (wait <= valid_for) & (now[rows] + wait < until[rows])
        accept = proposed & (_uniform(total, generator) * bound <= total)
        chosen = rows[accept]
        gap[chosen] = arrived[accept]
        mark[chosen] = _categorical(lam[accept], generator)
        now[rows] = torch.where(broken, now[rows], arrived)
        rows = rows[~accept & (now[rows] < until[rows])]
    raise RuntimeError(
        f"thinning made {ROUNDS} proposals without an event; the bound of {type(process).__name__} is loose"
    )


def numeric_bound(process: PointProcess, state: Any, now: Tensor, *, points: int = 9) -> tuple[Tensor, Tensor]:
    """(bound, how long it is claimed for): 1.5 times the largest of ``points`` intensities over about two mean gaps."""
    total = process._intensity(state, now).sum(-1)
    window = (2.0 / total.clamp_min(1e-9)).clamp(1e-6, 4.0)
    at = now[:, None] + window[:, None] * torch.linspace(0, 1, points, dtype=now.dtype, device=now.device)
    return 1.5 * process._intensity(queried(state, 1), at).sum(-1).amax(-1) + 1e-9, window


@torch.no_grad()
def simulate(
    process: PointProcess, *, span: tuple[float, float], num_sequences: int = 1,
    generator: torch.Generator | None = None, schema: Schema | None = None,
) -> Events:  # fmt: skip
    """See :meth:`PointProcess.simulate`."""
    start, end = (float(edge) for edge in span)
    if not (np.isfinite([start, end]).all() and start <= end):
        raise InputError(f"simulate(span={span}): expected a finite half-open [start, end) with start <= end")
    if num_sequences < 0:
        raise InputError(f"simulate(num_sequences={num_sequences}): expected at least 0")
    clock = torch.full((num_sequences,), start, dtype=torch.float64)
    state = process.init_at(clock)
    rows = torch.arange(num_sequences)
    times, marks, owners = [], [], []
    while len(rows):
        until = ((end - clock[rows]) / process.time_scale).to(state.elapsed.dtype)
        u, mark = process._sample(state, until, generator)
        clock[rows] += u.double() * process.time_scale
        keep = torch.isfinite(u) & (clock[rows] < end)
        rows, u, mark = rows[keep], u[keep], mark[keep]
        state = map_state(lambda leaf, k=keep: leaf[k], state)
        state = process._update(process._evolve(state, u), mark)
        times.append(clock[rows].clone())
        marks.append(mark)
        owners.append(rows)
    return _assemble(times, marks, owners, (start, end), num_sequences, schema or Schema(num_marks=process.num_marks))


def _assemble(times: Any, marks: Any, owners: Any, span: Any, count: int, schema: Schema) -> Events:
    t, mark, owner = (torch.cat(x).numpy() if x else np.zeros(0, np.int64) for x in (times, marks, owners))
    order = np.lexsort((np.asarray(t, np.float64), owner))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
    return Events.of(np.asarray(t, np.float64)[order], offsets=offsets, span=span, schema=schema, mark=mark[order])


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=torch.float64).to(like)


def _exponential(rate: Tensor, generator: torch.Generator | None) -> Tensor:
    draw = -torch.log1p(-torch.rand(rate.shape, generator=generator, dtype=torch.float64)).to(rate)
    return torch.where(rate > 0, draw / rate, torch.inf)


def _categorical(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """(N,) marks drawn with probabilities proportional to (N, K) weights."""
    if not len(weights):
        return torch.zeros(0, dtype=torch.int64)
    edges = weights.double().cumsum(-1)
    draw = torch.rand(len(weights), 1, generator=generator, dtype=torch.float64) * edges[:, -1:]
    return torch.searchsorted(edges, draw, right=True)[:, 0].clamp_max(weights.shape[1] - 1)
