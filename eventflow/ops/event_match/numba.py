"""The compiled paths: pairs in order of time by dynamic programming, partners within reach by greedy choice."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def transport_distance(
    t: Array, mark: Array, t_true: Array, mark_true: Array, insert: float, delete: float
) -> Array:  # fmt: skip
    """See :func:`eventflow.ops.event_match.transport_distance`."""
    out = np.empty(len(t))
    _distances(t, mark, t_true, mark_true, insert, delete, out)
    return out


def match_within(t: Array, score: Array, t_true: Array, mark_true: Array, delta: float) -> Array:
    """See :func:`eventflow.ops.event_match.match_within`."""
    found = np.zeros(score.shape, dtype=np.bool_)
    order = np.argsort(-score, axis=1, kind="stable")
    _matches(t, order, t_true, mark_true, delta, found)
    return found


@nb.njit(cache=True)
def _distances(
    t: Array, mark: Array, t_true: Array, mark_true: Array, insert: float, delete: float, out: Array
) -> None:  # fmt: skip
    """Marks do not mix, so each is a problem of its own; within one, pairs never cross, so they come in order."""
    many = t_true.shape[1]
    x, y, row = np.empty(t.shape[1]), np.empty(many), np.empty(many + 1)
    for i in range(len(t)):
        total = 0.0
        for j in range(t.shape[1] + many):
            k = mark[i, j] if j < t.shape[1] else mark_true[i, j - t.shape[1]]
            before = _seen(mark[i], min(j, t.shape[1]), k) or _seen(mark_true[i], j - t.shape[1], k)
            if k < 0 or before:
                continue
            total += _aligned(x, _taken(t[i], mark[i], k, x), y, _taken(t_true[i], mark_true[i], k, y), row,
                              insert, delete)  # fmt: skip
        out[i] = total


@nb.njit(cache=True)
def _seen(marks: Array, until: int, k: int) -> bool:
    for j in range(until):
        if marks[j] == k:
            return True
    return False


@nb.njit(cache=True)
def _taken(t: Array, marks: Array, k: int, out: Array) -> int:
    """The times of mark k, in ``out``; how many."""
    n = 0
    for j in range(len(t)):
        if marks[j] == k:
            out[n] = t[j]
            n += 1
    return n


@nb.njit(cache=True)
def _aligned(x: Array, n: int, y: Array, m: int, row: Array, insert: float, delete: float) -> float:
    """Least cost of turning x[:n] into y[:m], both in order: row[b] is that of the first a into the first b."""
    for b in range(m + 1):
        row[b] = insert * b
    for a in range(n):
        corner = row[0]
        row[0] += delete
        for b in range(m):
            moved = corner + abs(x[a] - y[b])
            corner = row[b + 1]
            row[b + 1] = min(moved, min(corner + delete, row[b] + insert))
    return row[m]


@nb.njit(cache=True)
def _matches(t: Array, order: Array, t_true: Array, mark_true: Array, delta: float, found: Array) -> None:
    """For each mark, predictions in order of score: one more is taken if all that are taken still find partners."""
    rows, many, marks = found.shape
    y, taken = np.empty(t_true.shape[1]), np.empty(many, np.bool_)
    for i in range(rows):
        for k in range(marks):
            n, count = _taken(t_true[i], mark_true[i], k, y), 0
            taken[:] = False
            for place in range(many):
                p = order[i, place, k]
                if count == n:
                    break
                if not np.isfinite(t[i, p]):
                    continue
                taken[p] = True
                if _fit(t[i], taken, y, n, delta):
                    count += 1
                    found[i, p, k] = True
                else:
                    taken[p] = False


@nb.njit(cache=True)
def _fit(t: Array, taken: Array, y: Array, n: int, delta: float) -> bool:
    """Can each taken prediction, in order of time, have a partner of its own? Each gets the first that is left."""
    j = 0
    for p in range(len(t)):
        if not taken[p]:
            continue
        while j < n and t[p] - y[j] > delta:
            j += 1
        if j == n or y[j] - t[p] > delta:
            return False
        j += 1
    return True
