"""`eventflow bench scan`: it runs, writes what it printed, and times nothing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from eventflow.bench import _scan
from eventflow.errors import InputError


def test_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_scan, "SHAPES", ((2, 64, 16), (1, 5, 3)))
    threads = torch.get_num_threads()
    _scan.run(out=tmp_path / "new", seconds=0.02)
    assert torch.get_num_threads() == threads
    report = json.loads((tmp_path / "new" / "scan.json").read_text())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scan.json"]
    methods = [*_scan.contenders(), _scan.LIMIT]
    assert {(tuple(row["shape"]), row["method"]) for row in report["rows"]} == {
        (shape, method) for shape in _scan.SHAPES for method in methods
    }
    assert all(0 < row["forward"] < row["both"] for row in report["rows"])
    printed = capsys.readouterr().out
    assert "B2 T64 D16" in printed and all(method in printed for method in methods)


def test_a_contender_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = _scan.contenders()
    wrong = {**sound, "ours, numba": lambda a, b: sound["ours, numba"](a, b).roll(1, 1)}
    monkeypatch.setattr(_scan, "contenders", lambda: wrong)
    monkeypatch.setattr(_scan, "SHAPES", ((1, 5, 3),))
    with pytest.raises(AssertionError, match="bench scan: ours, numba: "):
        _scan.run(seconds=0.01)


def test_no_time_is_an_error() -> None:
    with pytest.raises(InputError, match="seconds=0"):
        _scan.run(seconds=0)
