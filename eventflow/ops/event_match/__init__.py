"""Predicted events against those that came: the cost of turning one into the other, and who finds a partner.

Axes: N rows, P predicted events, T true ones, K marks. Times are numbers of one clock; an absent event has time inf or
mark -1. Both problems are assignments, and both have so much structure that no general solver is needed: distances on a
line are best paired in order (``transport_distance``), and partners within a fixed reach form a matroid, for which the
greedy choice by score is the best of all (``match_within``). ``backend``: "numba" ("auto") or "naive", the definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]


def transport_distance(
    predicted: tuple[ArrayLike, ArrayLike], true: tuple[ArrayLike, ArrayLike], *, insert: float, delete: float,
    backend: str = "auto",
) -> Array:  # fmt: skip
    """(N,) least cost of turning the predicted events into the true ones (Mei, Qin & Eisner, ICML 2019, sec. 5).

    Moving a predicted event onto a true one of its mark costs the distance in time, dropping one costs ``delete``,
    adding one ``insert``.

    Args:
        predicted: times (N, P) and marks (N, P).
        true: times (N, T) and marks (N, T).
        insert: cost of an event that came and was not predicted, in units of time.
        delete: cost of an event that was predicted and did not come.
        backend: "numba" ("auto") or "naive".
    """
    if not (insert >= 0 and delete >= 0):
        raise InputError(f"transport_distance(insert={insert}, delete={delete}): expected costs >= 0")
    sides = [*_side("predicted", *predicted), *_side("true", *true)]
    if len(sides[0]) != len(sides[2]):
        raise InputError(f"{len(sides[0])} rows of predicted events and {len(sides[2])} of true ones")
    return _module(backend).transport_distance(*sides, float(insert), float(delete))


def match_within(
    predicted: tuple[ArrayLike, ArrayLike], true: tuple[ArrayLike, ArrayLike], *, delta: float, backend: str = "auto"
) -> Array:
    """(N, P, K) bool: which predicted events find a true one of each mark within ``delta`` (Karpukhin et al. 2024).

    For each mark by itself, one to one: as many pairs as there can be, and of all such choices the one with the highest
    sum of scores (of equal ones, the earlier prediction).

    Args:
        predicted: times (N, P), and scores (N, P, K) of each mark.
        true: times (N, T) and marks (N, T).
        delta: reach, in units of time, itself included.
        backend: "numba" ("auto") or "naive".
    """
    t, score = np.asarray(predicted[0], np.float64), np.asarray(predicted[1], np.float64)
    t_true, mark_true = _side("true", *true)
    if score.shape[:-1] != t.shape or t.ndim != 2 or len(t) != len(t_true):
        raise InputError(
            f"match_within: times {t.shape}, scores {score.shape}, true {t_true.shape}; expected (N, P), (N, P, K), "
            "(N, T)"
        )
    if not delta >= 0:
        raise InputError(f"match_within(delta={delta}): expected a reach >= 0")
    order = np.argsort(t, axis=1, kind="stable")
    score = np.take_along_axis(score, order[..., None], 1)
    found = _module(backend).match_within(np.take_along_axis(t, order, 1), score, t_true, mark_true, float(delta))
    out = np.empty_like(found)
    np.put_along_axis(out, order[..., None], found, 1)
    return out


def _side(name: str, t: ArrayLike, mark: ArrayLike) -> tuple[Array, Array]:
    """Times in order, with their marks; absent events have time inf and mark -1."""
    times, marks = np.asarray(t, np.float64), np.asarray(mark, np.int64)
    if times.ndim != 2 or times.shape != marks.shape:
        raise InputError(f"{name} events have times {times.shape} and marks {marks.shape}; expected (N, P) both")
    if np.isnan(times).any():
        raise InputError(f"{name} events have times that are nan; an absent event has time inf, or mark -1")
    absent = np.isinf(times) | (marks < 0)
    times = np.where(absent, np.inf, times)
    order = np.argsort(times, axis=1, kind="stable")
    return np.take_along_axis(times, order, 1), np.take_along_axis(np.where(absent, -1, marks), order, 1)


def _module(backend: str) -> Any:
    if backend == "naive":
        from eventflow.ops.event_match import naive

        return naive
    if backend in ("auto", "numba"):
        from eventflow.ops.event_match import numba

        return numba
    raise InputError(f"event_match(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
