"""Every camera format that is written comes back event for event, by whole, window and chunk, and through `convert`."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import data_convert, open_recording, read_events, write_events
from eventflow.io.cameras import _arrays, _hdf5, _lines, _words

FORMATS = {
    "evt2": ".evt2", "evt3": ".raw", "dat": ".dat", "nmnist": ".bin", "text": ".txt", "npz": ".npz", "dsec": ".h5",
}  # fmt: skip
#: Formats that keep a span which is not from the first to the last event.
KEEP_SPAN = ("evt2", "evt3", "dat", "text", "npz", "dsec")
FORMAT_SEEDS = {pair: seed for seed, pair in enumerate(itertools.permutations(FORMATS, 2))}
QUICK = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hdf5plugin", reason="DSEC's files need the extra vision")
    monkeypatch.setattr(_words, "BLOCK", 40 * 8)  # many blocks even in small files
    monkeypatch.setattr(_lines, "_BLOCK", 256)
    monkeypatch.setattr(_arrays, "_ROWS", 64)
    monkeypatch.setattr(_hdf5, "_ROWS", 64)


def recording(seed: int, n: int = 400, *, span: bool = False) -> Events:
    """One recording of a 34 x 34 sensor: ties, small steps, some silences; every format can hold it."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0, 1, 3, 700, 9000], n, p=[0.5, 0.2, 0.2, 0.09, 0.01])
    t = int(rng.integers(0, 5000)) + np.cumsum(gaps)
    x, y = rng.integers(0, 34, n).astype(np.uint16), rng.integers(0, 34, n).astype(np.uint16)
    first, last = (int(t[0]), int(t[-1]) + 1) if n else (0, 0)
    watched = (max(first - 100, 0), last + 5000) if span else (first, last)
    schema = Schema(unit="us", height=34, width=34)
    return Events.of(t, span=watched, schema=schema, x=x, y=y, p=rng.integers(0, 2, n).astype(np.uint8))


def same(ours: Events, theirs: Events, *, schema: bool = True) -> None:
    assert np.array_equal(ours.t, theirs.t) and np.array_equal(ours.span, theirs.span)
    assert ours.t.dtype == theirs.t.dtype == np.int64
    for name in "xyp":
        assert ours.marks[name].dtype == theirs.marks[name].dtype
        assert np.array_equal(ours.marks[name], theirs.marks[name]), name
    assert not schema or ours.schema == theirs.schema


def written(events: Events, folder: Path, name: str) -> Path:
    path = folder / f"rec{FORMATS[name]}"
    write_events(events, path)
    return path


@pytest.mark.parametrize("name", FORMATS)
@QUICK
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_round_trip(name: str, seed: int, n: int, tmp_path: Path) -> None:
    events = recording(seed, n)
    back = read_events(written(events, tmp_path, name), schema=Schema(height=34, width=34))
    same(back, events)
    assert back.validate() is back and not back.schema.given_first


@pytest.mark.parametrize("name", KEEP_SPAN)
def test_spans_and_sensors_come_back(name: str, tmp_path: Path) -> None:
    events = recording(5, span=True)
    same(read_events(written(events, tmp_path, name)), events)


@pytest.mark.parametrize("name", KEEP_SPAN)
def test_no_event(name: str, tmp_path: Path) -> None:
    quiet = Events.of(
        np.empty(0, np.int64), span=(0, 70), schema=Schema(unit="us", height=34, width=34),
        x=np.empty(0, np.uint16), y=np.empty(0, np.uint16), p=np.empty(0, np.uint8),
    )  # fmt: skip
    back = read_events(written(quiet, tmp_path, name))
    assert back.num_events == 0 and back.span.tolist() == [[0, 70]]


@pytest.mark.parametrize(("first", "second"), list(FORMAT_SEEDS))
def test_convert_every_pair(first: str, second: str, tmp_path: Path) -> None:
    events = recording(FORMAT_SEEDS[first, second])
    target = tmp_path / f"other{FORMATS[second]}"
    data_convert(str(written(events, tmp_path, first)), str(target))
    same(read_events(target, schema=Schema(height=34, width=34)), events)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("span", [False, True])
@QUICK
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_windows_and_chunks(name: str, span: bool, seed: int, data: st.DataObject, tmp_path: Path) -> None:
    events = recording(seed, span=span and name in KEEP_SPAN)
    rec = open_recording(written(events, tmp_path, name), schema=Schema(height=34, width=34))
    lo, hi = int(events.span[0, 0]) - 2000, int(events.span[0, 1]) + 2000
    for _ in range(3):
        window = sorted((data.draw(st.integers(lo, hi)), data.draw(st.integers(lo, hi))))
        same(rec.read((window[0], window[1])), events.slice(*window))
        parts = list(rec.chunks(size=data.draw(st.integers(1, 99)), window=(window[0], window[1])))
        assert sum(part.num_events for part in parts) == events.slice(*window).num_events
        assert all(part.validate().num_events for part in parts)
    for options in ({"dt": data.draw(st.integers(500, 9000))}, {"n": data.draw(st.integers(1, 150))}):
        ours, theirs = list(rec.window(**options)), list(events.window(**options))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    assert np.array_equal(np.concatenate([part.t for part in rec.chunks(size=7)]), events.t)


def test_read_events_takes_a_window(tmp_path: Path) -> None:
    events = recording(3)
    window = (int(events.t[50]), int(events.t[300]))
    same(read_events(written(events, tmp_path, "evt3"), window=window), events.slice(*window))


def test_a_window_starts_where_a_block_began(tmp_path: Path) -> None:
    events = recording(4)
    rec = open_recording(written(events, tmp_path, "dat"))
    assert rec.read().num_events == 400
    source = rec._source
    assert isinstance(source, _words.WordSource)
    offset, state = source._from(int(events.t[350]))
    assert offset > source.begin + 8 * 300 and state is not None
    same(rec.read((int(events.t[350]), int(events.t[360]))), events.slice(int(events.t[350]), int(events.t[360])))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "BLOCK", 5 << 18)
    path = tmp_path / "long.dat"
    n = 3_000_000
    head = b"% Data file containing CD events.\n% Version 2\n% Height 480\n% Width 640\n\x0c\x08"
    words = np.stack([np.arange(n), np.arange(n) % 640 | (np.arange(n) % 480) << 14], 1).astype("<u4")
    path.write_bytes(head + words.tobytes())
    del words
    rec = open_recording(path)
    assert next(rec.chunks()).num_events > 0  # numba is compiled and loaded
    tracemalloc.start()
    total = sum(part.num_events for part in rec.window(dt=10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == n and peak < 16 << 20, f"{peak:,} bytes for a file of {path.stat().st_size:,}"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("evt3", lambda t: t + 10**16, "would take more than"),
        ("dat", lambda t: t + 2**33, "counts time in 32 bits"),
        ("nmnist", lambda t: t * 10_000, "counts time in 23 bits"),
        ("dsec", lambda t: t * 10**6, "71 minutes"),
    ],
)
def test_what_a_format_cannot_hold(name: str, change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    events = recording(1)
    t = change(events.t)
    moved = Events.of(t, span=(int(t[0]), int(t[-1]) + 1), schema=events.schema, **events.marks)
    with pytest.raises(InputError, match=message):
        written(moved, tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_only_recordings_are_written(tmp_path: Path) -> None:
    log = Events.of([1, 2], span=(0, 3), mark=[0, 1])
    with pytest.raises(InputError, match="Write parquet"):
        write_events(log, tmp_path / "log.raw")
    with pytest.raises(InputError, match="not a camera's recording"):
        path = tmp_path / "log.parquet"
        write_events(log, path)
        open_recording(path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_a_recording_becomes_a_table_and_comes_back(tmp_path: Path) -> None:
    events = recording(2, span=True)
    data_convert(str(written(events, tmp_path, "evt2")), str(tmp_path / "rec.parquet"))
    same(read_events(tmp_path / "rec.parquet"), events)
