"""Metrics of whole sequences of predicted events: optimal transport distance and T-mAP; update, merge, compute.

Rows are positions from which the future was predicted. Like all metrics here they are frozen values, and merging is
associative: the number depends neither on the batches nor on their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.ops.event_match import match_within, transport_distance
from eventflow.tpp._continue import Forecast
from eventflow.tpp.metrics._next_event import ExactSum, Values, _float64

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OTD:
    """Mean optimal transport distance of the predicted to the true events (Mei, Qin & Eisner, ICML 2019), in units of
    time; 0 is perfect, ``insert`` + ``delete`` times the number of events is hopeless.

    Args:
        insert: cost of an event that came and was not predicted.
        delete: cost of an event that was predicted and did not come.
    """

    insert: float
    delete: float
    total: ExactSum = field(default_factory=ExactSum)
    count: int = 0

    def update(self, predicted: tuple[Values, Values], true: tuple[Values, Values]) -> OTD:
        """With these positions added: times and marks (V, P) predicted, (V, T) true; absent is inf and -1."""
        sides = [(_float64(t), _float64(mark).astype(np.int64)) for t, mark in (predicted, true)]
        cost = transport_distance(sides[0], sides[1], insert=self.insert, delete=self.delete)
        return replace(self, total=self.total.add(cost), count=self.count + len(cost))

    def merge(self, other: OTD) -> OTD:
        """The metric of what both saw."""
        if (self.insert, self.delete) != (other.insert, other.delete):
            raise InputError(f"OTD.merge: costs {self.insert}, {self.delete} and {other.insert}, {other.delete}")
        return replace(self, total=self.total.merge(other.total), count=self.count + other.count)

    def compute(self) -> float:
        """The mean; nan if nothing was seen."""
        return self.total.compute() / self.count if self.count else math.nan


@dataclass(frozen=True, slots=True)
class TMAP:
    """Temporal mean average precision (Karpukhin, Shipilov & Savchenko, HoTPP, 2024): over a horizon, each true event
    of a mark is a hit if a predicted one is paired with it within ``delta``; how well do the scores of that mark tell
    hits from misses? Average precision per mark, its mean over all K marks, its mean over ``deltas``; 1 is perfect.

    Pairs as in :func:`eventflow.ops.event_match.match_within`. Precision is taken at the distinct scores (ties count as
    one threshold, so the order of the rows never matters), and a mark of which every prediction is a hit counts 1; in
    HoTPP's own code ties fall as the sort leaves them, and such a mark counts 0.

    Args:
        horizon: events at or after this time from the position are left out, predicted or true.
        deltas: reaches, in units of time.
    """

    horizon: float
    deltas: tuple[float, ...]
    parts: tuple[tuple[Array, NDArray[np.bool_], Array], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "deltas", tuple(float(d) for d in self.deltas))
        if not self.horizon > 0 or not self.deltas or not min(self.deltas) >= 0:
            raise InputError(f"TMAP(horizon={self.horizon}, deltas={self.deltas}): expected > 0, and reaches >= 0")

    def update(self, predicted: Forecast, true: tuple[Values, Values]) -> TMAP:
        """With these positions added: a forecast (V, P), true times and marks (V, T)."""
        t, score = _float64(predicted.t), _float64(predicted.score)
        t_true, mark_true = _float64(true[0]), _float64(true[1]).astype(np.int64)
        t = np.where((_float64(predicted.mark) >= 0) & (t < self.horizon), t, np.inf)
        mark_true = np.where(t_true < self.horizon, mark_true, -1)
        there = np.isfinite(t)
        hits = [match_within((t, score), (t_true, mark_true), delta=delta)[there] for delta in self.deltas]
        totals = np.bincount(mark_true[mark_true >= 0], minlength=score.shape[-1]).astype(np.float64)
        return replace(self, parts=(*self.parts, (score[there], np.stack(hits), totals)))

    def merge(self, other: TMAP) -> TMAP:
        """The metric of what both saw."""
        if (self.horizon, self.deltas) != (other.horizon, other.deltas):
            raise InputError(f"TMAP.merge: {self.horizon}, {self.deltas} and {other.horizon}, {other.deltas}")
        return replace(self, parts=self.parts + other.parts)

    def per_mark(self) -> tuple[Array, Array]:
        """((K,) average precision of each mark, mean over the deltas; (K,) true events of each mark)."""
        if not self.parts:
            return np.zeros(0), np.zeros(0)
        scores, totals = np.concatenate([p[0] for p in self.parts]), np.sum([p[2] for p in self.parts], 0)
        hits = np.concatenate([p[1] for p in self.parts], 1)
        rows = [
            [_average_precision(scores[:, k], hit[:, k], total) for k, total in enumerate(totals)] for hit in hits
        ]  # fmt: skip
        return np.mean(rows, 0), totals

    def compute(self) -> float:
        """The mean over marks (a mark that never came counts 0, as in HoTPP); nan if nothing was seen."""
        return float(self.per_mark()[0].mean()) if self.parts else math.nan

    def compute_weighted(self) -> float:
        """The mean over marks, weighted by how often they came; nan if none did."""
        precision, totals = self.per_mark()
        return float(precision @ totals / totals.sum()) if totals.sum() else math.nan


def _average_precision(score: Array, hit: NDArray[np.bool_], total: float) -> float:
    """Sum over the distinct scores, from the top, of precision times the recall gained there."""
    if not total or not len(score):
        return 0.0
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # the last place of each distinct score
    hits = np.cumsum(hit[order])[last]
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * hits / (np.flatnonzero(last) + 1)) / total)
