"""Sequences of future events from the trivial baselines, to be scored by OTD and T-mAP as models are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.tpp._continue import Forecast
from eventflow.tpp.baselines._akom import history_of

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MarkChain:
    """One event after another: the mean gap given the previous mark, and the likeliest mark given the last ``order``.

    gap: (K+1,) mean gaps, the last after no mark. probs: (V, order) history, the latest first -> (V, K).
    """

    gap: Array
    probs: Callable[[Index], Array]
    order: int

    def forecast(self, events: Events, rows: Index, *, steps: int) -> Forecast:
        """See :class:`eventflow.tpp.Forecaster`; scores are log-probabilities."""
        mark, place = _marks(events, len(self.gap) - 1)
        history = history_of(mark, place, rows, max(self.order, 1), len(self.gap) - 1)
        now, leaves = np.zeros(len(rows)), []
        for _ in range(steps):
            probs = self.probs(history)
            now = now + self.gap[history[:, 0]]
            likeliest = probs.argmax(1)
            leaves.append((now, likeliest, np.log(np.maximum(probs, 1e-12))))
            history = np.concatenate([likeliest[:, None], history[:, :-1]], 1)
        return Forecast(*(torch.from_numpy(np.stack(leaf, 1)) for leaf in zip(*leaves, strict=True)))


@dataclass(frozen=True, slots=True)
class MostPopular:
    """The sequence's own mean gap so far, and its most frequent mark so far, again and again (HoTPP's MostPopular).

    The score is 1 for that mark and 0 for the others, as there. ``mean_gap`` stands in where there was no gap yet.
    """

    num_marks: int
    mean_gap: float

    def next_event(self, events: Events, rows: Index) -> tuple[Array, Index]:
        """(gap (V,), mark (V,)) expected after each row."""
        counts, _, place = _counts(events, rows, self.num_marks)
        first = events.t[rows - place[rows]]
        gap = (events.t[rows] - first).astype(np.float64) / np.maximum(place[rows], 1)
        return np.where(place[rows] > 0, gap, self.mean_gap), counts.argmax(1)

    def forecast(self, events: Events, rows: Index, *, steps: int) -> Forecast:
        """See :class:`eventflow.tpp.Forecaster`."""
        gap, likeliest = self.next_event(events, rows)
        t = gap[:, None] * np.arange(1, steps + 1)
        mark = np.repeat(likeliest[:, None], steps, 1)
        leaves = t, mark, np.eye(self.num_marks)[mark]
        return Forecast(*(torch.from_numpy(leaf) for leaf in leaves))


@dataclass(frozen=True, slots=True)
class HistoryDensity:
    """Each mark at its own rate so far: in each interval between ``edges``, one event of every mark at its middle, with
    the probability rate x length, at most 1 (HoTPP's HistoryDensity).

    The score of that mark is the log of the probability, of the other marks -1000; marks without events so far are
    absent. It predicts as many events as there are intervals and marks, whatever ``steps``.

    edges: ends of the intervals, increasing; the first one starts at 0.
    """

    num_marks: int
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.edges or not (np.diff((0.0, *self.edges)) > 0).all():
            raise InputError(f"HistoryDensity(edges={self.edges}): expected increasing times > 0")

    def forecast(self, events: Events, rows: Index, *, steps: int) -> Forecast:
        """See :class:`eventflow.tpp.Forecaster`: interval by interval, the likeliest marks first."""
        counts, watched, _ = _counts(events, rows, self.num_marks)
        rate = counts / np.maximum(watched, 1e-6 * self.edges[-1])[:, None]
        order = np.argsort(-rate, axis=1, kind="stable")
        times, probs = [], []
        for start, end in zip((0.0, *self.edges[:-1]), self.edges, strict=True):
            times.append(np.full_like(rate, (start + end) / 2))
            probs.append(np.minimum(np.take_along_axis(rate, order, 1) * (end - start), 1.0))
        prob, mark = np.concatenate(probs, 1), np.tile(order, (1, len(self.edges)))
        there = prob > 0
        t = np.where(there, np.concatenate(times, 1), np.inf)
        own = np.log(np.maximum(prob, 1e-300))[..., None]
        score = np.where(np.eye(self.num_marks, dtype=bool)[mark], own, -1000.0 + own)
        return Forecast(*(torch.from_numpy(x) for x in _front(t, np.where(there, mark, -1), score, steps)))


def _front(t: Array, mark: Index, score: Array, steps: int) -> tuple[Array, Index, Array]:
    """Present events first, in their order; at least ``steps`` columns."""
    order = np.argsort(np.isinf(t), axis=1, kind="stable")
    t, mark = np.take_along_axis(t, order, 1), np.take_along_axis(mark, order, 1)
    score = np.take_along_axis(score, order[..., None], 1)
    missing = max(steps - t.shape[1], 0)
    t = np.pad(t, ((0, 0), (0, missing)), constant_values=np.inf)
    mark = np.pad(mark, ((0, 0), (0, missing)), constant_values=-1)
    return t, mark, np.pad(score, ((0, 0), (0, missing), (0, 0)))


def _marks(events: Events, num_marks: int) -> tuple[Index, Index]:
    """(n,) marks, and each event's number in its sequence."""
    mark = events.marks["mark"] if "mark" in events.marks else np.zeros(events.num_events, dtype=np.int64)
    if len(mark) and int(mark.max()) >= num_marks:
        raise InputError(f"mark {mark.max()} in the data; these baselines know K={num_marks} marks")
    return mark.astype(np.int64), np.arange(events.num_events) - events.offsets[:-1][events.sequence]


def _counts(events: Events, rows: Index, num_marks: int) -> tuple[Array, Array, Index]:
    """((V, K) events of each mark up to each row, (V,) time watched until then from the first event, (n,) places)."""
    mark, place = _marks(events, num_marks)
    total = np.concatenate([np.zeros((1, num_marks)), np.cumsum(np.eye(num_marks)[mark], 0)])
    first = rows - place[rows]
    return total[rows + 1] - total[first], (events.t[rows] - events.t[first]).astype(np.float64), place
