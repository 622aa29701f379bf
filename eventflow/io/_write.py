"""``write_events``: Events to a file, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events, first_to_last
from eventflow.events._events import Array
from eventflow.io._report import ReadReport
from eventflow.io.cameras import CAMERA_WRITERS, Recording, write_recording

#: format -> suffixes that choose it.
WRITERS = {
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "easytpp": (".json",),
    **CAMERA_WRITERS,
}
_CHUNK = 1 << 16


def write_events(events: Events, path: str | PathLike[str], *, format: str | None = None) -> None:
    """Write events to ``path``: to a temporary file first, which then takes its place, so that nothing is half-written.

    Args:
        events: what to write.
        path: where; its suffix chooses the format if ``format`` is None.
        format: ``parquet`` (ours: everything is kept, see ``eventflow.io._native``); ``jsonl`` (one line an event, all
            sequences in the order of time, as ``eventflow stream`` reads it); ``csv`` (one row an event, sequence by
            sequence); ``easytpp`` (their layout, parquet or json by the suffix: times since each first event). jsonl
            and csv keep keys, times and marks (as integers), but neither span nor vocabulary; easytpp keeps no keys.
            Cameras' recordings (one sequence with x, y, p and int64 us): ``evt3`` (.raw), ``evt2``, ``dat``,
            ``nmnist`` (.bin), ``text`` (.txt), ``npz``, ``dsec`` (.h5).

    Raises:
        InputError: for an unknown format, a folder that is not there, columns that the format cannot hold.
    """
    path = Path(path)
    name = _chosen(path, format)
    if name in CAMERA_WRITERS:
        with replacing(path) as temporary:
            write_recording([events], temporary, name, span=_stated(events))
        return
    if name != "parquet" and (events.lengths == 0).any():
        empty = int((events.lengths == 0).sum())
        warnings.warn(f"{path}: {empty:,} sequences without events are not in it; parquet keeps them", stacklevel=2)
    with replacing(path) as temporary:
        {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv, "easytpp": _easytpp}[name](events, temporary)


def convert_recording(recording: Recording, path: Path, *, from_zero: bool = False) -> ReadReport | None:
    """Write a recording chunk by chunk, in constant memory; None if the target's format is not a camera's.

    ``from_zero``: times count from where the recording began, or from its first event.
    """
    name = _chosen(path, None)
    if name not in CAMERA_WRITERS:
        return None
    with replacing(path) as temporary:
        chunks, span = recording.chunks(), recording.stated_span
        if from_zero:
            chunks, span = _from_zero(chunks, None if span is None else span[0]), span and (0, span[1] - span[0])
        write_recording(chunks, temporary, name, span=span)
    return recording.report


def _from_zero(chunks: Iterator[Events], begin: int | None) -> Iterator[Events]:
    for events in chunks:
        begin = int(events.span[0, 0]) if begin is None else begin
        yield replace(events, t=events.t - begin, span=events.span - begin)


def _stated(events: Events) -> tuple[int, int] | None:
    """The span of the first sequence, if it is not just from its first to its last event."""
    if not len(events) or events.t.dtype != np.int64:
        return None
    own = (int(events.span[0, 0]), int(events.span[0, 1]))
    usual = first_to_last(events.t, events.offsets)[0]
    return None if own == (int(usual[0]), int(usual[1])) else own


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not."""
    if path.is_dir() or not path.parent.is_dir():
        what = (
            "is a folder; expected a file" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        )
        raise InputError(f"{path} {what}")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _chosen(path: Path, format: str | None) -> str:
    if format is not None:
        if format not in WRITERS:
            raise InputError(f"format {format!r} cannot be written; {did_you_mean(format, WRITERS)}")
        return format
    for name, suffixes in WRITERS.items():
        if path.name.lower().endswith(suffixes):
            return name
    known = ", ".join(suffix for suffixes in WRITERS.values() for suffix in suffixes)
    raise InputError(f"{path}: which format? Known suffixes: {known}. Or write: write_events(..., format='parquet')")


def _parquet(events: Events, path: Path) -> None:
    from eventflow.io import _native

    _native.write(events, path)


def _jsonl(events: Events, path: Path) -> None:
    order = np.argsort(events.t, kind="stable")
    keys = _keys(events)
    with path.open("w", encoding="utf-8") as file:
        for part in _parts(order):
            owners = events.sequence[part].tolist()
            columns = {"t": events.t[part].tolist(), **{name: c[part].tolist() for name, c in events.marks.items()}}
            for i, owner in enumerate(owners):
                head = {} if keys is None else {"key": keys[owner]}
                line = {**head, **{name: column[i] for name, column in columns.items()}}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _csv(events: Events, path: Path) -> None:
    for name, column in events.marks.items():
        if column.ndim > 1:
            raise InputError(
                f"mark column {name!r} has shape {column.shape}; csv holds one number a cell. Write parquet"
            )
    keys = _keys(events)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow([*(["key"] if keys is not None else []), "t", *events.marks])
        for part in _parts(np.arange(events.num_events)):
            columns = [events.t[part].tolist(), *(column[part].tolist() for column in events.marks.values())]
            if keys is not None:
                columns.insert(0, [keys[owner] for owner in events.sequence[part].tolist()])
            writer.writerows(zip(*columns, strict=True))


def _easytpp(events: Events, path: Path) -> None:
    if "mark" not in events.marks:
        raise InputError("the EasyTPP layout needs the column 'mark'")
    mark = events.marks["mark"]
    size = events.schema.num_marks or int(mark.max(initial=0)) + 1
    rows = []
    for i, (lo, hi) in enumerate(zip(events.offsets[:-1].tolist(), events.offsets[1:].tolist(), strict=True)):
        if hi > lo:
            t = events.t[lo:hi]
            since = (t - t[0]).astype(np.float64)
            rows.append({
                "seq_idx": i, "seq_len": hi - lo, "dim_process": size, "time_since_start": since.tolist(),
                "time_since_last_event": np.diff(t, prepend=t[0]).astype(np.float64).tolist(),
                "type_event": mark[lo:hi].tolist(),
            })  # fmt: skip
    if path.suffix in (".parquet", ".pq"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")


def _keys(events: Events) -> list[Any] | None:
    """The keys as plain values; the numbers of the sequences if they have none and are several."""
    if events.keys is not None:
        return events.keys.tolist()
    return None if len(events) == 1 else list(range(len(events)))


def _parts(order: Array) -> Iterator[Array]:
    for lo in range(0, len(order), _CHUNK):
        yield order[lo : lo + _CHUNK]
