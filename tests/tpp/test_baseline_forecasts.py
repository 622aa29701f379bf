"""All-k-order Markov, baselines over long horizons, and the fitted Hawkes process: by hand, by loops, by known laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.tpp import Hawkes, evaluate_horizon, fit_baselines, fit_hawkes
from eventflow.tpp.baselines._ahead import HistoryDensity, MostPopular
from eventflow.tpp.baselines._akom import STRENGTHS, fit_akom, history_of
from eventflow.train._evaluate import baseline_rows

SETTINGS = {"horizon": 3.0, "max_events": 5, "every": 3, "otd_steps": 3, "otd_cost": 0.5, "map_deltas": [0.4]}


def _marks(order: int, n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A chain that repeats the mark ``order`` places back, nine times in ten; and its histories."""
    rng = np.random.default_rng(seed)
    mark = rng.integers(0, 3, n)
    for i in range(order, n):
        mark[i] = mark[i - order] if rng.random() < 0.9 else mark[i]
    return mark, history_of(mark, np.arange(n), np.arange(n), 7, 3)[:, 1:]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_order_is_found_on_the_training_marks_alone(order):
    mark, history = _marks(order)
    model = fit_akom(mark, history, num_marks=3)
    assert model.order == order
    fresh, past = _marks(order, seed=1)
    accuracy = np.mean(model.probs(past).argmax(1) == fresh)
    assert accuracy == pytest.approx(0.9 + 0.1 / 3, abs=0.03)
    np.testing.assert_allclose(model.probs(past).sum(1), 1.0)


def test_probabilities_against_counting():
    mark, history = _marks(2, n=200)
    model = fit_akom(mark, history, num_marks=3)
    for row in history[::17]:
        probs = np.full(3, 1 / 3)
        for k in range(model.order + 1):
            same = [m for m, h in zip(mark, history, strict=True) if (h[:k] == row[:k]).all()]
            probs = (np.bincount(same, minlength=3) + model.strength * probs) / (len(same) + model.strength)
        np.testing.assert_allclose(model.probs(row[None])[0], probs, rtol=1e-12)


def test_leave_one_out_is_leaving_one_out():
    """The score of an order: each mark by a model that was fitted without it."""
    from eventflow.tpp.baselines._akom import _left_one_out

    mark, history = _marks(1, n=40)
    whole = fit_akom(mark, history, num_marks=3)
    scores = _left_one_out(whole, mark, history)
    strength, total = STRENGTHS[1], 0.0
    for i in range(len(mark)):
        rest = np.arange(len(mark)) != i
        probs = np.full(3, 1 / 3)
        for k in range(whole.order + 1):
            same = mark[rest & (history[:, :k] == history[i, :k]).all(1)]
            probs = (np.bincount(same, minlength=3) + strength * probs) / (len(same) + strength)
        total += math.log(probs[mark[i]])
    assert scores[whole.order, strength] == pytest.approx(total / len(mark), rel=1e-12)


def _log(seed: int = 0, sequences: int = 30) -> Events:
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(sequences):
        n = int(rng.integers(8, 20))
        parts.append({"t": np.cumsum(rng.exponential(0.6, n)), "mark": np.arange(n) % 3})
    return Events.from_sequences(parts, span=(0.0, 60.0), schema=Schema(num_marks=3))


def test_most_popular_and_history_density_by_hand():
    events = Events.of([1.0, 2.0, 4.0, 5.0], mark=[0, 1, 1, 2], span=(0.0, 9.0), schema=Schema(num_marks=3))
    said = MostPopular(3, 7.0).forecast(events, np.array([0, 2]), steps=2)
    np.testing.assert_allclose(said.t, [[7.0, 14.0], [1.5, 3.0]])  # no gap yet; then (4 - 1) / 2
    assert said.mark.tolist() == [[0, 0], [1, 1]]
    assert said.score[1, 0].tolist() == [0.0, 1.0, 0.0]
    said = HistoryDensity(3, (1.0, 4.0)).forecast(events, np.array([2]), steps=5)
    assert said.mark[0].tolist()[:4] == [1, 0, 1, 0]  # rates 2/3 and 1/3; mark 2 has not been seen
    np.testing.assert_allclose(said.t[0, :4], [0.5, 0.5, 2.5, 2.5])
    own = [float(said.score[0, i, k]) for i, k in enumerate([1, 0, 1, 0])]
    np.testing.assert_allclose(np.exp(own), [2 / 3, 1 / 3, 1.0, 1.0], rtol=1e-6)  # 3 x 2/3 is capped at 1
    assert said.mark[0, 4:].tolist() == [-1, -1] and torch.isinf(said.t[0, 4:]).all()
    with pytest.raises(InputError, match="increasing times"):
        HistoryDensity(3, (2.0, 1.0))


def test_forecasts_see_nothing_behind_their_row():
    events, baselines = _log(1), fit_baselines(_log(0))
    row = np.array([4])
    changed = Events.of(
        np.where(np.arange(events.num_events) > 4, events.t + 0.01, events.t), offsets=events.offsets, span=(0.0, 99.0),
        schema=events.schema, mark=np.where(np.arange(events.num_events) > 4, 0, events.marks["mark"]),
    )  # fmt: skip
    for name, forecaster in baselines.forecasters(horizon=3.0).items():
        for a, b in zip(
            forecaster.forecast(events, row, steps=4), forecaster.forecast(changed, row, steps=4), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_every_baseline_has_a_row_over_long_horizons():
    train, test = _log(0), _log(1)
    rows = {
        name: evaluate_horizon(f, test, **SETTINGS) for name, f in fit_baselines(train).forecasters(horizon=3.0).items()
    }
    assert list(rows) == ["MostPopular", "HistoryDensity", "Poisson", "renewal + Markov-2", "renewal + AKOM"]
    assert rows["renewal + AKOM"]["next_k_accuracy"] == rows["renewal + Markov-2"]["next_k_accuracy"] == 1.0
    assert rows["renewal + Markov-2"]["otd"] < rows["Poisson"]["otd"]
    assert all(0 <= row["tmap"] <= 1 and math.isfinite(row["otd"]) for row in rows.values())
    names = [row.name for row in fit_baselines(train).evaluate(test)]
    assert {"AKOM", "MostPopular"} <= set(names)


def test_hawkes_is_fitted_to_about_the_truth():
    true = Hawkes(2, mu=[0.5, 0.2], alpha=[[0.6, 0.0], [0.5, 0.3]], beta=2.0)
    generator = torch.Generator().manual_seed(0)
    train, test = (true.simulate(span=(0.0, 50.0), num_sequences=60, generator=generator) for _ in range(2))
    fitted = fit_hawkes(train)
    best, seen = (-float(m.log_prob(test).sum().detach()) / test.num_scored for m in (true, fitted))
    poisson = next(row for row in fit_baselines(train).evaluate(test) if row.name == "Poisson")
    assert poisson.nll_per_event is not None and best < poisson.nll_per_event - 0.03
    assert seen == pytest.approx(best, abs=0.01)
    assert fitted.branching.tolist()[1][0] == pytest.approx(0.25, abs=0.1)


def test_hawkes_is_a_row_where_it_is_asked_for():
    events = Hawkes(2, mu=[0.3, 0.2], alpha=[[0.5, 0.1], [0.9, 0.2]], beta=2.0).simulate(
        span=(0.0, 30.0), num_sequences=30, generator=torch.Generator().manual_seed(5)
    )
    without, fitted = fit_baselines(events), fit_baselines(events, hawkes=True)
    *others, row = fitted.evaluate(events)
    assert row.name == "Hawkes" and others == without.evaluate(events)
    assert fitted.hawkes is not None
    exact = -float(fitted.hawkes.log_prob(events).double().sum()) / events.num_scored
    assert abs(row.nll_per_event - exact) < 1e-5 * abs(exact) and row.nll_per_event < others[-1].nll_per_event
    assert abs(row.time_nll_per_event + row.mark_nll_per_event - exact) < 1e-5 * abs(exact)
    compat = -float(fitted.hawkes.log_prob(events, compat="easytpp").double().sum())
    assert row.easytpp_nll_per_event == pytest.approx(compat / (events.num_events - (events.lengths > 0).sum()))


def test_a_hawkes_process_of_too_many_marks_is_left_out():
    """Its memory grows with their square; the table is then without that row."""
    few, many = (Schema(num_marks=k) for k in (3, 300))
    rows = [{"t": np.sort(np.random.default_rng(i).random(20)) * 9, "mark": np.arange(20) % 3} for i in range(9)]
    for schema, there in ((few, True), (many, False)):
        events = Events.from_sequences(rows, span=(0.0, 9.0), schema=schema)
        seen = baseline_rows(events, events)
        assert ("Hawkes" in seen) == there and "Poisson" in seen
        seen["Poisson"].clear()  # ours to do with as we like
        assert baseline_rows(events, events)["Poisson"]["easytpp_nll_per_event"] > 0
