"""bench rl: what it times is a learner that learns, and wrong arguments are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflow.bench import _rl


def test_the_table_and_its_file(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rl, "AIMS", {"TD, 7 inputs": 10.0})
    answer = cli("bench", "rl", "--seconds", "0.05", "--out", "out")
    assert answer.code == 0, answer.err
    rows = json.loads((Path("out") / "rl.json").read_text())["rows"]
    assert 0 < rows["TD, 7 inputs"]["ours"]["best"] <= rows["TD, 7 inputs"]["ours"]["median"] < 10_000
    assert "git clone" in answer.out


def test_the_contender_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timed loop moves weights; a kernel that did nothing would be quick."""
    import eventflow.rl

    made = []

    class Seen(eventflow.rl.StreamTD):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(eventflow.rl, "StreamTD", Seen)
    go = _rl.ours("TD, 7 inputs")
    before = made[0].learner.params[0].copy()
    go(100)
    assert made[0].num_steps == 100 and np.abs(made[0].learner.params[0] - before).max() > 0


def test_mistakes_are_told(cli: Any) -> None:
    answer = cli("bench", "rl", "--official", "nowhere")
    assert answer.code == 2 and "git clone" in answer.err
    assert cli("bench", "rl", "--seconds", "0").code == 2
