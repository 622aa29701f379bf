"""Two gloo processes train as one process with the doubled batch does: a real run of the command."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def fit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EVENTFLOW_DEBUG": "1"}
    return subprocess.run(
        [sys.executable, "-m", "eventflow", "fit", *words], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(tiny_data: Path, tmp_path: Path) -> None:
    common = (
        "--data",
        str(tiny_data),
        "--model",
        "hawkes",
        "--trainer.max_epochs",
        "3",
        "--trainer.accelerator",
        "cpu",
    )
    double = ("--trainer.precision", "64-true")
    two = ("--data.batch_size", "7", "--trainer.strategy", "ddp", "--trainer.devices", "2", "--out", "two")
    one = ("--data.batch_size", "14", "--out", "one")
    for words in (one, two):
        done = fit(tmp_path, *common, *double, *words)
        assert done.returncode == 0, done.stderr
    tables = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("one", "two")]
    assert [len(table) for table in tables] == [3, 3]
    for a, b in zip(*tables, strict=True):
        assert a["step"] == b["step"]
        for column in ("train/nll_per_event", "val/nll_per_event"):
            assert float(a[column]) == pytest.approx(float(b[column]), rel=1e-6), column
    weights = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-9, atol=1e-12)
