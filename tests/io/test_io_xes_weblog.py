"""XES event logs and access logs of web servers."""

from __future__ import annotations

import gzip
import tracemalloc
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from eventflow.errors import InputError
from eventflow.io import LogColumns, ReadWarning, read_events, read_with_report
from eventflow.io.logs._weblog import parse_line

XES = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1.0" xmlns="http://www.xes-standard.org/">
  <extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
  <global scope="event"><string key="concept:name" value="unknown"/></global>
  <classifier name="Activity" keys="concept:name"/>
  <string key="concept:name" value="the log"/>
  <trace>
    <string key="concept:name" value="case 1"/>
    <string key="customer" value="anna"/>
    <event>
      <string key="concept:name" value="register"/><string key="lifecycle:transition" value="start"/>
      <date key="time:timestamp" value="2012-04-03T16:55:38.000+02:00"/><float key="cost" value="1.5"/>
    </event>
    <event>
      <string key="concept:name" value="register"/><string key="lifecycle:transition" value="complete"/>
      <date key="time:timestamp" value="2012-04-03T16:56:38.500+02:00"/><float key="cost" value="2.5"/>
    </event>
  </trace>
  <trace><string key="concept:name" value="case 2"/></trace>
  <trace>
    <string key="concept:name" value="case 3"/>
    <event>
      <string key="concept:name" value="decide &amp; pay"/><string key="lifecycle:transition" value="complete"/>
      <date key="time:timestamp" value="2012-04-03T14:55:38Z"/><float key="cost" value="0"/>
    </event>
  </trace>
</log>
"""


@pytest.mark.parametrize("name", ["x.xes", "x.xes.gz", "x.data"])
def test_xes(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(gzip.compress(XES.encode()) if name.endswith("gz") else XES.encode())
    events, report = read_with_report(path)
    assert events.keys is not None and events.keys.tolist() == ["case 1", "case 3"]
    assert events.schema.vocabulary == ("decide & pay", "register") and events.schema.unit == "s"
    assert (events.t - 1333464938).tolist() == [0.0, 60.5, 0.0]
    assert events.marks["mark"].tolist() == [1, 1, 0]
    assert report.notes == ["1 traces without events are left out"] and report.format == "xes"


def test_xes_other_attributes(tmp_path: Path):
    path = tmp_path / "x.xes"
    path.write_text(XES)
    columns = LogColumns(mark="concept:name+lifecycle:transition", numeric=("cost",), unit="ms")
    events = read_events(path, columns=columns)
    assert events.schema.vocabulary == ("decide & pay complete", "register complete", "register start")
    assert events.marks["cost"].tolist() == [1.5, 2.5, 0.0]
    assert events.gaps.tolist() == [0, 60500, 0]
    with pytest.raises(InputError, match="event 3: column 'customer' is missing"):
        read_events(path, columns=LogColumns(key="customer"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</log>", "", "not valid XML.*cut off"),
        ("2012-04-03T16:56:38.500+02:00", "soon", "event 2: column 'time:timestamp' is 'soon': it is no ISO date"),
        ('<string key="concept:name" value="decide &amp; pay"/>', "", "event 3: column 'concept:name' is missing"),
        ("T16:55:38.000", "T16:58:38.000", "1 of 3 rows go back.*event 2 of 'case 1'.*sort=True"),
        ('encoding="UTF-8"?>', 'encoding="UTF-8"?><!DOCTYPE log [<!ENTITY a "b">]>', "DOCTYPE"),
    ],
)
def test_broken_xes(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "x.xes"
    path.write_text(XES.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_events(path)


def test_xes_without_events(tmp_path: Path):
    path = tmp_path / "x.xes"
    path.write_text('<log><trace><string key="concept:name" value="1"/></trace></log>')
    with pytest.raises(InputError, match="no event in it"):
        read_events(path)


def test_xes_is_read_in_little_memory(tmp_path: Path):
    event = (
        '<event><string key="concept:name" value="a"/><date key="time:timestamp" value="2012-04-03T16:55:38Z"/></event>'
    )
    path = tmp_path / "x.xes"
    trace = f'<trace><string key="concept:name" value="N"/>{event * 10}</trace>'
    path.write_text("<log>" + "".join(trace.replace("N", str(i)) for i in range(2000)) + "</log>")
    peaks = []
    for read in (read_events, read_events, ElementTree.parse):  # the first time, modules are loaded
        tracemalloc.start()
        found = read(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del found
    assert read_events(path).num_events == 20_000
    assert peaks[1] < 0.5 * peaks[2]  # less than half of the tree of all elements, and that grows with the file


ACCESS = r"""203.0.113.7 - alice [29/Nov/2017:06:58:55 +0000] "GET /login?x=1 HTTP/1.1" 200 2326
203.0.113.7 - alice [29/Nov/2017:06:58:56 +0000] "GET /js/app.js HTTP/1.1" 304 - "http://x/?q=\"a\"" "Mozilla (\"odd\")"
2001:db8::1 - - [29/Nov/2017:07:58:56 +0100] "POST /api/v1/items HTTP/2.0" 500 12 "-" "curl/8.0" 0.012
203.0.113.7 - bob smith [29/Nov/2017:06:59:56 +0000] "\x16\x03\x01" 400 226 "-" "-"
"""


def access_file(tmp_path: Path, text: str = ACCESS) -> Path:
    path = tmp_path / "access.log"
    path.write_text(text)
    return path


def test_access_log(tmp_path: Path):
    events = read_events(access_file(tmp_path))
    assert events.keys is not None and events.keys.tolist() == ["203.0.113.7", "2001:db8::1"]
    assert events.schema.vocabulary == ("- 4xx", "GET 2xx", "GET 3xx", "POST 5xx")
    assert (events.t - 1511938735).tolist() == [0.0, 1.0, 61.0, 1.0]


@pytest.mark.parametrize(
    ("columns", "words", "keys"),
    [
        (LogColumns(mark="path"), ("-", "/api", "/js", "/login"), 2),
        (LogColumns(mark="method"), ("-", "GET", "POST"), 2),
        (LogColumns(mark="status"), ("2xx", "3xx", "4xx", "5xx"), 2),
        (LogColumns(mark="code", words=True), ("200", "304", "400", "500"), 2),
        (LogColumns(mark="method+path"), ("- -", "GET /js", "GET /login", "POST /api"), 2),
        (LogColumns(key="host+user"), ("- 4xx", "GET 2xx", "GET 3xx", "POST 5xx"), 3),
    ],
)
def test_access_log_choices(tmp_path: Path, columns: LogColumns, words: tuple[str, ...], keys: int):
    events = read_events(access_file(tmp_path), columns=columns)
    assert events.schema.vocabulary == words and len(events) == keys


def test_access_log_bad_lines(tmp_path: Path):
    lines = ACCESS.splitlines()
    lines.insert(1, "Segmentation fault")
    lines.insert(3, lines[0].replace("29/Nov/2017", "32/Nov/2017"))
    path = access_file(tmp_path, "\n".join(lines))
    with pytest.raises(InputError, match="line 2: 'Segmentation fault' is no line of an access log"):
        read_events(path)
    with pytest.warns(ReadWarning, match="2 of 6 rows") as heard:
        assert read_events(path, columns=LogColumns(on_error="skip")).num_events == 4
    assert isinstance(heard[0].message, ReadWarning)
    assert [entry.split(":")[0] for entry in heard[0].message.report.first] == ["line 2", "line 4"]


def test_access_log_unknown_choice(tmp_path: Path):
    with pytest.raises(InputError, match="no column 'methd'; did you mean 'method'"):
        read_events(access_file(tmp_path), columns=LogColumns(mark="methd+status"))


def test_lines_of_other_kinds():
    head = "1.2.3.4 - - [29/Nov/2017:06:58:55 +0000] "
    assert parse_line(head + '"GET / HTTP/1.1" 200 5') == (
        "1.2.3.4", "-", "29/Nov/2017:06:58:55 +0000", "GET", "/", "2xx", "200",
    )  # fmt: skip
    assert parse_line(head + '"get http://site.org/a/b?c HTTP/1.1" 302 0')[3:5] == ("GET", "/a")  # type: ignore[index]
    assert parse_line(head + '"GET /a#frag" 200 1')[4] == "/a"  # type: ignore[index]
    assert parse_line(head + '"-" 408 -')[3:] == ("-", "-", "4xx", "408")  # type: ignore[index]
    assert parse_line(head + '"GET / HTTP/1.1" 200') is None
    assert parse_line("") is None
