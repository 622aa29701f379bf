"""Formats are found from the content, then from the suffix; anything else is told with the known formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from eventflow.errors import InputError
from eventflow.io import FORMATS, read_events
from eventflow.io._sniff import sniff


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x", b"PAR1...", "parquet"),
        ("x.csv", b"PAR1...", "parquet"),
        ("x", pickle.dumps({}, 2), "pkl"),
        ("x.pkl", pickle.dumps({}, 0), "pkl"),
        ("x", b'[{"dim_process": 3, "time_since_start": [0.0]}]', "easytpp"),
        ("x.txt", b'{"time_since_last_event": [0.0]}\n{"time_since_last_event": [1.0]}', "easytpp"),
        ("x", b'{"key": "a", "t": 1}', "jsonl"),
        ("x.json", b'\xef\xbb\xbf [ {"t": 1}]', "jsonl"),
        ("x", b'<?xml version="1.0"?>\n<!-- a -->\n<log xes.version="1.0">', "xes"),
        ("x", b'1.2.3.4 - - [29/Nov/2017:06:58:55 +0000] "GET / HTTP/1.1" 200 5\n', "weblog"),
        ("x.log", b"garbage\nmore\n", "weblog"),
        ("x.csv", b"a,b\n1,2\n", "csv"),
        ("X.TSV", b"a\tb\n", "csv"),
    ],
)
def test_formats(tmp_path: Path, name: str, content: bytes, expected: str):
    (tmp_path / name).write_bytes(content)
    assert sniff(tmp_path / name) == expected


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"hello", b"<svg><g>", b"[1, 2, 3]", b"\x1f\x8bbroken"])
def test_unknown_formats(tmp_path: Path, content: bytes):
    (tmp_path / "x.xyz").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_events(tmp_path / "x.xyz")
    assert "gzip" in str(caught.value) or all(name in str(caught.value) for name in FORMATS)


def test_an_unknown_format_by_name(tmp_path: Path):
    (tmp_path / "x.csv").write_text("t\n1\n")
    with pytest.raises(InputError, match="did you mean 'parquet'"):
        read_events(tmp_path / "x.csv", format="parqet")


def test_files_that_are_not_there(tmp_path: Path):
    (tmp_path / "train.parquet").write_text("x")
    with pytest.raises(InputError, match=r"no such file; did you mean .*train\.parquet"):
        read_events(tmp_path / "trian.parquet")
    with pytest.raises(InputError, match="nor is there a folder"):
        read_events(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(InputError, match="is a folder.*load_dataset"):
        read_events(tmp_path)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_events(tmp_path / "empty.csv")
