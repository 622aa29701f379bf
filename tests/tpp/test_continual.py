"""Streams cut into tasks: no event twice, none lost, likelihoods that sum to the whole; what a matrix says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.testing import check_point_process
from eventflow.tpp import NHP, RMTPP, Hawkes, Poisson
from eventflow.tpp.continual import (
    DriftingHawkes,
    EvaluationMatrix,
    Reservoir,
    cut_at,
    cut_by_source,
    cut_by_time,
    evaluate,
    spread,
    task_log_prob,
    whole,
)


def stream(*, given_first: bool = False, integer: bool = False) -> Events:
    """Seven sequences that come and go at different times; one empty, one with an event exactly on a cut."""
    rng = np.random.default_rng(1)
    spans = np.array([(0, 40), (0, 11), (12, 33), (25, 40), (3, 37), (18, 24), (0, 40)]) * 1.0
    parts = []
    for i, (a, b) in enumerate(spans):
        t = np.sort(rng.uniform(a, b, 0 if i == 5 else 12))
        if i == 0:
            t[5] = 10.0
            t = np.sort(t)
        if given_first and len(t):
            t[0] = a
        t = np.sort(np.floor(t * 1000)).astype(np.int64) if integer else t
        parts.append({"t": t, "mark": rng.integers(0, 3, len(t))})
    scale = 1000 if integer else 1
    return Events.from_sequences(
        parts, span=(spans * scale).astype(np.int64 if integer else np.float64),
        schema=Schema(num_marks=3, given_first=given_first), keys=[f"k{i}" for i in range(7)],
    )  # fmt: skip


def processes() -> list:
    torch.manual_seed(0)
    hawkes = Hawkes(3, mu=[0.1, 0.2, 0.05], alpha=[[0.3, 0.1, 0.0]] * 3, beta=0.7)
    return [Poisson(3, rate=[0.1, 0.3, 0.2]), Poisson(3, rate=[[0.1] * 3, [0.4] * 3], edges=[14.0]), hawkes, drifting()]


def drifting() -> DriftingHawkes:
    mu = [[0.2, 0.1, 0.05], [0.05, 0.3, 0.1], [0.2, 0.1, 0.05]]
    alpha = [[[0.3, 0.1, 0.0]] * 3, [[0.0, 0.1, 0.4]] * 3, [[0.3, 0.1, 0.0]] * 3]
    return DriftingHawkes(3, mu=mu, alpha=alpha, beta=1.3, edges=[9.0, 21.5])


@torch.no_grad()
@pytest.mark.parametrize("given_first", [False, True])
@pytest.mark.parametrize("index", range(4))
def test_likelihoods_of_the_tasks_sum_to_the_likelihood_of_the_whole(index: int, given_first: bool) -> None:
    process, events = processes()[index].double(), stream(given_first=given_first)
    tasks = cut_at(events, [10.0, 18.5, 21.0, 30.0])
    total = sum(float(task_log_prob(process, task).sum()) for task in tasks)
    assert total == pytest.approx(float(process.log_prob(events).sum()), abs=1e-9)
    assert sum(task.num_scored for task in tasks) == events.num_scored
    assert float(task_log_prob(process, whole(events)).sum()) == pytest.approx(total, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("kind", [NHP, RMTPP])
def test_so_they_do_for_networks_whose_compensator_is_a_quadrature(kind: type) -> None:
    torch.manual_seed(0)
    model, events = kind(3, time_scale=2.0).double(), stream()
    total = sum(float(task_log_prob(model, task).sum()) for task in cut_by_time(events, 6))
    assert total == pytest.approx(float(model.log_prob(events).sum()), abs=1e-8)


def test_a_task_is_conditional_on_its_history_and_does_not_see_the_future() -> None:
    process, events = processes()[2].double(), stream()
    low, high = events.slice(0, 10.0), events.slice(0, 18.5)
    task = cut_at(events, [10.0, 18.5])[1]
    assert task.events.keys is not None and events.keys is not None
    seen = dict(zip(task.events.keys.tolist(), task_log_prob(process, task).tolist(), strict=True))
    expected = dict(zip(events.keys.tolist(), (process.log_prob(high) - process.log_prob(low)).tolist(), strict=True))
    assert set(seen) == {"k0", "k1", "k2", "k4", "k5", "k6"}  # k3 begins at 25
    assert seen == pytest.approx({key: expected[key] for key in seen}, abs=1e-9)
    assert task.events.t.max() < 18.5


@torch.no_grad()
def test_without_history_a_task_is_the_slice() -> None:
    process, events = processes()[2].double(), stream()
    tasks = cut_at(events, [10.0, 18.5], history="none")
    for task, (a, b) in zip(tasks, [(0, 10), (10, 18.5), (18.5, 40)], strict=True):
        cut = events.slice(a, b)
        assert float(task_log_prob(process, task).sum()) == pytest.approx(float(process.log_prob(cut).sum()), abs=1e-9)
        assert task.events.span.min() >= a and task.span == (a, b)
    assert sum(task.num_scored for task in tasks) == events.num_events
    poisson = Poisson(3, rate=[0.1, 0.3, 0.2]).double()  # to whom history means nothing
    total = sum(float(task_log_prob(poisson, task).sum()) for task in tasks)
    assert total == pytest.approx(float(poisson.log_prob(events).sum()), abs=1e-9)


def test_a_session_that_goes_on_is_scored_and_one_that_opens_is_not() -> None:
    events = stream(given_first=True)
    for history in ("carried", "none"):
        tasks = cut_at(events, [10.0, 18.5, 21.0, 30.0], history=history)
        assert sum(task.num_scored for task in tasks) == events.num_scored
        opened = [int((task.given & (task.since == task.events.span[:, 0])).sum()) for task in tasks]
        assert sum(opened) >= 6


@torch.no_grad()
def test_a_given_first_event_inside_an_explicit_span_charges_no_silence() -> None:
    process = processes()[2].double()
    events = Events.of([5.0, 7.0], mark=[0, 1], span=(0.0, 12.0), schema=Schema(num_marks=3, given_first=True))
    tasks = cut_at(events, [3.0, 6.0])
    assert [len(task) for task in tasks] == [0, 1, 1]
    total = sum(float(task_log_prob(process, task).sum()) for task in tasks)
    assert total == pytest.approx(float(process.log_prob(events).sum()), abs=1e-12)


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("history", ["carried", "none"])
def test_every_event_is_scored_in_the_window_that_holds_it(history: str, integer: bool) -> None:
    events = stream(integer=integer)
    tasks = cut_by_time(events, 7, history=history)
    found = []
    for task in tasks:
        t = task.events.t[task.scored]
        assert ((t >= task.span[0]) & (t < task.span[1])).all()
        found += t.tolist()
    assert sorted(found) == sorted(events.t.tolist())
    lengths = np.diff([task.span for task in tasks], axis=1)
    np.testing.assert_allclose(lengths, lengths.mean(), atol=1.0 if integer else 1e-9)
    on_the_cut = cut_at(events, [10_000 if integer else 10.0], history=history)
    assert (10_000 if integer else 10.0) in on_the_cut[1].events.t[on_the_cut[1].scored]


def test_batches_and_order_change_no_likelihood() -> None:
    process, task = processes()[2].double(), cut_by_time(stream(), 4)[1]
    together = task_log_prob(process, task)
    for size in (1, 2, 5):
        parts = [task.take(range(a, min(a + size, len(task)))) for a in range(0, len(task), size)]
        torch.testing.assert_close(torch.cat([task_log_prob(process, p) for p in parts]), together)
    assert sum(len(batch) for batch in task.batches(size=2)) == len(task)
    assert [len(batch) for batch in task.batches(size=4)][0] == 4


def test_sources_are_tasks_in_their_order() -> None:
    events = stream()
    tasks = cut_by_source({"north": events[[0, 1]], "south": events[[2, 3, 4]]})
    assert [(task.name, len(task), task.num_scored) for task in tasks] == [("north", 2, 24), ("south", 3, 36)]
    process = processes()[2].double()
    torch.testing.assert_close(task_log_prob(process, tasks[1]), process.log_prob(events[[2, 3, 4]]))
    with pytest.raises(InputError, match="concatenate"):
        other = replace(events, schema=Schema(num_marks=4))
        cut_by_source({"a": events, "b": other})


def test_mistakes_are_refused() -> None:
    events = stream()
    for times in ([5.0, 5.0], [9.0, 3.0], [0.0], [40.0], [99.0], [float("nan")]):
        with pytest.raises(InputError, match="expected rising times, strictly between 0.0 and 40.0"):
            cut_at(events, times)
    with pytest.raises(InputError, match="did you mean 'carried'"):
        cut_at(events, [5.0], history="caried")
    with pytest.raises(InputError, match="at least 1"):
        cut_by_time(events, 0)
    with pytest.raises(InputError, match="no source"):
        cut_by_source({})
    with pytest.raises(InputError, match="no scored event; cut fewer"):
        evaluate(processes()[0], cut_at(events, [39.9999])[1])


@torch.no_grad()
def test_evaluation_is_the_definition() -> None:
    process, task = processes()[2].double(), cut_by_time(stream(), 4)[2]
    said = evaluate(process, task)
    assert said["nll_per_event"] == pytest.approx(-float(task_log_prob(process, task).sum()) / task.num_scored)
    errors, right = [], []
    for i in range(len(task)):
        events, scored = task.events[i], task.take([i]).scored
        state = process.init(1)
        for j, gap in enumerate(events.gaps):
            forecast = process.predict_next(state)
            if scored[j]:
                errors.append(float(forecast.mean[0]) - gap)
                right.append(int(forecast.mark_probs[0].argmax()) == events.marks["mark"][j])
            state = process.step(state, torch.tensor([events.marks["mark"][j]]), torch.tensor([gap]))[1]
    assert said["gap_rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)
    assert said["mark_accuracy"] == pytest.approx(np.mean(right))


class Hiding(NHP):
    """One whose compensator, by n nodes, lacks a share of 1 / n^2."""

    def _compensator(self, state: Any, u: torch.Tensor) -> torch.Tensor:
        return super()._compensator(state, u) * (1 - 1 / self.quadrature**2)


@torch.no_grad()
def test_what_few_nodes_hide_is_seen_by_the_evaluation() -> None:
    torch.manual_seed(0)
    process, task = Hiding(3, hidden_size=8, quadrature=2).double(), cut_by_time(stream(), 4)[2]
    rough = -float(task_log_prob(process, task).sum()) / task.num_scored
    said = evaluate(process, task, forecasts=False)["nll_per_event"]
    assert process.quadrature == 2
    process.quadrature = 640
    true = -float(task_log_prob(process, task).sum()) / task.num_scored
    assert abs(rough - true) > 0.02 and said == pytest.approx(true, abs=1e-3)


def test_the_drifting_law_keeps_the_laws() -> None:
    check_point_process(drifting(), samples=1500)


def test_without_drift_it_is_the_hawkes_process() -> None:
    mu, alpha = [0.1, 0.2, 0.05], [[0.3, 0.1, 0.0], [0.2, 0.1, 0.3], [0.0, 0.1, 0.2]]
    same = DriftingHawkes(3, mu=[mu] * 2, alpha=[alpha] * 2, beta=0.7, edges=[20.0], time_scale=3.0).double()
    events = stream()
    torch.testing.assert_close(
        same.log_prob(events), Hawkes(3, mu=mu, alpha=alpha, beta=0.7).double().log_prob(events), rtol=1e-6, atol=1e-5
    )


def hand_made(*, higher: bool = True) -> EvaluationMatrix:
    values = np.array([[0.9, 0.3, 0.2], [0.6, 0.8, 0.5], [0.7, 0.6, 1.0]])
    start = np.array([0.1, 0.2, 0.1])
    return EvaluationMatrix("x", values, start, True) if higher else EvaluationMatrix("x", -values, -start)


def test_the_summaries_of_a_hand_made_matrix() -> None:
    m = hand_made()
    assert m.average() == pytest.approx((0.7 + 0.6 + 1.0) / 3)
    assert m.average(after=1) == pytest.approx((0.6 + 0.8) / 2)
    assert m.average_over_time() == pytest.approx((0.9 + 0.7 + (0.7 + 0.6 + 1.0) / 3) / 3)
    assert m.learned() == pytest.approx(0.9)
    assert m.forgetting() == pytest.approx(((0.9 - 0.7) + (0.8 - 0.6)) / 2)
    assert m.forgetting(after=1) == pytest.approx(0.3) and np.isnan(m.forgetting(after=0))
    assert m.backward_transfer() == pytest.approx(((0.7 - 0.9) + (0.6 - 0.8)) / 2)
    assert m.forward_transfer() == pytest.approx(((0.3 - 0.2) + (0.5 - 0.1)) / 2)


def test_a_loss_that_falls_is_the_same_gain_as_a_score_that_rises() -> None:
    up, down = hand_made(), hand_made(higher=False)
    for name in ("forgetting", "backward_transfer", "forward_transfer"):
        assert up.summary()[name] == pytest.approx(down.summary()[name])
    assert up.average() == pytest.approx(-down.average())


def test_forgetting_looks_for_the_best_since_it_was_learned() -> None:
    values = np.array([[0.2, 0.9, 0], [0.6, 0.5, 0], [0.1, 0.5, 0.3]])
    m = EvaluationMatrix("x", values, np.zeros(3), True)
    assert m.forgetting() == pytest.approx((0.5 + 0.0) / 2)  # task 0 was best after task 1; 0.9 was not task 1's yet
    assert np.isnan(EvaluationMatrix("x", np.ones((1, 1)), np.zeros(1)).backward_transfer())
    with pytest.raises(InputError, match="expected"):
        EvaluationMatrix("x", np.zeros((2, 3)), np.zeros(2))


def test_the_spread_over_runs() -> None:
    runs = [{"average": 1.0}, {"average": 2.0}, {"average": 6.0}]
    assert spread(runs)["average"] == pytest.approx((3.0, np.sqrt(7.0)))
    assert np.isnan(spread(runs[:1])["average"][1])


def test_the_reservoir_is_a_uniform_sample_of_all_that_passed() -> None:
    runs, capacity, passed = 1500, 4, 20
    kept, pairs = np.zeros(passed), np.zeros((passed, passed))
    for seed in range(runs):
        reservoir: Reservoir[int] = Reservoir(capacity, seed=seed)
        for i in range(passed):
            reservoir.add(i)
        assert len(set(reservoir.items)) == len(reservoir) == capacity and reservoir.seen == passed
        kept[reservoir.items] += 1
        pairs[np.ix_(reservoir.items, reservoir.items)] += 1
    p = capacity / passed
    assert np.abs(kept - runs * p).max() < 4.5 * np.sqrt(runs * p * (1 - p))
    q = p * (capacity - 1) / (passed - 1)  # and so are the pairs
    upper = pairs[np.triu_indices(passed, 1)]
    assert np.abs(upper - runs * q).max() < 5 * np.sqrt(runs * q * (1 - q))


def test_draws_do_not_repeat_and_a_capacity_is_needed() -> None:
    reservoir: Reservoir[int] = Reservoir(6)
    for i in range(6):
        reservoir.add(i)
    assert sorted(reservoir.draw(10)) == list(range(6)) and len(set(reservoir.draw(3))) == 3
    with pytest.raises(InputError, match="at least 1"):
        Reservoir(0)
