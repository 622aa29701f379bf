"""``read_events``: one door for every format."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io._columns import LogColumns
from eventflow.io._report import ReadReport
from eventflow.io._request import Request
from eventflow.io._sniff import check_format, check_readable, sniff
from eventflow.io.cameras import CAMERA_FORMATS, Recording, open_camera

_READERS = {
    "parquet": "logs._parquet", "easytpp": "_json", "pkl": "easytpp._pickle", "csv": "logs._csv",
    "jsonl": "logs._jsonl", "xes": "logs._xes", "weblog": "logs._weblog", **dict.fromkeys(CAMERA_FORMATS, "cameras"),
}  # fmt: skip


def read_events(
    path: str | PathLike[str], *, format: str | None = None, window: tuple[float, float] | None = None,
    columns: LogColumns | str | None = None, schema: Schema | None = None, recover: bool = False,
) -> Events:  # fmt: skip
    """Events from a file, checked.

    ``read_events("cases.csv", columns=LogColumns(key="CaseID", time="CompleteTimestamp", mark="ActivityID"))``

    Args:
        path: the file; a log in text may be packed (gzip, bzip2, xz, Zstandard, or a zip archive of one file).
        format: one of ``FORMATS``; None finds it from the content, then from the suffix.
        window: half-open (t0, t1) in the unit of the times; only events in it are kept and spans are cut to it.
        columns: what the columns of a log mean and what to do about bad rows; see :class:`LogColumns`. Of a camera's
            text or numpy array, the order of its columns, such as "t y x p", where no header says it.
        schema: what is known beforehand: unit, K, vocabulary (a word outside it is then an error).
        recover: of a camera's recording that is cut off or damaged, return the events before the fault, with a warning.

    Raises:
        InputError: with the file, the line, what was seen there, what was expected and what to write.
    """
    if window is not None and (len(window) != 2 or not window[0] <= window[1]):
        raise InputError(f"read_events(window={window!r}): expected (t0, t1) with t0 <= t1")
    if "://" in str(path):
        raise InputError(f"{path}: a live camera has no end. Write: open_camera({str(path)!r}).window(dt=10_000)")
    path, name = Path(path), _format_of(path, format, columns)
    report = ReadReport(path, name)
    request = replace(_request(path, report, columns), schema=schema, window=window, recover=recover)
    events = _reader(name)(request)
    report.warn()
    return events if window is None or name in CAMERA_FORMATS else events.slice(*window)


def open_recording(
    path: str | PathLike[str], *, format: str | None = None, schema: Schema | None = None, recover: bool = False,
    columns: str | None = None,
) -> Recording:  # fmt: skip
    """An event camera's file, to be read in chunks and windows, in constant memory.

    ``for events in open_recording("rec.raw").window(dt=10_000): ...``

    Args:
        path: the file, of any size.
        format: one of ``FORMATS`` that is a camera's; None finds it.
        schema: the sensor's height and width, where the file does not say.
        recover: of a file that is cut off or damaged, the events before the fault; ``.report`` then says where.
        columns: of a text or a numpy array, the order of its columns, such as "t y x p", where no header says it.

    Raises:
        InputError: for a file of another kind. Reading raises it at a fault, with the byte.
    """
    if "://" in str(path):
        from eventflow.io.live._open import open_camera as open_live

        if format is not None or columns is not None:
            said = format or "spif"
            raise InputError(f"{path}: the format of a live camera stands in its URI: {path}?format={said}")
        return open_live(str(path), schema=schema, recover=recover)
    path, name = Path(path), _format_of(path, format, columns)
    if name not in CAMERA_FORMATS:
        raise InputError(f"{path} is {name}, not a camera's recording. Write: read_events({str(path)!r})")
    return open_camera(path, name, schema=schema, recover=recover, columns=columns or "")


def read_with_report(
    path: str | PathLike[str], *, format: str | None = None, columns: LogColumns | str | None = None,
    schema: Schema | None = None, lenient: bool = False,
) -> tuple[Events, ReadReport]:  # fmt: skip
    """Events and what the reader noticed; ``lenient`` describes a broken file instead of refusing it."""
    path, name = Path(path), _format_of(path, format, columns)
    report = ReadReport(path, name)
    request = replace(_request(path, report, columns), schema=schema, lenient=lenient)
    return _reader(name)(request), report


def _request(path: Path, report: ReadReport, columns: LogColumns | str | None) -> Request:
    """What a reader is given; columns of a camera are not taken for those of a log, nor the other way round."""
    camera = report.format in CAMERA_FORMATS
    if isinstance(columns, LogColumns) and camera and columns != LogColumns():
        raise InputError(
            f"{path} is a camera's recording ({report.format}), not a log. Write: read_events({str(path)!r})"
        )
    if isinstance(columns, str) and not camera:
        raise InputError(f"{path} is {report.format}, a log; columns={columns!r} is the order of a camera's columns")
    if isinstance(columns, str):
        return Request(path, report, order=columns)
    return Request(path, report, columns or LogColumns())


def is_recording(
    path: str | PathLike[str], *, format: str | None = None, columns: LogColumns | str | None = None
) -> bool:  # fmt: skip
    """Whether the file is a camera's recording."""
    return _format_of(path, format, columns) in CAMERA_FORMATS


def _format_of(path: str | PathLike[str], format: str | None, columns: LogColumns | str | None) -> str:
    """The given format, if it is one, else the file's own; the file must be there and not be empty."""
    if format is None:
        return sniff(Path(path), ordered=isinstance(columns, str))
    check_readable(Path(path))
    return check_format(format)


def _reader(name: str) -> Callable[[Request], Events]:
    return importlib.import_module(f"eventflow.io.{_READERS[name]}").read
