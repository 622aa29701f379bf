"""A run that was cut and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eventflow.tpp import Hawkes
from eventflow.train import EventData, PointProcessTask

BASE = ("--model.optimizer.lr", "0.05", "--data.batch_size", "8")


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same_training(a: Path, b: Path) -> None:
    one, two = checkpoint(a), checkpoint(b)
    for part in ("state_dict", "optimizer_states", "rng", "epoch", "global_step", "eventflow", "train_sums"):
        assert same(one[part], two[part]), part


@pytest.mark.parametrize("network", ["hawkes", "rmtpp"])
def test_two_epochs_and_two_more_are_four(cli: Callable[..., Any], tiny_data: Path, network: str) -> None:
    fit = ("fit", "--data", tiny_data, "--model", network, *BASE)
    assert cli(*fit, "--trainer.max_epochs", "4", "--out", "straight").code == 0
    assert cli(*fit, "--trainer.max_epochs", "2", "--out", "cut").code == 0
    halfway = checkpoint(Path("cut/checkpoints/last.ckpt"))
    resumed = cli("fit", "--ckpt_path", "cut", "--trainer.max_epochs", "4")
    assert resumed.code == 0, resumed.err
    assert_same_training(Path("straight/checkpoints/last.ckpt"), Path("cut/checkpoints/last.ckpt"))
    assert_same_training(Path("straight/checkpoints/best.ckpt"), Path("cut/checkpoints/best.ckpt"))
    assert not same(halfway["state_dict"], checkpoint(Path("cut/checkpoints/last.ckpt"))["state_dict"])
    assert Path("cut/metrics.csv").read_text() == Path("straight/metrics.csv").read_text()
    assert len(list(csv.DictReader(Path("cut/metrics.csv").open()))) == 4
    assert Path("cut/config.resumed-1.yaml").is_file()
    again = cli(
        "fit", "--ckpt_path", "cut", "--early_stopping.patience", "20"
    )  # asks for 4 epochs, as the last time did
    assert again.code == 0 and len(list(csv.DictReader(Path("cut/metrics.csv").open()))) == 4
    assert "max_epochs: 4" in Path("cut/config.resumed-2.yaml").read_text()


def test_a_run_cut_within_an_epoch_goes_on_with_the_next_step(cli: Callable[..., Any], tiny_data: Path) -> None:
    fit = ("fit", "--data", tiny_data, "--model", "hawkes", *BASE, "--trainer.max_epochs", "3")
    often = ("--checkpoint.every_n_train_steps", "1", "--checkpoint.monitor", "null", "--checkpoint.save_top_k", "-1")
    names = ("--checkpoint.filename", "{step}", "--checkpoint.save_on_train_epoch_end", "false")
    assert cli(*fit, *often, *names, "--out", "straight").code == 0
    steps = sorted(Path("straight/checkpoints").glob("step=*.ckpt"))
    assert len(steps) == 18  # 45 sequences by 8: 6 steps an epoch
    for step in (4, 9):
        start = f"straight/checkpoints/step={step}.ckpt"
        answer = cli(*fit, *often, *names, "--ckpt_path", start, "--out", f"from{step}")
        assert answer.code == 0, answer.err
        for later in range(step + 1, 19):
            one, two = (checkpoint(Path(f"{run}/checkpoints/step={later}.ckpt")) for run in ("straight", f"from{step}"))
            assert same(one["state_dict"], two["state_dict"]), later
            assert same(one["optimizer_states"], two["optimizer_states"]), later


def test_a_one_cycle_run_resumes_on_its_cycle_and_not_on_another(cli: Callable[..., Any], tiny_data: Path) -> None:
    fit = ("fit", "--data", tiny_data, "--model", "hawkes", *BASE, "--model.schedule", "one-cycle")
    save = ("--checkpoint.filename", "{epoch}", "--checkpoint.save_top_k", "-1", "--trainer.max_epochs", "4")
    assert cli(*fit, *save, "--out", "straight").code == 0
    start = "straight/checkpoints/epoch=1.ckpt"
    answer = cli(*fit, *save, "--ckpt_path", start, "--out", "resumed")
    assert answer.code == 0, answer.err
    assert_same_training(Path("straight/checkpoints/last.ckpt"), Path("resumed/checkpoints/last.ckpt"))
    rates = [
        checkpoint(Path(f"straight/checkpoints/epoch={i}.ckpt"))["optimizer_states"][0]["param_groups"][0]["lr"]
        for i in range(4)
    ]
    assert rates[0] > rates[1] > rates[2] > rates[3] and rates[3] < 1e-2 * rates[0]
    longer = cli(*fit, *save[:-1], "8", "--ckpt_path", start, "--out", "longer")
    assert longer.code == 2 and "made for 24 steps" in longer.err
    assert cli(*fit[:-1], "one-cylce", "--out", "typo").code == 2


def test_random_numbers_go_on_too(tiny_data: Path, tmp_path: Path) -> None:
    """A model that draws while it trains (dropout does) sees the same draws after a resume."""
    import lightning.pytorch as L

    class Noisy(Hawkes):
        def log_prob(self, events: Any, *, compat: str | None = None) -> torch.Tensor:
            return super().log_prob(events, compat=compat) * (torch.rand(1) + 0.5)

    def run(epochs: int, resume: Path | None, out: Path) -> dict[str, Any]:
        torch.manual_seed(3)
        task = PointProcessTask(Noisy, num_marks=3, optimizer=lambda w: torch.optim.Adam(w, lr=0.1))
        trainer = L.Trainer(
            default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False, max_epochs=epochs,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(task, EventData(str(tiny_data), batch_size=9), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(out)
        return checkpoint(out)

    straight = run(3, None, tmp_path / "straight.ckpt")
    run(1, None, tmp_path / "one.ckpt")
    resumed = run(3, tmp_path / "one.ckpt", tmp_path / "resumed.ckpt")
    assert same(straight["state_dict"], resumed["state_dict"])
    assert same(straight["rng"], resumed["rng"])
