"""Logs with one JSON object a line (or one list of objects): ``{"key": "user-7", "t": 12.5, "mark": 3}``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from eventflow.events import Events
from eventflow.io._json import read_text
from eventflow.io._request import Request
from eventflow.io._text import lines
from eventflow.io.logs._log import LogCollector
from eventflow.io.logs._names import make_chunk, resolve, wanted

_CHUNK = 1 << 16
_NO_JSON = "is not valid JSON"


def read(request: Request) -> Events:
    """Events from a JSONL file; the columns are the objects' names."""
    collector: LogCollector | None = None
    settled = request
    early: list[tuple[int, str, str]] = []
    batch: list[tuple[int, dict[str, Any]]] = []
    for row, record, fault in _records(request):
        if fault:
            if collector is None:
                early.append((row, record[""], fault))
            else:
                collector.bad_row(row, record[""], fault)
            continue
        batch.append((row, record))
        if len(batch) == _CHUNK:
            settled, collector = _feed(settled, collector, batch, early)
            batch, early = [], []
    if batch or collector is None:
        collector = _feed(settled, collector, batch, early)[1]
    return collector.events()


def _feed(
    request: Request, collector: LogCollector | None, batch: list[tuple[int, dict[str, Any]]],
    early: list[tuple[int, str, str]],
) -> tuple[Request, LogCollector]:  # fmt: skip
    if collector is None:
        if batch:
            names = dict.fromkeys(name for _, record in batch for name in record)
            request = resolve(request, {name: [record.get(name) for _, record in batch[:100]] for name in names})
        collector = LogCollector(request)
        for row, what, fault in early:
            collector.bad_row(row, what, fault)
    if batch:
        names = wanted(request.columns, batch[0][1])
        cells = {name: [record.get(name) for _, record in batch] for name in names}
        collector.add(make_chunk(request.columns, np.array([row for row, _ in batch]), cells))
    return request, collector


def _records(request: Request) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(line, object, what is wrong with it); of a wrong one, {"": what was seen}."""
    first = True
    for number, line in lines(request):
        if not line.strip():
            continue
        if first and line.lstrip().startswith("["):
            yield from _list(request)
            return
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if first and line.lstrip().startswith("{"):
                _refuse_document(request)
            first = False
            yield number, {"": f"{line[:40]!r} ({error}) "}, _NO_JSON
            continue
        if first and isinstance(record, dict) and _lists(record):
            _refuse_document(request)
        first = False
        yield number, record if isinstance(record, dict) else {"": f"{line[:40]!r} "}, _fault(record)


def _list(request: Request) -> Iterator[tuple[int, dict[str, Any], str]]:
    try:
        records = json.loads(read_text(request))
    except (json.JSONDecodeError, RecursionError) as error:
        raise request.error(f"not valid JSON ({error}); is the file cut off?") from None
    if not isinstance(records, list):
        raise request.error(
            f"it holds a JSON {type(records).__name__}; expected one object a line, or a list of objects"
        )
    for number, record in enumerate(records, 1):
        yield number, record if isinstance(record, dict) else {"": f"{str(record)[:40]!r} "}, _fault(record)


def _fault(record: object) -> str:
    return "" if isinstance(record, dict) else "is no JSON object"


def _lists(record: dict[str, Any]) -> list[str]:
    """The names under which there are lists of objects, or objects of objects."""
    found = []
    for name, value in record.items():
        inside = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inside, list) and inside and all(isinstance(part, dict) for part in inside):
            found.append(name)
    return found


def _refuse_document(request: Request) -> None:
    """Refuse a file that is one JSON object rather than one a line; return if it is none."""
    try:
        record = json.loads(read_text(request))
    except (json.JSONDecodeError, RecursionError):
        return
    names = ", ".join(map(repr, list(record)[:8])) + (", ..." if len(record) > 8 else "")
    lists = _lists(record)
    line = "json.dumps(...) of each event"
    if lists:
        line = f"jq -c '.[\"{lists[0]}\"][]' {request.path.name} > events.jsonl"
    raise request.error(
        f"one JSON object, with {names}; expected one object a line, each an event, or a list of them. Write: {line}"
    )
