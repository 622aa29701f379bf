"""A watch is told of every epoch and of the test, and can end a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventflow.io import load_dataset
from eventflow.train import Pass, command


def test_it_is_told_and_obeyed(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[Pass] = []

    def watch(done: Pass) -> bool:
        told.append(done)
        return done.epoch == 1

    command("fit", ["--data", str(tiny_data), "--model", "poisson", "--out", "run"], watch=watch)
    command("test", ["--ckpt_path", "run"], watch=watch)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    name, values = rows[0].split(","), [row.split(",") for row in rows[1:]]
    assert len(values) == 2, "the watch said to stop after the second epoch of a hundred"
    assert [(p.split, p.epoch) for p in told[:2]] == [("train", 0), ("train", 1)] and told[2].split == "test"
    at = name.index("val/nll_per_event")
    assert [p.val_nll for p in told[:2]] == pytest.approx([float(row[at]) for row in values])
    events = load_dataset(str(tiny_data))
    scored = [events[split].num_scored for split in ("train", "train", "test")]
    assert [p.events for p in told] == scored and all(p.cpu_s > 0 and p.wall_s > 0 for p in told)
