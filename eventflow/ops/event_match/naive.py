"""The definitions: every way to pair the events is tried. Exponential, short, never deleted."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Event = tuple[float, int]


def transport_distance(
    t: Array, mark: Array, t_true: Array, mark_true: Array, insert: float, delete: float
) -> Array:  # fmt: skip
    """See :func:`eventflow.ops.event_match.transport_distance`."""
    rows = zip(t, mark, t_true, mark_true, strict=True)
    return np.array([_cheapest(_there(a, b), _there(c, d), insert, delete) for a, b, c, d in rows])


def _there(t: Array, mark: Array) -> list[Event]:
    return [(float(x), int(k)) for x, k in zip(t, mark, strict=True) if k >= 0]


def _cheapest(predicted: list[Event], true: list[Event], insert: float, delete: float) -> float:
    """The first predicted event is dropped, or moved onto any true one of its mark; then the rest."""
    if not predicted:
        return insert * len(true)
    (t, mark), rest = predicted[0], predicted[1:]
    best = delete + _cheapest(rest, true, insert, delete)
    for i, (u, other) in enumerate(true):
        if other == mark:
            best = min(best, abs(t - u) + _cheapest(rest, true[:i] + true[i + 1 :], insert, delete))
    return best


def match_within(t: Array, score: Array, t_true: Array, mark_true: Array, delta: float) -> Array:
    """See :func:`eventflow.ops.event_match.match_within`."""
    found = np.zeros(score.shape, dtype=np.bool_)
    for i in range(len(t)):
        for k in range(score.shape[-1]):
            targets = t_true[i][mark_true[i] == k]
            found[i, _chosen(t[i], score[i, :, k], targets, delta), k] = True
    return found


def _chosen(t: Array, score: Array, targets: Array, delta: float) -> list[int]:
    """The largest set of predictions that fit, and of those the one with the highest sum of scores."""
    there = [i for i in range(len(t)) if np.isfinite(t[i])]
    for size in range(min(len(there), len(targets)), 0, -1):
        sets = [s for s in combinations(there, size) if _fits(t[list(s)], targets, delta)]
        if sets:
            return list(max(sets, key=lambda s: (sum(score[i] for i in s), [-i for i in s])))
    return []


def _fits(t: Array, targets: Array, delta: float) -> bool:
    return any((np.abs(t - np.array(p)) <= delta).all() for p in permutations(targets, len(t)))
