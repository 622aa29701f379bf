"""`eventflow bench tpp`: a tiny board; what is done stays, what was cut goes on, what fails is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventflow.bench import _tpp
from eventflow.bench.leaderboard import _plan, _store
from eventflow.errors import InputError

pytest.importorskip("matplotlib", reason="pages need the extra 'viz'")


def metrics(out: Path, model: str, seed: int, data: str = "hawkes") -> dict[str, Any]:
    return json.loads((out / "cells" / data / model / f"{seed}.json").read_text())["report"]["metrics"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "board"
    _tpp.run(data=["datasets/hawkes"], model=["models/poisson", "rmtpp"], seeds=(0, 1), max_epochs=2, out=out)
    return out


def test_three_files_tell_the_same_numbers(made: Path) -> None:
    told = json.loads((made / "leaderboard.json").read_text())["datasets"]["hawkes"]
    assert set(told["models"]) == {"poisson", "rmtpp"} and "renewal + Markov-2" in told["baselines"]
    rmtpp = told["models"]["rmtpp"]
    own = [metrics(made, "rmtpp", seed)["nll_per_event"] for seed in (0, 1)]
    assert rmtpp["seeds"] == [0, 1] and rmtpp["metrics"]["nll_per_event"]["values"] == own
    assert rmtpp["metrics"]["nll_per_event"]["mean"] == pytest.approx(sum(own) / 2)
    assert {"train_events_per_cpu_s", "eval_events_per_cpu_s", "num_parameters", "otd", "tmap"} <= set(rmtpp["metrics"])
    assert {"commit", "date", "machine", "epochs"} <= set(rmtpp["cells"]["0"])
    assert rmtpp["config"]["model"]["init_args"]["network"]["class_path"] == "eventflow.tpp.RMTPP"
    row = next(line for line in (made / "leaderboard.md").read_text().splitlines() if line.startswith("| rmtpp"))
    assert f"{sum(own) / 2:.4f} ± " in row and "2 seeds" in row
    page = (made / "leaderboard.html").read_text()
    assert f"{sum(own) / 2:.4f}" in page and page.count("<svg") == 3 and 'name="viewport"' in page
    assert not re.findall(r"<script|<link|@import|url\((?!#)|(?:src|href)=\"http", page)


def test_what_is_done_is_not_run_again(made: Path) -> None:
    results = sorted(made.glob("cells/*/*/*.json"))
    before = [(path, path.stat().st_mtime_ns) for path in results]
    _tpp.run(data=["hawkes"], model=["poisson", "rmtpp"], seeds=(0, 1), max_epochs=2, out=made)
    assert before == [(path, path.stat().st_mtime_ns) for path in results]


def test_another_configuration_is_refused(made: Path) -> None:
    with pytest.raises(InputError, match="max_epochs is 2 there, 3 here"):
        _tpp.run(data=["hawkes"], model=["rmtpp"], seeds=(0,), max_epochs=3, out=made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ["rmtp"]}, "did you mean 'rmtpp'"),
        ({"data": ["hawks"]}, "did you mean 'hawkes'"),
        ({"seeds": (1, 1)}, "different numbers"),
        ({"seeds": (-1,)}, "none below 0"),
        ({"max_epochs": 0}, "at least 1"),
        ({"workers": 0}, "at least 1"),
        ({"model": ["nhp", "models/nhp"]}, "twice"),
        ({"config": ["tpp/nhp_taxi"]}, "not among --model and --data"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _tpp.run(**{"data": ["hawkes"], "model": ["rmtpp"], "out": tmp_path / "b", **changes})
    assert not (tmp_path / "b").exists()


def test_a_misspelt_key_of_a_config_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"trainer": {"max_epoch": 3}}))
    with pytest.raises(InputError, match="did you mean 'max_epochs'"):
        _tpp.run(data=["hawkes"], model=["rmtpp"], config=[str(config)], out=tmp_path / "b")


def test_a_failed_cell_is_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "broken.yaml"
    network = {"class_path": "eventflow.tpp.RMTPP", "init_args": {"hidden_size": -3}}
    model = {"class_path": "eventflow.train.PointProcessTask", "init_args": {"network": network}}
    config.write_text(yaml.safe_dump({"model": model}))
    words: dict[str, Any] = {"data": ["hawkes"], "model": ["rmtpp", "poisson"], "seeds": (0,), "max_epochs": 1}
    with pytest.raises(SystemExit) as ended:
        _tpp.run(**words, config=[str(config)], out=tmp_path / "b")
    assert ended.value.code == 1 and "1 of 2 cells failed" in capsys.readouterr().out
    told = json.loads((tmp_path / "b" / "leaderboard.json").read_text())["datasets"]["hawkes"]["models"]
    assert told["rmtpp"]["failed"]["0"] and told["poisson"]["seeds"] == [0]
    assert "failed: " in (tmp_path / "b" / "leaderboard.md").read_text()
    assert "Traceback" in (tmp_path / "b" / "cells" / "hawkes" / "rmtpp" / "0.log").read_text()


def test_finished_seeds_become_a_results_file(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tpp, "ROOT", tmp_path)
    out = tmp_path / "board"
    shutil.copytree(made, out)
    pairs = _plan.plan(["hawkes"], ["rmtpp"], max_epochs=2)
    target = tmp_path / "models" / "rmtpp" / "results" / "hawkes.yaml"
    for seed, commit in ((0, "abc"), (1, "def+")):
        path = out / "cells" / "hawkes" / "rmtpp" / f"{seed}.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "report": {**result["report"], "commit": commit}}))
    _tpp._publish(out, pairs, (0, 1))
    assert not target.exists(), "made from files that no commit holds"
    path.write_text(path.read_text().replace("def+", "def"))
    _tpp._publish(out, pairs, (0, 1))
    ours = yaml.safe_load(target.read_text())["ours"]
    mean = sum(metrics(made, "rmtpp", seed)["nll_per_event"] for seed in (0, 1)) / 2
    assert ours["metrics"]["nll_per_event"]["mean"] == pytest.approx(mean, abs=1e-4)
    assert {"otd", "tmap", "num_parameters"} < set(ours["metrics"]) and ours["commit"] == "abc, def"


def words_of(out: Path, executor: str, epochs: int = 2) -> list[str]:
    line = f"--data hawkes --model rmtpp --seeds 0 1 --max_epochs {epochs} --executor {executor} --workers 2"
    return [sys.executable, "-m", "eventflow", "bench", "tpp", *line.split(), "--out", str(out)]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_the_numbers_do_not_depend_on_who_computes(executor: str, made: Path, tmp_path: Path) -> None:
    if executor == "ray":
        pytest.importorskip("ray", reason="needs the extra 'ray'")
    done = subprocess.run(words_of(tmp_path / "b", executor), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert metrics(tmp_path / "b", "rmtpp", seed) == metrics(made, "rmtpp", seed)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_killed_board_goes_on_as_if_nothing_had_been(executor: str, tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    subprocess.run(words_of(straight, executor, 12), capture_output=True, timeout=300, check=True)
    process = subprocess.Popen(words_of(cut, executor, 12), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = cut / "cells" / "hawkes" / "rmtpp" / "0"
    deadline = time.monotonic() + 120
    while not _epochs(run) >= 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    reached = _epochs(run)
    assert 4 <= reached < 12 and json.loads(run.with_suffix(".json").read_text())["state"] == "running"
    time.sleep(1)
    assert _epochs(run) == reached, "an orphan still trains"
    subprocess.run(words_of(cut, executor, 12), capture_output=True, timeout=300, check=True)
    assert (run / "config.resumed-1.yaml").is_file()
    for seed in (0, 1):
        assert metrics(cut, "rmtpp", seed) == metrics(straight, "rmtpp", seed)


@pytest.mark.slow
def test_a_killed_worker_is_told_and_its_cell_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "b"
    run = out / "cells" / "hawkes" / "rmtpp" / "0"
    process = _killed_at(run, 3, words_of(out, "processes", 12))
    told = process.communicate(timeout=500)[0]
    assert process.returncode == 1 and "1 of 2 cells failed" in told and "killed by signal 9" in told
    result = json.loads(run.with_suffix(".json").read_text())
    assert result["state"] == "failed" and result["died"]
    subprocess.run(words_of(out, "processes", 12), capture_output=True, timeout=500, check=True)
    assert (run / "config.resumed-1.yaml").is_file() and _numbers(run) == list(range(12))


@pytest.mark.slow
def test_a_killed_trial_is_told_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'tune'")
    out = tmp_path / "b"
    words = [*words_of(out, "processes", 12), "--tune", "2", "--workers", "1"]
    process = _killed_at(out / "tune" / "hawkes" / "rmtpp", 2, words)
    told = process.communicate(timeout=500)[0]
    assert process.returncode == 1 and "1 of 2 trials were cut off" in told and "killed by signal 9" in told
    assert not (out / "cells").exists()
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    trials = [json.loads(path.read_text())["state"] for path in sorted((out / "tune").rglob("[0-9].json"))]
    assert trials == ["done", "done"]
    resumed = [path.parent for path in (out / "tune").rglob("config.resumed-1.yaml")]
    assert len(resumed) == 1 and _numbers(resumed[0]) == list(range(len(_numbers(resumed[0]))))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_a_search_in_parallel(executor: str, tmp_path: Path) -> None:
    for module in ("optuna", executor):
        if module != "processes":
            pytest.importorskip(module, reason="needs the extras 'tune' and 'ray'")
    out = tmp_path / "b"
    words = [*words_of(out, executor), "--tune", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    values = [json.loads(path.read_text())["value"] for path in (out / "tune").rglob("[0-9].json")]
    best = yaml.safe_load((out / "best" / "rmtpp_hawkes.yaml").read_text())
    assert len(values) == 3 and yaml.safe_load((out / "cells/hawkes/rmtpp/config.yaml").read_text()) == best
    assert f"{min(values):.4f}" in (out / "best" / "rmtpp_hawkes.yaml").read_text().splitlines()[0]


def _killed_at(place: Path, epochs: int, words: list[str]) -> subprocess.Popen[str]:
    """A bench one of whose workers is killed when a run below ``place`` has had so many epochs."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        for path in (*place.glob("epochs.jsonl"), *place.glob("*/*/epochs.jsonl")):
            lines = path.read_text().splitlines()
            if len(lines) >= epochs:
                os.kill(json.loads(lines[-1])["pid"], signal.SIGKILL)
                return process
        time.sleep(0.02)
    raise AssertionError(f"no run came to {epochs} epochs: {process.communicate()[0]}")


def _numbers(run: Path) -> list[int]:
    return [row["epoch"] for row in _store.epochs(run)]


def _epochs(run: Path) -> int:
    path = run / "epochs.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.slow
def test_a_search_goes_on_and_its_best_is_a_config(tmp_path: Path, cli: Callable[..., Any]) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'tune'")
    words = ("bench", "tpp", "--data", "hawkes", "--model", "rmtpp", "--seeds", "0", "--max_epochs", "2")
    answer = cli(*words, "--tune", "2", "--out", "b")
    assert answer.code == 0, answer.err
    best = Path("b/best/rmtpp_hawkes.yaml")
    asked = yaml.safe_load(best.read_text())
    assert asked["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    trials = sorted(Path("b/tune").rglob("[0-9].json"))
    assert [json.loads(path.read_text())["state"] for path in trials] == ["done", "done"]
    assert not list(Path("b/tune").rglob("metrics.json")), "a search must not see test events"
    again = cli(*words, "--config", str(best), "--out", "c")
    assert again.code == 0, again.err
    assert metrics(Path("c"), "rmtpp", 0) == metrics(Path("b"), "rmtpp", 0)
    assert "trial 2" in cli(*words, "--tune", "3", "--out", "b").err
    assert len(list(Path("b/tune").rglob("[0-9].json"))) == 3
