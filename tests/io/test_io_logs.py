"""Logs with declared columns: CSV (both paths), JSONL, parquet; bad rows, order, marks, sessions, spans."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import LogColumns, ReadWarning, read_events, read_with_report
from eventflow.io.logs import _csv

COLUMNS = LogColumns(key="user", time="when", mark="what", unit="s")
TEXT = """user,when,what
anna,2020-01-01 00:00:00,login
ben,2020-01-01 00:00:01,view
anna,2020-01-01 00:00:05,view
anna,2020-01-01 00:01:00,logout
ben,2020-01-01 00:02:00,logout
"""
T0 = 1577836800.0


def csv_file(tmp_path: Path, text: str | bytes = TEXT, name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(events: Events) -> None:
    assert events.keys is not None and events.keys.tolist() == ["anna", "ben"]
    assert (events.t - T0).tolist() == [0.0, 5.0, 60.0, 1.0, 120.0]
    assert events.marks["mark"].tolist() == [0, 2, 1, 2, 1]
    assert events.schema == Schema(unit="s", num_marks=3, vocabulary=("login", "logout", "view"), given_first=True)
    assert events.offsets.tolist() == [0, 3, 5]
    assert events.span[:, 0].tolist() == [T0, T0 + 1]


def test_csv(tmp_path: Path):
    check(read_events(csv_file(tmp_path), columns=COLUMNS))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str):
    check(read_events(csv_file(tmp_path, TEXT.replace(",", delimiter)), columns=COLUMNS))


def test_csv_quoted_crlf_bom_gzip(tmp_path: Path):
    quoted = "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in TEXT.splitlines())
    check(read_events(csv_file(tmp_path, quoted), columns=COLUMNS))
    check(read_events(csv_file(tmp_path, b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()), columns=COLUMNS))
    check(read_events(csv_file(tmp_path, gzip.compress(TEXT.encode()), "x.csv.gz"), columns=COLUMNS))


def rows() -> list[dict[str, Any]]:
    names, *lines = (line.split(",") for line in TEXT.splitlines())
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_jsonl_json_list_and_parquet_agree_with_csv(tmp_path: Path):
    lines = csv_file(tmp_path, "\n".join(map(json.dumps, rows())), "x.jsonl")
    check(read_events(lines, columns=COLUMNS))
    check(read_events(csv_file(tmp_path, json.dumps(rows()), "list.json"), format="jsonl", columns=COLUMNS))
    table = pa.Table.from_pylist(rows())
    pq.write_table(table, tmp_path / "x.parquet")
    check(read_events(tmp_path / "x.parquet", columns=COLUMNS))
    stamps = table["when"].cast(pa.timestamp("us"))
    coded = table.set_column(1, "when", stamps).set_column(2, "what", table["what"].dictionary_encode())
    pq.write_table(coded, tmp_path / "y.parquet")
    check(read_events(tmp_path / "y.parquet", columns=COLUMNS))


def test_epoch_units_and_ticks(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark\n1577836800000,0\n1577836800250,1\n")
    milli = read_events(path, columns=LogColumns(time="t", mark="mark", time_format="ms"))
    assert (
        milli.t.dtype == np.int64 and milli.schema.unit == "ms" and milli.t.tolist() == [1577836800000, 1577836800250]
    )
    assert milli.span.tolist() == [[1577836800000, 1577836800251]]
    seconds = read_events(path, columns=LogColumns(time="t", mark="mark", time_format="ms", unit="s"))
    assert seconds.t.tolist() == [1577836800.0, 1577836800.25] and seconds.schema.unit == "s"
    nano = read_events(csv_file(tmp_path), columns=LogColumns(time="when", unit="ns"))
    assert nano.t.dtype == np.int64 and nano.t[0] == 1577836800 * 10**9


def test_own_names_need_no_declaration(tmp_path: Path):
    events = read_events(csv_file(tmp_path, "key,t,mark\na,0.5,1\nb,0.25,0\n"))
    assert events.keys is not None and events.keys.tolist() == ["a", "b"] and events.t.tolist() == [0.5, 0.25]
    events = read_events(csv_file(tmp_path, '{"key": "u7", "t": 12.5, "mark": 3}\n', "x.jsonl"))
    assert events.keys is not None and events.keys.tolist() == ["u7"] and events.schema.num_marks == 4


def test_one_event_works(tmp_path: Path):
    events = read_events(csv_file(tmp_path, "t\n3.5\n"))
    assert len(events) == 1 and events.num_events == 1 and events.num_scored == 0 and not events.marks


def test_undeclared_columns_are_guessed_for_the_message(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"LogColumns\(key='user', time='when', mark='what'\).*--columns key=user"
    ) as e:
        read_events(csv_file(tmp_path))
    assert "Columns: user, when, what" in str(e.value)


def test_misspelt_and_missing_columns(tmp_path: Path):
    path = csv_file(tmp_path)
    with pytest.raises(InputError, match="no column 'uesr'; did you mean 'user'"):
        read_events(path, columns=LogColumns(key="uesr", time="when"))
    with pytest.raises(InputError, match="no column 'amount'.*columns: user, when, what"):
        read_events(path, columns=LogColumns(time="when", numeric=("amount",)))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("anna,cannot,view", "line 4: column 'when' is 'cannot': it is no ISO date"),
        ("anna,,view", "line 4: column 'when' is missing"),
        (",2020-01-01 00:00:05,view", "line 4: column 'user' is missing"),
        ("anna,2020-01-01 00:00:05,", "line 4: column 'what' is missing"),
        ("anna,2020-01-01 00:00:05", "line 4: it has 2 cells, expected 3"),
        ("anna,2020-01-01 00:00:05,view,more", "line 4: it has 4 cells, expected 3"),
        ("anna,2020-02-30 00:00:05,view", "line 4: column 'when' is '2020-02-30 00:00:05': it is no ISO date"),
    ],
)
def test_bad_rows_are_refused_or_counted(tmp_path: Path, line: str, reason: str):
    before, after = TEXT.splitlines()[:3], TEXT.splitlines()[3:]
    path = csv_file(tmp_path, "\n".join([*before, line, *after]))
    with pytest.raises(InputError, match="on_error='skip'.*on_error=skip") as caught:
        read_events(path, columns=COLUMNS)
    assert reason in str(caught.value)
    with pytest.warns(ReadWarning, match="1 of 6 rows were left out") as heard:
        check(read_events(path, columns=LogColumns(key="user", time="when", mark="what", unit="s", on_error="skip")))
    assert isinstance(heard[0].message, ReadWarning)
    assert heard[0].message.report.skipped == 1 and reason in heard[0].message.report.first[0]


def test_line_numbers_count_quoted_line_breaks_and_blank_lines(tmp_path: Path):
    path = csv_file(tmp_path, 't,note\n1,"two\nlines"\n\n2,b\nx,c\n')
    with pytest.raises(InputError, match="line 6: column 't' is 'x'"):
        read_events(path, columns=LogColumns(time="t"))


def test_both_csv_paths_deliver_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    t = np.sort(generator.uniform(0, 100, 3000))
    lines = [f"k{k},{x!r},w{m}" for k, x, m in zip(generator.integers(0, 9, 3000), t.tolist(), generator.integers(0, 5, 3000), strict=True)]  # fmt: skip  # noqa: E501
    lines.insert(1500, "broken")
    lines.insert(2500, "k1,nan,w2")
    path = csv_file(tmp_path, "\n".join(["key,t,mark", *lines]))
    columns = LogColumns(key="key", time="t", mark="mark", on_error="skip")
    monkeypatch.setattr(_csv, "BLOCK", 4096)
    fast, fast_report = read_with_report(path, columns=columns)
    monkeypatch.setattr(_csv._Table, "_fast", lambda *_: None)
    slow, slow_report = read_with_report(path, columns=columns)
    assert fast_report.first == slow_report.first and fast_report.skipped == slow_report.skipped == 2
    assert [entry.split(":")[0] for entry in fast_report.first] == ["line 1502", "line 2502"]
    assert np.array_equal(fast.t, slow.t) and fast.schema == slow.schema and fast.num_events == 3000
    assert np.array_equal(fast.marks["mark"], slow.marks["mark"])
    assert fast.keys is not None and slow.keys is not None and fast.keys.tolist() == slow.keys.tolist()


def test_unsorted_rows(tmp_path: Path):
    head, *rest = TEXT.splitlines()
    path = csv_file(tmp_path, "\n".join([head, rest[2], rest[1], rest[0], *rest[3:]]))
    with pytest.raises(InputError, match=r"1 of 5 rows go back.*line 4 of 'anna', 5 before.*sort=True.*sort=true"):
        read_events(path, columns=COLUMNS)
    check(read_events(path, columns=LogColumns(key="user", time="when", mark="what", unit="s", sort=True)))


def test_sorting_keeps_the_order_of_ties(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark\n2,0\n1,1\n1,2\n1,0\n")
    events = read_events(path, columns=LogColumns(time="t", mark="mark", sort=True))
    assert events.marks["mark"].tolist() == [1, 2, 0, 0]


def test_vocabulary_alphabetical_numerical_or_given(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark\n1,10\n2,9\n3,10\n")
    taken = read_events(path, columns=LogColumns(time="t", mark="mark"))
    assert (
        taken.marks["mark"].tolist() == [10, 9, 10] and taken.schema.vocabulary is None and taken.schema.num_marks == 11
    )
    words = read_events(path, columns=LogColumns(time="t", mark="mark", words=True))
    assert words.schema.vocabulary == ("9", "10") and words.marks["mark"].tolist() == [1, 0, 1]
    given_words = read_events(
        csv_file(tmp_path), columns=COLUMNS, schema=Schema(vocabulary=("view", "login", "logout", "x"))
    )
    assert given_words.marks["mark"].tolist() == [1, 0, 2, 0, 2] and given_words.schema.num_marks == 4


def test_words_outside_the_vocabulary(tmp_path: Path):
    schema = Schema(vocabulary=("login", "logout", "views"))
    with pytest.raises(
        InputError, match="line 3: column 'what' is 'view': it is not in the vocabulary; did you mean 'views'"
    ):
        read_events(csv_file(tmp_path), columns=COLUMNS, schema=schema)
    with pytest.warns(ReadWarning, match="2 of 5 rows"):
        columns = LogColumns(key="user", time="when", mark="what", on_error="skip")
        events = read_events(csv_file(tmp_path), columns=columns, schema=schema)
    assert events.marks["mark"].tolist() == [0, 1, 1]


def test_a_key_whose_rows_are_all_left_out_is_no_sequence(tmp_path: Path):
    path = csv_file(tmp_path, "key,t,mark\na,1,good\nb,2,bad\nc,3,good\n")
    with pytest.warns(ReadWarning):
        events = read_events(
            path,
            columns=LogColumns(key="key", time="t", mark="mark", on_error="skip"),
            schema=Schema(vocabulary=("good",)),
        )  # noqa: E501
    assert events.keys is not None and events.keys.tolist() == ["a", "c"] and events.lengths.tolist() == [1, 1]


def test_words_of_rows_left_out_are_no_marks(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark\n1,a\nx,zzz\n2,b\n")
    with pytest.warns(ReadWarning):
        events = read_events(path, columns=LogColumns(time="t", mark="mark", on_error="skip"))
    assert events.schema.vocabulary == ("a", "b")


@pytest.mark.parametrize(("mark", "schema"), [("-1", None), ("3", Schema(num_marks=3)), ("-1", Schema(num_marks=3))])
def test_marks_outside_k(tmp_path: Path, mark: str, schema: Schema | None):
    path = csv_file(tmp_path, f"t,mark\n1,0\n2,{mark}\n")
    with pytest.raises(InputError, match=f"line 3: column 'mark' is '{mark}': it is outside \\[0, K="):
        read_events(path, columns=LogColumns(time="t", mark="mark"), schema=schema)


def test_numeric_columns(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark,amount,count\n2,a,1.5,7\n1,b,2.5,8\n")
    columns = LogColumns(time="t", mark="mark", numeric=("amount", "count"), sort=True)
    events = read_events(path, columns=columns)
    assert events.marks["amount"].tolist() == [2.5, 1.5] and events.marks["count"].dtype == np.int64
    with pytest.raises(InputError, match="line 3: column 'amount' is 'x': it is no number"):
        read_events(
            csv_file(tmp_path, "t,mark,amount\n1,a,1\n2,b,x\n"), columns=LogColumns(time="t", numeric=("amount",))
        )


def test_joined_columns_and_patterns(tmp_path: Path):
    path = csv_file(tmp_path, "t,url,status,host,port\n1,GET /a?x=1,200,h,1\n2,POST /b,302,h,2\n")
    columns = LogColumns(time="t", key="host+port", mark="url+status", mark_pattern=r"^(\w+) .* (\d)\d\d$")
    events = read_events(path, columns=columns)
    assert events.schema.vocabulary == ("GET 2", "POST 3")
    assert events.keys is not None and events.keys.tolist() == ["h 1", "h 2"]
    with pytest.raises(InputError, match="line 3.*does not match"):
        read_events(path, columns=LogColumns(time="t", mark="url", mark_pattern="^(GET)"))


def test_sessions(tmp_path: Path):
    path = csv_file(tmp_path, "key,t\na,0\nb,1\na,10\na,25\nb,2\na,35\n")
    events = read_events(path, columns=LogColumns(key="key", time="t", session=10))
    assert events.keys is not None and events.keys.tolist() == ["a/0", "a/1", "b/0"]
    assert [part.t.tolist() for part in events] == [[0, 10], [25, 35], [1, 2]]


def test_span_rules(tmp_path: Path):
    path = csv_file(tmp_path, "key,t\na,1.0\nb,3.0\na,4.0\n")
    log = read_events(path, columns=LogColumns(key="key", time="t", span="log"))
    assert log.span.tolist() == [[1.0, np.nextafter(4.0, 5)]] * 2 and not log.schema.given_first
    declared = read_events(path, columns=LogColumns(key="key", time="t", span=(0, 5)))
    assert declared.span.tolist() == [[0.0, 5.0]] * 2 and declared.num_scored == 3
    with pytest.raises(InputError, match="outside its half-open span"):
        read_events(path, columns=LogColumns(key="key", time="t", span=(0, 4)))


def test_skip_lines_are_not_even_looked_at(tmp_path: Path):
    path = csv_file(tmp_path, "t\n1\nx\ny\n2\n")
    events, report = read_with_report(path, columns=LogColumns(time="t", skip_lines=((3, 4),)))
    assert events.t.tolist() == [1, 2] and report.rows == 2 and report.facts["skip_lines"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("t,mark\n", "a header and no rows"),
        ("1,2\n3,4\n", "expected a header"),
        ("t,t\n1,2\n", "same name: 't'"),
        ("t,mark\nx,y\n", "no number|neither"),
    ],
)
def test_files_that_are_no_log(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        read_events(csv_file(tmp_path, text))


def test_every_row_left_out_is_an_error(tmp_path: Path):
    path = csv_file(tmp_path, "t,mark\n1,a\nx,b\n")
    schema = Schema(vocabulary=("c",))
    with pytest.raises(InputError, match="no event in it"):
        read_events(path, columns=LogColumns(time="t", mark="mark", on_error="skip"), schema=schema)


def test_bytes_that_are_no_utf8_do_not_stop_the_rest(tmp_path: Path):
    path = csv_file(tmp_path, b"t,mark\n1,caf\xe9\n2,tea\n")
    with pytest.warns(ReadWarning, match="not UTF-8"):
        events = read_events(path, columns=LogColumns(time="t", mark="mark"))
    assert events.schema.vocabulary == ("caf�", "tea")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "line 2: .*is not valid JSON"),
        ("[1, 2]", "line 2: .* is no JSON object"),
        ('{"t": "x", "mark": 1}', "line 2: column 't' is 'x': it is no number"),
        ('{"t": NaN, "mark": 1}', "line 2: column 't' is nan: it is not finite"),
        ('{"t": Infinity, "mark": 1}', "line 2: column 't' is inf: it is not finite"),
        ('{"mark": 1}', "line 2: column 't' is missing"),
        ('{"t": true, "mark": 1}', "line 2: column 't' is True: it is no number"),
        ('{"t": 2, "mark": null}', "line 2: column 'mark' is missing"),
    ],
)
def test_bad_jsonl_lines(tmp_path: Path, line: str, reason: str):
    path = csv_file(tmp_path, '{"t": 1, "mark": 0}\n' + line + '\n{"t": 3, "mark": 1}\n', "x.jsonl")
    with pytest.raises(InputError, match=reason):
        read_events(path)
    with pytest.warns(ReadWarning, match="1 of 3 rows"):
        events = read_events(path, columns=LogColumns(time="t", mark="mark", on_error="skip"))
    assert events.t.tolist() == [1, 3]


def test_bad_first_jsonl_line(tmp_path: Path):
    path = csv_file(tmp_path, '{"t": \n{"t": 3, "mark": 1}\n', "x.jsonl")
    with pytest.raises(InputError, match="line 1: .*is not valid JSON"):
        read_events(path)


def test_parquet_nulls(tmp_path: Path):
    pq.write_table(pa.table({"t": pa.array([1.0, None, 2.0]), "mark": ["a", "b", "c"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 2: column 't' is missing"):
        read_events(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"span": "first_to_lst"}, "did you mean 'first_to_last'"),
        ({"span": (2, 1)}, "start <= end"),
        ({"unit": "sec"}, "unit='sec'"),
        ({"time_format": "epoch"}, "strptime"),
        ({"session": 0.0}, "silence > 0"),
        ({"numeric": "amount"}, r"Write: \('amount',\)"),
        ({"mark_pattern": "("}, "mark_pattern"),
        ({"mark_pattern": "abc"}, "no \\(group\\)"),
        ({"skip_lines": ((5, 2),)}, "pairs"),
    ],
)
def test_wrong_declarations(wrong: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        LogColumns(**wrong)


def test_declarations_from_words_and_dicts():
    words = [
        "key=id",
        "time=t",
        "sort=true",
        "session=1800",
        "numeric=a,b",
        "skip_lines=3-4,9-9",
        "span=0,5",
        "delimiter=tab",
    ]
    columns = LogColumns.from_words(words)
    assert columns == LogColumns(
        key="id", time="t", sort=True, session=1800.0, numeric=("a", "b"), skip_lines=((3, 4), (9, 9)), span=(0.0, 5.0),
        delimiter="\t",
    )  # fmt: skip
    for word, message in (("key", "name=value"), ("sort=yes", "sort=true"), ("kye=id", "did you mean 'key'"), ("session=x", "1800")):  # fmt: skip  # noqa: E501
        with pytest.raises(InputError, match=message):
            LogColumns.from_words([word])
    with pytest.raises(InputError, match="unknown key 'tiem'; did you mean 'time'"):
        LogColumns.from_dict({"tiem": "t"})


def test_real_helpdesk(data_root: Path):
    events = read_events(
        data_root / "logs/helpdesk.csv",
        columns=LogColumns(key="CaseID", time="CompleteTimestamp", mark="ActivityID", words=True, unit="h"),
    )
    assert (len(events), events.num_events, events.schema.num_marks) == (3804, 13710, 9)
    first = events[0]
    assert np.allclose(first.gaps * 3600, [0, 15, 2 * 86400 + 1199], atol=1e-4)


def test_real_weblog(data_root: Path):
    path = data_root / "logs/weblog.csv"
    pattern = "[%d/%b/%Y:%H:%M:%S"
    with pytest.raises(InputError, match="line 1775"):
        read_events(path, columns=LogColumns(key="IP", time="Time", mark="Staus", time_format=pattern))
    with pytest.raises(InputError, match="15 of 15,789 rows go back.*line 2445"):
        read_events(path, columns=LogColumns(key="IP", time="Time", mark="Staus", time_format=pattern, on_error="skip"))
    columns = LogColumns(
        key="IP", time="Time", mark="Staus", time_format=pattern, on_error="skip", sort=True, words=True
    )
    with pytest.warns(ReadWarning, match="218 of 16,007"):
        events = read_events(path, columns=columns)
    assert len(events) == 5 and events.num_events == 15789
    assert events.schema.vocabulary == ("200", "206", "302", "304", "404")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=8)


@settings(max_examples=30)
@given(st.lists(st.tuples(cells, st.floats(0, 1e6), cells), min_size=1, max_size=20))
def test_any_words_survive_csv_and_jsonl(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, float, str]]
):
    import csv

    written.sort(key=lambda row: row[1])
    path = tmp_path_factory.mktemp("any") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "t", "word"), *written])
    lines = path.with_suffix(".jsonl")
    lines.write_text("\n".join(json.dumps({"key": k, "t": t, "word": w}) for k, t, w in written), encoding="utf-8")
    for source in (path, lines):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            events = read_events(source, columns=LogColumns(key="key", time="t", mark="word", words=True))
        vocabulary = events.schema.vocabulary
        assert vocabulary is not None and events.keys is not None
        assert set(vocabulary) == {w for _, _, w in written}
        got = [(k, t, vocabulary[m]) for k, s in zip(events.keys.tolist(), events, strict=True)
               for t, m in zip(s.t.tolist(), s.marks["mark"].tolist(), strict=True)]  # fmt: skip
        firsts = list(dict.fromkeys(k for k, _, _ in written))
        assert got == sorted(written, key=lambda row: firsts.index(row[0]))


def test_damaged_gzip(tmp_path: Path):
    packed = gzip.compress(TEXT.encode() * 50)
    path = csv_file(tmp_path, packed[: len(packed) // 2], "x.csv.gz")
    with pytest.raises(InputError, match="damaged gzip|gzip file that cannot be opened"):
        read_events(path, columns=COLUMNS)


def test_names_that_are_numbers_are_no_kinds_from_zero(tmp_path: Path):
    path = csv_file(tmp_path, "t,item\n1,83740193\n2,11840194\n")
    with pytest.raises(InputError, match=r"column 'item': its largest value is 83740193.*words=True.*words=true"):
        read_events(path, columns=LogColumns(time="t", mark="item"))
    assert read_events(path, columns=LogColumns(time="t", mark="item", words=True)).schema.num_marks == 2


def test_pretty_printed_lists_of_objects(tmp_path: Path):
    path = csv_file(tmp_path, "\n" + json.dumps(rows(), indent=2), "x.json")
    check(read_events(path, columns=COLUMNS))


def test_progress_shows_on_a_terminal_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import sys

    from eventflow.io import _text

    path = csv_file(tmp_path, "\n".join(json.dumps({"t": i}) for i in range(20_000)), "x.jsonl")
    monkeypatch.setattr(_text, "PATIENCE", 0.0)
    read_events(path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    read_events(path)
    assert "x.jsonl" in capsys.readouterr().err
