"""Prequential evaluation: forecasts are scored by what came later, labels may be late, learners learn in between."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_operator import Counting, Toy

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.online import GradientLearner, Learner, Mean, default_metrics, prequential
from eventflow.tpp import Hawkes, Poisson


def _log(sequences: int = 5, *, given_first: bool = False, seed: int = 0, num_marks: int = 3) -> Events:
    draw = np.random.default_rng(seed)
    rows = [
        {"t": np.cumsum(draw.exponential(size=n + 2)), "mark": draw.integers(0, num_marks, n + 2)}
        for n in range(sequences)
    ]
    span = None if given_first else (0.0, 1e3)
    return Events.from_sequences(rows, span=span, schema=Schema(num_marks=num_marks, given_first=given_first))


def _last(*args: Any, **options: Any) -> Any:
    return list(prequential(*args, **options))[-1]


@pytest.mark.parametrize("given_first", [False, True])
def test_scores_are_those_of_the_definition(given_first: bool) -> None:
    """One sequence after the other, one event after the other."""
    log, model = _log(7, given_first=given_first), Toy()
    nll, hits, errors = [], [], []
    with torch.no_grad():
        for sequence in log:
            state, forecast = model.init(1), None
            for i, (gap, mark) in enumerate(zip(sequence.gaps, sequence.marks["mark"], strict=True)):
                answer, state = model.observe(state, {"mark": torch.tensor([int(mark)])}, torch.from_numpy(gap[None]))
                if not (given_first and i == 0):
                    nll.append(float(answer["nll"]))
                if forecast is not None:
                    hits.append(float(int(forecast["next_mark_probs"].argmax()) == mark))
                    errors.append(abs(float(forecast["next_t"]) - gap))
                forecast = answer
    done = _last(model, log)
    assert done.scored == len(nll) == log.num_scored and done.t == log.t.max()
    assert done.values == pytest.approx(
        {"nll_per_event": np.mean(nll), "mark_accuracy": np.mean(hits), "gap_mae": np.mean(errors)}, rel=1e-12
    )


def test_the_score_of_a_process_is_its_likelihood() -> None:
    log = _log()
    model = Hawkes(3).double()
    with torch.no_grad():
        batch = pad(log, dtype=torch.float64)
        expected = -model.event_log_prob(batch)[batch.scored].mean()
    assert _last(model, log).values["nll_per_event"] == pytest.approx(float(expected), rel=1e-9)


def test_it_runs_on_and_tells_every_so_often() -> None:
    log = _log(9)
    told = list(prequential(Counting(), log, every=10, metrics={"gap": Mean(lambda event, _: event.gap)}))
    assert [p.scored for p in told] == [10, 20, 30, 40, 50, 54]
    assert told[-1].values["gap"] == pytest.approx(log.gaps.mean())
    order = np.argsort(log.t, kind="stable")
    assert [p.t for p in told[:-1]] == [log.t[order[n - 1]] for n in (10, 20, 30, 40, 50)]


class _Witness(Counting):
    """Writes down when it was asked and when it was taught."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, float]] = []

    def observe(self, state: Any, marks: Any, dt: Tensor) -> Any:
        self.told += [("observe", float(total), float(gap)) for total, gap in zip(state[1], dt, strict=True)]
        return super().observe(state, marks, dt)

    def learn(self, state: Any, marks: Any, dt: Tensor) -> None:
        self.told.append(("learn", float(state[1]), float(dt)))


def test_labels_come_as_late_as_is_said() -> None:
    log = Events.of([1.0, 2.0, 4.0, 5.0], mark=[0, 1, 2, 3], span=(0.0, 9.0))
    witness = _Witness()
    assert isinstance(witness, Learner)
    _last(witness, log)
    at_once = [("observe", 0.0, 1.0), ("learn", 0.0, 1.0), ("observe", 0.0, 1.0), ("observe", 1.0, 1.0)]
    assert witness.told[:4] == at_once, "scored, learned, and asked again what comes next"
    late = _Witness()
    seen: list[float] = []
    metric = Mean(lambda event, forecast: seen.append(event.t))
    _last(late, log, delay=2.5, metrics={"seen": metric})
    assert seen == [1.0, 2.0, 4.0, 5.0]
    assert [(what, total + gap) for what, total, gap in late.told] == [
        ("observe", 1.0), ("observe", 2.0), ("observe", 4.0), ("learn", 1.0), ("observe", 4.0), ("observe", 5.0),
        ("learn", 2.0), ("observe", 5.0), ("learn", 4.0), ("learn", 5.0),
    ]  # fmt: skip


def test_given_events_are_seen_but_not_scored_or_learned_from() -> None:
    witness = _Witness()
    log = Events.of([1.0, 2.0], mark=[0, 1])
    assert log.schema.given_first
    assert _last(witness, log).scored == 1
    assert [what for what, *_ in witness.told] == ["observe", "observe", "learn", "observe"]


def test_a_process_learns_while_it_is_scored() -> None:
    draw = np.random.default_rng(0)
    log = Events.of(np.cumsum(draw.exponential(0.1, 250)), mark=draw.integers(0, 2, 250), span=(0.0, 1e3))
    frozen = _last(Poisson(2).double(), log).values["nll_per_event"]
    model = Poisson(2).double()
    learner = GradientLearner(model, torch.optim.Adam(model.parameters(), lr=0.1))
    learned = _last(learner, log).values["nll_per_event"]
    truth = 1 - math.log(10 / 2)
    assert learned < frozen - 0.3 and learned < truth + 0.3
    assert isinstance(model, nn.Module) and all(p.grad is not None for p in model.parameters())


class _Majority:
    """River's manner: predict the mark that most often followed this one."""

    def __init__(self) -> None:
        self.after: dict[int, Counter[int]] = {}

    def predict_one(self, x: dict[str, Any]) -> int | None:
        seen = self.after.get(x["mark"])
        return seen.most_common(1)[0][0] if seen else None

    def learn_one(self, x: dict[str, Any], y: int) -> None:
        self.after.setdefault(x["mark"], Counter())[y] += 1


def test_a_river_like_model_predicts_then_learns() -> None:
    log = Events.of(np.arange(1.0, 101.0), mark=np.arange(100) % 4, span=(0.0, 101.0))
    done = _last(_Majority(), log)
    assert done.scored == 100
    assert done.values["mark_accuracy"] == pytest.approx(95 / 99), "of 99 forecasts all but the first 4, one per mark"
    assert math.isnan(done.values["nll_per_event"]) and math.isnan(done.values["gap_mae"])
    late = _last(_Majority(), log, delay=10.0)
    assert late.values["mark_accuracy"] == pytest.approx(87 / 99), "a transition is known ten later: from the 13th on"


def test_an_empty_log_has_no_score() -> None:
    log = Events.of([], mark=np.zeros(0, np.int64), span=(0.0, 1.0))
    assert _last(Counting(), log).scored == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="neither an operator"):
        _last(object(), _log())
    with pytest.raises(InputError, match="delay >= 0"):
        _last(Counting(), _log(), delay=-1.0)
    assert set(default_metrics()) == {"nll_per_event", "mark_accuracy", "gap_mae"}
