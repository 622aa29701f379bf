"""XES event logs of process mining (IEEE 1849): traces of events, in XML, packed or not; read in constant memory.

A trace is a sequence, named by its ``concept:name``; an event's time is ``time:timestamp`` and its mark
``concept:name``, or ``concept:name+lifecycle:transition``. Any other attribute can be chosen by its key.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np

from eventflow.events import Events
from eventflow.io._columns import on_command_line
from eventflow.io._packed import head_of
from eventflow.io._request import Request
from eventflow.io._text import Progress, open_binary
from eventflow.io.logs._log import LogCollector
from eventflow.io.logs._names import make_chunk, parts

_CHUNK = 1 << 14
_NAME, _TIME = "concept:name", "time:timestamp"
#: ``trace:`` before a key takes the attribute from the trace.
_TRACE = "trace:"


def read(request: Request) -> Events:
    """Events from an XES log."""
    columns = request.columns
    mark = columns.mark or _NAME
    columns = replace(
        columns, key=columns.key or _NAME, time=columns.time or _TIME, mark=mark,
        time_format="iso" if columns.time_format == "auto" else columns.time_format,
    )  # fmt: skip
    request = replace(request, columns=columns)
    fields = [*parts(columns.time or _TIME, ()), *parts(mark, ()), *columns.numeric]
    collector = LogCollector(request, noun="event")
    rows: list[int] = []
    found: list[dict[str, str | None]] = []
    empty = number = 0
    for trace, events in _traces(request):
        empty += not events
        if not number and events:
            _check_time(request, events)
        for event in events:
            number += 1
            rows.append(number)
            found.append({_TRACE: trace.get(columns.key or _NAME), **{name: event.get(name) for name in fields}})
        if len(rows) >= _CHUNK:
            _flush(collector, rows, found)
    _flush(collector, rows, found)
    if empty:
        request.report.notes.append(f"{empty:,} traces without events are left out")
    return collector.events()


def _check_time(request: Request, events: list[dict[str, str]]) -> None:
    """Refuse a log whose first trace has no times at all; say what its events have."""
    for name in parts(request.columns.time or _TIME, ()):
        if not any(name in event for event in events):
            held = list(dict.fromkeys(key for event in events for key in event))
            likely = next((key for key in held if "time" in key.lower() or "date" in key.lower()), None)
            raise request.error(
                f"no event of its first trace has {name!r}; they have {', '.join(map(repr, held)) or 'nothing'}"
                + (f". Write: {on_command_line(time=likely)}" if likely else "; no log without times can be read")
            )


def _flush(collector: LogCollector, rows: list[int], found: list[dict[str, str | None]]) -> None:
    if not rows:
        return
    columns = collector.request.columns
    cells = {name: [event[name] for event in found] for name in found[0]}
    collector.add(make_chunk(replace(columns, key=_TRACE), np.array(rows), cells))
    rows.clear()
    found.clear()


def _traces(request: Request) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """(attributes of the trace, attributes of each of its events), one trace at a time."""
    head = head_of(request.path).replace(b"\0", b"")  # of UTF-16, too
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise request.error("it declares a DOCTYPE, which an XES log never needs; refused, since entities can explode")
    with open_binary(request, xml=True) as (file, progress, raw):
        try:
            yield from _parse(file, progress, raw)
        except ET.ParseError as error:
            raise request.error(f"not valid XML ({error}); is the file cut off?") from None


def _parse(file: Any, progress: Progress, raw: IO[bytes]) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    root = None
    depth = 0
    for step, element in ET.iterparse(file, events=("start", "end")):
        depth += 1 if step == "start" else -1
        if root is None:
            root = element
        if step == "end" and depth == 1:
            if _tag(element) == "trace":
                yield _attributes(element), [_attributes(child) for child in element if _tag(child) == "event"]
                progress.at(raw.tell())
            root.clear()


def _attributes(element: ET.Element) -> dict[str, str]:
    return {child.get("key", ""): child.get("value", "") for child in element if child.get("key")}


def _tag(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
