"""Wrong input on the command line: exit code 2, one message without a traceback, nothing half-written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from eventflow.cli import main
from eventflow.events import Events, Schema
from eventflow.io import read_events, write_events

FILES: dict[str, bytes] = {
    "empty.csv": b"",
    "truncated.parquet": b"PAR1\x15\x04\x15",
    "unsorted.csv": b"t,mark\n2,0\n1,1\n",
    "nan.csv": b"t,mark\n1,0\nnan,1\n",
    "inf.jsonl": b'{"t": 1, "mark": 0}\n{"t": Infinity, "mark": 0}\n',
    "negative.csv": b"t,mark\n1,-1\n",
    "high.json": b'[{"time_since_last_event": [0], "type_event": [3], "dim_process": 3}]',
    "evil.pkl": pickle.dumps({"train": print}),
    "missing.csv": b"a,b\n1,2\n",
    "noise.xyz": b"noise",
}


@pytest.mark.parametrize("name", [*FILES, "not-there.csv"])
def test_convert_refuses_with_code_2_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    if name in FILES:
        (tmp_path / name).write_bytes(FILES[name])
    target = tmp_path / "out.parquet"
    assert main(["data", "convert", str(tmp_path / name), str(target)]) == 2
    err = capsys.readouterr().err
    assert name in err and "Traceback" not in err and err.startswith("eventflow: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ([name] if name in FILES else [])


def test_info_describes_what_convert_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "unsorted.csv").write_bytes(FILES["unsorted.csv"])
    assert main(["data", "info", str(tmp_path / "unsorted.csv")]) == 0
    assert "1 row goes back in time" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "list"]) == 0 and "taxi" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rec.raw", "rec.evt2", "rec.dat", "rec.npz"])
@pytest.mark.parametrize("stated", [False, True])
def test_times_since_1970_count_from_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, stated: bool
) -> None:
    t = 1_600_000_000_000_000 + np.cumsum(np.random.default_rng(0).integers(0, 9, 500))
    start = int(t[0]) - (70 if stated else 0)
    schema = Schema(unit="us", height=480, width=640)
    columns = {"x": np.arange(500) % 640, "y": np.arange(500) % 480, "p": np.arange(500) % 2}
    write_events(Events.of(t, span=(start, int(t[-1]) + 1), schema=schema, **columns), tmp_path / "rec.h5")
    words = ["data", "convert", str(tmp_path / "rec.h5"), str(tmp_path / name)]
    if name in ("rec.raw", "rec.dat"):
        assert main(words) == 2 and "--from_zero" in capsys.readouterr().err
    assert main([*words, "--from_zero"]) == 0
    events = read_events(tmp_path / name, schema=schema)
    begin = read_events(tmp_path / "rec.h5").span[0, 0]
    assert np.array_equal(events.t, t - begin) and np.array_equal(events.marks["x"], columns["x"])


def test_logs_do_not_count_from_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv").write_text("t,mark\n5,0\n6,1\n")
    assert main(["data", "convert", str(tmp_path / "log.csv"), str(tmp_path / "log.parquet"), "--from_zero"]) == 2
    assert "for recordings of a camera" in capsys.readouterr().err


def test_one_event_converts(tmp_path: Path):
    (tmp_path / "one.csv").write_text("t,mark\n1,0\n")
    assert main(["data", "convert", str(tmp_path / "one.csv"), str(tmp_path / "one.jsonl")]) == 0
    assert (tmp_path / "one.jsonl").read_text() == '{"t": 1, "mark": 0}\n'
