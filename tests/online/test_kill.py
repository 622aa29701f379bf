"""kill -9 at any moment, then resume: the output is that of an uninterrupted run, byte for byte."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from toy_operator import write_events

HERE = Path(__file__).resolve().parent


def _events(folder: Path) -> None:
    """600 events of 9 keys, out of order within and beyond the lateness, with rubbish between."""
    folder.mkdir()
    write_events(folder / "events.jsonl", 600)
    lines = (folder / "events.jsonl").read_text().splitlines()
    draw = random.Random(1)
    order = sorted(range(len(lines)), key=lambda i: i + draw.expovariate(1 / 2))
    lines = [lines[i] for i in order]
    for _ in range(20):
        lines.insert(draw.randrange(len(lines)), draw.choice(["rubbish", '{"key": "a"}', ""]))
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")


def _drive(folder: Path, mode: str, seed: int, kills: int) -> int:
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_driver.py"), str(folder), mode, str(seed), str(kills)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("mode, seed, kills", [("files", 0, 24), ("shell", 1, 12), ("pipes", 2, 12)])
def test_killed_and_resumed_is_the_uninterrupted_run(mode: str, seed: int, kills: int, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _events(whole)
    _events(cut)
    assert _drive(whole, mode, seed + 100, 0) == 0
    assert _drive(cut, mode, seed, kills) >= kills - 4, "the attempts must have been killed, not finished"
    expected = (whole / "out.jsonl").read_bytes()
    assert expected.count(b"\n") > 500
    assert (cut / "out.jsonl").read_bytes() == expected
    letters = (whole / "dead.jsonl").read_bytes()
    assert letters.count(b"late by") > 3 and letters.count(b"not valid JSON") > 3
    assert (cut / "dead.jsonl").read_bytes() == letters
