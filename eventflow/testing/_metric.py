"""``check_metric``: metrics are values that form a commutative monoid, so no number depends on how work was shared."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from eventflow.errors import InputError
from eventflow.testing._laws import run_laws


class Metric(Protocol):
    """What is accumulated over batches, as a value: ``m = m.update(**batch)``, ``m = m.merge(other)``."""

    def merge(self, other: Any) -> Any:
        """The metric of what both saw; both stay as they were."""
        ...

    def compute(self) -> Any:
        """A number, an array, or a mapping of them."""
        ...


@dataclass
class _Subject:
    """A fresh metric, the batches, and how close is equal."""

    fresh: Any
    batches: Sequence[Mapping[str, Any]]
    seed: int
    rtol: float
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def seen(self, indices: Sequence[int]) -> Any:
        """The metric updated with these batches."""
        metric = self.fresh
        for i in indices:
            metric = metric.update(**self.batches[i])
        return metric

    def whole(self) -> Any:
        """The metric updated with all batches."""
        return self.seen(range(len(self.batches)))

    def split(self) -> tuple[list[int], list[int]]:
        """The batches in two heaps, either of which may be empty."""
        left = self.rng.random(len(self.batches)) < 0.5
        return [i for i, yes in enumerate(left) if yes], [i for i, yes in enumerate(left) if not yes]

    def same(self, what: str, metric: Any, expected: Any) -> None:
        """The two metrics compute to the same."""
        _same(what, metric.compute(), expected.compute(), self.rtol)


def update_returns_a_metric(subject: _Subject) -> None:
    """``update`` returns the new metric and leaves the old one, and what it was given, as they were."""
    metric = subject.fresh
    for batch in subject.batches:
        before, kept = copy.deepcopy(metric), copy.deepcopy(dict(batch))
        updated = metric.update(**batch)
        if type(updated) is not type(metric):
            raise AssertionError(
                f"update returned {type(updated).__name__}, expected the new {type(metric).__name__}; metrics are "
                "values: m = m.update(...)"
            )
        _same("the metric before update", metric.compute(), before.compute(), 0.0)
        for name, value in kept.items():
            _same(f"update's argument {name}", batch[name], value, 0.0)
        metric = updated


def compute_is_pure(subject: _Subject) -> None:
    """``compute`` changes nothing, not even on a fresh metric: the numbers are those of a metric that was not asked."""
    watched = subject.fresh
    watched.compute()
    for batch in subject.batches:
        watched = watched.update(**batch)
        _same("a second compute", watched.compute(), watched.compute(), 0.0)
    quiet = copy.deepcopy(subject.fresh)
    for batch in subject.batches:
        quiet = quiet.update(**batch)
    subject.same("the metric that was computed after every update", watched, quiet)


def merge_is_union(subject: _Subject) -> None:
    """``m(A).merge(m(B)) == m(A and B)`` for any split of the batches, and both sides stay as they were."""
    for a, b in [subject.split() for _ in range(6)]:
        left, right = subject.seen(a), subject.seen(b)
        subject.same(f"the merge of batches {a} and {b}", left.merge(right), subject.whole())
        subject.same("the left side after a merge", left, subject.seen(a))
        subject.same("the right side after a merge", right, subject.seen(b))


def merge_has_a_neutral(subject: _Subject) -> None:
    """Merging the fresh metric, from either side, changes nothing."""
    metric = subject.whole()
    subject.same("the fresh metric merged with another", subject.fresh.merge(metric), metric)
    subject.same("a metric merged with the fresh one", metric.merge(subject.fresh), metric)


def merge_commutes(subject: _Subject) -> None:
    """``a.merge(b) == b.merge(a)``."""
    for a, b in [subject.split() for _ in range(6)]:
        left, right = subject.seen(a), subject.seen(b)
        subject.same(f"batches {a} merged with {b}, in the other order", right.merge(left), left.merge(right))


def merge_associates(subject: _Subject) -> None:
    """``a.merge(b).merge(c) == a.merge(b.merge(c))``."""
    for _ in range(6):
        rest, c = subject.split()
        cut = int(subject.rng.integers(0, len(rest) + 1))
        x, y, z = (subject.seen(part) for part in (rest[:cut], rest[cut:], c))
        subject.same("three metrics merged from the left", x.merge(y).merge(z), x.merge(y.merge(z)))


def batches_can_be_cut(subject: _Subject) -> None:
    """A batch cut in two along the first axis of its arrays gives what the whole batch gives."""
    for i, batch in enumerate(subject.batches):
        rows = _rows(batch)
        if rows:
            cut = int(subject.rng.integers(0, rows + 1))
            first, second = (_cut(batch, rows, part) for part in (slice(0, cut), slice(cut, rows)))
            halves = subject.fresh.update(**first).update(**second)
            subject.same(f"batch {i} of {rows} rows, cut at {cut}", halves, subject.seen([i]))


def survives_pickling(subject: _Subject) -> None:
    """Pickled halfway and loaded, it goes on as if nothing had happened."""
    half = len(subject.batches) // 2
    metric = pickle.loads(pickle.dumps(subject.seen(range(half))))
    for batch in subject.batches[half:]:
        metric = metric.update(**batch)
    subject.same("the metric that was pickled", metric, subject.whole())


#: name -> law, in the order in which they are checked.
METRIC_LAWS: dict[str, Callable[[_Subject], None]] = {
    law.__name__: law
    for law in (
        update_returns_a_metric, compute_is_pure, merge_is_union, merge_has_a_neutral, merge_commutes, merge_associates,
        batches_can_be_cut, survives_pickling,
    )
}  # fmt: skip


def check_metric(
    metric: Metric, batches: Sequence[Mapping[str, Any]], *, rtol: float = 1e-9, seed: int = 0,
    laws: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Check every law of a metric: a value, with a merge that is the union of what both sides saw.

    What each law says is the first line of its docstring: ``METRIC_LAWS[name].__doc__``.

    Args:
        metric: a fresh one; it is not changed.
        batches: at least two, with different contents; each is passed as ``metric.update(**batch)``.
        rtol: relative tolerance of what it computes; 0 where sums are exact: then the same bits are asked for.
        seed: of the splits.
        laws: names from ``METRIC_LAWS``; None is all of them.

    Raises:
        AssertionError: names every law that broke, and by how much.
        InputError: an unknown law, or fewer than two batches.
    """
    if len(batches) < 2:
        raise InputError(f"check_metric: {len(batches)} batches cannot be split; give at least two")

    def subject() -> _Subject:
        return _Subject(copy.deepcopy(metric), copy.deepcopy(batches), seed, rtol)

    run_laws(type(metric).__name__, METRIC_LAWS, laws, subject)


def _same(what: str, seen: Any, expected: Any, rtol: float) -> None:
    if isinstance(expected, Mapping):
        if not isinstance(seen, Mapping) or list(seen) != list(expected):
            raise AssertionError(f"{what}: {seen!r}, expected the keys {list(expected)}")
        for key in expected:
            _same(f"{what}, {key!r}", seen[key], expected[key], rtol)
    elif isinstance(expected, (tuple, list)):
        for i, (one, other) in enumerate(zip(seen, expected, strict=True)):
            _same(f"{what}, part {i}", one, other, rtol)
    elif isinstance(expected, (str, type(None))):
        if seen != expected:
            raise AssertionError(f"{what}: {seen!r}, expected {expected!r}")
    else:
        a, b = np.asarray(seen), np.asarray(expected)
        if a.shape != b.shape or not np.allclose(a, b, rtol=rtol, atol=0.0, equal_nan=True):
            raise AssertionError(f"{what}: {seen!r}, expected {expected!r}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim > 0


def _rows(value: Any) -> int:
    """Length of the first axis of the first array in it; 0 if there is none."""
    if _is_array(value):
        return len(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return next((n for n in map(_rows, parts) if n), 0)


def _cut(value: Any, rows: int, part: slice) -> Any:
    """Arrays of that length cut to ``part``, in mappings and named tuples too; all else as it is."""
    if _is_array(value):
        return value[part] if len(value) == rows else value
    if isinstance(value, Mapping):
        return {key: _cut(item, rows, part) for key, item in value.items()}
    if isinstance(value, tuple):
        cut = [_cut(item, rows, part) for item in value]
        return type(value)(*cut) if hasattr(value, "_fields") else tuple(cut)
    return value
