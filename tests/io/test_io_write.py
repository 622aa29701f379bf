"""Our own parquet keeps everything; jsonl, csv and easytpp keep what they say; nothing is half-written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import LogColumns, read_events, write_events

DTYPES = ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool", "<U5"]


@st.composite
def events(draw: st.DrawFn, *, plain: bool = False) -> Events:
    """Sequences with ties, empty ones, any span; with ``plain`` only what line formats can hold."""
    ticks = draw(st.booleans())
    values = (
        st.integers(-(2**60), 2**60) if ticks else st.floats(-1e9, 1e9, allow_subnormal=False).map(lambda x: x + 0.0)
    )
    low = 1 if plain else 0
    sequences = draw(st.lists(st.lists(values, min_size=low, max_size=6).map(sorted), min_size=1, max_size=4))
    lengths = [len(sequence) for sequence in sequences]
    t = np.array([x for sequence in sequences for x in sequence], dtype=np.int64 if ticks else np.float64)
    n = len(t)
    spans = []
    for sequence in sequences:
        ends = (sequence[0], sequence[-1]) if sequence else (0, 0)
        spans.append(
            (
                ends[0] - draw(st.integers(0, 5)),
                ends[1] + draw(st.integers(1, 5)) if ticks else np.nextafter(ends[1], np.inf),
            )
        )  # noqa: E501
    mark = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=np.int64)
    marks: dict[str, Any] = {"mark": mark}
    if not plain:
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        for dtype in draw(st.lists(st.sampled_from(DTYPES), max_size=3, unique=True)):
            shape = draw(st.sampled_from([(), (2,), (3, 2)]))
            marks[f"m_{dtype}"] = generator.integers(0, 100, (n, *shape)).astype(dtype)
    keys = draw(st.sampled_from([None, np.array([f"kéy {i}" for i in range(len(lengths))])]))
    words = draw(st.sampled_from([None, ("a", "b", "ü c", "d", "e")])) if not plain else None
    unit = draw(st.sampled_from(["1", "s", "us", "10ks"])) if not plain else "1"
    schema = Schema(unit=unit, num_marks=5, vocabulary=words, given_first=draw(st.booleans()))
    given = draw(st.none() | st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)).map(np.array))
    return Events(t, marks, np.concatenate([[0], np.cumsum(lengths)]), np.array(spans), schema, keys, given).validate()


@settings(max_examples=60)
@given(events())
def test_parquet_is_lossless(tmp_path_factory: pytest.TempPathFactory, written: Events):
    path = tmp_path_factory.mktemp("w") / "x.parquet"
    write_events(written, path)
    back = read_events(path)
    assert back.schema == written.schema
    for name in ("t", "offsets", "span"):
        assert (
            np.array_equal(getattr(back, name), getattr(written, name))
            and getattr(back, name).dtype == getattr(written, name).dtype
        )  # noqa: E501
    assert list(back.marks) == list(written.marks)
    for name, column in written.marks.items():
        assert back.marks[name].dtype == column.dtype and back.marks[name].shape == column.shape
        assert np.array_equal(back.marks[name], column)
    assert (back.given is None) == (written.given is None)
    assert back.given_first.tolist() == written.given_first.tolist()
    assert (back.keys is None) == (written.keys is None)
    if written.keys is not None and back.keys is not None:
        assert back.keys.tolist() == written.keys.tolist() and back.keys.dtype == written.keys.dtype


@settings(max_examples=60)
@given(events(plain=True), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_lines_keep_keys_times_and_marks(tmp_path_factory: pytest.TempPathFactory, written: Events, suffix: str):
    path = tmp_path_factory.mktemp("w") / f"x{suffix}"
    write_events(written, path)
    back = read_events(path)
    keys = [str(k) for k in (range(len(written)) if written.keys is None else written.keys)]
    theirs = [""] if back.keys is None else back.keys.tolist()
    assert sorted(theirs) == sorted(keys) or (len(written) == 1 and back.keys is None)
    for i, key in enumerate(keys):
        mine, got = written[i], back[theirs.index(key) if back.keys is not None else 0]
        assert mine.t.tolist() == got.t.tolist() and mine.marks["mark"].tolist() == got.marks["mark"].tolist()


def test_a_window_of_sessions_scores_those_under_way_and_gives_those_that_begin(tmp_path: Path):
    rows = [[1.0, 4.0, 6.0], [4.5, 5.0], [0.0, 9.5]]
    sessions = Events.from_sequences([{"t": row, "mark": [0] * len(row)} for row in rows])
    write_events(sessions, tmp_path / "x.parquet")
    seen = read_events(tmp_path / "x.parquet", window=(2.0, 9.0))
    assert seen.scored.tolist() == [True, True, False, True] and seen.num_scored == 3


def test_jsonl_is_in_the_order_of_time(tmp_path: Path):
    two = Events.of([0.0, 5.0, 1.0, 5.0], offsets=[0, 2, 4], keys=["a", "b"], mark=[0, 1, 2, 3], x=[1.5, 2.5, 3.5, 4.5])
    write_events(two, tmp_path / "x.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines == [
        {"key": "a", "t": 0.0, "mark": 0, "x": 1.5}, {"key": "b", "t": 1.0, "mark": 2, "x": 3.5},
        {"key": "a", "t": 5.0, "mark": 1, "x": 2.5}, {"key": "b", "t": 5.0, "mark": 3, "x": 4.5},
    ]  # fmt: skip
    back = read_events(tmp_path / "x.jsonl", columns=LogColumns(key="key", time="t", mark="mark", numeric=("x",)))
    assert back.marks["x"].tolist() == [1.5, 2.5, 3.5, 4.5]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_easytpp_layout_comes_back(tmp_path: Path, suffix: str, data_root: Path):
    taxi = read_events(data_root / "easytpp/taxi/dev.parquet")
    write_events(taxi, tmp_path / f"dev{suffix}", format="easytpp")
    back = read_events(tmp_path / f"dev{suffix}")
    assert np.allclose(back.t, taxi.t, rtol=0, atol=1e-13) and np.array_equal(back.marks["mark"], taxi.marks["mark"])
    assert back.schema == taxi.schema and np.array_equal(back.offsets, taxi.offsets)


def test_sequences_without_events_are_told_where_they_are_lost(tmp_path: Path):
    some = Events.of([1.0], offsets=[0, 1, 1], span=(0.0, 2.0), mark=[0])
    for name in ("x.csv", "x.jsonl", "x.json"):
        with pytest.warns(UserWarning, match="1 sequences without events"):
            write_events(some, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_events(some, tmp_path / "x.parquet")


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"old")

    def fail(table: Any, where: Any, **_: Any) -> None:
        Path(where).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(KeyboardInterrupt):
        write_events(Events.of([1.0], mark=[0]), path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("x.xyz", None, "which format\\? Known suffixes: .parquet"),
        ("x.parquet", "parket", "did you mean 'parquet'"),
        ("nowhere/x.csv", None, "there is no folder"),
    ],
)
def test_where_it_cannot_be_written(tmp_path: Path, name: str, format: str | None, message: str):
    with pytest.raises(InputError, match=message):
        write_events(Events.of([1.0], mark=[0]), tmp_path / name, format=format)


def test_columns_that_a_format_cannot_hold(tmp_path: Path):
    wide = Events.of([1.0], mark=[0], x=[[1.0, 2.0]])
    with pytest.raises(InputError, match="one number a cell. Write parquet"):
        write_events(wide, tmp_path / "x.csv")
    with pytest.raises(InputError, match="needs the column 'mark'"):
        write_events(Events.of([1.0]), tmp_path / "x.json")
    with pytest.raises(InputError, match="as one of ours"):
        write_events(Events.of([1.0], end=[0.5]), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="complex128"):
        write_events(Events.of([1.0], x=[1j]), tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


def test_our_parquet_says_itself_what_it_is(tmp_path: Path):
    path = tmp_path / "x.parquet"
    write_events(Events.of([1.0], mark=[0], schema=Schema(unit="s", vocabulary=("a", "b"))), path)
    for columns, schema, message in (
        (LogColumns(time="t"), None, "without columns="),
        (None, Schema(unit="h"), "unit is 's'"),
        (None, Schema(num_marks=3), "K=2.*says 3"),
        (None, Schema(vocabulary=("b", "a")), "vocabulary"),
    ):
        with pytest.raises(InputError, match=message):
            read_events(path, columns=columns, schema=schema)
    assert read_events(path, schema=Schema(unit="s", vocabulary=("a", "b"))).schema.vocabulary == ("a", "b")
    meta = pq.read_schema(path).metadata[b"eventflow"].replace(b'"version": 1', b'"version": 3')
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"eventflow": meta}), path)
    with pytest.raises(InputError, match="version 3"):
        read_events(path)
