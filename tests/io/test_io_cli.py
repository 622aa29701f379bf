"""Wrong input on the command line: exit code 2, one message without a traceback, nothing half-written."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from eventflow.cli import main

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


def test_one_event_converts(tmp_path: Path):
    (tmp_path / "one.csv").write_text("t,mark\n1,0\n")
    assert main(["data", "convert", str(tmp_path / "one.csv"), str(tmp_path / "one.jsonl")]) == 0
    assert (tmp_path / "one.jsonl").read_text() == '{"t": 1, "mark": 0}\n'
