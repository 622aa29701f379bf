"""Logs as other tools write them: two columns for one time, no header, decimal commas, and what the errors say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventflow.errors import InputError
from eventflow.io import LogColumns, ReadWarning, load_dataset, read_events, read_with_report

_MIDNIGHT = np.datetime64("2026-03-05T00:00:00").astype(np.int64)


def _file(folder: Path, text: str, name: str = "log.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_date_and_a_time_in_two_columns(tmp_path: Path):
    path = _file(tmp_path, "Time,Date,Event\n10:00:00.250,2026-03-05,a\n10:00:01,2026-03-05,b\n00:00:02,2026-03-06,a\n")
    events = read_events(path, columns=LogColumns(time="Date+Time", mark="Event"))
    np.testing.assert_array_equal(events.t - _MIDNIGHT, [36000.25, 36001, 86402])
    guessed, report = read_with_report(path, lenient=True)
    np.testing.assert_array_equal(guessed.t, events.t)
    assert "time='Date+Time'" in " ".join(report.notes)
    with pytest.raises(InputError, match=r"'10:00:00.250' is a time of day without its date.*time='Date\+Time'"):
        read_events(path, columns=LogColumns(time="Time"))


def test_german_dates_in_two_columns(tmp_path: Path):
    path = _file(tmp_path, "Datum;Uhrzeit;Was\n05.03.2026;10:00:00;a\n28.03.2026;00:00:01;b\n")
    guessed, report = read_with_report(path, lenient=True)
    np.testing.assert_array_equal(guessed.t - _MIDNIGHT, [36000, 23 * 86400 + 1])
    assert "time_format='%d.%m.%Y %H:%M:%S'" in " ".join(report.notes)


def test_two_columns_of_parquet_and_xes(tmp_path: Path):
    table = pa.table({"day": pa.array(["2026-03-05"] * 2), "clock": ["00:00:01", "00:00:03"]})
    pq.write_table(table, tmp_path / "log.parquet")
    read = read_events(tmp_path / "log.parquet", columns=LogColumns(time="day+clock"))
    np.testing.assert_array_equal(read.t - _MIDNIGHT, [1, 3])
    name, day = '<string key="concept:name" value="a"/>', '<string key="day" value="2026-03-05"/>'
    events = "".join(f'<event>{name}{day}<string key="at" value="00:00:0{i}"/></event>' for i in (1, 3))
    path = _file(tmp_path, f"<log><trace>{name}{events}</trace></log>", "log.xes")
    np.testing.assert_array_equal(read_events(path, columns=LogColumns(time="day+at")).t - _MIDNIGHT, [1, 3])
    with pytest.raises(InputError, match=r"no event .* has 'time:timestamp'; they have .*'day', 'at'; no log without"):
        read_events(path)


def test_no_header(tmp_path: Path):
    path = _file(tmp_path, "34200.5,5,100\n34201,1,7\n34201.25,5,9\n")
    with pytest.raises(InputError, match=r"'34200.5,5,100'; expected a header.*\('c1', 'c2', 'c3'\).*header=c1,c2,c3"):
        read_events(path)
    columns = LogColumns(header=("t", "type", "size"), time="t", mark="type", numeric=("size",), unit="s")
    events = read_events(path, columns=columns)
    np.testing.assert_array_equal(events.t, [34200.5, 34201, 34201.25])
    np.testing.assert_array_equal(events.marks["size"], [100, 7, 9])
    assert LogColumns.from_words(["header=t,type,size", "time=t"]).header == ("t", "type", "size")
    with pytest.raises(InputError, match="names 2 columns, the first line has 3"):
        read_events(path, columns=LogColumns(header=("a", "b"), time="a"))
    (tmp_path / "bad.csv").write_text("1,2\nx,3\n")
    with pytest.raises(InputError, match="line 2: column 'a' is 'x'"):
        read_events(tmp_path / "bad.csv", columns=LogColumns(header=("a", "b"), time="a"))


def test_decimal_commas(tmp_path: Path):
    path = _file(tmp_path, 'Zeit;Preis\n0,5;"1,25"\n1,75;-2\n')
    with pytest.raises(InputError, match=r"'0,5' is a number with a decimal comma.*decimal=','"):
        read_events(path, columns=LogColumns(time="Zeit"))
    events = read_events(path, columns=LogColumns(time="Zeit", numeric=("Preis",), decimal=","))
    np.testing.assert_array_equal(events.t, [0.5, 1.75])
    np.testing.assert_array_equal(events.marks["Preis"], [1.25, -2])


def test_seconds_since_1970_are_no_dates(tmp_path: Path):
    path = _file(tmp_path, "Timestamp,Label\n1117838570,a\n1117838573,b\n")
    events, report = read_with_report(path, lenient=True)
    np.testing.assert_array_equal(events.t, [1117838570, 1117838573])
    assert "time_format='s'" in " ".join(report.notes) and events.schema.unit == "s"


def test_pm4py_s_own_columns_come_first(tmp_path: Path):
    head = "case:channel,case:startdate,org:group,concept:name,time:timestamp,case:concept:name"
    row = "web,2026-03-05,g,a,2026-03-05T00:00:01Z,k\n"
    path = _file(tmp_path, f"{head}\n{row}{row}")
    _, report = read_with_report(path, lenient=True)
    said = "key='case:concept:name', time='time:timestamp', mark='concept:name'"
    assert said in " ".join(report.notes)


def test_a_json_document_is_told_apart(tmp_path: Path):
    document = {"type": "FeatureCollection", "features": [{"t": 1, "mark": 0}, {"t": 2, "mark": 1}]}
    for indent in (None, 2):
        path = _file(tmp_path, json.dumps(document, indent=indent), "quakes.json")
        with pytest.raises(InputError, match=r"object, with 'type', 'features'.*jq -c '\.\[\"features\"\]\[\]' quakes"):
            read_events(path)
    path = _file(tmp_path, json.dumps(document["features"], indent=2), "list.json")
    np.testing.assert_array_equal(read_events(path).t, [1, 2])


def test_reasons_are_told_by_the_column_and_not_all_of_them(tmp_path: Path):
    path = _file(tmp_path, "t,mark\n1,a\n,b\n2,\n")
    _, report = read_with_report(path, lenient=True)
    assert "1 x column 't' is missing; 1 x column 'mark' is missing" in report.text()
    for i in range(9):
        report.skip("line 9", "", f"reason {i}")
    assert "5 other reasons" in report.text()


def test_a_text_that_is_no_access_log(tmp_path: Path):
    path = _file(tmp_path, "Jun 14 15:16:01 combo sshd[19939]: authentication failure\n" * 3, "linux.log")
    with pytest.raises(InputError, match="no access log: its first line is 'Jun 14.*such as 203.*a line of names"):
        read_events(path)


def test_dates_that_may_be_read_in_several_ways(tmp_path: Path):
    path = _file(tmp_path, "time,mark\n05/03/2026 10:00,a\n06/03/2026 10:00,b\n")
    with pytest.raises(InputError, match=r"time_format='%d/%m/%Y %H:%M'.*or is it '%m/%d/%Y %H:%M'\?"):
        read_events(path, columns=LogColumns(time="time"))
    _, report = read_with_report(path, lenient=True)
    assert "fit '%m/%d/%Y %H:%M' as well" in " ".join(report.notes)
    (tmp_path / "log.csv").write_text("time,mark\n05/03/2026 10:00,a\n26/03/2026 10:00,b\n")
    _, report = read_with_report(path, lenient=True)
    assert "as well" not in " ".join(report.notes)


def test_lines_of_numbers_are_told_what_they_may_be(tmp_path: Path):
    with pytest.raises(InputError, match="columns='t x y p other'"):
        read_events(_file(tmp_path, "# a comment\n" + "0.25 3 4 1 1\n" * 5, "noise.txt"))
    with pytest.raises(InputError, match="times of one sequence, write EasyTPP's layout"):
        read_events(_file(tmp_path, "0.25 3\n0.5 1.75 2\n1 2 3 4\n", "time.txt"))


def test_a_folder_of_files_and_standard_input(tmp_path: Path):
    for name in "abcdef":
        _file(tmp_path, "t\n1\n", f"{name}.csv")
    with pytest.raises(InputError, match=r"it holds a.csv, b.csv, c.csv, d.csv, \.\.\.\. For one .*a\.csv"):
        load_dataset(str(tmp_path))
    with pytest.raises(InputError, match="standard input is for .eventflow stream"):
        load_dataset("-")


def test_bytes_that_are_no_utf8_are_warned_of(tmp_path: Path):
    (tmp_path / "log.csv").write_bytes("t,mark\n1,Tür\n2,Tor\n".encode("cp1252"))
    with pytest.warns(ReadWarning, match=r"1 of its words, such as .* not UTF-8.*iconv -f WINDOWS-1252"):
        read_events(tmp_path / "log.csv", columns=LogColumns(time="t", mark="mark"))


def test_the_server_s_name_before_the_client_s_address(tmp_path: Path):
    lines = [f'{who} - - [29/Nov/2017:06:58:5{i} +0000] "GET / HTTP/1.1" 200 5\n' for i, who in enumerate(
        ("www.example.com:80 192.0.2.7", "www.example.com:443 2001:db8::1", "::1", "192.0.2.7"))]  # fmt: skip
    events = read_events(_file(tmp_path, "".join(lines), "access.log"))
    assert events.keys is not None
    assert dict(zip(events.keys.tolist(), np.diff(events.offsets).tolist(), strict=True)) == {
        "192.0.2.7": 2, "2001:db8::1": 1, "::1": 1,
    }  # fmt: skip


def test_iis_logs_say_how_to_read_them(tmp_path: Path):
    head = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n"
    names, row = "date time c-ip cs-method sc-status", "2026-03-05 00:00:01 192.0.2.7 GET 200\n"
    path = _file(tmp_path, f"{head}#Fields: {names}\n{row}", "u_ex260305.log")
    with pytest.raises(InputError, match=r"grep .*=' ', time='date\+time', key='c-ip', mark='cs-method\+sc-status'"):
        read_events(path)
    made = _file(tmp_path, f"{names}\n{row}")  # as sed makes it
    columns = LogColumns(delimiter=" ", time="date+time", key="c-ip", mark="cs-method+sc-status")
    np.testing.assert_array_equal(read_events(made, columns=columns).t - _MIDNIGHT, [1])


@pytest.mark.parametrize(
    ("lead", "line"),
    [("sep=;\nt;mark\n", 4), ("\n\nt;mark\n", 5), ("# made by a tool\n#\nt;mark\n", 5), ("# t;mark\n", 3),
     ("\ufeff# made by a tool\n# t;mark\n", 4)],
)  # fmt: skip
def test_what_stands_before_the_names(tmp_path: Path, lead: str, line: int):
    path = _file(tmp_path, f"{lead}1;5\n2;6\n")
    events = read_events(path)
    np.testing.assert_array_equal(events.t, [1, 2])
    np.testing.assert_array_equal(events.marks["mark"], [5, 6])
    with pytest.raises(InputError, match=f"line {line}: column 't' is 'x'"):
        read_events(_file(tmp_path, f"{lead}1;5\nx;6\n"))


def test_a_file_of_blank_lines(tmp_path: Path):
    with pytest.raises(InputError, match="the first line is blank"):
        read_events(_file(tmp_path, "\n\n"))
