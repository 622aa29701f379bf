"""Metrics of point processes: update, merge, compute; exact sums; the normalisation always in the name.

Every metric is a frozen value, like every state here: ``m = m.update(...)``. They form a commutative monoid: merging is
associative, the fresh metric is neutral, and ``a.merge(b)`` equals, to the last bit, the metric updated with everything
that ``a`` and ``b`` saw, in any order and any chunks, because sums are kept without rounding (:class:`ExactSum`). The
number then depends neither on the batch size nor on how many processes shared the work.

Arrays are numpy or torch, any leading shape; ``mask`` has that shape and is True where an event counts. The gap is
``dt``, in the data's unit. A metric that saw nothing computes to nan; a nan that went in comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError

Values = Any  # numpy array, torch tensor, or number
M = TypeVar("M", bound="_Mean")
N = TypeVar("N", bound="NLLPerEvent")


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A sum of float64 without rounding error: non-overlapping parts whose exact sum is the total.

    ``math.fsum`` rounds the exact sum correctly (Shewchuk, Discrete & Computational Geometry 18, 1997); what it rounded
    off is summed again until nothing is left. The few parts are the state.
    """

    parts: tuple[float, ...] = ()

    def add(self, values: NDArray[np.float64]) -> ExactSum:
        """With all ``values`` added."""
        return ExactSum(_distill([*self.parts, *values.ravel().tolist()]))

    def merge(self, other: ExactSum) -> ExactSum:
        """The sum of both."""
        return ExactSum(_distill([*self.parts, *other.parts]))

    def compute(self) -> float:
        """The total, correctly rounded."""
        return math.fsum(self.parts)


def _distill(values: list[float]) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)):
        return (sum(values),)  # inf or nan absorbs: an impossible event stays impossible
    parts: list[float] = []
    while rest := math.fsum([*values, *(-part for part in parts)]):
        parts.append(rest)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Mean:
    """An exact sum over a count; the metrics below say what is summed and what is counted."""

    total: ExactSum = field(default_factory=ExactSum)
    count: int = 0

    def _plus(self: M, values: NDArray[np.float64], count: int | None = None) -> M:
        return type(self)(self.total.add(values), self.count + (values.size if count is None else count))

    def merge(self: M, other: M) -> M:
        """The metric of what both saw."""
        if type(other) is not type(self):
            raise InputError(f"{type(self).__name__}.merge({type(other).__name__}): expected the same metric")
        return type(self)(self.total.merge(other.total), self.count + other.count)

    def compute(self) -> float:
        """The mean; nan if nothing was seen."""
        return self.total.compute() / self.count if self.count else math.nan


@dataclass(frozen=True, slots=True)
class GapRMSE(_Mean):
    """Root of the mean squared error of the predicted gap to the next event, in the data's unit.

    The mean of the predicted distribution is the prediction that minimises it.
    """

    def update(self, predicted: Values, dt: Values, mask: Values | None = None) -> GapRMSE:
        """With these events added: predicted and true gaps of one shape."""
        return self._plus(_errors(predicted, dt, mask) ** 2)

    def compute(self) -> float:
        """The error; nan if nothing was seen."""
        return math.sqrt(_Mean.compute(self))


@dataclass(frozen=True, slots=True)
class GapMAE(_Mean):
    """Mean absolute error of the predicted gap, in the data's unit; the median minimises it."""

    def update(self, predicted: Values, dt: Values, mask: Values | None = None) -> GapMAE:
        """With these events added: predicted and true gaps of one shape."""
        return self._plus(np.abs(_errors(predicted, dt, mask)))


@dataclass(frozen=True, slots=True)
class MarkAccuracy(_Mean):
    """Share of events whose mark had the highest predicted probability (ties go to the smaller mark)."""

    def update(self, mark_probs: Values, mark: Values, mask: Values | None = None) -> MarkAccuracy:
        """With these events added: probabilities (..., K), marks (...)."""
        confidence, correct = _top_mark(mark_probs, mark, mask)
        return self._plus(np.where(np.isnan(confidence), np.nan, correct))


@dataclass(frozen=True, slots=True)
class NLLPerEvent(_Mean):
    """Total negative log-likelihood (nats), silences after the last events included, over the scored events."""

    def update(self: N, nll: Values, mask: Values | None = None, *, tail_nll: Values | None = None) -> N:
        """With these events added: ``nll`` of each event; ``tail_nll`` (B,) is the compensator of the last silences."""
        added = self._plus(_masked("nll", nll, mask))
        return added if tail_nll is None else added._plus(_float64(tail_nll).ravel(), count=0)


@dataclass(frozen=True, slots=True)
class NLLPerSequence(_Mean):
    """Mean negative log-likelihood (nats) of a whole sequence over its span."""

    def update(self, nll: Values) -> NLLPerSequence:
        """With these sequences added: ``nll`` (s,), one number a sequence (``-model.log_prob(events)``)."""
        return self._plus(_float64(nll).ravel())


@dataclass(frozen=True, slots=True)
class TimeNLLPerEvent(NLLPerEvent):
    """The part of the nll that is about *when*: -log of the total intensity, plus the compensator, tails included."""


@dataclass(frozen=True, slots=True)
class MarkNLLPerEvent(_Mean):
    """The part of the nll that is about *what*: -log p(mark | its time, past)."""

    def update(self, nll: Values, mask: Values | None = None) -> MarkNLLPerEvent:
        """With these events added."""
        return self._plus(_masked("nll", nll, mask))


@dataclass(frozen=True, slots=True)
class MarkECE:
    """Expected calibration error of the most probable mark: mean over bins of |accuracy - confidence|, bins weighted by
    their events (Guo et al., ICML 2017, eq. 3); 0 is calibrated. Bins are equal parts (lo, hi] of [0, 1]."""

    accuracy: tuple[MarkAccuracy, ...] = (MarkAccuracy(),) * 15
    confidence: tuple[ExactSum, ...] = (ExactSum(),) * 15

    @classmethod
    def with_bins(cls, bins: int) -> MarkECE:
        """A fresh metric with another number of bins."""
        if bins < 1:
            raise InputError(f"MarkECE.with_bins({bins}): expected at least 1")
        return cls((MarkAccuracy(),) * bins, (ExactSum(),) * bins)

    def update(self, mark_probs: Values, mark: Values, mask: Values | None = None) -> MarkECE:
        """With these events added: probabilities (..., K), marks (...)."""
        top, correct = _top_mark(mark_probs, mark, mask)
        bins = len(self.accuracy)
        index = np.clip(np.nan_to_num(np.ceil(top * bins) - 1, nan=0), 0, bins - 1).astype(np.int64)
        rows = [index == b for b in range(bins)]
        accuracy = tuple(m._plus(correct[r]) for m, r in zip(self.accuracy, rows, strict=True))
        return MarkECE(accuracy, tuple(s.add(top[r]) for s, r in zip(self.confidence, rows, strict=True)))

    def merge(self, other: MarkECE) -> MarkECE:
        """The metric of what both saw."""
        if not isinstance(other, MarkECE) or len(other.accuracy) != len(self.accuracy):
            raise InputError(f"MarkECE.merge: {other!r:.60} has other bins; expected {len(self.accuracy)} bins")
        accuracy = tuple(a.merge(b) for a, b in zip(self.accuracy, other.accuracy, strict=True))
        return MarkECE(accuracy, tuple(a.merge(b) for a, b in zip(self.confidence, other.confidence, strict=True)))

    def compute(self) -> float:
        """The error in [0, 1]; nan if nothing was seen."""
        count = sum(m.count for m in self.accuracy)
        pairs = zip(self.accuracy, self.confidence, strict=True)
        return math.fsum(abs(a.total.compute() - c.compute()) for a, c in pairs) / count if count else math.nan


class Judged(NamedTuple):
    """What a model said about each event before it came, and how it scored it; leaves (...), ``mark_probs`` (..., K).

    time_nll + mark_nll: -log-likelihood of the event, split into *when* and *what*; mean, median: of the predicted gap.
    """

    time_nll: Values
    mark_nll: Values
    mean: Values
    median: Values
    mark_probs: Values


@dataclass(frozen=True, slots=True)
class NextEventMetrics:
    """All of the above at once, over the same events: the row of a table. RMSE judges the mean, MAE the median."""

    nll_per_event: NLLPerEvent = field(default_factory=NLLPerEvent)
    nll_per_sequence: NLLPerSequence = field(default_factory=NLLPerSequence)
    time_nll_per_event: TimeNLLPerEvent = field(default_factory=TimeNLLPerEvent)
    mark_nll_per_event: MarkNLLPerEvent = field(default_factory=MarkNLLPerEvent)
    mark_accuracy: MarkAccuracy = field(default_factory=MarkAccuracy)
    mark_ece: MarkECE = field(default_factory=MarkECE)
    gap_rmse: GapRMSE = field(default_factory=GapRMSE)
    gap_mae: GapMAE = field(default_factory=GapMAE)

    def update(self, judged: Judged, *, dt: Values, mark: Values, mask: Values, tail_nll: Values) -> NextEventMetrics:
        """With a padded batch added: leaves (B, T); ``mask`` is the batch's ``scored``; ``tail_nll`` (B,)."""
        keep, tail = _mask(mask), _float64(tail_nll)
        nll = _float64(judged.time_nll) + _float64(judged.mark_nll)
        return NextEventMetrics(
            self.nll_per_event.update(nll, keep, tail_nll=tail),
            self.nll_per_sequence._plus(_masked("nll", nll, keep), count=len(keep))._plus(tail, count=0),
            self.time_nll_per_event.update(judged.time_nll, keep, tail_nll=tail),
            self.mark_nll_per_event.update(judged.mark_nll, keep),
            self.mark_accuracy.update(judged.mark_probs, mark, keep),
            self.mark_ece.update(judged.mark_probs, mark, keep),
            self.gap_rmse.update(judged.mean, dt, keep),
            self.gap_mae.update(judged.median, dt, keep),
        )

    def merge(self, other: NextEventMetrics) -> NextEventMetrics:
        """The metrics of what both saw."""
        return NextEventMetrics(*(getattr(self, f.name).merge(getattr(other, f.name)) for f in fields(self)))

    def compute(self) -> dict[str, float]:
        """Name -> number, in the order of the fields."""
        return {f.name: getattr(self, f.name).compute() for f in fields(self)}


def gap_rmse(predicted: Values, dt: Values, mask: Values | None = None) -> float:
    """:class:`GapRMSE` of one set of events."""
    return GapRMSE().update(predicted, dt, mask).compute()


def gap_mae(predicted: Values, dt: Values, mask: Values | None = None) -> float:
    """:class:`GapMAE` of one set of events."""
    return GapMAE().update(predicted, dt, mask).compute()


def mark_accuracy(mark_probs: Values, mark: Values, mask: Values | None = None) -> float:
    """:class:`MarkAccuracy` of one set of events."""
    return MarkAccuracy().update(mark_probs, mark, mask).compute()


def mark_ece(mark_probs: Values, mark: Values, mask: Values | None = None, *, bins: int = 15) -> float:
    """:class:`MarkECE` of one set of events."""
    return MarkECE.with_bins(bins).update(mark_probs, mark, mask).compute()


def _float64(values: Values) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)


def _mask(mask: Values) -> NDArray[np.bool_]:
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if array.dtype != np.bool_:
        raise InputError(f"mask is {array.dtype}; expected bool, True where an event counts. Write: mask.bool()")
    return array


def _masked(name: str, values: Values, mask: Values | None) -> NDArray[np.float64]:
    array = _float64(values)
    if mask is None:
        return array.ravel()
    keep = _mask(mask)
    if keep.shape != array.shape:
        raise InputError(f"{name} has shape {array.shape}, its mask {keep.shape}; expected the same")
    return array[keep]


def _errors(predicted: Values, dt: Values, mask: Values | None) -> NDArray[np.float64]:
    guess, truth = _float64(predicted), _float64(dt)
    if guess.shape != truth.shape:
        raise InputError(f"predicted gaps have shape {guess.shape}, true gaps {truth.shape}; expected the same")
    return _masked("predicted gaps", guess, mask) - _masked("true gaps", truth, mask)


def _top_mark(mark_probs: Values, mark: Values, mask: Values | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The highest probability of each counted event, and 1 where it was the mark's."""
    probs, marks = _float64(mark_probs), _float64(mark)
    if probs.shape[:-1] != marks.shape:
        raise InputError(f"mark_probs have shape {probs.shape}, marks {marks.shape}; expected (..., K) and (...)")
    keep = np.ones(marks.shape, dtype=np.bool_) if mask is None else _mask(mask)
    if keep.shape != marks.shape:
        raise InputError(f"marks have shape {marks.shape}, their mask {keep.shape}; expected the same")
    chosen = probs[keep]
    return chosen.max(-1), (chosen.argmax(-1) == marks[keep]).astype(np.float64)
