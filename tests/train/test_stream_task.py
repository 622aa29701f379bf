"""Agents on Lightning: chunks change no number, a resumed run is the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gymnasium")

SHORT = ("--data", "cartpole", "--model", "stream_q", "--data.steps_per_epoch", "200", "--data.episodes", "1")


def agent(run: str) -> dict[str, Any]:
    return torch.load(Path(run) / "checkpoints" / "last.ckpt", weights_only=False)["agent"]


def test_neither_chunks_nor_a_resume_change_a_number(cli: Any) -> None:
    assert cli("fit", *SHORT, "--trainer.max_epochs", "2", "--out", "whole").code == 0
    assert cli("fit", *SHORT, "--trainer.max_epochs", "2", "--out", "cut", "--data.chunk", "7").code == 0
    assert cli("fit", *SHORT, "--trainer.max_epochs", "1", "--out", "resumed").code == 0
    answer = cli("fit", "--ckpt_path", "resumed", "--trainer.max_epochs", "2")
    assert answer.code == 0, answer.err
    whole = agent("whole")
    for run in ("cut", "resumed"):
        other = agent(run)
        for name in ("params", "memory", "episodes"):
            assert torch.equal(whole[name], other[name]), (run, name)
        assert whole["meta"] == other["meta"]


def test_a_run_is_judged(cli: Any) -> None:
    assert cli("fit", *SHORT, "--trainer.max_epochs", "1", "--out", "run").code == 0
    answer = cli("test", "--ckpt_path", "run")
    assert answer.code == 0 and "test/return" in answer.out, answer.err


def test_mistakes_are_told(cli: Any) -> None:
    answer = cli("fit", *SHORT, "--model.agent.rule", "obgdd", "--out", "run")
    assert answer.code == 2 and "obgd" in answer.err
    answer = cli("fit", *SHORT, "--data.env", "CartPol-v1", "--out", "run")
    assert answer.code == 2 and "did you mean 'CartPole-v1'" in answer.err
    answer = cli("fit", *SHORT, "--data.chunk", "0", "--out", "run")
    assert answer.code == 2 and "expected at least 1" in answer.err
    answer = cli("fit", "--data", "cartpole", "--model", "rmtpp", "--out", "run")
    assert answer.code == 2 and "do not go together" in answer.err and "Traceback" not in answer.err
    assert not Path("run").exists()
