"""The definitions: a likelihood event by event, the next event's law on a dense grid. Slow, short, never deleted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eventflow.events import Events
from eventflow.tpp._process import PointProcess, Prediction, queried


def log_prob(process: PointProcess, events: Events) -> Tensor:
    """(s,) sum of log lambda_k(t-) over the scored events, less the integral of lambda over the span.

    The given first event, where there is one, updates the state and is not scored.
    """
    return torch.stack([_sequence_log_prob(process, sequence) for sequence in events])


def _sequence_log_prob(process: PointProcess, sequence: Events) -> Tensor:
    state = process.init_at(torch.tensor([float(sequence.span[0, 0])], dtype=torch.float64))
    total, now = torch.zeros((), dtype=process.dtype), sequence.span[0, 0]
    for i in range(sequence.num_events):
        dt = torch.tensor([float(sequence.t[i] - now)], dtype=process.dtype)
        mark = torch.tensor([int(sequence.marks["mark"][i]) if "mark" in sequence.marks else 0])
        if not (i == 0 and sequence.given_first[0]):
            total = total + process.intensity(state, dt)[0, mark[0]].log() - compensator(process, state, dt)[0]
        state, now = process.update(process.evolve(state, dt), mark), sequence.t[i]
    tail = torch.tensor([float(sequence.span[0, 1] - now)], dtype=process.dtype)
    return total - compensator(process, state, tail)[0]


def compensator(process: PointProcess, state: Any, dt: Tensor, *, points: int = 20_001) -> Tensor:
    """(...) trapezoid rule on ``points`` points, graded as x^3 towards the last event."""
    x = torch.linspace(0, 1, points, dtype=dt.dtype) ** 3
    total = process.intensity(state, dt[..., None] * x).sum(-1)
    return dt * torch.trapezoid(total, x, dim=-1)


def predict_next(process: PointProcess, state: Any, *, horizon: Tensor, points: int = 200_001) -> Prediction:
    """The next event within ``horizon`` (N,) from f = lambda S on a dense grid (states with one leading axis)."""
    x = torch.linspace(0, 1, points, dtype=process.dtype) ** 3
    rows = [_predict_row(process, queried_row(state, i), x * end) for i, end in enumerate(horizon)]
    return Prediction(*(torch.stack(column) for column in zip(*rows, strict=True)))


def queried_row(state: Any, i: int) -> Any:
    """Row i of a state, kept as a batch of one."""
    from eventflow.nn import map_state

    return map_state(lambda leaf: leaf[i : i + 1], state)


def _predict_row(process: PointProcess, state: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    lam = process._intensity(queried(state, 1), x[None] / process.time_scale)[0] / process.time_scale
    hazard = torch.cat([x.new_zeros(1), torch.cumulative_trapezoid(lam.sum(-1), x)])
    survival = torch.exp(-hazard)
    density = torch.where(survival[:, None] > 0, lam * survival[:, None], 0)
    mass = torch.trapezoid(density, x, dim=0)
    whole = 1 - survival[-1]
    mean = torch.trapezoid(x * density.sum(-1), x) / mass.sum()
    median = x[torch.searchsorted(hazard, -torch.log1p(-0.5 * whole)).clamp_max(len(x) - 1)]
    never = survival[-1] if survival[-1] > 1e-12 else torch.zeros_like(whole)
    return mean, median, mass / mass.sum(), never


def exponential_hawkes_log_prob(mu: Tensor, alpha: Tensor, beta: Tensor, events: Events) -> Tensor:
    """(s,) the O(n^2) sum over pairs and the closed-form compensator (Ozaki 1979), per unit of time; K marks."""
    out = []
    for sequence in events:
        t, k = torch.as_tensor(sequence.t), torch.as_tensor(sequence.marks["mark"])
        start, end = sequence.span[0]
        value = -mu.sum() * float(end - start)
        for i in range(len(t)):
            past = alpha[k[i], k[:i]] * torch.exp(-beta[k[i], k[:i]] * (t[i] - t[:i]))
            value = value + torch.log(mu[k[i]] + past.sum())
            value = value - (alpha[:, k[i]] / beta[:, k[i]] * -torch.expm1(-beta[:, k[i]] * float(end - t[i]))).sum()
        out.append(value)
    return torch.stack(out)


def poisson_log_prob(rate: Tensor, events: Events) -> Tensor:
    """(s,) sum of log rate over the events, less rate times the length of the span."""
    counts = [torch.bincount(torch.as_tensor(s.marks["mark"]), minlength=len(rate)) for s in events]
    lengths = torch.as_tensor(events.span[:, 1] - events.span[:, 0], dtype=rate.dtype)
    logs = torch.where(rate > 0, rate.log(), -math.inf)
    hits = torch.stack(counts).to(rate.dtype)
    return torch.where(hits > 0, hits * logs, 0.0).sum(1) - rate.sum() * lengths
