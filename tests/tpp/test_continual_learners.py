"""Learners: one contract; buffers that are uniform, penalties that pull where and as hard as they say."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.tpp import Hawkes, Poisson
from eventflow.tpp.continual import (
    CLSER,
    EWC,
    MAS,
    Anchor,
    ContinualLearner,
    FineTune,
    Plateaus,
    PretrainOnly,
    ProtoCL,
    Replay,
    Retrain,
    Steps,
    Task,
    TaskFreeMAS,
    cut_at,
    cut_by_time,
    evaluate,
    fisher,
    prequential_blocks,
    sensitivity,
    task_log_prob,
    through_tasks,
    whole,
)
from eventflow.tpp.continual._tasks import together

KINDS = [PretrainOnly, Retrain, FineTune, Replay, EWC, MAS, TaskFreeMAS, CLSER, ProtoCL]
QUICK = Steps(epochs=2, batch_size=8, lr=0.05)


@functools.cache
def two_faced(*, sequences: int = 16, seed: int = 0) -> Events:
    """Mark 0 four times a unit of time until 5, then half a time a unit; mark 1 the other way round."""
    law = Poisson(2, rate=[[4.0, 0.5], [0.5, 4.0]], edges=[5.0])
    generator = torch.Generator().manual_seed(seed)
    return law.simulate(span=(0.0, 10.0), num_sequences=sequences, generator=generator, schema=Schema(num_marks=2))


def some(n: int = 4) -> Task:
    rng = np.random.default_rng(3)
    parts = [{"t": np.sort(rng.uniform(0, 4, m)), "mark": rng.integers(0, 2, m)} for m in (3, 0, 5, 2)[:n]]
    return whole(Events.from_sequences(parts, span=(0.0, 4.0), schema=Schema(num_marks=2)))


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# -- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_learner_keeps_the_contract(kind: Any) -> None:
    start = Poisson(2)
    before = parameters(start).clone()
    tasks = cut_at(two_faced(sequences=9), [5.0])
    found = []
    for _ in range(2):
        learner = kind(start, steps=QUICK)
        assert isinstance(learner, ContinualLearner)
        for task in tasks:
            learner.learn(task)
        found.append(parameters(learner.model))
    assert torch.equal(parameters(start), before)  # a copy learns
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], before)  # the seed decides everything


def test_fine_tuning_is_adam_on_the_nll_of_the_average_sequence() -> None:
    task, steps = some(), Steps(epochs=3, batch_size=10, lr=0.1)
    learner = FineTune(Poisson(2), steps=steps)
    learner.learn(task)
    by_hand = Poisson(2)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.1)
    for _ in range(3):
        loss = -by_hand.log_prob(task.events).sum() / 10  # 4 sequences of 2.5 events
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(parameters(learner.model), parameters(by_hand))


def test_pretrain_only_stays_where_the_first_task_left_it() -> None:
    first, second = cut_at(two_faced(), [5.0])
    frozen, tuned = PretrainOnly(Poisson(2), steps=QUICK), FineTune(Poisson(2), steps=QUICK)
    frozen.learn(first)
    tuned.learn(first)
    after_first = parameters(frozen.model).clone()
    assert torch.equal(after_first, parameters(tuned.model))
    frozen.learn(second)
    assert torch.equal(parameters(frozen.model), after_first)


def test_retraining_does_not_know_in_how_many_pieces_the_data_came() -> None:
    tasks = cut_at(two_faced(), [5.0])
    again, once = Retrain(Poisson(2), steps=QUICK), FineTune(Poisson(2), steps=QUICK)
    for task in tasks:
        again.learn(task)
    once.learn(together(tasks))
    assert torch.equal(parameters(again.model), parameters(once.model))
    both = task_log_prob(again.model, together(tasks)).sum().item()
    assert both == pytest.approx(sum(task_log_prob(again.model, task).sum().item() for task in tasks), rel=1e-6)


# -- buffers ----------------------------------------------------------------------------------------------------------


def test_replay_adds_each_sequence_once_and_learns_what_is_new_together_with_the_past() -> None:
    first, second = cut_at(two_faced(sequences=10), [5.0])
    learner = Replay(Poisson(2), capacity=50, steps=QUICK)
    learner.learn(first)
    assert learner.buffer.seen == 10  # two epochs
    learner.learn(second)
    assert learner.buffer.seen == 20
    spans = [item.span for item in learner.buffer.items]
    assert spans.count((0.0, 5.0)) == spans.count((5.0, 10.0)) == 10
    shown = second.take([0, 1, 2])
    alone, draws = FineTune(learner.model, steps=QUICK), copy.deepcopy(learner.buffer)
    drawn = draws.draw(3)
    expected = -sum(task_log_prob(learner.model, item).sum() for item in drawn) / sum(i.num_scored for i in drawn)
    torch.testing.assert_close(learner._loss(shown, 7.0) - alone._loss(shown, 7.0), expected)


# -- importance and anchors -------------------------------------------------------------------------------------------


def test_the_fisher_information_is_the_mean_squared_score() -> None:
    task = some()
    poisson = Poisson(2, rate=[0.7, 0.4])
    counts = np.array([np.bincount(part.marks["mark"], minlength=2) for part in task.events])
    closed = ((counts - np.array([0.7, 0.4]) * 4.0) ** 2).mean(0)  # d log p / d log r = n - r T
    np.testing.assert_allclose(fisher(poisson, task)["log_rate"][0], closed, rtol=1e-5)

    hawkes = Hawkes(2, mu=[0.3, 0.2], alpha=[[0.4, 0.1], [0.2, 0.3]], beta=1.1).double()
    found = fisher(hawkes, task.take([0, 1, 3]))
    for name, parameter in hawkes.named_parameters():
        squares = []
        for i in (0, 1, 3):
            slope = torch.zeros_like(parameter)
            for k in range(parameter.numel()):
                sides = []
                for step in (1e-5, -1e-5):
                    moved = copy.deepcopy(hawkes)
                    with torch.no_grad():
                        dict(moved.named_parameters())[name].view(-1)[k] += step
                        sides.append(moved.log_prob(task.events[i]).item())
                slope.view(-1)[k] = (sides[0] - sides[1]) / 2e-5
            squares.append(slope**2)
        torch.testing.assert_close(found[name], torch.stack(squares).mean(0), rtol=1e-5, atol=1e-8)


def test_the_sensitivity_is_the_gradient_of_the_squared_output_and_needs_no_label() -> None:
    task, model = some(), Poisson(2, rate=[0.7, 0.4], time_scale=2.0)
    expected = np.abs(2 * np.log(np.array([1.4, 0.8])))  # of (log r)^2, in units of time_scale, at every event
    np.testing.assert_allclose(sensitivity(model, task)["log_rate"][0], expected, rtol=1e-5)
    other = Task(
        Events.of(
            task.events.t, offsets=task.events.offsets, span=task.events.span, mark=1 - task.events.marks["mark"],
            schema=task.events.schema,
        ), task.since, task.given, task.span,
    )  # fmt: skip
    torch.testing.assert_close(sensitivity(model, other), sensitivity(model, task))
    with pytest.raises(InputError, match="no scored event"):
        sensitivity(model, task.take([1]))


def test_one_anchor_pulls_as_all_the_wells_together() -> None:
    model, generator = Hawkes(2), torch.Generator().manual_seed(0)

    def drawn() -> dict[str, torch.Tensor]:
        return {n: torch.rand(p.shape, generator=generator) for n, p in model.named_parameters()}

    wells = [(drawn(), drawn()) for _ in range(4)]
    wells[1][0]["log_mu"].zero_()  # a well may be flat
    anchor = Anchor.empty(model)
    assert anchor.penalty(model).item() == 0
    for weight, centre in wells:
        anchor = anchor.plus(weight, centre)
    seen = torch.autograd.grad(anchor.penalty(model), list(model.parameters()))
    apart = [w[n] * (p - c[n]) ** 2 for w, c in wells for n, p in model.named_parameters()]
    expected = torch.autograd.grad(torch.stack([part.sum() for part in apart]).sum(), list(model.parameters()))
    torch.testing.assert_close(seen, expected)


def test_ewc_pulls_to_the_anchor_with_the_fisher_weights() -> None:
    first, second = cut_at(two_faced(), [5.0])
    learner = EWC(Poisson(2), strength=3.0, steps=QUICK)
    learner.learn(first)
    model = learner.model
    weight, centre = fisher(model, first)["log_rate"], parameters(model).view(1, 2).clone()
    with torch.no_grad():
        model.log_rate += torch.tensor([[0.2, -0.1]])  # type: ignore[operator]
    (pull,) = torch.autograd.grad(learner.penalty(), list(model.parameters()))
    torch.testing.assert_close(pull, 3.0 * weight * (parameters(model).view(1, 2) - centre))
    latest = EWC(Poisson(2), keep="latest", decay=0.5, steps=QUICK)
    latest.learn(first)
    old = latest.anchor.weight["log_rate"]
    latest.learn(second)
    torch.testing.assert_close(latest.anchor.weight["log_rate"], 0.5 * old + fisher(latest.model, second)["log_rate"])
    torch.testing.assert_close(latest.anchor.centre["log_rate"].flatten(), parameters(latest.model))


def test_mas_adds_importances_around_the_latest_parameters() -> None:
    first, second = cut_at(two_faced(), [5.0])
    learner = MAS(Poisson(2), strength=2.0, steps=QUICK)
    learner.learn(first)
    old = learner.anchor.weight["log_rate"]
    torch.testing.assert_close(old, sensitivity(learner.model, first)["log_rate"])
    learner.learn(second)
    torch.testing.assert_close(learner.anchor.weight["log_rate"], old + sensitivity(learner.model, second)["log_rate"])
    assert learner.penalty().item() == 0  # at the anchor
    with torch.no_grad():
        learner.model.log_rate += 0.5  # type: ignore[operator]
    assert learner.penalty().item() == pytest.approx(2.0 * 0.25 * learner.anchor.weight["log_rate"].sum().item())


def test_a_strong_anchor_holds_and_none_is_fine_tuning() -> None:
    tasks = cut_at(two_faced(), [5.0])
    moved = {}
    for strength in (0.0, 100.0):
        learner = EWC(Poisson(2), strength=strength, steps=QUICK)
        learner.learn(tasks[0])
        start = parameters(learner.model).clone()
        learner.learn(tasks[1])
        moved[strength] = (parameters(learner.model) - start).norm().item()
        if strength == 0:
            tuned = FineTune(Poisson(2), steps=QUICK)
            for task in tasks:
                tuned.learn(task)
            torch.testing.assert_close(parameters(tuned.model), parameters(learner.model))
    assert moved[100.0] < 0.3 * moved[0.0]


# -- without task boundaries ------------------------------------------------------------------------------------------


def test_a_plateau_counts_once_and_again_only_after_a_rise() -> None:
    plateaus = Plateaus(3, 0.1)
    falling = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert not any(plateaus.reached(x) for x in falling)
    assert [plateaus.reached(x) for x in (1.0, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0)] == [False, True] + [False] * 5
    assert [plateaus.reached(x) for x in (3.0, 3.0, 3.0)] == [False, False, True]  # the rise, then rest
    with pytest.raises(InputError, match="window >= 2"):
        Plateaus(1, 0.1)


def test_task_free_mas_keeps_the_hardest_and_averages_over_plateaus() -> None:
    learner = TaskFreeMAS(Poisson(2), hard=2, window=2, deviation=1e9, steps=Steps(batch_size=4, lr=1e-6))
    task = some()
    learner.learn(task)
    assert learner.buffer is not None
    hardest = np.sort(-task_log_prob(learner.model, task).detach().numpy())[-2:]
    kept = np.sort(-task_log_prob(learner.model, learner.buffer).detach().numpy())
    np.testing.assert_allclose(kept, hardest, rtol=1e-4)
    assert learner.plateaus == 0  # one loss is no window
    learner.learn(task)
    assert learner.plateaus == 1
    once = learner.anchor.weight["log_rate"].clone()
    torch.testing.assert_close(once, sensitivity(learner.model, learner.buffer)["log_rate"], rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        learner.model.log_rate += 1.0  # type: ignore[operator]
    centre, new = parameters(learner.model).clone(), sensitivity(learner.model, learner.buffer)["log_rate"]
    learner._consolidate()
    torch.testing.assert_close(learner.anchor.weight["log_rate"], (once + new) / 2)
    torch.testing.assert_close(learner.anchor.centre["log_rate"].flatten(), centre)


# -- complementary memories -------------------------------------------------------------------------------------------


def test_cls_er_memories_are_moving_averages_of_the_working_model() -> None:
    learner = CLSER(Poisson(2), rates=(1.0, 1.0), decays=(0.6, 0.9), steps=Steps(batch_size=4, lr=0.1))
    task = cut_at(two_faced(), [5.0])[0]
    plastic = stable = parameters(Poisson(2))
    for n in range(4):
        learner._step(task.take(range(4 * n, 4 * n + 4)), 20.0)
        working = parameters(learner._model)
        for decay in (0.6, 0.9):
            alpha = min(1 - 1 / (n + 2), decay)
            if decay == 0.6:
                plastic = alpha * plastic + (1 - alpha) * working
            else:
                stable = alpha * stable + (1 - alpha) * working
        torch.testing.assert_close(parameters(learner.plastic), plastic)
        torch.testing.assert_close(parameters(learner.model), stable)
    assert learner.model is learner.stable


def test_cls_er_keeps_to_the_memory_that_knew_better() -> None:
    learner, past = CLSER(Poisson(2), consistency=2.0), some(1)
    bare = Replay(Poisson(2))
    assert learner._replayed(past).item() == pytest.approx(bare._replayed(past).item())  # all agree
    with torch.no_grad():
        learner.plastic.log_rate.copy_(torch.tensor([[1.0, -3.0]]))  # type: ignore[union-attr]
        learner.stable.log_rate.copy_(torch.tensor([[-3.0, 1.0]]))  # type: ignore[union-attr]
    said = parameters(learner._model)
    better = torch.tensor([[1.0, -3.0], [-3.0, 1.0]])[torch.from_numpy(past.events.marks["mark"])]
    expected = 2.0 * ((said - better) ** 2).mean().item()
    assert learner._replayed(past).item() - bare._replayed(past).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="the plastic memory's rate"):
        CLSER(Poisson(2), rates=(0.5, 0.9))


# -- the harness ------------------------------------------------------------------------------------------------------


def test_the_matrix_has_rows_of_time_and_columns_of_tasks() -> None:
    tasks, tests = cut_at(two_faced(), [5.0]), cut_at(two_faced(seed=1), [5.0])
    found = through_tasks(FineTune(Poisson(2), steps=QUICK), tasks, tests)
    again = FineTune(Poisson(2), steps=QUICK)
    rows = [[evaluate(again.model, test) for test in tests]]
    for task in tasks:
        again.learn(task)
        rows.append([evaluate(again.model, test) for test in tests])
    for name, matrix in found.items():
        assert matrix.metric == name and matrix.higher_is_better == (name == "mark_accuracy")
        np.testing.assert_array_equal(matrix.start, [cell[name] for cell in rows[0]])
        np.testing.assert_array_equal(matrix.values, [[cell[name] for cell in row] for row in rows[1:]])
    with pytest.raises(InputError, match="2 tasks to learn, 1 to judge by"):
        through_tasks(again, tasks, tests[:1])


def test_fine_tuning_forgets_what_replay_and_retraining_remember() -> None:
    steps = Steps(epochs=12, batch_size=8, lr=0.1)
    tasks, tests = cut_at(two_faced(), [5.0]), cut_at(two_faced(seed=1), [5.0])
    found: dict[str, Any] = {}
    for kind in (PretrainOnly, FineTune, Replay, Retrain):
        found[kind.__name__] = through_tasks(kind(Poisson(2), steps=steps), tasks, tests)["nll_per_event"]
    forgotten = {name: matrix.forgetting() for name, matrix in found.items()}
    assert forgotten["FineTune"] > forgotten["Replay"] + 0.3 > 0.3 and forgotten["PretrainOnly"] == 0
    assert found["FineTune"].backward_transfer() == pytest.approx(-forgotten["FineTune"])
    averages = {name: matrix.average() for name, matrix in found.items()}
    assert averages["Retrain"] < averages["Replay"] + 0.02 < min(averages["FineTune"], averages["PretrainOnly"])


def test_a_block_is_judged_before_it_is_learned() -> None:
    blocks = cut_by_time(two_faced(sequences=8), 4)
    curve = list(prequential_blocks(FineTune(Poisson(2), steps=QUICK), blocks))
    again = FineTune(Poisson(2), steps=QUICK)
    for block, point in zip(blocks, curve, strict=True):
        assert point.values == evaluate(again.model, block)
        assert point.span == block.span and point.scored == block.num_scored
        again.learn(block)
    assert [point.number for point in curve] == [0, 1, 2, 3]


def test_silence_is_learned_from_but_not_judged() -> None:
    events = Events.of([0.5, 0.7, 3.5], mark=[0, 1, 0], span=(0.0, 4.0), schema=Schema(num_marks=2))
    learner = FineTune(Poisson(2), steps=QUICK)
    seen = []
    for point in prequential_blocks(learner, cut_by_time(events, 4)):
        seen.append((point.number, parameters(learner.model).sum().item()))
    assert [number for number, _ in seen] == [0, 3]
    deaf = FineTune(Poisson(2), steps=QUICK)
    deaf.learn(cut_by_time(events, 4)[0])
    assert seen[1][1] < parameters(deaf.model).sum().item() - 0.05  # two silent blocks brought the rates down


def test_settings_that_mean_nothing_are_refused() -> None:
    for make in (lambda: Steps(epochs=0), lambda: Steps(batch_size=0), lambda: Steps(lr=0.0)):
        with pytest.raises(InputError, match="expected epochs >= 1"):
            make()
    with pytest.raises(InputError, match="did you mean 'latest'"):
        EWC(Poisson(2), keep="lates")
    with pytest.raises(InputError, match="expected at least 0"):
        MAS(Poisson(2), strength=-1.0)
