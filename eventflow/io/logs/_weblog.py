"""Access logs of web servers (Apache, nginx): the common and the combined format.

    203.0.113.7 - alice [29/Nov/2017:06:58:55 +0000] "GET /login HTTP/1.1" 200 2326 "referer" "user agent"

The columns are ``host``, ``user``, ``time``, ``method``, ``path`` (its first folder or file, without the query) and
``status`` (its class: 2xx, 3xx, 4xx, ...) and ``code``. By default a sequence is a ``host`` and a mark is
``method+status``, because those two have a handful of values each, on every server; ``path`` tells more and has as many
marks as the site has top folders. Servers write a line when a request *ends*, so times may step back by seconds:
``LogColumns(sort=True)``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

import numpy as np

from eventflow.events import Events
from eventflow.io._request import Request
from eventflow.io._text import lines
from eventflow.io.logs._log import LogCollector
from eventflow.io.logs._names import make_chunk, wanted

#: Rows at a time, and lines of the beginning one of which must be good.
_CHUNK, _LOOKED_AT = 1 << 16, 100
_FIELDS = ("host", "user", "time", "method", "path", "status", "code")
#: Apache's vhost_combined has the server's name and port before the client's address.
_LINE = re.compile(
    r"(?:\S+:\d+ (?=[0-9A-Fa-f:.]+ \S+ \S+ \[))?(?P<host>\S+) \S+ (?P<user>.+?) \[(?P<time>[^\]]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    r'(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*".*)?\s*\Z'
)
_EXAMPLE = '203.0.113.7 - - [29/Nov/2017:06:58:55 +0000] "GET / HTTP/1.1" 200 2326.'
_REQUEST = re.compile(r"(?P<method>[A-Za-z]+) (?:[a-z]+://[^/ ]*)?(?P<path>/?[^/?# ]*)\S*(?: HTTP/[\d.]+)?\Z")


def read(request: Request) -> Events:
    """Events from an access log; malformed lines are bad rows."""
    columns = request.columns
    columns = replace(
        columns, key=columns.key or "host", time=columns.time or "time", mark=columns.mark or "method+status",
        time_format="%d/%b/%Y:%H:%M:%S %z" if columns.time_format == "auto" else columns.time_format,
    )  # fmt: skip
    request = replace(request, columns=columns)
    for name in wanted(columns, _FIELDS):
        request.column(name, _FIELDS)
    _check(request)
    collector = LogCollector(request)
    rows: list[int] = []
    found: list[tuple[str, ...]] = []
    for number, line in lines(request):
        if not line.strip():
            continue
        cells = parse_line(line)
        if cells is None:
            collector.bad_row(number, f"{line[:60]!r} ", "is no line of an access log")
            continue
        rows.append(number)
        found.append(cells)
        if len(rows) == _CHUNK:
            _flush(collector, rows, found)
    _flush(collector, rows, found)
    return collector.events()


def _check(request: Request) -> None:
    """Refuse a text of which none of the first lines is one of an access log."""
    first = list(islice((line for _, line in lines(request) if line.strip()), _LOOKED_AT))
    if first and not any(map(parse_line, first)):
        raise request.error(
            f"no access log: its first line is {first[0][:80]!r}, expected such as {_EXAMPLE} Other text is read as "
            "CSV: a line of names, then one row an event, with its time"
        )


def parse_line(line: str) -> tuple[str, ...] | None:
    """(host, user, time, method, path, status class, status code) of one line; None if it is malformed."""
    match = _LINE.match(line)
    if match is None:
        return None
    asked = _REQUEST.match(match["request"])
    if asked is None:  # a request that is no HTTP ("-", a TLS handshake): the answer still counts
        method, path = "-", "-"
    else:
        method, path = asked["method"].upper(), asked["path"] or "/"
    return match["host"], match["user"], match["time"], method, path, match["status"][0] + "xx", match["status"]


def _flush(collector: LogCollector, rows: list[int], found: list[tuple[str, ...]]) -> None:
    if rows:
        cells = {name: list(column) for name, column in zip(_FIELDS, zip(*found, strict=True), strict=True)}
        collector.add(make_chunk(collector.request.columns, np.array(rows), cells))
        rows.clear()
        found.clear()
