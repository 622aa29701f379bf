"""From run folders to a results file and a table; what does not belong together is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventflow.bench import _results_table
from eventflow.bench._results import KINDS, run, write_results
from eventflow.bench._results_table import BEGIN, END, readme_with_table, table
from eventflow.errors import InputError


def report(seed: int, nll: float, **changes: Any) -> dict[str, Any]:
    metrics = {name: nll for name in KINDS["PointProcessTask"].metrics} | {"scored_events": 5}
    config = {"seed_everything": seed, "data": {"init_args": {"name": "taxi"}}, "model": {}}
    plain = {"model": "nhp", "data": "taxi", "split": "test", "seed": seed, "metrics": metrics, "config": config}
    origin = {"commit": "abc", "date": "today", "machine": "this", "baselines": {"Poisson": {"nll_per_event": 1.23456}}}
    return {**plain, **origin, **changes}


def test_a_results_file_has_mean_and_deviation(tmp_path: Path) -> None:
    path = tmp_path / "taxi.yaml"
    path.write_text(yaml.safe_dump({"theirs": [{"model": "NHP", "source": "a paper"}]}))
    write_results(path, [report(0, 1.0), report(1, 2.0), report(2, 3.0)])
    content = yaml.safe_load(path.read_text())
    assert content["theirs"] == [{"model": "NHP", "source": "a paper"}]
    assert content["ours"]["metrics"]["nll_per_event"] == {"mean": 2.0, "std": 1.0}
    assert content["ours"]["seeds"] == [0, 1, 2] and "seed_everything" not in content["ours"]["config"]
    assert content["baselines"] == {"Poisson": {"nll_per_event": 1.2346}}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (report(0, 2.0), "a run for each seed"),
        (report(1, 2.0, model="rmtpp"), "differ in more than their seed"),
        (report(1, 2.0, config={"seed_everything": 1, "data": {}}), "differ in more than their seed"),
    ],
)
def test_runs_that_do_not_belong_together(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_results(tmp_path / "taxi.yaml", [report(0, 1.0), second])
    assert not (tmp_path / "taxi.yaml").exists()


def test_the_command_reads_run_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(report(seed, 1.5)))
    run(tmp_path / "out.yaml", runs=folders)
    assert yaml.safe_load((tmp_path / "out.yaml").read_text())["ours"]["seeds"] == [0, 1]
    assert capsys.readouterr().out.startswith("| taxi | exact nll/event |")
    (folders[1] / "metrics.json").unlink()
    with pytest.raises(InputError, match="eventflow test --ckpt_path"):
        run(tmp_path / "out.yaml", runs=folders)


def test_only_the_table_of_a_readme_changes() -> None:
    text = readme_with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert text.startswith(f"before\n{BEGIN}\n| taxi |") and text.endswith(f"\n{END}\nafter\n") and "old" not in text
    with pytest.raises(InputError, match="no table"):
        readme_with_table("nothing here")


def test_best_first_others_below_and_of_trivial_baselines_those_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def content(nll: float) -> dict[str, Any]:
        metrics = {name: {"mean": nll, "std": 0.1} for name in KINDS["PointProcessTask"].metrics}
        return {"ours": {"metrics": metrics, "seeds": [0, 1], "commit": "abc"}, "theirs": theirs, "baselines": trivial}

    trivial = {
        "best nll": {"nll_per_event": 1.0, "accuracy": 0.1}, "nothing": {"nll_per_event": 2.0, "accuracy": 0.2},
        "best accuracy": {"accuracy": 0.3},
    }  # fmt: skip
    theirs = [{"model": "THEIRS", "easytpp_nll_per_event": 0.25, "source": "a paper"}]
    files = {"PointProcessTask": {"taxi": [("a", content(3.0)), ("b", {"theirs": theirs}), ("c", content(-1.0))]}}
    monkeypatch.setattr(_results_table, "found", lambda: files)
    lines = table().splitlines()
    first = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("|")]
    assert first == ["taxi", "---", "best nll", "best accuracy", "**c**", "THEIRS", "**a**", "THEIRS", "THEIRS"]
    assert lines[5] == "| THEIRS |  | 0.250 |  |  |  | [1] |" and lines[4].startswith("| **c** | -1.0000 ± 0.1000 |")
    assert lines[-1] == "[1] a paper"


def test_agents_have_a_command_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="eventflow bench learn --model stream_q"):
        write_results(tmp_path / "cartpole.yaml", [report(0, 1.0, model="stream_q")])


def test_results_of_a_model_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nph"):
        write_results(tmp_path / "taxi.yaml", [report(0, 1.0, model="nph")])
