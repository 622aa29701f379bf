"""Packed logs are read as they are, whatever they are called; other packed files and other programs' are told apart."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from eventflow.errors import InputError
from eventflow.io import LogColumns, read_events

_COLUMNS = LogColumns(key="case", time="time", mark="what")
_ROWS = [("a", 1.5, "open"), ("b", 2.0, "Tür zu"), ("a", 3.25, "close"), ("b", 4.0, "open")]
_CSV = "case,time,what\n" + "".join(f"{case},{t},{what}\n" for case, t, what in _ROWS)


def _zipped(data: bytes, *names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return out.getvalue()


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
    "zip": lambda data: _zipped(data, "rows.csv"),
}  # fmt: skip


def _check(path: Path) -> None:
    events = read_events(path, columns=_COLUMNS)
    names, words = events.keys, events.schema.vocabulary
    assert names is not None and words is not None
    for i in range(len(events)):
        part = slice(events.offsets[i], events.offsets[i + 1])
        read = list(zip(events.t[part], [words[m] for m in events.marks["mark"][part]], strict=True))
        assert read == [(t, what) for case, t, what in _ROWS if case == names[i]]


@pytest.mark.parametrize("kind", _PACKERS)
def test_a_packed_log(tmp_path: Path, kind: str):
    path = tmp_path / f"log.csv.{kind}"
    path.write_bytes(_PACKERS[kind](_CSV.encode()))
    _check(path)
    path.write_bytes(_PACKERS[kind](_CSV.encode())[:-30])
    with pytest.raises(InputError, match="damaged|zip"):
        read_events(path, columns=_COLUMNS)


def test_what_macs_add_to_a_zip_archive(tmp_path: Path):
    path = tmp_path / "log.zip"
    path.write_bytes(_zipped(_CSV.encode(), "Ein Protokoll.csv", "__MACOSX/._Ein Protokoll.csv", ".DS_Store"))
    _check(path)


@pytest.mark.parametrize(
    "data",
    [_CSV.replace("\n", "\r").encode(), _CSV.replace("\n", "\r\n").encode(), _CSV.encode("utf-16"),
     _CSV.replace("\n", "\r").encode("utf-16"), _CSV.encode("utf-8-sig"),
     _CSV.replace("\n", "\r\n").replace(",", "\t").encode("utf-16")],
)  # fmt: skip
def test_line_ends_and_encodings(tmp_path: Path, data: bytes):
    path = tmp_path / "log.csv"
    path.write_bytes(data)
    _check(path)


def test_a_line_end_at_the_border_of_a_block(tmp_path: Path):
    path = tmp_path / "long.csv"
    rows = "".join(f"{i},x\r" for i in range(30_000))
    path.write_bytes(b"t,mark\r" + rows.encode())
    np.testing.assert_array_equal(read_events(path).t, np.arange(30_000))


def test_packed_json_and_xes(tmp_path: Path):
    path = tmp_path / "log.jsonl.zst"
    path.write_bytes(_PACKERS["zst"](b'{"t": 1, "mark": 0}\n{"t": 2, "mark": 1}\n'))
    np.testing.assert_array_equal(read_events(path).t, [1, 2])
    path = tmp_path / "log.xes.zip"
    name, time = '<string key="concept:name" value="a"/>', '<date key="time:timestamp" value="2020-01-01T00:00:00Z"/>'
    xes = f'<?xml version="1.0" encoding="utf-16"?><log><trace>{name}<event>{name}{time}</event></trace></log>'
    path.write_bytes(_zipped(xes.encode("utf-16"), "log.xes"))
    assert read_events(path).num_events == 1
    path = tmp_path / "train.json.gz"
    record = {"dim_process": 2, "time_since_start": [0.5, 1.0], "time_since_last_event": [0.5, 0.5]}
    path.write_bytes(gzip.compress(json.dumps([{**record, "type_event": [0, 1]}]).encode()))
    assert read_events(path).num_events == 2


def test_packed_recordings_say_how_to_unpack_them(tmp_path: Path):
    path = tmp_path / "rec.txt.gz"
    path.write_bytes(gzip.compress(b"0.1 3 4 1\n" * 10))
    with pytest.raises(InputError, match=r"gzip.*gunzip --keep rec\.txt\.gz"):
        read_events(path)
    path = tmp_path / "rec.zip"
    path.write_bytes(_zipped(b"\x89HDF\r\n\x1a\n" + bytes(64), "rec.h5"))
    with pytest.raises(InputError, match=r"compressed by zip.*unzip rec\.zip"):
        read_events(path)
    path = tmp_path / "two.zip"
    path.write_bytes(_zipped(_CSV.encode(), "a.csv", "b.csv"))
    with pytest.raises(InputError, match=r"2 files \(a\.csv, b\.csv\); unpack it"):
        read_events(path)


def _tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("quakes.csv")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("log.tar.gz", _tar(_CSV.encode()), r"tar archive, of quakes\.csv first.*tar -xf log\.tar\.gz"),
        ("rec.raw", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS.*git lfs pull"),
        ("log.csv", b"<!DOCTYPE html>\n<html>", "page of the web"),
        ("log.rda", lzma.compress(b"RDX3\nX\n\0\0\0"), r"R's data.*write\.csv"),
        ("log.xlsx", _zipped(b"x", "[Content_Types].xml", "xl/workbook.xml"), r"Excel.*to_csv"),
        ("log.pkl", _zipped(b"x", "archive/data.pkl", "archive/version"), r"torch\.save.*time_since_start"),
        ("rec.mat", b"MATLAB 5.0 MAT-file", "scipy.io.loadmat"),
        ("log.json", b'{"ocel:global-log": {}, "ocel:events": {}}', "object-centric.*ocel_flattening"),
    ],
)  # fmt: skip
def test_files_of_other_programs(tmp_path: Path, name: str, data: bytes, said: str):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_events(tmp_path / name)


def test_a_database_is_no_bag(tmp_path: Path):
    path = tmp_path / "shop.sqlite"
    link = sqlite3.connect(path)
    link.execute("CREATE TABLE orders (id INTEGER, t REAL)")
    link.commit()
    link.close()
    with pytest.raises(InputError, match=r"tables orders; no bag.*sqlite3 -header -csv shop\.sqlite"):
        read_events(path)
