"""Does a model gain by density spikes on the clock's grid? Its likelihood once more, with the grid smeared out.

Recorded times lie on a grid (retweets: whole seconds), and a density may grow without bound on points: a model can then
gain nats that say nothing of when events come. With noise, uniform within a cell, added to every time, the mean
log-density is a lower bound on the log-probability of the recorded cells (Theis, van den Oord & Bethge 2016, sec. 3.1),
which no spike can inflate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.tpp._process import PointProcess

#: A gap may lie off the grid by this, in cells: what rounding in the file leaves.
OFF = 0.02
#: Cells in the median gap from which on a grid is fine enough to be no grid.
FINE = 1e5


class DequantisedNLL(NamedTuple):
    """``grid``: width of a cell; ``recorded``: nll per scored event at the recorded times; ``dequantised``: its mean
    over the draws of noise; ``sd``: of single draws (nan for one); ``inflation``: dequantised - recorded."""

    grid: float
    recorded: float
    dequantised: float
    sd: float
    inflation: float


def time_grid(events: Events) -> float | None:
    """The width of the coarsest grid on which all gaps lie, in units of time; None where there is none.

    For whole ticks (int64) it is the greatest common divisor of the gaps; for floats, the shortest gap, or that divided
    by 2, 3, ..., 10, if all others are multiples of it but for rounding.
    """
    gaps = np.unique(events.gaps[events.gaps > 0])
    if not len(gaps):
        return None
    if gaps.dtype.kind == "i":
        return float(np.gcd.reduce(gaps))
    for divisor in range(1, 11):
        cell = _refined(gaps, float(gaps[0]) / divisor)
        if cell is not None:
            return cell if float(np.median(events.gaps)) < FINE * cell else None
    return None


def _refined(gaps: NDArray[np.float64], cell: float) -> float | None:
    """The cell that fits the gaps best, near ``cell``, from short ones to long ones; None if one lies off."""
    reach = 10.0
    while True:
        part = gaps[gaps <= reach * cell]
        count = np.round(part / cell)
        if np.abs(part / cell - count).max(initial=0.0) > OFF * 10:
            return None
        if len(part):
            cell = float(part @ count / (count @ count))
            if np.abs(part / cell - count).max() > OFF:
                return None
        if len(part) == len(gaps):
            return cell if len(gaps) > 1 else None
        reach *= 10


@torch.no_grad()
def dequantised_nll(
    model: PointProcess, events: Events, *, grid: float | None = None, draws: int = 5, seed: int = 0
) -> DequantisedNLL:
    """The nll per scored event at the recorded times, and with uniform noise within a cell of the grid.

    Args:
        model: a point process.
        events: test sequences.
        grid: width of a cell, in units of time; None finds it.
        draws: of the noise.
        seed: of the noise.

    Raises:
        InputError: no grid given, and none found.
    """
    cell = time_grid(events) if grid is None else float(grid)
    if cell is None:
        raise InputError("dequantised_nll: the times lie on no grid that can be seen; give one: grid=1.0")
    if not cell > 0 or draws < 1:
        raise InputError(f"dequantised_nll(grid={grid}, draws={draws}): expected a width > 0, and at least 1 draw")
    rng = np.random.default_rng(seed)
    scored = events.num_scored

    def nll(seen: Events) -> float:
        return -float(model.log_prob(seen).double().sum()) / scored

    values = np.array([nll(dequantise(events, grid=cell, rng=rng)) for _ in range(draws)])
    recorded, mean = nll(events), float(values.mean())
    spread = float(values.std(ddof=1)) if draws > 1 and math.isfinite(mean) else math.nan
    return DequantisedNLL(cell, recorded, mean, spread, mean - recorded)


def dequantise(events: Events, *, grid: float, rng: np.random.Generator) -> Events:
    """Every time moved within its cell [t, t + ``grid``), uniformly; events of one time fall in any order.

    Spans grow where an event left them; one that its given first event opened starts with it still.
    """
    moved = events.t.astype(np.float64) + grid * rng.random(events.num_events)
    order = np.lexsort((moved, events.sequence))
    moved, span = moved[order], events.span.astype(np.float64).copy()
    filled = events.lengths > 0
    last = moved[events.offsets[1:][filled] - 1]
    span[filled, 1] = np.maximum(span[filled, 1], np.nextafter(last, np.inf))
    opened = filled & events.given_first
    span[opened, 0] = moved[events.offsets[:-1][opened]]
    marks = {name: column[order] for name, column in events.marks.items()}
    return replace(events, t=moved, marks=marks, span=span).validate()
