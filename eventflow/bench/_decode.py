"""Reading event cameras' files: ours, the definition, every peer that is installed, and the memory's limit."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import open_recording, read_events, write_events
from eventflow.ops.decode import decode_dat, decode_evt2, decode_evt3

Job = Callable[[], int]
#: format -> (suffix, decoder of words in memory, their dtype)
WORDS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "evt2": (".raw", decode_evt2, "<u4"), "evt3": (".raw", decode_evt3, "<u2"), "dat": (".dat", decode_dat, "<u4"),
}  # fmt: skip
OTHERS = {"text": ".txt", "npz": ".npz", "dsec": ".h5"}
#: Events that the definitions, which are Python loops, are given.
_FEW = 20_000
_CAN_PIN = hasattr(os, "sched_setaffinity")
#: Bytes of an event's columns: t 8, x 2, y 2, p 1.
_COLUMNS = 13


def run(*, out: Path | None = None, recording: Path | None = None, events: int = 10_000_000, rounds: int = 5) -> None:
    """Million events per CPU second, one recording tiled to many events and written in each format.

    ``words`` decodes what is in memory, block by block as a reader does; ``file`` reads the file in chunks. Peers read
    the same file. The contenders take turns; medians. Before it is timed, ours is compared with what was written. The
    limit is the time to read the bytes once and to write 13 bytes an event, measured by numpy. DSEC's chunks are
    unpacked on several cores, which takes more CPU time for less wall time; so for those there is wall time, too, and a
    row of one core, the one that h5py's slices are read on, too.

    Args:
        out: folder for decode.json.
        recording: an event camera's file; by default $EVENTFLOW_DATA/cameras/gen3_evt2.raw.
        events: length of the tiled recording.
        rounds: turns of each contender; Python loops and text get one.

    Raises:
        InputError: no recording, or no event in it.
    """
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    tiled = tile(_recording(recording), events)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*WORDS, *OTHERS):
            if name == "dsec" and importlib.util.find_spec("hdf5plugin") is None:
                continue
            path = Path(folder) / f"rec{WORDS[name][0] if name in WORDS else OTHERS[name]}"
            write_events(tiled, path, format=name)
            _check(path, tiled)
            found[name], wall = _race(name, path, tiled, rounds)
            if name == "dsec":  # the only one that takes more than one core
                found["dsec, wall time"] = wall
            path.unlink()
    _show(found, tiled.num_events)
    if out is not None:
        report = {"recording": str(recording or "gen3_evt2.raw"), "events": tiled.num_events, "cpu_mev_per_s": found}
        out.mkdir(parents=True, exist_ok=True)
        (out / "decode.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _recording(path: Path | None) -> Events:
    if path is None:
        root = os.environ.get("EVENTFLOW_DATA")
        if not root:
            raise InputError("bench decode: no recording. Write: --recording FILE, or set EVENTFLOW_DATA")
        path = Path(root) / "cameras" / "gen3_evt2.raw"
    events = read_events(path)
    if not events.num_events:
        raise InputError(f"bench decode: {path} holds no events")
    return events


def tile(events: Events, count: int) -> Events:
    """The recording again and again, from time zero on, until there are ``count`` events."""
    times = -(-count // events.num_events)
    length = int(events.span[0, 1] - events.span[0, 0])
    t = np.concatenate([events.t - events.span[0, 0] + i * length for i in range(times)])[:count]
    marks = {name: np.tile(column, times)[:count] for name, column in events.marks.items()}
    schema = Schema(unit="us", height=events.schema.height, width=events.schema.width)
    return Events.of(t, span=(int(t[0]), int(t[-1]) + 1), schema=schema, **marks)


def _check(path: Path, written: Events) -> None:
    """Nothing is timed that is wrong."""
    row = 0
    for chunk in open_recording(path).chunks():
        upto = row + chunk.num_events
        good = np.array_equal(chunk.t, written.t[row:upto])
        good &= all(np.array_equal(chunk.marks[k], written.marks[k][row:upto]) for k in "xyp")
        if not good:
            raise RuntimeError(f"bench decode: {path.name}: events {row} to {upto} are not what was written")
        row = upto
    if row != written.num_events:
        raise RuntimeError(f"bench decode: {path.name}: {row} events instead of {written.num_events}")


def _race(name: str, path: Path, tiled: Events, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """contender -> Mev per second of CPU time, and of wall time."""
    jobs = {"ours, file": lambda: sum(part.num_events for part in open_recording(path).chunks())}
    if name in WORDS:
        jobs = {"ours, words": _words(name, path), **jobs}
    if name == "dsec":
        jobs["ours, 100 ms slices"] = lambda: sum(part.num_events for part in open_recording(path).window(dt=100_000))
        if _CAN_PIN:
            jobs["ours, 100 ms slices, on one core"] = _on_one_core(jobs["ours, 100 ms slices"])
        start, end = tiled.span[0].tolist()
        jobs["ours, 100 ms windows, each by itself"] = lambda: _windows(path, range(start, end, 100_000))
    jobs |= _peers(name, path)
    jobs["limit"] = _limit(path, tiled.num_events)
    samples: dict[str, list[float]] = {key: [] for key in jobs}
    wall: dict[str, list[float]] = {key: [] for key in jobs}
    for job in jobs.values():
        job()  # compiled, and the file in the page cache
    for turn in range(rounds):
        for key, job in jobs.items():
            if turn == 0 or sum(samples[key]) < 20:
                since = time.perf_counter()
                samples[key].append(_timed(job)[0])
                wall[key].append(time.perf_counter() - since)
    rate = tiled.num_events / 1e6
    cpu, passed = ({key: rate / statistics.median(v) for key, v in times.items()} for times in (samples, wall))
    return cpu | _definition(name, path), passed


def _windows(path: Path, starts: range) -> int:
    """Every window as training asks for it: at random, so the file is opened for each."""
    recording = open_recording(path)
    return sum(recording.read((start, start + starts.step)).num_events for start in starts)


def _words(name: str, path: Path) -> Job:
    _, decode, kind = WORDS[name]
    words = _words_of(path, kind)
    size = len(words)

    def job() -> int:
        state, count = None, 0
        for lo in range(0, size, 1 << 18):
            found = decode(words[lo : lo + (1 << 18)], state)
            state, count = found.state, count + len(found.t)
        return count

    return job


def _words_of(path: Path, kind: str) -> Any:
    from eventflow.io.cameras._prophesee import parse_header

    data = path.read_bytes()
    begin = parse_header(data[: 1 << 16]).begin + (2 if path.suffix == ".dat" else 0)
    return np.frombuffer(data[begin:], kind)


def _definition(name: str, path: Path) -> dict[str, float]:
    if name not in WORDS:
        return {}
    _, decode, kind = WORDS[name]
    seconds, count = _timed(lambda: len(decode(_words_of(path, kind)[:_FEW], backend="naive").t))
    return {"definition": count / seconds / 1e6}


def _peers(name: str, path: Path) -> dict[str, Job]:
    """Those installed, each as its documentation has it used."""
    jobs: dict[str, Job] = {}
    if name in WORDS and importlib.util.find_spec("faery") is not None:
        faery: Any = importlib.import_module("faery")
        how = {"file_type": "dat" if name == "dat" else "evt", "dimensions_fallback": (640, 480)}
        jobs["faery"] = lambda: sum(len(packet) for packet in faery.events_stream_from_file(path, **how))
    if name in WORDS and importlib.util.find_spec("expelliarmus") is not None:
        expelliarmus: Any = importlib.import_module("expelliarmus")
        jobs["expelliarmus"] = lambda: len(expelliarmus.Wizard(encoding=name).read(path))
    if name == "npz":
        jobs["numpy.load"] = lambda: sum(len(column) for column in dict(np.load(path)).values()) // 4
    if name == "text":
        jobs["pyarrow.csv"] = _pyarrow(path)
    if name == "dsec":
        jobs["h5py, whole"] = lambda: _h5py(path, None)
        jobs["h5py, 100 ms slices"] = _on_one_core(lambda: _h5py(path, 100))  # which is all that it uses
        jobs["h5py, 100 ms slices, camera's time"] = _on_one_core(lambda: _h5py(path, 100, clock=True))
    return jobs


def _pyarrow(path: Path) -> Job:
    from pyarrow import csv

    names = csv.ReadOptions(column_names=["t", "x", "y", "p"], skip_rows=1, use_threads=False)
    return lambda: csv.read_csv(path, read_options=names, parse_options=csv.ParseOptions(delimiter=" ")).num_rows


def _on_one_core(job: Job) -> Job:
    """The job with this thread kept on one core, the same for all; as it is where a system cannot do that."""

    def pinned() -> int:
        if not _CAN_PIN:
            return job()
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            return job()
        finally:
            os.sched_setaffinity(0, cores)

    return pinned


def _h5py(path: Path, milliseconds: int | None, *, clock: bool = False) -> int:
    """The four columns, whole or by slices of the file's own index: what any reader of this layout must do.

    ``clock``: with t + t_offset in int64, as DSEC's own scripts (and we) deliver them, instead of t as it is stored.
    """
    import h5py

    importlib.import_module("hdf5plugin")
    with h5py.File(path) as file:
        sets: list[Any] = [file[f"events/{name}"] for name in "txyp"]
        length = len(sets[0])
        index = np.asarray(file["ms_to_idx"])
        cuts = [0, length] if milliseconds is None else [*index[::milliseconds].tolist(), length]
        offset = np.asarray(file["t_offset"], np.int64)

        def rows(lo: int, hi: int) -> list[Any]:
            t, *marks = (data[lo:hi] for data in sets)
            return [np.add(t, offset, dtype=np.int64) if clock else t, *marks]

        return sum(len(rows(lo, hi)[0]) for lo, hi in _pairs(cuts))


def _pairs(cuts: list[int]) -> Iterator[tuple[int, int]]:
    return zip(cuts[:-1], cuts[1:], strict=True)


def _limit(path: Path, events: int) -> Job:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    whole = data[: len(data) // 8 * 8].view(np.int64)
    columns = np.empty(events * _COLUMNS // 8 + 1, np.int64)

    def job() -> int:
        whole.max()
        columns.fill(1)
        return events

    return job


def _timed(job: Job) -> tuple[float, int]:
    start = time.process_time()
    count = job()
    return time.process_time() - start, count


def _show(found: dict[str, dict[str, float]], events: int) -> None:
    from rich.table import Table

    console = terminal()
    table = Table(title=f"{events:,} events, million per CPU second")
    for heading in ("format", "contender", "Mev/s", "x best peer", "of the limit"):
        table.add_column(heading, justify="left" if heading in ("format", "contender") else "right")
    for name, rows in found.items():
        peers = [speed for key, speed in rows.items() if not key.startswith(("ours", "limit", "definition"))]
        for key, speed in sorted(rows.items(), key=lambda item: -item[1]):
            gain = f"{speed / max(peers):.2f}x" if peers and key.startswith("ours") else ""
            table.add_row(name, key, f"{speed:,.2f}", gain, f"{speed / rows['limit']:.1%}")
        table.add_section()
    console.print(table)
