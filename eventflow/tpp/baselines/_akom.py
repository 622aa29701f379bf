"""The all-k-order Markov model of marks: contexts of 0 to k marks, the longer leaning on the shorter.

P_k(m | c) = (count(c, m) + strength P_{k-1}(m | shorter c)) / (count(c) + strength) (Pitkow & Pirolli 1999 give the
orders, MacKay & Peto 1995 the smoothing). Order and strength are chosen on the training marks alone, each scored as if
it had not been counted itself (leave one out, in closed form).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MAX_ORDER = 8
STRENGTHS = (2.0, 5.0, 20.0, 80.0)


@dataclass(frozen=True, slots=True)
class AKOM:
    """Fitted by :func:`fit_akom`. A history is (n, order) marks, the latest first; K stands for "none".

    order: k. strength: events that the shorter context is worth. contexts, counts: for each order from 0, the contexts
    seen, as numbers in base K + 1 (sorted), and their (contexts, K) counts.
    """

    num_marks: int
    order: int
    strength: float
    contexts: tuple[Index, ...]
    counts: tuple[Array, ...]

    def probs(self, history: Index) -> Array:
        """(n, K) probabilities of the next mark."""
        if history.ndim != 2 or history.shape[1] < self.order:
            raise InputError(f"AKOM.probs: history is {history.shape}; expected (n, {self.order}) at least")
        out = np.full((len(history), self.num_marks), 1.0 / self.num_marks)
        for k in range(self.order + 1):
            count = self._count(k, history)
            out = (count + self.strength * out) / (count.sum(1, keepdims=True) + self.strength)
        return out

    def _count(self, k: int, history: Index) -> Array:
        """(n, K) how often each mark followed the last k marks of each history."""
        key, known = _key(history[:, :k], self.num_marks), self.contexts[k]
        place = np.minimum(np.searchsorted(known, key), len(known) - 1)
        return np.where((known[place] == key)[:, None], self.counts[k][place], 0.0)


def fit_akom(mark: Index, history: Index, *, num_marks: int) -> AKOM:
    """The model of ``mark`` (n,) given ``history`` (n, k), the latest first; orders up to k are tried."""
    if not len(mark):
        raise InputError("fit_akom: no mark to learn from")
    most = min(history.shape[1], int(62 / np.log2(num_marks + 1)) - 1)
    tables = [_table(mark, _key(history[:, :k], num_marks), num_marks) for k in range(most + 1)]
    whole = AKOM(num_marks, most, 1.0, tuple(c for c, _ in tables), tuple(n for _, n in tables))
    order, strength = max(
        ((k, s) for s in STRENGTHS for k in range(most + 1)), key=_left_one_out(whole, mark, history).__getitem__
    )
    return AKOM(num_marks, order, strength, whole.contexts[: order + 1], whole.counts[: order + 1])


def _left_one_out(model: AKOM, mark: Index, history: Index) -> dict[tuple[int, float], float]:
    """(order, strength) -> mean log-probability of each training mark, its own count taken away."""
    rows, out = np.arange(len(mark)), {}
    probs = {strength: np.full(len(mark), 1.0 / model.num_marks) for strength in STRENGTHS}
    for k in range(model.order + 1):
        count = model._count(k, history)
        hits, seen = count[rows, mark] - 1, count.sum(1) - 1
        for strength in STRENGTHS:
            probs[strength] = (hits + strength * probs[strength]) / (seen + strength)
            out[k, strength] = float(np.log(probs[strength]).mean())
    return out


def _key(history: Index, num_marks: int) -> Index:
    """(n,) each history as one number."""
    out = np.zeros(len(history), dtype=np.int64)
    for column in history.T:
        out = out * (num_marks + 1) + column
    return out


def _table(mark: Index, key: Index, num_marks: int) -> tuple[Index, Array]:
    contexts, place = np.unique(key, return_inverse=True)
    counts = np.bincount(place * num_marks + mark, minlength=len(contexts) * num_marks)
    return contexts, counts.reshape(-1, num_marks).astype(np.float64)


def history_of(mark: Index, place: Index, rows: Index, order: int, none: int) -> Index:
    """(V, order) marks at and before ``rows``, the latest first; ``none`` before a sequence's start.

    ``place`` (n,) is each event's number in its sequence; a row one before a first event is a place of -1.
    """
    back = rows[:, None] - np.arange(order)
    inside = np.arange(order) <= place[rows][:, None]
    return np.where(inside, mark[np.maximum(back, 0)], none)
