"""ProtoCL: Bayes' rule, whatever the order and the pieces; the times stay those of the base."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.testing import check_point_process
from eventflow.tpp import Hawkes, Poisson
from eventflow.tpp.continual import (
    FineTune,
    ProtoCL,
    PrototypeMarks,
    Steps,
    Task,
    make_learner,
    parse_learner,
    task_log_prob,
    whole,
)
from eventflow.tpp.continual._prototypes import Seen


def a_task(*, sequences: int = 6, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 8, sequences)
    parts = [{"t": np.sort(rng.uniform(0, 5, n)), "mark": rng.integers(0, 3, n)} for n in counts]
    return whole(Events.from_sequences(parts, span=(0.0, 5.0), schema=Schema(num_marks=3)))


def a_base() -> Hawkes:
    return Hawkes(3, mu=[0.2, 0.4, 0.1], alpha=[[0.3, 0.1, 0], [0, 0.2, 0.4], [0.1, 0, 0.5]], beta=1.5).double()


def experienced() -> PrototypeMarks:
    model = PrototypeMarks(a_base(), concentration=0.5, precision=2.0)
    generator = torch.Generator().manual_seed(1)
    model.remember(Seen(torch.tensor([5.0, 2.0, 0.0]).double(), torch.randn(3, 3, generator=generator).double()))
    with torch.no_grad():
        model.log_noise.copy_(torch.tensor([0.3, -0.5, 0.1]))
    return model


def test_a_mark_is_told_by_bayes_rule() -> None:
    model, z = experienced(), torch.tensor([0.4, -0.1, -0.3]).double()
    joint = []
    for j in range(3):
        noise = model.log_noise[j].exp()
        precision = 2.0 + model.count[j] / noise
        mean = model.total[j] / noise / precision
        predicted = torch.distributions.Normal(mean, (1 / precision + noise).sqrt())
        joint.append((0.5 + model.count[j]) / 8.5 * predicted.log_prob(z).sum().exp())
    expected = torch.stack(joint) / torch.stack(joint).sum()
    torch.testing.assert_close(model.log_mark_probs(z).exp(), expected)


def test_the_posterior_is_the_same_in_one_piece_in_many_and_in_any_order() -> None:
    model, task = experienced(), a_task()
    once = model.embedded(task.batch(dtype=torch.float64))
    pieces = [model.embedded(task.take([i]).batch(dtype=torch.float64)) for i in (4, 0, 5, 2, 1, 3)]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total.plus(piece)
    torch.testing.assert_close(total, once)
    assert once.events.sum() == task.num_scored
    torch.testing.assert_close(once.total.sum(-1), torch.zeros(3).double(), atol=1e-9, rtol=0)  # z is centred


def test_times_are_the_bases_and_the_contract_is_kept() -> None:
    model = experienced()
    check_point_process(model)
    events = a_task().events
    state = model.base.encode(whole(events).batch(dtype=torch.float64).padded)
    u = torch.full_like(state.elapsed, 0.7)
    torch.testing.assert_close(model._intensity(state, u).sum(-1), model.base._intensity(state, u).sum(-1))


def test_every_event_counts_once_whatever_the_epochs() -> None:
    tasks = [a_task(seed=seed) for seed in (1, 2)]
    learner = ProtoCL(a_base(), steps=Steps(epochs=3, batch_size=4, lr=0.01))
    for task in tasks:
        learner.learn(task)
    marks = np.concatenate([task.events.marks["mark"] for task in tasks])
    assert learner.model.seen().events.tolist() == np.bincount(marks, minlength=3).tolist()
    now = learner.model.embedded(tasks[1].batch(dtype=torch.float64))
    before = learner._finished
    torch.testing.assert_close(learner.model.seen(), before.plus(now))  # under the embedding as it is at the end


def test_prototypes_learn_marks_about_as_well_as_the_base_does() -> None:
    rng = np.random.default_rng(0)
    parts = [{"t": np.sort(rng.uniform(0, 10, 20)), "mark": np.arange(20) % 2} for _ in range(16)]
    task = whole(Events.from_sequences(parts, span=(0.0, 10.0), schema=Schema(num_marks=2)))
    base = Hawkes(2, mu=[1.0, 1.0], alpha=[[0.0, 0.8], [0.8, 0.0]], beta=3.0)
    learner = ProtoCL(base, capacity=0, steps=Steps(epochs=5, batch_size=8, lr=0.1))
    before = task_log_prob(learner.model, task).sum()
    learner.learn(task)
    tuned = FineTune(base, steps=learner.steps)
    tuned.learn(task)
    after, plain = task_log_prob(learner.model, task).sum(), task_log_prob(tuned.model, task).sum()
    assert after > before + 20 and after > plain - 0.05 * plain.abs(), (before, after, plain)
    assert len(learner.buffer) > 0 and learner._past(4) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("finetune", "did you mean 'fine-tune'"),
        ("replay:capacty=3", "did you mean 'capacity'"),
        ("fine-tune:rate=3", "it takes none"),
        ("ewc:strength=-1", "at least 0"),
        ("protocl:capacity=-1", "at least 0"),
        ("protocl:precision=0", "numbers above 0"),
    ],
)
def test_learners_by_name_refuse_what_they_do_not_know(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_learner(word, Poisson(3))


def test_learners_by_name_take_their_arguments() -> None:
    assert parse_learner("ewc:strength=2.5,keep=latest") == ("ewc", {"strength": 2.5, "keep": "latest"})
    learner = make_learner("replay:capacity=7", Poisson(3), steps=Steps(seed=3))
    assert learner.buffer.capacity == 7 and learner.steps.seed == 3  # type: ignore[attr-defined]
