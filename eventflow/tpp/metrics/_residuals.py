"""Is a point process calibrated? Time-rescaling residuals, their Kolmogorov-Smirnov test, and QQ points with a band.

Time rescaling (Papangelou 1972; Ogata, JASA 83, 1988; Brown et al., Neural Computation 14, 2002): run each sequence on
the clock of its own compensator. If the model is the truth, its events then form a Poisson process of rate 1, and the
compensators between successive events are independent draws from Exp(1), whatever the model.

The last silence of a sequence is cut off by the end of its span: it is not a draw from Exp(1), and leaving it out would
favour short gaps. Since a Poisson process has no memory, the clocks of all sequences are laid end to end instead: the
last silence of one is the beginning of the first gap of the next, and only the remainder at the very end is censored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.tpp._process import PointProcess
from eventflow.tpp.metrics._kolmogorov import beta_quantile, kolmogorov_sf

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Compensators between successive scored events, all sequences laid end to end.

    Args:
        values: (n,) float64; independent draws from Exp(1) if the model is the truth.
        censored: the compensator after the very last event: a draw from Exp(1) of which only a lower bound is known.
    """

    values: Array
    censored: float


class KSTest(NamedTuple):
    """Largest distance between the empirical and the expected distribution function; P(as large | model true)."""

    statistic: float
    p_value: float
    n: int


class QQ(NamedTuple):
    """Order statistics against what Exp(1) would give; each (m,), thinned to what a picture can show.

    expected: median of each order statistic; observed: the residual; low, high: the band in which each one lies with
    the stated probability if the model is the truth (pointwise: of many points, some lie outside).
    """

    expected: Array
    observed: Array
    low: Array
    high: Array


@torch.no_grad()
def time_rescaling_residuals(process: PointProcess, events: Events) -> Residuals:
    """The residuals of ``events`` under ``process``; first events that are given (``schema``) only open the clock."""
    values, tails = [], []
    for batch in process._batches(events):
        left, last = process.left_states(batch)
        gaps = process.compensator(left, batch.dt.to(process.dtype)).double()
        values += [row[keep].cpu().numpy() for row, keep in zip(gaps, batch.scored, strict=True)]
        tails.append(process.compensator(last, batch.tail.to(process.dtype)).double().cpu().numpy())
    return lay_end_to_end(values, np.concatenate(tails))


def lay_end_to_end(compensators: list[Array], tails: Array) -> Residuals:
    """Residuals from each sequence's compensators of its scored gaps, and of its last silence ``tails`` (s,)."""
    if len(compensators) != len(tails):
        raise InputError(
            f"{len(compensators)} sequences of compensators and {len(tails)} tails; expected one tail each"
        )
    carried, parts = 0.0, []
    for gaps, tail in zip(compensators, tails, strict=True):
        if len(gaps):
            parts.append(np.concatenate([[carried + gaps[0]], gaps[1:]]))
            carried = 0.0
        carried += float(tail)
    return Residuals(np.concatenate([np.empty(0), *parts]), carried)


def ks_exponential(residuals: Residuals | ArrayLike) -> KSTest:
    """Kolmogorov-Smirnov test of residuals against Exp(1).

    The p-value is for a model that was not fitted on these same events.
    """
    values = _values(residuals)
    n = len(values)
    cdf = -np.expm1(-np.sort(values))
    steps = np.arange(n + 1) / n
    statistic = float(max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))
    return KSTest(statistic, kolmogorov_sf(statistic, n), n)


def qq_exponential(residuals: Residuals | ArrayLike, *, level: float = 0.95, points: int = 200) -> QQ:
    """QQ points of residuals against Exp(1), at most ``points``, with a pointwise band of probability ``level``.

    The i-th smallest of n uniforms is Beta(i, n + 1 - i); -log(1 - u) makes it the i-th smallest of n from Exp(1).
    """
    if not 0 < level < 1:
        raise InputError(f"qq_exponential(level={level}): expected a probability between 0 and 1")
    values = np.sort(_values(residuals))
    n = len(values)
    grid = -np.expm1(-np.linspace(0.0, math.log(n + 1), min(points, n)))  # even steps on the axis of the picture
    rank = np.unique(np.clip(np.ceil(n * grid), 1, n)).astype(np.int64)
    low, middle, high = (
        -np.log1p(-beta_quantile(p, rank, n + 1 - rank)) for p in ((1 - level) / 2, 0.5, (1 + level) / 2)
    )
    return QQ(middle, values[rank - 1], low, high)


def _values(residuals: Residuals | ArrayLike) -> Array:
    values = np.asarray(residuals.values if isinstance(residuals, Residuals) else residuals, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f"residuals have shape {values.shape}; expected (n,) with n >= 1 scored events")
    if not (values >= 0).all():
        i = int(np.argmin(values >= 0))
        raise InputError(f"residual {i} is {values[i]}; expected compensators, which are never negative or nan")
    return values
