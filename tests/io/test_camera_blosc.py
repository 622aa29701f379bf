"""DSEC's Blosc chunks, unpacked directly and side by side: the same rows as through HDF5, whole, damaged or missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.io import ReadWarning, open_recording, read_events
from eventflow.io.cameras import _blosc

hdf5plugin = pytest.importorskip("hdf5plugin", reason="needs the extra vision")
N = 5000
KINDS = {"t": "<u4", "x": "<u2", "y": "<u2", "p": "u1"}
DRAW = np.random.default_rng(0)
COLUMNS = {
    "t": np.sort(DRAW.integers(0, 90_000, N)), "x": DRAW.integers(0, 640, N), "y": DRAW.integers(0, 480, N),
    "p": DRAW.integers(0, 2, N),
}  # fmt: skip


def dsec(path: Path, chunks: dict[str, int]) -> None:
    packed: Any = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with h5py.File(path, "w") as file:
        for name, column in COLUMNS.items():
            file.create_dataset(f"events/{name}", data=column.astype(KINDS[name]), chunks=(chunks[name],), **packed)
        file["t_offset"] = np.int64(1_000)
        file["ms_to_idx"] = np.searchsorted(COLUMNS["t"], np.arange(0, 90_000, 1000)).astype("u8")


def same(path: Path, window: tuple[int, int] | None = None) -> bool:
    events = read_events(path, window=window)
    start, end = window or (0, 1_000_000)
    keep = (COLUMNS["t"] + 1000 >= start) & (COLUMNS["t"] + 1000 < end)
    columns = [events.t - 1000, *(events.marks[name] for name in "xyp")]
    return all(np.array_equal(c, COLUMNS[name][keep]) for c, name in zip(columns, "txyp", strict=True))


@pytest.mark.parametrize("how", ["threads", "one thread", "through h5py"])
def test_rows_of_any_chunks(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "threads":
        with _blosc.ThreadPoolExecutor(3) as pool:
            monkeypatch.setattr(_blosc, "_pool", lambda process, cores: pool)
            check(tmp_path / "rec.h5")
    else:
        monkeypatch.setattr(_blosc, "_pool" if how == "one thread" else "_library", lambda *process: None)
        check(tmp_path / "rec.h5")


def check(path: Path) -> None:
    dsec(path, {"t": 1000, "x": 333, "y": 5000, "p": 64})
    assert same(path)
    for window in ((1_000, 1_001), (1_000, 90_999), (40_000, 47_123), (90_999, 91_000), (95_000, 96_000)):
        assert same(path, window)


def test_a_search_over_more_chunks_than_are_held(tmp_path: Path) -> None:
    dsec(tmp_path / "rec.h5", dict.fromkeys(KINDS, 64))
    with h5py.File(tmp_path / "rec.h5") as file:
        chunked = _blosc.Chunked([file[f"events/{name}"] for name in "txyp"], [[_blosc.BLOSC]] * 4, added=7)
        for lo, hi in ((900, 901), (0, 1000), (990, 2000), (0, 64), (0, 4000), (3900, N), (N, N)):
            assert np.array_equal(chunked.first(lo, hi), COLUMNS["t"][lo:hi] + 7)
            assert np.array_equal(chunked.rows(lo, hi)[0], COLUMNS["t"][lo:hi] + 7) and chunked.ordered


def test_it_is_hdf5plugin_that_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dsec(tmp_path / "rec.h5", dict.fromkeys(KINDS, 700))
    seen = []
    unpack = _blosc._unpacked
    monkeypatch.setattr(_blosc, "_unpacked", lambda raw, room: seen.append(unpack(raw, room)) or seen[-1])
    assert same(tmp_path / "rec.h5") and len(seen) >= 4 * 8 and all(seen)


@pytest.mark.parametrize("damage", ["zeros", "cut", "bits"])
def test_a_damaged_chunk(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "rec.h5"
    dsec(path, dict.fromkeys(KINDS, 1000))
    with h5py.File(path, "r+") as file:
        chunks = file["events/x"].id
        raw = bytearray(chunks.read_direct_chunk((3000,))[1])
        bits = raw[:16] + bytes(255 - byte for byte in raw[16:])
        chunks.write_direct_chunk((3000,), bytes({"zeros": bytearray(len(raw)), "cut": raw[:20], "bits": bits}[damage]))
    with pytest.raises(InputError, match=r"byte [\d,]+, in /events/x: event 3,000: "):
        read_events(path)
    with pytest.warns(ReadWarning, match="3,000 events before that were kept"):
        part = read_events(path, recover=True)
    assert np.array_equal(part.t - 1000, COLUMNS["t"][:3000]) and np.array_equal(part.marks["x"], COLUMNS["x"][:3000])


@pytest.mark.parametrize("row", [1, 1000, 1001, 2999, 4096, N - 1])
@pytest.mark.parametrize("kind", ["<u4", "<i8"])
def test_a_time_that_goes_back(row: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside of a chunk, between two, between two blocks."""
    monkeypatch.setitem(KINDS, "t", kind)
    times = COLUMNS["t"] + np.arange(N)
    times[row] = times[row - 1] - 1
    monkeypatch.setitem(COLUMNS, "t", times)
    dsec(tmp_path / "rec.h5", dict.fromkeys(KINDS, 1000))
    with pytest.raises(InputError, match=rf"event {row}: time goes back from {times[row - 1] + 1000} to"):
        read_events(tmp_path / "rec.h5")
    if row > 2000:  # the chunks before it are held
        events = open_recording(tmp_path / "rec.h5").window(dt=10_000, within=(1000, 1000 + int(times[1500])))
        assert sum(window.num_events for window in events) == 1500


def test_a_chunk_that_was_never_written(tmp_path: Path) -> None:
    path = tmp_path / "rec.h5"
    packed: Any = hdf5plugin.Blosc(cname="lz4")
    with h5py.File(path, "w") as file:
        for name, column in COLUMNS.items():
            made = file.create_dataset(f"events/{name}", (N,), KINDS[name], chunks=(1000,), **packed)
            if name != "p":
                made[:] = column
    events = read_events(path)
    assert np.array_equal(events.t, COLUMNS["t"]) and not events.marks["p"].any()
