"""The bench of decoders: it compares before it times, and writes what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eventflow.bench import _decode
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import write_events


def test_run_writes_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 3, 700))
    side = rng.integers(0, 34, 700).astype(np.uint16)
    schema = Schema(unit="us", height=34, width=34)
    events = Events.of(t, span=(t[0], t[-1] + 1), schema=schema, x=side, y=side, p=(side % 2).astype(np.uint8))
    write_events(events, tmp_path / "rec.raw")
    _decode.run(out=tmp_path, recording=tmp_path / "rec.raw", events=2000, rounds=1)
    report = json.loads((tmp_path / "decode.json").read_text())
    assert report["events"] == 2000
    for name in ("evt2", "evt3", "dat"):
        assert {"ours, words", "ours, file", "definition", "limit"} <= set(report["cpu_mev_per_s"][name])
    assert "definition" in capsys.readouterr().out


def test_a_wrong_reader_is_not_timed(tmp_path: Path) -> None:
    schema = Schema(unit="us", height=34, width=34)
    marks = {name: np.zeros(3, np.uint16) for name in "xy"} | {"p": np.zeros(3, np.uint8)}
    events = Events.of([1, 2, 3], span=(1, 4), schema=schema, **marks)
    write_events(events, tmp_path / "rec.raw")
    with pytest.raises(RuntimeError, match="not what was written"):
        _decode._check(tmp_path / "rec.raw", Events.of([1, 2, 4], span=(1, 5), schema=schema, **marks))
    with pytest.raises(RuntimeError, match="3 events instead of 4"):
        longer = {name: np.zeros(4, column.dtype) for name, column in marks.items()}
        _decode._check(tmp_path / "rec.raw", Events.of([1, 2, 3, 4], span=(1, 5), schema=schema, **longer))


def test_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    with pytest.raises(InputError, match="--recording FILE"):
        _decode.run()
