"""``read_events``: one door for every format."""

from __future__ import annotations

import importlib
from os import PathLike
from pathlib import Path

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io._columns import LogColumns
from eventflow.io._report import ReadReport
from eventflow.io._request import Request
from eventflow.io._sniff import check_format, sniff

_READERS = {
    "parquet": "_parquet", "easytpp": "_json", "pkl": "_pickle", "csv": "_csv", "jsonl": "_jsonl", "xes": "_xes",
    "weblog": "_weblog",
}  # fmt: skip


def read_events(
    path: str | PathLike[str], *, format: str | None = None, window: tuple[float, float] | None = None,
    columns: LogColumns | None = None, schema: Schema | None = None,
) -> Events:  # fmt: skip
    """Events from a file, checked.

    ``read_events("cases.csv", columns=LogColumns(key="CaseID", time="CompleteTimestamp", mark="ActivityID"))``

    Args:
        path: the file.
        format: one of ``FORMATS``; None finds it from the content, then from the suffix.
        window: half-open (t0, t1) in the unit of the times; only events in it are kept and spans are cut to it.
        columns: what the columns of a log mean and what to do about bad rows; see :class:`LogColumns`.
        schema: what is known beforehand: unit, K, vocabulary (a word outside it is then an error).

    Raises:
        InputError: with the file, the line, what was seen there, what was expected and what to write.
    """
    events, report = read_with_report(path, format=format, columns=columns, schema=schema)
    report.warn()
    if window is None:
        return events
    if len(window) != 2 or not window[0] <= window[1]:
        raise InputError(f"read_events(window={window!r}): expected (t0, t1) with t0 <= t1")
    return events.slice(*window)


def read_with_report(
    path: str | PathLike[str], *, format: str | None = None, columns: LogColumns | None = None,
    schema: Schema | None = None, lenient: bool = False,
) -> tuple[Events, ReadReport]:  # fmt: skip
    """Events and what the reader noticed; ``lenient`` describes a broken file instead of refusing it."""
    path = Path(path)
    name = sniff(path)
    name = check_format(format) if format else name
    report = ReadReport(path, name)
    request = Request(path, report, columns or LogColumns(), schema, lenient)
    reader = importlib.import_module(f"eventflow.io.{_READERS[name]}")
    return reader.read(request), report
