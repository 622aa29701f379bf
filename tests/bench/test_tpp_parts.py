"""The rules of the table, the forms of a search space, and processes that die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eventflow.bench.leaderboard import _board, _executors, _text, _tune
from eventflow.bench.leaderboard._board import Dataset, Row, Spread
from eventflow.bench.leaderboard._jobs import train_speed
from eventflow.bench.leaderboard._store import alone
from eventflow.errors import InputError

NLL, ACC = "nll_per_event", "accuracy"


def row(name: str, mean: float, sd: float | None, kind: str = "ours", column: str = NLL) -> Row:
    return Row(name, kind, {column: Spread(mean, sd, (mean,))})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "bold"),
    [
        ([row("a", 1.0, 0.1), row("b", 1.3, 0.2)], "a"),
        ([row("a", 1.0, 0.1), row("b", 1.3, 0.4)], None),  # the spread of the second counts too
        ([row("a", 1.0, 0.4), row("b", 1.3, 0.1)], None),
        ([row("a", 1.0, None), row("b", 9.0, 0.1)], None),  # one seed says nothing
        ([row("a", 1.0, 0.1), row("t", 0.5, 0.0, "trivial")], "t"),  # a baseline may win
        ([row("a", 1.0, 0.1), row("b", 2.0, 0.1), row("p", 0.0, None, "published")], "a"),
        ([row("a", 1.0, 0.1)], None),
        ([row("a", float("nan"), None), row("b", 1.0, 0.1), row("c", 2.0, 0.1)], "b"),
        ([row("t", 1.0, 0.0, "trivial"), row("u", 1.0, 0.0, "trivial")], None),  # a tie
    ],
)
def test_bold_is_what_exceeds_the_spread(rows: list[Row], bold: str | None) -> None:
    assert _board.best(rows, NLL) == bold


def test_higher_is_better_for_accuracy_and_nobody_competes_in_speed() -> None:
    assert _board.best([row("a", 0.9, 0.01, column=ACC), row("b", 0.5, 0.01, column=ACC)], ACC) == "a"
    speed = "train_events_per_cpu_s"
    assert _board.best([row("a", 9.0, 0.01, column=speed), row("b", 5.0, 0.01, column=speed)], speed) is None


def test_deviation_is_the_sample_s() -> None:
    assert _board.spread([1.0, 3.0])[:2] == (2.0, pytest.approx(2**0.5))
    assert _board.spread([1.0]).sd is None and _board.spread([1.0, float("inf")]).sd is None


def test_missing_numbers_are_empty_cells_and_null() -> None:
    rows = [row("a", float("inf"), None), Row("p", "published", {ACC: Spread(0.5, None)}, "a paper")]
    text = _text.markdown([Dataset("d", {}, [], rows)], "made here")
    assert "| a | inf |  |" in text and "| p |  | 0.5000 | a paper |" in text
    assert _text._finite({"x": [float("nan"), 1.0]}) == {"x": [None, 1.0]}


def test_the_first_epoch_of_a_process_does_not_count_as_speed() -> None:
    spent = enumerate([(1, 50), (1, 1), (2, 70)])
    rows = [{"pid": pid, "epoch": epoch, "events": 100, "cpu_s": seconds} for epoch, (pid, seconds) in spent]
    assert train_speed(rows) == 100
    assert train_speed(rows[:1]) == 2 and train_speed([]) is None


@pytest.mark.parametrize(
    ("end", "told"), [("os.kill(os.getpid(), 9)", "signal 9"), ("os._exit(3)", "exit code 3"), ("print('done')", None)]
)
def test_a_process_that_dies_over_its_job_is_told(end: str, told: str | None) -> None:
    code = f"import os, sys; sys.stdin.readline(); {end}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    died = _executors._ask(process, {"kind": "cell"})
    assert died is None if told is None else died is not None and told in died
    process.communicate()


def test_one_bench_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(InputError, match="another"), alone(tmp_path):
        pass


ASKED = {
    "data": {"class_path": "eventflow.train.EventData", "init_args": {"name": "hawkes"}},
    "model": {
        "class_path": "eventflow.train.PointProcessTask",
        "init_args": {"network": {"class_path": "eventflow.tpp.RMTPP", "init_args": {"hidden_size": 32}}},
    },
}


def test_the_default_space_has_what_the_model_has() -> None:
    found = _tune.space("rmtpp", ASKED)
    assert "model.network.hidden_size" in found and "model.network.dropout" not in found


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.network.hiden_size": {"values": [1]}}, "did you mean 'hidden_size'"),
        ({"model.network.hidden_size": {"from": 1, "to": 2}}, "expected low, high"),
        ({"model.optimizer.lr": {"low": 1, "high": 0.1}}, "expected low < high"),
        ({"model.optimizer.lr": {"low": 0.0, "high": 0.1, "log": True}}, "low > 0"),
    ],
)
def test_a_wrong_space_is_refused(tmp_path: Path, space: dict, message: str) -> None:
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(ASKED["model"]))
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(space))
    with pytest.raises(InputError, match=message):
        _tune.space(str(tmp_path), ASKED)
