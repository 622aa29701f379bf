"""The trivial baselines that belong in every table: constants, counts, and a mixture. They see the training set only.

A learned model that does not beat them has learned nothing worth its parameters; published tables that leave them out
have hidden exactly that. Scoring is exact, over the span that the schema declares: where first events are given (the
EasyTPP sets), events 2..N; elsewhere every event and the last silence. RMSE judges means, MAE medians where a baseline
has both. Contexts: the mark before an event, and the one before that; at a span's start both are "none", a context too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.tpp.baselines._ahead import HistoryDensity, MarkChain, MostPopular
from eventflow.tpp.baselines._akom import AKOM, MAX_ORDER, fit_akom, history_of
from eventflow.tpp.baselines._hawkes import fit_hawkes, hawkes_scores
from eventflow.tpp.baselines._mixture import LognormalMixture, fit_lognormal_mixture
from eventflow.tpp.metrics._next_event import MarkNLLPerEvent, TimeNLLPerEvent, gap_mae, gap_rmse
from eventflow.tpp.models._hawkes import Hawkes

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Events that the shorter context is worth when a longer one speaks: P2 = (counts2 + STRENGTH P1) / (n2 + STRENGTH).
STRENGTH = 20.0
#: Gaps that a mark needs for a mixture of its own; below it, the mixture of all gaps stands in.
ENOUGH = 160


class BaselineRow(NamedTuple):
    """One baseline on one test set; None where it says nothing about that.

    nll_per_event = time_nll_per_event + mark_nll_per_event (nats); accuracy of the mark; rmse and mae of the gap;
    easytpp_nll_per_event: nll as EasyTPP counts it, of events 2..N without the last silence (nan where there are none).
    """

    name: str
    nll_per_event: float | None = None
    accuracy: float | None = None
    rmse: float | None = None
    mae: float | None = None
    time_nll_per_event: float | None = None
    mark_nll_per_event: float | None = None
    easytpp_nll_per_event: float | None = None


class _Scored(NamedTuple):
    """Scored events (n,) with their contexts, and the last silences (s,) with theirs; K stands for "none".

    later: (n,) which of them are no sequence's first.
    """

    gap: Array
    mark: Index
    previous: Index
    before: Index
    tail: Array
    tail_previous: Index
    history: Index
    later: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Baselines:
    """All trivial baselines, fitted by :func:`fit_baselines`. K marks; contexts have K + 1 values, the last is "none".

    rate: events per unit of time. mean_gap; mean_gap_given, median_gap_given: (K+1,).
    majority: (K,) mark probabilities; markov1: (K+1, K) given the previous mark; markov2: (K+1, K+1, K) given [the one
    before it, the previous]. renewal: K + 1 gap distributions, given the previous mark. resolution: gaps of zero (ties)
    are scored as this, half the shortest positive gap in training, because a density in log-gap has none at zero.
    akom: the all-k-order Markov model of the marks. hawkes: a fitted Hawkes process, where it was asked for.
    """

    rate: float
    mean_gap: float
    mean_gap_given: Array
    median_gap_given: Array
    majority: Array
    markov1: Array
    markov2: Array
    renewal: tuple[LognormalMixture, ...]
    resolution: float
    akom: AKOM
    hawkes: Hawkes | None = None

    @property
    def num_marks(self) -> int:
        """K."""
        return len(self.majority)

    def evaluate(self, test: Events) -> list[BaselineRow]:
        """One row for each baseline, in a fixed order: time alone, mark alone, then whole likelihoods."""
        seen = _scored(test, self.num_marks)
        whole = self._popular_row(test), self._poisson_row(seen), self._renewal_row(seen)
        excited = [] if self.hawkes is None else [BaselineRow("Hawkes", **hawkes_scores(self.hawkes, test))]
        return [*self._time_rows(seen), *self._mark_rows(seen), *whole, *excited]

    def forecasters(self, *, horizon: float) -> dict[str, MarkChain | MostPopular | HistoryDensity]:
        """What the baselines say of the next many events: name -> what :func:`evaluate_horizon` takes.

        HistoryDensity's intervals end at 0.1, 0.2, 0.3, 0.5 and 1 times the ``horizon``, as in HoTPP's settings.
        """
        none, renewal = np.full(self.num_marks + 1, 1 / self.rate), np.array([m.mean for m in self.renewal])
        edges = tuple(horizon * x for x in (0.1, 0.2, 0.3, 0.5, 1.0))
        return {
            "MostPopular": MostPopular(self.num_marks, self.mean_gap),
            "HistoryDensity": HistoryDensity(self.num_marks, edges),
            "Poisson": MarkChain(none, lambda h: np.tile(self.majority, (len(h), 1)), 1),
            "renewal + Markov-2": MarkChain(renewal, lambda h: self.markov2[h[:, 1], h[:, 0]], 2),
            "renewal + AKOM": MarkChain(renewal, self.akom.probs, self.akom.order),
        }

    def _popular_row(self, test: Events) -> BaselineRow:
        """Each sequence's own mean gap and most frequent mark so far; before its first event, the training set's."""
        position = np.arange(test.num_events) - test.offsets[:-1][test.sequence]
        keep = np.flatnonzero(test.scored)
        gap, mark = np.full(len(keep), self.mean_gap), np.full(len(keep), self.majority.argmax())
        later = position[keep] > 0
        gap[later], mark[later] = MostPopular(self.num_marks, self.mean_gap).next_event(test, keep[later] - 1)
        true = test.gaps[keep].astype(np.float64)
        hit = mark == (test.marks["mark"][keep] if "mark" in test.marks else 0)
        rmse, mae = gap_rmse(gap, true), gap_mae(gap, true)
        return BaselineRow("MostPopular", accuracy=float(np.mean(hit)), rmse=rmse, mae=mae)

    def _time_rows(self, seen: _Scored) -> list[BaselineRow]:
        guesses = {
            "predict 0": np.zeros_like(seen.gap),
            "mean gap": np.full_like(seen.gap, self.mean_gap),
            "mean gap given previous mark": self.mean_gap_given[seen.previous],
            "median gap given previous mark": self.median_gap_given[seen.previous],
        }
        return [
            BaselineRow(name, rmse=gap_rmse(guess, seen.gap), mae=gap_mae(guess, seen.gap))
            for name, guess in guesses.items()
        ]

    def _mark_rows(self, seen: _Scored) -> list[BaselineRow]:
        rows = []
        chains = (*self._mark_probs(seen), self.akom.probs(seen.history))
        for name, probs in zip(("majority mark", "Markov-1", "Markov-2", "AKOM"), chains, strict=True):
            nll = _mark_nll(probs, seen)
            rows.append(BaselineRow(name, accuracy=_accuracy(probs, seen), mark_nll_per_event=nll))
        return rows

    def _poisson_row(self, seen: _Scored) -> BaselineRow:
        probs = self._mark_probs(seen)[0]
        nll = self.rate * seen.gap - np.log(self.rate), self.rate * seen.tail
        mean, median = np.full_like(seen.gap, 1 / self.rate), np.full_like(seen.gap, np.log(2) / self.rate)
        return _row("Poisson", probs, seen, nll, (mean, median))

    def _renewal_row(self, seen: _Scored) -> BaselineRow:
        time, tail = np.zeros_like(seen.gap), np.zeros_like(seen.tail)
        for k, mixture in enumerate(self.renewal):
            rows, ends = seen.previous == k, seen.tail_previous == k
            time[rows] = -mixture.log_prob(np.maximum(seen.gap[rows], self.resolution))
            tail[ends] = -mixture.log_survival(seen.tail[ends])
        mean, median = (
            np.array([getattr(m, name) for m in self.renewal])[seen.previous] for name in ("mean", "median")
        )
        return _row("renewal + Markov-2", self._mark_probs(seen)[2], seen, (time, tail), (mean, median))

    def _mark_probs(self, seen: _Scored) -> tuple[Array, Array, Array]:
        everywhere = np.broadcast_to(self.majority, (len(seen.mark), self.num_marks))
        return everywhere, self.markov1[seen.previous], self.markov2[seen.before, seen.previous]


def fit_baselines(train: Events, *, hawkes: bool = False) -> Baselines:
    """Fit every baseline on the training sequences, in closed form but for the mixture (deterministic EM, seconds).

    Args:
        train: the sequences.
        hawkes: fit a Hawkes process too (:func:`fit_hawkes`: gradient steps, which take longer than all the others).

    Raises:
        InputError: no scored event, or no gap longer than zero.
    """
    largest = int(train.marks["mark"].max(initial=0)) + 1 if "mark" in train.marks else 1
    num_marks = train.schema.num_marks or largest
    seen = _scored(train, num_marks)
    if not (seen.gap > 0).any():
        raise InputError("fit_baselines: every gap is zero; expected some time to pass between events")
    majority, markov1, markov2 = _markov(seen, num_marks)
    resolution = float(seen.gap[seen.gap > 0].min()) / 2
    mean_gap = float(seen.gap.mean())
    groups = [seen.gap[seen.previous == k] for k in range(num_marks + 1)]
    mixture = fit_lognormal_mixture(np.maximum(seen.gap, resolution))
    own = (fit_lognormal_mixture(np.maximum(g, resolution)) if len(g) >= ENOUGH else mixture for g in groups)
    return Baselines(
        rate=len(seen.gap) / float(seen.gap.sum() + seen.tail.sum()),
        mean_gap=mean_gap,
        mean_gap_given=np.array([g.mean() if len(g) else mean_gap for g in groups]),
        median_gap_given=np.array([np.median(g if len(g) else seen.gap) for g in groups]),
        majority=majority,
        markov1=markov1,
        markov2=markov2,
        renewal=tuple(own),
        resolution=resolution,
        akom=fit_akom(seen.mark, seen.history, num_marks=num_marks),
        hawkes=fit_hawkes(train) if hawkes else None,
    )


def _markov(seen: _Scored, num_marks: int) -> tuple[Array, Array, Array]:
    """Mark probabilities without context, given one mark, given two; each leans on the shorter one where it saw few."""
    context = num_marks + 1
    count1, count2 = np.zeros((context, num_marks)), np.zeros((context, context, num_marks))
    np.add.at(count1, (seen.previous, seen.mark), 1)
    np.add.at(count2, (seen.before, seen.previous, seen.mark), 1)
    alone = np.bincount(seen.mark, minlength=num_marks) + 1.0  # a mark never seen is still possible
    alone /= alone.sum()
    one = (count1 + STRENGTH * alone) / (count1.sum(-1, keepdims=True) + STRENGTH)
    return alone, one, (count2 + STRENGTH * one) / (count2.sum(-1, keepdims=True) + STRENGTH)


def _scored(events: Events, num_marks: int) -> _Scored:
    mark = events.marks["mark"] if "mark" in events.marks else np.zeros(events.num_events, dtype=np.int64)
    if len(mark) and int(mark.max()) >= num_marks:
        raise InputError(f"mark {mark.max()} in the data; these baselines know K={num_marks} marks")
    position = np.arange(events.num_events) - events.offsets[:-1][events.sequence]
    previous = np.where(position > 0, np.roll(mark, 1), num_marks)
    before = np.where(position > 1, np.roll(mark, 2), num_marks)
    keep = events.scored
    if not keep.any():
        raise InputError("no scored event: the sequences are empty or hold one given event each")
    filled = events.lengths > 0
    end_of = np.where(filled, events.offsets[1:] - 1, 0)
    last = np.where(filled, events.t[end_of], events.span[:, 0])
    tail = (events.span[:, 1] - last).astype(np.float64)
    tail_previous = np.where(filled, mark[end_of], num_marks)
    gap = events.gaps.astype(np.float64)
    history = _history(mark, position, num_marks)
    return _Scored(
        gap[keep], mark[keep], previous[keep], before[keep], tail, tail_previous, history[keep], (position > 0)[keep]
    )


def _history(mark: Index, position: Index, none: int) -> Index:
    """(n, MAX_ORDER) marks before each event, the latest first."""
    if not len(mark):
        return np.zeros((0, MAX_ORDER), dtype=np.int64)
    whole = history_of(mark, position, np.arange(len(mark)), MAX_ORDER + 1, none)
    return whole[:, 1:]


def _row(name: str, probs: Array, seen: _Scored, nll: tuple[Array, Array], gaps: tuple[Array, Array]) -> BaselineRow:
    """nll: of the times of events, and of the last silences; gaps: predicted, mean and median."""
    time_nll = TimeNLLPerEvent().update(nll[0], tail_nll=nll[1]).compute()
    mark_nll = _mark_nll(probs, seen)
    rmse, mae = gap_rmse(gaps[0], seen.gap), gap_mae(gaps[1], seen.gap)
    later = (nll[0] + _mark_nlls(probs, seen))[seen.later]
    easytpp = float(later.mean()) if len(later) else math.nan
    return BaselineRow(name, time_nll + mark_nll, _accuracy(probs, seen), rmse, mae, time_nll, mark_nll, easytpp)


def _mark_nll(probs: Array, seen: _Scored) -> float:
    return MarkNLLPerEvent().update(_mark_nlls(probs, seen)).compute()


def _mark_nlls(probs: Array, seen: _Scored) -> Array:
    return -np.log(probs[np.arange(len(seen.mark)), seen.mark])


def _accuracy(probs: Array, seen: _Scored) -> float:
    return float(np.mean(probs.argmax(-1) == seen.mark))
