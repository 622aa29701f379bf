"""Predictions that are learned live: an operator for :func:`eventflow.online.run` that needs no training before.

Axes: N keys, K marks, R rates, G questions, F = 1 + K + K R features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops._trusted import row_by_row
from eventflow.rl._gvf import GVF, as_questions, gvf_terms, plain


class EventGVFState(NamedTuple):
    """All that a key has learned: ``weight``, ``trace`` (N, G, F), ``value`` (N, G), ``counts`` (N, K, R), the sum of
    their squares after each event ``squares`` (N, K, R), and how many events there were, ``seen`` (N,)."""

    weight: Tensor
    trace: Tensor
    value: Tensor
    counts: Tensor
    squares: Tensor
    seen: Tensor


class EventGVFs:
    """General value functions over a live stream of marked events, one learner per key, learning from every event.

    Features after an event: 1, its mark, and for each mark and each of ``horizons`` how many such events there were,
    forgotten at that rate (the state of an exponential Hawkes process), divided by the root mean square of that number
    so far: steps of temporal differences are safe only where features are of order 1. Signals that questions may sum:
    column k is 1 at events of mark k, column K at all of them; a ``rate`` question on column K therefore asks for
    discounted time. Stops are the same columns. Memory per key is constant: 2 G F + G + 2 K R + 1 numbers.

    Answers to each event, learned from it already: ``value`` (G,), in the order of ``questions``; and ``error`` (G,),
    the temporal-difference error, in which a change of behaviour shows at once.

    Args:
        num_marks: K.
        horizons: in the unit of the gaps; of the features, and of the default questions.
        questions: :class:`GVF` or mappings; None asks for the discounted number of events of each mark, for each
            horizon.

    Raises:
        InputError: no mark, no horizon, a question about a column that is not there.
    """

    def __init__(
        self, num_marks: int, *, horizons: Sequence[float] = (1.0, 10.0, 100.0),
        questions: Sequence[GVF | Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        if num_marks < 1 or not horizons or not all(horizon > 0 for horizon in horizons):
            raise InputError(f"EventGVFs({num_marks}, horizons={list(horizons)}): expected marks, and horizons > 0")
        self.num_marks, self.horizons = num_marks, tuple(float(horizon) for horizon in horizons)
        if questions is None:
            questions = [
                GVF(mark, horizon, name=f"mark {mark}, horizon {horizon:g}")
                for horizon in self.horizons
                for mark in range(num_marks)
            ]
        self.questions = as_questions(questions)
        for question in self.questions:
            for name, column in (("signal", question.signal), ("until", question.until)):
                if column is not None and column > num_marks:
                    raise InputError(
                        f"EventGVFs: question {question.name!r} has {name}={column}; expected a mark, 0 to "
                        f"{num_marks - 1}, or {num_marks} for events of any mark"
                    )
        self.num_features = 1 + num_marks + num_marks * len(self.horizons)
        self._terms = gvf_terms(self.questions)

    @property
    def init_args(self) -> dict[str, Any]:
        """Plain data that makes the same operator: what snapshots know it by."""
        return {
            "num_marks": self.num_marks, "horizons": list(self.horizons),
            "questions": [plain(question) for question in self.questions],
        }  # fmt: skip

    def init(self, batch: int) -> EventGVFState:
        """Nothing seen, nothing learned; float64."""
        size, shape = len(self.questions), (batch, len(self.questions), self.num_features)
        counts = (batch, self.num_marks, len(self.horizons))
        leaves = shape, shape, (batch, size), counts, counts, (batch,)
        return EventGVFState(*(torch.zeros(leaf, dtype=torch.float64) for leaf in leaves))

    def observe(
        self, state: EventGVFState, marks: dict[str, Tensor], dt: Tensor
    ) -> tuple[dict[str, Tensor], EventGVFState]:
        """One event of each of N keys; see :class:`eventflow.online.Operator`."""
        horizon = torch.tensor(self.horizons, dtype=torch.float64)
        happened = torch.nn.functional.one_hot(marks["mark"], self.num_marks).to(torch.float64)
        counts = state.counts * torch.exp(-dt[:, None, None] / horizon) + happened[:, :, None]
        squares, seen = state.squares + counts * counts, state.seen + 1
        scale = torch.where(squares > 0, squares / seen[:, None, None], 1.0).sqrt()
        one = torch.ones_like(dt)[:, None]
        features = torch.cat([one, happened, (counts / scale).flatten(1)], 1)
        signals = torch.cat([happened, one], 1)
        learned = _learn()(features, dt, signals, self._terms, state)
        return {"value": learned[2].clone(), "error": learned[3]}, EventGVFState(*learned[:3], counts, squares, seen)


@functools.cache
def _learn() -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The kernel, as an operation on tensors of which the live engine knows that rows do not see each other."""
    import numpy as np

    from eventflow.ops.gvf.numba import step_rows

    @row_by_row
    def learn(features: Tensor, dt: Tensor, signals: Tensor, terms: Any, state: EventGVFState) -> Any:
        weight, trace, value = (leaf.clone(memory_format=torch.contiguous_format) for leaf in state[:3])
        error = torch.zeros_like(value)
        happened = signals.numpy()
        rows = (features.numpy(), dt.numpy(), happened, happened > 0, np.zeros(len(dt), np.bool_))
        step_rows(rows, tuple(terms), (weight.numpy(), trace.numpy(), value.numpy()), error.numpy())
        return weight, trace, value, error

    return learn
