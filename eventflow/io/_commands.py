"""What ``eventflow data list | info | convert`` do; the command line only gives them their arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from eventflow.errors import InputError
from eventflow.io import _catalogue
from eventflow.io._card import SPLITS, Card
from eventflow.io._catalogue import has_card, list_datasets, load_dataset, load_with_reports
from eventflow.io._columns import LogColumns, declared
from eventflow.io._read import is_recording, open_recording, read_events, read_with_report
from eventflow.io._sniff import is_bag_folder
from eventflow.io._write import convert_recording, write_events
from eventflow.io.info._info import describe
from eventflow.io.info._page import render, render_card
from eventflow.io.info._recording import describe_recording
from eventflow.io.info._recording_page import render_recording

if TYPE_CHECKING:
    from rich.console import RenderableType

    from eventflow.events import Schema


def data_info(path_or_name: str, *, columns: list[str] | None = None, format: str | None = None) -> None:
    """Print a page about a file, however broken, or a page for each split of a dataset.

    Args:
        path_or_name: a file in any format, a dataset's name, or a dataset's folder.
        columns: what the columns of a log mean: key=CaseID time=Timestamp mark=Activity unit=d time_format=%d/%m/%Y ...
            Of a camera's table: their order, and where it is not known, unit and sensor: t y x p unit=us sensor=640x480
        format: of the file: parquet, easytpp, pkl, csv, jsonl, xes, weblog, or a camera's, such as evt3; found from its
            content by default.

    Raises:
        InputError: if there is no such file or dataset, or if nothing in it can be described.
    """
    from rich.console import Console

    console = Console()
    said, schema = declared(columns)
    for page in info_pages(path_or_name, columns=said, format=format, schema=schema):
        console.print(page)
        console.print()


def info_pages(
    path_or_name: str | PathLike[str], *, columns: LogColumns | str | None = None, format: str | None = None,
    schema: Schema | None = None,
) -> Iterator[RenderableType]:  # fmt: skip
    """What :func:`data_info` prints, as rich renderables."""
    if _is_file(path_or_name):
        if is_recording(path_or_name, format=format, columns=columns):
            order = columns if isinstance(columns, str) else None
            recording = open_recording(path_or_name, format=format, schema=schema, recover=True, columns=order)
            yield render_recording(describe_recording(recording, title=str(path_or_name)))
            return
        events, report = read_with_report(path_or_name, format=format, columns=columns, lenient=True)
        yield render(describe(events, title=str(path_or_name), report=report))
        return
    if columns is not None or format is not None:
        raise InputError(
            f"{path_or_name} is a dataset, whose card says how to read it; columns and format are for files"
        )
    if has_card(path_or_name):
        entry = _catalogue.card(path_or_name)
        if entry.recordings or entry.environment:
            yield render_card(entry)
            return
    parts = load_with_reports(path_or_name)
    if has_card(path_or_name):
        yield render_card(_catalogue.card(path_or_name))
    for split, (events, report) in parts.items():
        yield render(describe(events, title=f"{path_or_name} · {split}", report=report))


def _is_file(path_or_name: str | PathLike[str]) -> bool:
    """Whether a file (or a ROS 2 bag) is meant rather than a dataset: it is there, or has a suffix and is no folder."""
    path = Path(path_or_name)
    return path.is_file() or is_bag_folder(path) or (path.suffix != "" and not path.is_dir())


def data_list() -> None:
    """Print the catalogue: name, K, unit, sequences, where the data is found here, title."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("dataset", "K", "unit", "sequences", "found in", "what it is"):
        table.add_column(name, justify="right" if name in ("K", "sequences") else "left", no_wrap=name != "what it is")
    for name in list_datasets():
        entry = _catalogue.card(name)
        sequences = [int(facts["sequences"]) for split, facts in entry.statistics.items() if split in SPLITS]
        sequences += [len(names) for names in entry.recordings.values()]
        table.add_row(
            name, str(entry.schema.num_marks or "-"), entry.schema.unit, "/".join(f"{n:,}" for n in sequences),
            _found_in(entry), entry.title,
        )  # fmt: skip
    console.print(table)
    if not os.environ.get("EVENTFLOW_DATA"):
        console.print(
            "\nEVENTFLOW_DATA is not set. Write: export EVENTFLOW_DATA=/the/folder/with/your/data", style="dim"
        )


def data_convert(
    source: str, target: str, *, columns: list[str] | None = None, format: str | None = None, recover: bool = False,
    from_zero: bool = False,
) -> None:  # fmt: skip
    """Read a file (or a dataset, into a folder of one parquet file a split) and write it in the target's format.

    Args:
        source: a file in any format, a dataset's name or folder, or a live camera, such as
            udp://0.0.0.0:3333?format=spif&width=640&height=480 (Ctrl-C ends it; so does silence with &idle=2).
        target: a file, or udp://host:port?format=... (tcp, too), to which a recording is sent at its own pace (&speed=2
            twice as fast, 0 at once). A file's suffix chooses the format. For a dataset: a folder, which is made.
        columns: what the columns of a log mean: key=CaseID time=Timestamp mark=Activity unit=d sort=true ...
            (for a folder: of its train, val and test files).
            Of a camera's table: their order, and where it is not known, unit and sensor: t y x p unit=us sensor=640x480
        format: of the source: parquet, easytpp, pkl, csv, jsonl, xes, weblog, or a camera's, such as evt3; found from
            its content by default.
        recover: of a camera's recording that is cut off or damaged, take the events before the fault, with a warning.
        from_zero: let the times of a camera's file count from where it began: .raw and .dat cannot hold times since
            1970.
    """
    if "://" in source or "://" in target:
        if from_zero:
            raise InputError("--from_zero is for files; record first, then convert the recording")
        return _convert_live(source, target, format=format, recover=recover)
    out = Path(target)
    if _is_file(source):
        said, schema = declared(columns)
        if is_recording(source, format=format, columns=said):
            said = said if isinstance(said, str) else None
            recording = open_recording(source, format=format, schema=schema, recover=recover, columns=said)
            report = convert_recording(recording, out, from_zero=from_zero)
            if report is not None:
                report.warn()
                return
        if from_zero:
            raise InputError(f"--from_zero is for recordings of a camera and their formats, not from {source} to {out}")
        events = read_events(source, format=format, columns=said, schema=schema, recover=recover)
        write_events(events, out)
        return
    if format or (columns and (not Path(source).is_dir() or has_card(source))):
        raise InputError(f"{source} is a dataset, whose card says how to read it; columns and format are for files")
    if columns:
        parts = _catalogue.load_split_files(Path(source), LogColumns.from_words(columns))
    else:
        parts = load_dataset(source)
    if out.suffix:
        raise InputError(f"{source} has the splits {', '.join(parts)}; give a folder rather than the file {out}")
    out.mkdir(parents=True, exist_ok=True)
    for split, events in parts.items():
        write_events(events, out / f"{split}.parquet")


def _convert_live(source: str, target: str, *, format: str | None, recover: bool) -> None:
    """Record a live camera into a file, or send a recording as one."""
    from eventflow.io.live._open import open_camera_sink, pace_of
    from eventflow.io.live._stream import CameraStream

    speed = pace_of(target) if "://" in target else 1.0
    recording = open_recording(source, format=format, recover=recover)
    if "://" not in target:
        assert isinstance(recording, CameraStream)
        with recording, recording.ended_by_interrupt():
            if convert_recording(recording, Path(target)) is None:
                raise InputError(f"{target}: a live camera is recorded in a camera's format: .raw, .h5, .npz, ...")
        recording.report.facts["broken"] = 1.0 if recording.report.notes else 0.0
        return recording.report.warn()
    sink = open_camera_sink(target)
    try:
        sink.replay(recording.chunks(), speed=0.0 if isinstance(recording, CameraStream) else speed)
    finally:
        sink.close()


def _found_in(entry: Card) -> str:
    root = _catalogue.data_folder()
    if entry.environment:
        return "gymnasium" if entry.environment.partition("/")[0] != "eventflow" else "shipped"
    if entry.recordings:
        here = root is not None and (root / entry.name).is_dir()
        return "EVENTFLOW_DATA" if here else "to be simulated" if entry.recipe else "needs EVENTFLOW_DATA"
    if root is not None and entry.files and all((root / ref.path).is_file() for ref in entry.files.values()):
        return "EVENTFLOW_DATA"
    if entry.hub:
        return f"hub {entry.hub}"
    return "shipped" if entry.sample else "needs EVENTFLOW_DATA"
