"""``eventflow fit | validate | test | predict`` from the words to the files they leave."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from eventflow._assets import ROOT
from eventflow.io import load_dataset
from eventflow.tpp import load_model
from eventflow.train._references import known_as, load_yaml, names, resolve

FAST = ("--trainer.max_epochs", "2", "--model.optimizer.lr", "0.05")


@pytest.fixture
def run(cli: Callable[..., Any], tiny_data: Path) -> Path:
    """The folder of a finished run."""
    answer = cli("fit", "--data", tiny_data, "--model", "hawkes", *FAST)
    assert answer.code == 0, answer.err
    (folder,) = Path("runs").iterdir()
    return folder


def test_fit_leaves_a_run_folder(run: Path) -> None:
    assert run.name.startswith("hawkes-tiny-")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "metrics.csv"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["train/nll_per_event"]) < float(rows[0]["train/nll_per_event"])


def test_its_config_repeats_the_run(run: Path, cli: Callable[..., Any]) -> None:
    assert cli("fit", "--config", run / "config.yaml", "--out", "again").code == 0
    assert Path("again/metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_the_seed_decides(run: Path, cli: Callable[..., Any]) -> None:
    assert cli("fit", "--config", run / "config.yaml", "--seed_everything", "1", "--out", "other").code == 0
    assert Path("other/metrics.csv").read_text() != (run / "metrics.csv").read_text()


def test_a_run_never_overwrites_another(run: Path, cli: Callable[..., Any], tiny_data: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    answer = cli("fit", "--data", tiny_data, "--model", "poisson", *FAST, "--out", run)
    assert answer.code == 2 and "is not empty" in answer.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    again = cli("fit", "--data", tiny_data, "--model", "hawkes", *FAST)
    assert again.code == 0 and len(list(Path("runs").iterdir())) == 2


def test_test_prints_one_table_and_writes_metrics_json(run: Path, cli: Callable[..., Any], tiny_data: Path) -> None:
    answer = cli("test", "--ckpt_path", run)
    assert answer.code == 0, answer.err
    report = json.loads((run / "metrics.json").read_text())
    test = load_dataset(tiny_data)["test"]
    model = load_model(run / "checkpoints/best.ckpt").model.double()
    exact = -model.log_prob(test).sum().item() / test.num_scored
    compat = -model.log_prob(test, compat="easytpp").sum().item() / (test.num_events - (test.lengths > 0).sum())
    assert report["metrics"]["nll_per_event"] == pytest.approx(exact, rel=1e-12)
    assert report["metrics"]["easytpp_nll_per_event"] == pytest.approx(compat, rel=1e-12)
    assert report["metrics"]["scored_events"] == test.num_scored
    assert {"accuracy", "gap_rmse", "gap_mae", "gap_mae_of_mean"} <= report["metrics"].keys()
    assert {"commit", "date", "machine", "seed", "config", "checkpoint"} <= report.keys()
    assert report["config"]["data"]["init_args"]["name"] == str(tiny_data)
    for name, row in report["baselines"].items():
        line = next(line for line in answer.out.splitlines() if line.startswith(name))
        assert all(f"{value:.4f}" in line for value in row.values())
    assert f"{exact:.4f}" in next(line for line in answer.out.splitlines() if line.startswith("hawkes "))


def test_the_scores_do_not_depend_on_the_batch_size(run: Path, cli: Callable[..., Any]) -> None:
    numbers = []
    for size in ("1", "4", "100"):
        assert cli("test", "--config", run / "config.yaml", "--data.batch_size", size, "--ckpt_path", run).code == 0
        numbers.append(json.loads((run / "metrics.json").read_text())["metrics"])
    for name in numbers[0]:
        np.testing.assert_allclose([n[name] for n in numbers], numbers[0][name], rtol=1e-9, err_msg=name)


def test_validate_prints_what_training_logged(run: Path, cli: Callable[..., Any]) -> None:
    answer = cli("validate", "--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert answer.code == 0, answer.err
    logged = list(csv.DictReader((run / "metrics.csv").open()))[-1]["val/nll_per_event"]
    assert float(answer.out.split()[1]) == pytest.approx(float(logged), abs=2e-6)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_predict_writes_a_row_for_every_scored_event(
    run: Path, cli: Callable[..., Any], tiny_data: Path, suffix: str
) -> None:
    out = Path(f"here/predictions.{suffix}")
    assert cli("predict", "--ckpt_path", run, "--data", tiny_data, "--model", "hawkes", "--out", out).code == 0
    rows = pq.read_table(out).to_pylist() if suffix == "parquet" else [*map(json.loads, out.open())]
    test = load_dataset(tiny_data)["test"]
    assert [row["t"] for row in rows] == test.t.tolist()
    assert [row["mark"] for row in rows] == test.marks["mark"].tolist()
    assert [row["dt"] for row in rows] == pytest.approx(test.gaps.tolist())
    assert [row["sequence"] for row in rows] == test.sequence.tolist()
    model = load_model(run / "checkpoints/best.ckpt").model.double()
    tails = model.tail_log_prob(next(model._batches(test)))
    total = -(model.log_prob(test) - tails).sum().item()
    assert sum(row["nll"] for row in rows) == pytest.approx(total, rel=1e-9)
    assert cli("predict", "--ckpt_path", run, "--data", tiny_data, "--model", "hawkes", "--out", out).code == 2


def test_a_checkpoint_keeps_its_time_unit_on_other_data(run: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    """The mean gap of the data that a model is judged on is not the one that it was trained on."""
    from eventflow.events import Events
    from eventflow.io import write_events

    other = tmp_path / "slower"
    other.mkdir()
    for split, events in load_dataset(run.parent.parent / yaml_name(run)).items():
        marks = dict(events.marks)
        stretched = Events(events.t * 3, marks, events.offsets, events.span * 3, events.schema, events.keys)
        write_events(stretched, other / f"{split}.parquet")
    assert cli("test", "--data", other, "--model", "hawkes", "--ckpt_path", run).code == 0
    test = load_dataset(other)["test"]
    exact = -load_model(run / "checkpoints/best.ckpt").model.double().log_prob(test).sum().item() / test.num_scored
    seen = json.loads((run / "metrics.json").read_text())["metrics"]["nll_per_event"]
    assert seen == pytest.approx(exact, rel=1e-12)


def yaml_name(run: Path) -> str:
    return yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["name"]


def test_tensorboard_is_an_option(cli: Callable[..., Any], tiny_data: Path) -> None:
    pytest.importorskip("tensorboard")
    fit = ("fit", "--data", tiny_data, "--model", "poisson", "--trainer.max_epochs", "1")
    assert cli(*fit, "--tensorboard", "true", "--out", "a").code == 0
    assert any(name.startswith("events.out") for name in os.listdir("a/tensorboard"))


def test_a_config_may_name_data_and_model(cli: Callable[..., Any], tiny_data: Path) -> None:
    Path("recipe.yaml").write_text(f"data: {tiny_data}\nmodel: models/poisson\ntrainer: {{max_epochs: 1}}\n")
    assert cli("fit", "--config", "recipe.yaml", "--out", "a").code == 0
    assert len(list(csv.DictReader(Path("a/metrics.csv").open()))) == 1


@pytest.mark.parametrize("value", ["models/nhp", "nhp", "models/nhp/model.yaml"])
def test_a_name_a_folder_and_a_file_are_the_same(value: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    path = resolve("model", value)
    assert path is not None and path.parts[-3:] == ("models", "nhp", "model.yaml")
    assert "nhp" in names("model")


def test_here_comes_before_the_catalogue(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nhp").mkdir()
    Path("nhp/model.yaml").write_text("{}")
    assert resolve("model", "nhp") == Path("nhp/model.yaml")


def test_a_training_that_diverges_says_so(cli: Callable[..., Any], tiny_data: Path) -> None:
    answer = cli("fit", "--data", tiny_data, "--model", "hawkes", "--model.optimizer.lr", "1e6", "--out", "a")
    assert answer.code == 0 and "training diverged" in answer.err and "gradient_clip_val" in answer.err


def test_training_stops_when_it_gets_no_better(cli: Callable[..., Any], tiny_data: Path) -> None:
    stuck = ("--model.optimizer.lr", "0", "--early_stopping.patience", "2", "--out", "a")
    answer = cli("fit", "--data", tiny_data, "--model", "poisson", *stuck)
    assert answer.code == 0 and "stopped early" in answer.out
    assert len(list(csv.DictReader(Path("a/metrics.csv").open()))) == 3


def test_an_interrupted_training_can_be_resumed(cli: Callable[..., Any], tiny_data: Path, monkeypatch: Any) -> None:
    from eventflow.train import PointProcessTask

    def interrupt(task: PointProcessTask) -> None:
        raise KeyboardInterrupt

    fit = ("fit", "--data", tiny_data, "--model", "hawkes", *FAST)
    assert cli(*fit, "--out", "straight").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(PointProcessTask, "on_validation_epoch_start", after(1, interrupt))
        answer = cli(*fit, "--out", "cut")
    assert answer.code == 130 and answer.err.endswith("eventflow: interrupted\n")
    assert cli("fit", "--ckpt_path", "cut").code == 0
    assert Path("cut/metrics.csv").read_text() == Path("straight/metrics.csv").read_text()


def after(calls: int, then: Callable[[Any], None]) -> Callable[[Any], None]:
    """The method as it is for some calls, then something else."""
    from eventflow.train import PointProcessTask

    own, seen = PointProcessTask.on_validation_epoch_start, []

    def method(task: Any) -> None:
        seen.append(task)
        (own if len(seen) <= calls else then)(task)

    return method


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_is_short_and_quick(cli: Callable[..., Any], command: str) -> None:
    answer = cli(command, "--help")
    assert answer.code == 0 and answer.out.startswith(f"usage: eventflow {command} ")
    assert len(answer.out.splitlines()) < 40 and all(len(line) <= 120 for line in answer.out.splitlines())


def test_help_tells_the_defaults_that_hold(cli: Callable[..., Any], tiny_data: Path) -> None:
    answer = cli("fit", "--data", tiny_data, "--model", "nhp", "--model.optimizer", "AdamW", "--print_config")
    assert answer.code == 0, answer.err
    config = yaml.safe_load(answer.out)
    text = cli("fit", "--help").out
    assert f"{config['trainer']['max_epochs']} by default; any argument of lightning's Trainer" in text
    assert f"epochs without improvement, {config['early_stopping']['patience']} by default" in text
    assert f"--seed_everything N             {config['seed_everything']} by default" in text
    assert config["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.AdamW"


def test_help_all_is_lightning_s(cli: Callable[..., Any]) -> None:
    answer = cli("fit", "--help-all")
    assert answer.code == 0 and "--trainer.gradient_clip_val" in answer.out


@pytest.mark.parametrize("folder", names("model"))
def test_a_model_is_called_by_its_folder(folder: str) -> None:
    """Run folders, reports and published results are of `linear_attention_tpp`, whose class is LinearAttentionTPP."""
    arguments = load_yaml(ROOT / "models" / folder / "model.yaml")["init_args"]
    part = next(arguments[key] for key in ("network", "agent") if key in arguments)
    path = part["class_path"] if isinstance(part, dict) else part
    assert known_as(path.rpartition(".")[2]) == folder
    assert known_as("Mine") == "mine"
