"""EasyTPP's layout in JSON: one object a sequence, in one list (as the hub's files) or one a line."""

from __future__ import annotations

import json
from typing import Any

from eventflow.events import Events
from eventflow.io._request import Request
from eventflow.io._text import open_binary
from eventflow.io.easytpp import _easytpp


def read(request: Request) -> Events:
    """Events from a file of sequences."""
    with request.path.open("rb") as file:
        if file.read(4) == b"PAR1":
            from eventflow.io.logs import _parquet

            return _parquet.read(request)
    request.report.format = "easytpp (json)"
    text = read_text(request)
    records = _whole(text, request) if text.lstrip().startswith("[") else _lines(text, request)
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise request.error(f"row {i} is {str(record)[:40]!r}; expected an object with {', '.join(_easytpp.LISTS)}")
    return _easytpp.from_records(records, request)


def read_text(request: Request) -> str:
    """The file's text, unpacked, which must be UTF-8 (a byte order mark is dropped)."""
    with open_binary(request) as (file, _, _):
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise request.error(f"byte {error.start} is not UTF-8; expected JSON text in UTF-8") from None


def _whole(text: str, request: Request) -> list[Any]:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise request.error(f"not valid JSON ({error}); is the file cut off?") from None


def _lines(text: str, request: Request) -> list[Any]:
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                raise request.error(f"line {number} is not valid JSON ({error})") from None
    return records
