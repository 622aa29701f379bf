"""``eventflow bench stream``: it measures what it says, and refuses to measure what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from eventflow.bench import _stream
from eventflow.errors import InputError
from eventflow.tpp import NHP


def test_every_contender_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    _stream.run(out=tmp_path, seconds=0.01, keys=50, hidden=8, marks=3)
    report = json.loads((tmp_path / "stream.json").read_text())
    rate = {row["method"]: row["events per CPU-second"] for row in report["rows"]}
    assert len(rate) == 13 and all(value > 0 for value in rate.values())
    assert report["bytes of state per key"] == (4 * 8 + 1) * 8
    assert rate["50 keys, chunks of 4096"] > 3 * rate[_stream.ONE], "stepping many keys at once must pay"
    assert "bytes of state per key" in capsys.readouterr().out and torch.get_num_threads() == threads


def test_a_model_whose_rows_mix_is_not_timed() -> None:
    class Mixed(NHP):
        def observe(self, state, marks, dt):
            answers, after = super().observe(state, marks, dt)
            return {**answers, "nll": answers["nll"] + 1e-9 * len(dt)}, after

    with pytest.raises(AssertionError, match="depend on the other keys"):
        _stream.check(Mixed(3, hidden_size=4).double().eval())


def test_a_model_whose_stream_is_not_its_batch_is_not_timed() -> None:
    class Forgetful(NHP):
        def observe(self, state, marks, dt):
            return super().observe(self.init(len(dt)), marks, dt)

    with pytest.raises(AssertionError, match="differs from the batch"):
        _stream.check(Forgetful(3, hidden_size=4).double().eval())


def test_no_time_is_no_benchmark() -> None:
    with pytest.raises(InputError, match="seconds=0"):
        _stream.run(seconds=0)
