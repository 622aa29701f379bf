"""Datasets that drift: the simulated one is what its law makes, the days of Taobao are days."""

from __future__ import annotations

import filecmp
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import torch

from eventflow.cli import main
from eventflow.errors import InputError
from eventflow.io import card, load_dataset
from eventflow.tpp import Hawkes, Truth, ks_exponential, time_rescaling_residuals, truth
from eventflow.tpp.continual import DriftingHawkes, cut_by_time, evaluate, load_tasks, task_log_prob


@pytest.fixture(scope="module")
def law() -> Truth:
    return truth("hawkes_drift")


def test_the_command_writes_the_sample_byte_for_byte(tmp_path: Path) -> None:
    assert main(["data", "simulate", "hawkes_drift", str(tmp_path / "again")]) == 0
    for split in ("train", "val", "test"):
        sample = card("hawkes_drift").folder / f"sample.{split}.parquet"
        assert filecmp.cmp(sample, tmp_path / "again" / f"{split}.parquet", shallow=False)


@torch.no_grad()
def test_the_truth_is_the_law_of_the_data(law: Truth) -> None:
    for split, events in load_dataset("hawkes_drift").items():
        nll = -law.process.log_prob(events).sum().item() / events.num_scored
        assert nll == pytest.approx(card("hawkes_drift").truth["nll_per_event"][split], abs=2e-6)
        assert ks_exponential(time_rescaling_residuals(law.process, events)).p_value > 1e-3


def test_a_law_that_comes_back_is_the_same_law(law: Truth) -> None:
    faces = card("hawkes_drift").truth["faces"]
    assert isinstance(law.process, DriftingHawkes)
    mu, alpha = law.process.mu, law.process.alpha
    for i, a in enumerate(faces):
        for j, b in enumerate(faces):
            same = torch.equal(mu[i], mu[j]) and torch.equal(alpha[i], alpha[j])
            assert same == (a == b)
    radius = torch.linalg.eigvals(alpha / law.process.beta).abs().amax(1)
    torch.testing.assert_close(radius[[0, 2, 5]], torch.tensor([0.2, 0.6525, 0.05]).double(), atol=1e-3, rtol=0)


@torch.no_grad()
def test_tasks_come_from_the_card_and_sum_to_the_whole(law: Truth) -> None:
    tasks = load_tasks("hawkes_drift", splits=["test"])["test"]
    test = load_dataset("hawkes_drift")["test"]
    assert [task.span for task in tasks] == [(100.0 * i, 100.0 * (i + 1)) for i in range(10)]
    assert [task.num_scored for task in tasks] == [task.num_scored for task in cut_by_time(test, 10)]
    total = sum(task_log_prob(law.process, task).sum().item() for task in tasks)
    assert total == pytest.approx(law.process.log_prob(test).sum().item(), abs=1e-8)
    alone = load_tasks("hawkes_drift", splits=["test"], history="none")["test"]
    assert alone[3].events.span.min() == 300 and tasks[3].events.span.min() == 0


def test_each_task_is_known_better_by_its_own_law_than_by_another_ones(law: Truth) -> None:
    """So that there is something to forget: the oracle of the first face loses on B (2) and C (5)."""
    assert isinstance(law.process, DriftingHawkes)
    mu, alpha = (p[0].tolist() for p in (law.process.mu, law.process.alpha))
    first = Hawkes(3, mu=mu, alpha=alpha, beta=1.0)
    tasks = load_tasks("hawkes_drift", splits=["train"])["train"]
    lost = [
        evaluate(first, task)["nll_per_event"] - evaluate(law.process, task)["nll_per_event"]
        for task in (tasks[0], tasks[2], tasks[5])
    ]
    assert lost[0] == pytest.approx(0, abs=1e-5) and min(lost[1:]) > 0.1


def test_without_a_rule_on_the_card_there_is_the_line_to_write() -> None:
    with pytest.raises(InputError, match="Those that do: hawkes_drift, taobao_days.*cut_by_time"):
        load_tasks("hawkes")


def test_the_days_of_taobao(data_root: Path) -> None:
    tasks = load_tasks("taobao_days")
    zone = 8 * 3600
    for split, days in tasks.items():
        assert sum(day.num_scored for day in days) == load_dataset("taobao_days", splits=[split])[split].num_scored
        assert len(days) == 9
        for number, day in enumerate(days):
            t = np.asarray(day.events.t[day.scored]) * 1e4 + zone
            dates = {datetime.fromtimestamp(x, timezone.utc).date().isoformat() for x in (t.min(), t.max())}
            expected = ["2017-11-25", *(f"2017-11-{d}" for d in range(26, 31)), *(f"2017-12-0{d}" for d in (1, 2, 3))]
            assert max(dates) == expected[number] and (number == 0 or dates == {expected[number]})
        ends = (tasks[split][0].span[1] * 1e4 + zone) % 86400
        assert min(ends, 86400 - ends) < 1e-3
    assert [day.num_scored for day in tasks["train"]] == [22319, 13793, 8981, 7189, 5715, 5417, 4282, 3674, 2561]
