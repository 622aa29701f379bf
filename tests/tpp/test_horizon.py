"""Long horizons: T-mAP against its definition, forecasts against truths that are known, and the protocol's details."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state
from eventflow.ops.event_match import match_within, transport_distance
from eventflow.tpp import NHP, OTD, TMAP, Forecast, Hawkes, Poisson, evaluate_horizon
from eventflow.tpp.metrics._horizon import forecast, horizon_positions

SETTINGS = {"horizon": 2.0, "max_events": 4, "every": 2, "otd_steps": 3, "otd_cost": 0.5, "map_deltas": [0.05, 0.6]}


def _case(seed: int, rows: int = 40, marks: int = 3):
    """A forecast with some absent events and tied scores, and what came."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 3, (rows, 6)), 1)
    mark = rng.integers(0, marks, t.shape)
    t[rng.random(t.shape) < 0.1] = np.inf
    mark[np.isinf(t)] = -1
    score = np.round(rng.normal(size=(*t.shape, marks)), 1)
    leaves = (torch.from_numpy(x) for x in (t, mark, score))
    return Forecast(*leaves), (np.sort(rng.uniform(0, 3, (rows, 5)), 1), rng.integers(0, marks, (rows, 5)))


def _t_map_by_hand(said: Forecast, true, horizon: float, deltas) -> float:
    """For each mark and delta: every threshold on the score in turn, precision and recall above it."""
    t, score = said.t.numpy(), said.score.numpy()
    t = np.where(t < horizon, t, np.inf)
    mark = np.where(true[0] < horizon, true[1], -1)
    values = []
    for delta in deltas:
        hit = match_within((t, score), (true[0], mark), delta=delta, backend="naive")
        for k in range(score.shape[-1]):
            pairs = [(s, h) for s, h, x in zip(score[..., k].flat, hit[..., k].flat, t.flat, strict=True) if x < 9e9]
            total, area, recall = (mark == k).sum(), 0.0, 0.0
            for threshold in sorted({s for s, _ in pairs}, reverse=True):
                above = [h for s, h in pairs if s >= threshold]
                area += (sum(above) / total - recall) * sum(above) / len(above)
                recall = sum(above) / total
            values.append(area)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(2))
def test_t_map_is_its_definition(seed):
    said, true = _case(seed)
    metric = TMAP(2.0, (0.1, 0.4)).update(said, true)
    assert metric.compute() == pytest.approx(_t_map_by_hand(said, true, 2.0, (0.1, 0.4)), rel=1e-12)
    precision, totals = metric.per_mark()
    assert totals.sum() == (true[0] < 2.0).sum()
    assert metric.compute_weighted() == pytest.approx(np.average(precision, weights=totals))


def test_merging_is_updating():
    """In any parts and any order, to the last bit."""
    said, true = _case(7)
    whole = TMAP(2.0, (0.3,)).update(said, true), OTD(0.5, 0.5).update(said[:2], true)
    parts = []
    for rows in (slice(25, 40), slice(0, 10), slice(10, 25)):
        piece, came = Forecast(*(leaf[rows] for leaf in said)), (true[0][rows], true[1][rows])
        parts.append((TMAP(2.0, (0.3,)).update(piece, came), OTD(0.5, 0.5).update(piece[:2], came)))
    for i in (0, 1):
        assert parts[0][i].merge(parts[1][i]).merge(parts[2][i]).compute() == whole[i].compute()
    with pytest.raises(InputError, match="OTD.merge"):
        OTD(0.5, 0.5).merge(OTD(1.0, 0.5))
    with pytest.raises(InputError, match="TMAP.merge"):
        TMAP(1.0, (0.5,)).merge(TMAP(2.0, (0.5,)))
    assert math.isnan(OTD(1.0, 1.0).compute()) and math.isnan(TMAP(1.0, (0.5,)).compute())


@pytest.mark.parametrize("marks", [1, 3])
def test_a_perfect_forecast_and_a_hopeless_one(marks):
    _, (t, mark) = _case(1, marks=marks)
    score = np.eye(marks)[mark]
    said = Forecast(*(torch.from_numpy(x) for x in (t, mark, score)))
    assert TMAP(2.0, (0.0,)).update(said, (t, mark)).compute() == 1.0
    assert OTD(0.5, 0.5).update(said[:2], (t, mark)).compute() == 0.0
    wrong = (t, mark + marks)
    assert OTD(0.5, 0.5).update(said[:2], wrong).compute() == 5.0
    late = Forecast(said.t + 10, said.mark, said.score)
    assert TMAP(2.0, (0.5,)).update(late, (t, mark)).compute() == 0.0


def _clockwork(sequences: int = 4, length: int = 12) -> Events:
    """Every 0.5, marks 0, 1, 2, 0, 1, 2, ..."""
    t, mark = 0.5 * np.arange(1, length + 1), np.arange(length) % 3
    return Events.from_sequences(
        [{"t": t, "mark": mark}] * sequences, span=(0.0, 0.5 * length + 0.1), schema=Schema(num_marks=3)
    )


class _Oracle:
    """Says exactly what comes; or what comes, ``late``."""

    def __init__(self, late: float = 0.0) -> None:
        self.late = late

    def forecast(self, events: Events, rows: np.ndarray, *, steps: int) -> Forecast:
        after = rows[:, None] + np.arange(1, steps + 1)
        t, mark = events.t[after] - events.t[rows][:, None] + self.late, events.marks["mark"][after]
        return Forecast(torch.from_numpy(t), torch.from_numpy(mark), torch.eye(3, dtype=torch.float64)[mark])


def test_the_protocol():
    events = _clockwork()
    perfect = evaluate_horizon(_Oracle(), events, **SETTINGS)
    assert perfect["otd"] == 0 and perfect["tmap"] == perfect["tmap_weighted"] == perfect["next_k_accuracy"] == 1
    assert perfect["positions"] == 4 * 3  # events 2, 4, 6 of 12: from 8 on, fewer than 4 follow
    assert perfect["targets"] == 3  # at 0.5, 1.0, 1.5: the one at 2.0 is not before the horizon
    late = evaluate_horizon(_Oracle(0.4), events, **SETTINGS)
    assert late["otd"] == pytest.approx(3 * 0.4) and late["next_k_mae"] == pytest.approx(0.4)
    assert late["tmap"] == pytest.approx(0.5)  # out of the first reach, within the second
    early = evaluate_horizon(_Oracle(0.4), events, **{**SETTINGS, "otd_cost": 0.1})
    assert early["otd"] == pytest.approx(3 * 0.2)  # cheaper to drop and add


def test_positions_are_those_that_enough_events_follow():
    t = [np.arange(n) / 10 for n in (3, 9, 10, 0)]
    events = Events.from_sequences([{"t": x, "mark": np.zeros(len(x), int)} for x in t], span=(0.0, 1.0))
    rows = horizon_positions(events, every=3, ahead=3)
    assert rows.tolist() == [3 + 3, 12 + 3, 12 + 6]
    with pytest.raises(InputError, match="the longest sequence has 10 events"):
        horizon_positions(events, every=3, ahead=7)


@torch.no_grad()
def test_the_chain_is_one_step_after_another():
    """Each event at the mean gap given all before it, with the mark that is likeliest at that time."""
    torch.manual_seed(0)
    model = NHP(3, hidden_size=8).double()
    events = _clockwork(3)
    rows = horizon_positions(events, every=2, ahead=4)
    said = forecast(model, events, rows, steps=4)
    for i in (0, 4, len(rows) - 1):
        sequence = int(np.searchsorted(events.offsets, rows[i], side="right")) - 1
        length = int(rows[i] - events.offsets[sequence]) + 1
        state = map_state(lambda x, n=length: x[:, n - 1], model.encode(pad(events[sequence], dtype=torch.float64)))
        clock = 0.0
        for j in range(4):
            gap = model.predict_next(state).mean
            lam = model.intensity(state, gap)
            clock += float(gap)
            assert float(said.t[i, j]) == pytest.approx(clock, rel=1e-9)
            assert int(said.mark[i, j]) == int(lam.argmax())
            expected = (lam / lam.sum()).log()[0]
            torch.testing.assert_close(said.score[i, j], expected, rtol=1e-8, atol=1e-8)
            state = model.update(model.evolve(state, gap), lam.argmax(-1))


@torch.no_grad()
def test_parts_of_the_data_make_no_difference(monkeypatch):
    import sys

    model, events = Hawkes(3).double(), _clockwork(5)
    whole = evaluate_horizon(model, events, **SETTINGS)
    monkeypatch.setattr(sys.modules["eventflow.tpp.metrics._horizon"], "CHUNK", 15)
    assert evaluate_horizon(model, events, **SETTINGS) == pytest.approx(whole, rel=1e-12)


@torch.no_grad()
def test_the_chosen_draw_is_the_most_central_one():
    """Of the same draws, none has less total distance to all others than the one that is the forecast."""
    model, events, otd = Poisson(3, rate=[1.0, 0.5, 0.2]).double(), _clockwork(2), OTD(0.5, 0.5)
    rows = horizon_positions(events, every=4, ahead=3)
    said = forecast(model, events, rows, steps=3, samples=7, seed=5, otd=otd)
    state = map_state(lambda leaf: leaf.expand(len(rows)), model.init(1))
    drawn = model.continue_from(state, steps=3, num_samples=7, generator=torch.Generator().manual_seed(5))
    for i in range(len(rows)):
        t, mark = drawn.t[i].numpy(), drawn.mark[i].numpy()
        pairs = [[((t[[a]], mark[[a]]), (t[[b]], mark[[b]])) for b in range(7)] for a in range(7)]
        total = [sum(transport_distance(*pair, insert=0.5, delete=0.5)[0] for pair in row) for row in pairs]
        np.testing.assert_allclose(said.t[i].numpy(), t[np.argmin(total)], rtol=1e-12)
        np.testing.assert_array_equal(said.mark[i].numpy(), mark[np.argmin(total)])
    torch.testing.assert_close(said.score[0, 0].exp(), torch.tensor([1.0, 0.5, 0.2]).double() / 1.7, rtol=1e-6, atol=0)


def test_a_silent_model_predicts_nothing():
    model = Poisson(3, rate=[0.0, 0.0, 0.0]).double()
    seen = evaluate_horizon(model, _clockwork(1), **SETTINGS)
    assert seen["otd"] == 3 * 0.5 and seen["tmap"] == 0 and seen["next_k_mae"] == math.inf


def test_wrong_questions_are_refused():
    with pytest.raises(InputError, match="needs a point process"):
        evaluate_horizon(_Oracle(), _clockwork(), **SETTINGS, samples=3)
    with pytest.raises(InputError, match="horizon=0"):
        evaluate_horizon(_Oracle(), _clockwork(), **{**SETTINGS, "horizon": 0})
    with pytest.raises(InputError, match="every=0"):
        evaluate_horizon(_Oracle(), _clockwork(), **{**SETTINGS, "every": 0})
