"""Every law of check_metric fires on a metric that breaks it; the shipped metrics obey all, with exact sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from eventflow import tpp
from eventflow.errors import InputError
from eventflow.testing import METRIC_LAWS, check_metric


@dataclass(frozen=True)
class Mean:
    """A sound metric."""

    total: float = 0.0
    count: int = 0

    def update(self, x: np.ndarray) -> Any:
        return type(self)(self.total + float(x.sum()), self.count + x.size)

    def merge(self, other: Any) -> Any:
        return type(self)(self.total + other.total, self.count + other.count)

    def compute(self) -> float:
        return self.total / self.count if self.count else float("nan")


class Table(Mean):
    """Sound: computes to a mapping."""

    def compute(self) -> Any:
        return {"mean": super().compute(), "count": np.array([self.count])}


@dataclass
class InPlace:
    total: float = 0.0

    def update(self, x: np.ndarray) -> None:
        self.total += float(x.sum())

    def merge(self, other: InPlace) -> InPlace:
        return InPlace(self.total + other.total)

    def compute(self) -> float:
        return self.total


class SelfReturning(Mean):
    """Returns itself, changed."""

    def update(self, x: np.ndarray) -> Any:
        object.__setattr__(self, "total", self.total + float(x.sum()))
        object.__setattr__(self, "count", self.count + x.size)
        return self


class Scaling(Mean):
    """Changes what it was given."""

    def update(self, x: np.ndarray) -> Any:
        x *= 2
        return super().update(x)


@dataclass(frozen=True)
class Resetting(Mean):
    """Starts anew after each compute."""

    told: list[int] = field(default_factory=list)

    def update(self, x: np.ndarray) -> Any:
        fresh = bool(self.told)
        return Resetting(*((0.0, 0) if fresh else (self.total, self.count))).plus(x)

    def plus(self, x: np.ndarray) -> Any:
        return Resetting(self.total + float(x.sum()), self.count + x.size)

    def compute(self) -> float:
        value = super().compute()
        self.told.append(1)
        return value


class MeanOfMeans(Mean):
    """Averages the averages of two workers."""

    def merge(self, other: Any) -> Any:
        if not self.count or not other.count:
            return self if self.count else other
        both = (self.compute() + other.compute()) / 2
        return MeanOfMeans(both * (self.count + other.count), self.count + other.count)


class Smoothed(Mean):
    """A fresh one has already seen something."""

    total: float
    count: int

    def __init__(self, total: float = 1.0, count: int = 2) -> None:
        object.__setattr__(self, "total", total)
        object.__setattr__(self, "count", count)


class LeftWeighted(Mean):
    """The left side counts double."""

    def merge(self, other: Any) -> Any:
        return LeftWeighted(2 * self.total + other.total, 2 * self.count + other.count)


class Halving(Mean):
    """Commutes, but does not associate."""

    def merge(self, other: Any) -> Any:
        return Halving((self.total + other.total) / 2, self.count + other.count)


class PerBatch(Mean):
    """The mean of the batches' means: depends on the batch size."""

    def update(self, x: np.ndarray) -> Any:
        return PerBatch(self.total + float(x.mean() if x.size else 0.0), self.count + 1)


class Forgetful(Mean):
    def __getstate__(self) -> dict[str, Any]:
        return {"total": self.total, "count": 0}


BROKEN: list[tuple[str, type, str]] = [
    ("update_returns_a_metric", InPlace, "update returned NoneType"),
    ("update_returns_a_metric", SelfReturning, "the metric before update"),
    ("update_returns_a_metric", Scaling, "update's argument x"),
    ("compute_is_pure", Resetting, "computed after every update"),
    ("merge_is_union", MeanOfMeans, "the merge of batches"),
    ("merge_has_a_neutral", Smoothed, "the fresh metric merged"),
    ("merge_commutes", LeftWeighted, "in the other order"),
    ("merge_associates", Halving, "merged from the left"),
    ("batches_can_be_cut", PerBatch, "cut at"),
    ("survives_pickling", Forgetful, "that was pickled"),
]


def batches() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(1.0, 1.0, n)} for n in (5, 1, 8, 3)]


@pytest.mark.parametrize("metric", [Mean(), Table()])
def test_sound_metrics_pass(metric: Any) -> None:
    check_metric(metric, batches())


def test_every_law_has_a_broken_subject() -> None:
    assert {law for law, _, _ in BROKEN} == set(METRIC_LAWS)


@pytest.mark.parametrize(("law", "broken", "words"), BROKEN)
def test_the_law_fires_and_names_itself(law: str, broken: type, words: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{broken.__name__} breaks 1 law\(s\)\n  {law}: .*{words}"):
        check_metric(broken(), batches(), laws=[law])


def test_all_broken_laws_are_reported() -> None:
    with pytest.raises(AssertionError, match="(?s)merge_is_union: .*merge_associates: "):
        check_metric(Halving(), batches())


def test_a_metric_that_depends_on_the_batch_size_is_otherwise_sound() -> None:
    with pytest.raises(AssertionError, match="PerBatch breaks 1 law"):
        check_metric(PerBatch(), batches())


def test_bad_calls_are_named() -> None:
    with pytest.raises(InputError, match="give at least two"):
        check_metric(Mean(), batches()[:1])
    with pytest.raises(InputError, match="did you mean 'merge_commutes'"):
        check_metric(Mean(), batches(), laws=["merge_commute"])


def padded(rng: np.random.Generator, rows: int, marks: int = 4) -> dict[str, np.ndarray]:
    """A padded batch of predictions and truths, NaN in padding."""
    mask = np.arange(7)[None] < rng.integers(0, 8, rows)[:, None]
    gap = np.where(mask, rng.exponential(1.0, (rows, 7)), np.nan)
    probs = rng.dirichlet(np.ones(marks), (rows, 7))
    return {"mask": mask, "gap": gap, "probs": probs, "mark": rng.integers(0, marks, (rows, 7))}


def test_shipped_metrics_are_exact() -> None:
    """rtol=0: no number depends, in its last bit, on how the events were batched and shared."""
    rng = np.random.default_rng(1)
    drawn = [padded(rng, rows) for rows in (3, 1, 6, 2)]
    gaps = [{"predicted": b["gap"] + 0.1, "dt": b["gap"], "mask": b["mask"]} for b in drawn]
    marks = [{"mark_probs": b["probs"], "mark": b["mark"], "mask": b["mask"]} for b in drawn]
    for metric in (tpp.GapRMSE(), tpp.GapMAE()):
        check_metric(metric, gaps, rtol=0.0)
    for metric in (tpp.MarkAccuracy(), tpp.MarkECE()):
        check_metric(metric, marks, rtol=0.0)
    tails = [rng.exponential(1.0, len(b["mask"])) for b in drawn]
    nll = [{"nll": b["gap"], "mask": b["mask"], "tail_nll": tail} for b, tail in zip(drawn, tails, strict=True)]
    check_metric(tpp.NLLPerEvent(), nll, rtol=0.0)
    rows = [
        {
            "judged": tpp.Judged(b["gap"], 0.3 * b["gap"], b["gap"] + 1, b["gap"] - 1, b["probs"]),
            "dt": b["gap"], "mark": b["mark"], "mask": b["mask"], "tail_nll": tail,
        }
        for b, tail in zip(drawn, tails, strict=True)
    ]  # fmt: skip
    check_metric(tpp.NextEventMetrics(), rows, rtol=0.0)
