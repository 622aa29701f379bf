"""`eventflow bench continual`: what is done stays, mistakes are told before anything runs, three files say the same."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventflow.bench import _continual
from eventflow.bench.continual import _board, _cell, _jobs, _publish
from eventflow.errors import InputError
from eventflow.tpp.continual import EvaluationMatrix

pytest.importorskip("matplotlib", reason="pages need the extra 'viz'")

WORDS: dict[str, Any] = {
    "data": ["datasets/hawkes_drift"], "model": ["poisson"], "learner": ["fine-tune", "replay:capacity=3"],
    "sequences": 2, "epochs": 1, "blocks": 1, "lr": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "drift"
    _continual.run(**WORDS, seeds=(0, 1), orders=1, reorder=["fine-tune"], out=out)
    return out


def cells(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/*/*/*.json"))]


def test_three_files_tell_the_numbers_of_the_cells(made: Path) -> None:
    done = cells(made)
    assert len(done) == 2 * 2 + 1 and {cell["state"] for cell in done} == {"done"}
    own = [cell for cell in done if cell["asked"]["learner"] == "fine-tune" and not cell["asked"]["order"]]
    averages = [cell["summary"]["nll_per_event"]["average"] for cell in own]
    told = json.loads((made / "continual.json").read_text())["streams"]["hawkes_drift"]
    row = told["tables"]["Exact likelihood"]["poisson, fine-tune"]
    assert row["average"]["values"] == averages
    assert row["average"]["sd"] == pytest.approx(np.std(averages, ddof=1))
    oracle = np.mean(told["oracle"]["nll_per_event"])
    assert row["oracle_gap"]["mean"] == pytest.approx(np.mean(averages) - oracle)
    assert row["oracle_gap"]["mean"] > 0 and len(told["spans"]) == 10
    text, page = (made / "continual.md").read_text(), (made / "continual.html").read_text()
    for said in (text, page):
        assert f"{np.mean(averages):.4f}" in said and "replay:capacity=3" in said
    assert page.count("<svg") == 3 and not re.findall(r"<script|<link|@import|url\((?!#)|(?:src|href)=\"http", page)


def test_a_cell_holds_the_matrix_and_what_it_cost(made: Path) -> None:
    cell = next(cell for cell in cells(made) if cell["asked"]["learner"] == "fine-tune" and not cell["asked"]["order"])
    stored = cell["matrices"]["nll_per_event"]
    matrix = EvaluationMatrix("nll_per_event", np.array(stored["values"]), np.array(stored["start"]))
    assert matrix.summary() == pytest.approx(cell["summary"]["nll_per_event"])
    assert set(cell["matrices"]) == {"nll_per_event", "gap_rmse", "mark_accuracy"}
    assert cell["num_parameters"] == 3 and cell["train_cpu_s"] > 0 and cell["score_cpu_us"] > 0
    assert len(cell["state_bytes"]) == 11 and len(cell["prequential"]) == 10
    assert max(cell["state_bytes"]) < 1.01 * min(cell["state_bytes"][1:])  # fine-tuning keeps nothing but its counters
    buffered = next(c for c in cells(made) if "replay" in c["asked"]["learner"])["state_bytes"]
    assert buffered[1] > 1.1 * buffered[0]


def test_other_orders_are_the_same_for_all_and_judged_by_nll_alone(made: Path) -> None:
    one = json.loads((made / "cells/hawkes_drift/poisson/fine-tune/0-order-1.json").read_text())
    assert sorted(one["order"]) == list(range(10)) != one["order"] == _cell.order_of(1, 10)
    assert set(one["matrices"]) == {"nll_per_event"} and "prequential" not in one
    (stream,) = _board.board(made)
    table = stream.table(_board.ORDERS)
    assert [row.name for row in table.rows] == ["poisson, fine-tune"] and table.rows[0].note == "1 order"


def test_what_is_done_is_not_run_again_and_nothing_else_is_mixed_in(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.glob("cells/*/*/*/*.json")}
    _continual.run(**WORDS, seeds=(0,), out=made)
    assert before == {path: path.stat().st_mtime_ns for path in made.glob("cells/*/*/*/*.json")}
    with pytest.raises(InputError, match="epochs.* 1.* is now .*2"):
        _continual.run(**{**WORDS, "epochs": 2}, seeds=(0,), out=made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learner": ["finetune"]}, "did you mean 'fine-tune'"),
        ({"learner": ["ewc:strenght=2"]}, "did you mean 'strength'"),
        ({"learner": ["ewc:strength=-2"]}, "at least 0"),
        ({"learner": ["replay", "replay"]}, "twice"),
        ({"model": ["poison"]}, "did you mean 'poisson'"),
        ({"model": ["stream_q"]}, "no point process"),
        ({"data": ["hawkes"]}, "Give --tasks 10"),
        ({"data": ["hawkes_drfit"]}, "did you mean 'hawkes_drift'"),
        ({"tasks": 1}, "nothing can be forgotten.* Give --tasks 10"),
        ({"tasks": 400}, "no scored (training|test) event. Give fewer --tasks"),
        ({"orders": -1}, "at least 0"),
        ({"reorder": ["replay"], "orders": 3}, "not among --learner"),
        ({"reorder": ["fine-tune"]}, "Give --orders 10"),
        ({"as_large_as": "nhp"}, "not among --model"),
        ({"sequences": 0}, "at least 1"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"seeds": (1, 1)}, "different numbers"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _continual.run(**{**WORDS, **changes}, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_sessions_that_count_from_their_own_beginning_cannot_be_cut_by_time(tmp_path: Path, data_root: Path) -> None:
    with pytest.raises(InputError, match="begins with an event at t=0.0"):
        _continual.run(**{**WORDS, "data": ["taxi"], "tasks": 5}, out=tmp_path / "b")


def test_models_are_made_as_large_as_one_of_them() -> None:
    shared = {"tasks": None, "sequences": 2, "blocks": 1, "steps": {"epochs": 1}}
    jobs = _jobs.jobs_of(
        ["hawkes_drift"], ["nhp", "rmtpp"], ["fine-tune"], config=(), shared=shared, as_large_as="rmtpp"
    )
    stream = _cell.stream_of(jobs[0])
    plain, large = (_jobs._count(job["network"], stream) for job in jobs)
    assert abs(large - plain) < 0.1 * large


def test_a_failed_cell_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(job: Any, stream: Any) -> Any:
        raise RuntimeError("no such luck")

    check, learned = _jobs.new_learner, _cell.new_learner
    monkeypatch.setattr(_cell, "new_learner", lambda j, s: (break_down if "replay" in j["learner"] else learned)(j, s))
    assert check is learned
    with pytest.raises(SystemExit):
        _continual.run(**WORDS, seeds=(0,), out=tmp_path / "b")
    assert "1 of 2 cells failed" in capsys.readouterr().out
    page = (tmp_path / "b/continual.html").read_text()
    assert "Failed: poisson, replay:capacity=3: RuntimeError: no such luck" in page
    assert "Traceback" in (tmp_path / "b/cells/hawkes_drift/poisson/replay-capacity-3/0.log").read_text()


def test_results_become_a_file_a_picture_and_tables_of_the_page(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "datasets" / "continual.md"
    page.parent.mkdir()
    begin, end = (mark.format("hawkes_drift") for mark in (_publish.BEGIN, _publish.END))
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    monkeypatch.setattr(_publish, "ROOT", tmp_path)
    jobs = [{**cell["asked"], "out": str(made)} for cell in cells(made)]
    real = _publish.read_json
    monkeypatch.setattr(_publish, "read_json", lambda path: {**real(path), "commit": "abc+"})
    _publish.publish(made, jobs)
    assert not list(page.parent.glob("*/results/*")), "made from files that no commit holds"
    monkeypatch.setattr(_publish, "read_json", lambda path: {**real(path), "commit": "abc"})
    _publish.publish(made, jobs)
    told = yaml.safe_load((page.parent / "hawkes_drift/results/continual.yaml").read_text())
    assert told["commit"] == "abc" and told["seeds"] == [0, 1] and told["orders"] == 1
    row = told["ours"]["poisson, fine-tune"]["average"]
    assert math.isfinite(row["std"]) and f"{row['mean']:.4f} ± {row['std']:.4f}" in page.read_text()
    assert (page.parent / "hawkes_drift/results/continual.png").stat().st_size > 5000
    assert page.read_text().startswith("before\n") and page.read_text().endswith("after\n")
    assert "old" not in page.read_text().splitlines()
