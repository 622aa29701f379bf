"""The info page: its numbers against brute force, its suspicions each on data that has the fault, broken files too."""

from __future__ import annotations

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import (
    data_convert,
    data_info,
    data_list,
    describe,
    info_pages,
    load_dataset,
    read_events,
    render,
    write_events,
)
from eventflow.io.info._page import bar, duration, sparkline


def text_of(info: Any, width: int = 100) -> str:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width).print(render(info))
    return out.getvalue()


def pages(path: Path | str) -> str:
    from rich.console import Console

    out = io.StringIO()
    for page in info_pages(path):
        Console(file=out, width=100).print(page)
    return out.getvalue()


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=8), min_size=1, max_size=4),
    st.booleans(),
)
def test_counts_against_brute_force(raw: list[list[tuple[int, int]]], given_first: bool):
    t = np.array([x for rows in raw for x, _ in rows], dtype=np.float64)
    mark = np.array([k for rows in raw for _, k in rows], dtype=np.int64)
    offsets = np.cumsum([0] + [len(rows) for rows in raw])
    span = np.broadcast_to([0.0, 10.0], (len(raw), 2))
    info = describe(Events(t, {"mark": mark}, offsets, span, Schema(num_marks=3, given_first=given_first)))
    pairs = [(a, b) for rows in raw for a, b in zip(rows, rows[1:], strict=False)]
    assert info.ties == sum(a[0] == b[0] for a, b in pairs)
    assert info.backwards == sum(b[0] < a[0] for a, b in pairs)
    assert info.duplicates == sum(count - 1 for rows in raw for count in Counter(rows).values())
    assert info.empty == sum(not rows for rows in raw) and info.singles == sum(len(rows) == 1 for rows in raw)
    counted = Counter(mark.tolist())
    assert dict(info.marks) == dict(counted) and info.never_seen == tuple(k for k in range(3) if k not in counted)
    gaps = [b[0] - a[0] for a, b in pairs] + ([] if given_first else [rows[0][0] for rows in raw if rows])
    assert len(info.gap_quantiles) == (7 if gaps else 0)
    if gaps:
        assert info.mean_gap == pytest.approx(np.mean(gaps)) and info.gap_quantiles[3] == np.median(gaps)
    assert sum(info.rate) == (len(t) if len(t) and t.max() > t.min() else 0)
    assert sum(info.gap_histogram) == sum(gap > 0 for gap in gaps)
    assert "what looks wrong" in text_of(info)


def sane(n: int = 400, sequences: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    t = np.concatenate([np.cumsum(generator.exponential(1.0, n // sequences)) for _ in range(sequences)])
    return t, generator.integers(0, 3, n), np.arange(0, n + 1, n // sequences)


def test_nothing_looks_wrong_where_nothing_is():
    t, mark, offsets = sane()
    info = describe(Events.of(t, offsets=offsets, mark=mark, schema=Schema(num_marks=3, unit="s")))
    assert info.warnings == () and "nothing" in text_of(info)


def one(t: Any, mark: Any = None, *, unit: str = "s", num_marks: int = 3, **options: Any) -> tuple[str, ...]:
    times = np.asarray(t)
    times = times if times.dtype == np.int64 else times.astype(np.float64)
    marks = np.arange(len(times)) % 3 if mark is None else np.asarray(mark)
    span = np.array([[np.nanmin(times), np.nanmax(times) + 1]])
    events = Events(
        times, {"mark": marks}, np.array([0, len(times)]), span, Schema(unit=unit, num_marks=num_marks, **options)
    )
    return describe(events).warnings


T, MARK, _ = sane(400, 1)
GRID = np.cumsum(np.random.default_rng(1).integers(1, 5, 300)).astype(np.float64)


@pytest.mark.parametrize(
    ("warnings", "sentence"),
    [
        (one(np.where(np.arange(400) == 7, np.nan, T)), "1 time is NaN or infinite"),
        (one(np.concatenate([T[:50], T[40:50], T[50:]])), "1 row goes back in time"),
        (one(T, np.where(MARK == 1, 7, MARK)), "marks are outside \\[0, K=3\\)"),
        (one(T, np.where(np.arange(400) == 3, -1, MARK)), "1 mark is outside"),
        (one(np.repeat(T, 2), np.repeat(MARK, 2)), "400 rows \\(50.0%\\) repeat another row"),
        (one(np.repeat(T, 2)), "400 gaps \\(.*\\) are zero"),
        (one(T.astype(np.float32).astype(np.float64)), "exact in float32"),
        (one(T * 1e-3 + 1.5e9), "As float32 these times would have a step of 128"),
        (one(np.floor(T) + 1.6e9, unit="1"), "look like s since 1970 \\(2020-09-13\\)"),
        (one((T * 1000).astype(np.int64) + 1_600_000_000_000, unit="1"), "look like ms since 1970"),
        (one(np.arange(300) * 0.7), "of the gaps are exactly 0.7"),
        (one(GRID), "grid of 1 s"),
        (one(GRID * 3600, unit="s"), "grid of 3600 s"),
        (one(GRID / 3600, unit="h"), "grid of 0.000277778 h"),
        (one(GRID.astype(np.int64) * 5, unit="ms"), "grid of 5 ms"),
        (one(np.where(np.arange(400) > 200, T + 1e5, T)), "The longest gap"),
        (one(T, np.where(np.arange(400) < 10, 1, 0)), "Mark 0 is 97.5% of all events"),
        (one(T, np.where(np.arange(400) < 10, 1, 0)), "1 mark of K=3 never occurs here \\(2\\)"),
        (one(T, np.arange(400) // 3, num_marks=134), "134 of 134 kinds of mark have fewer than 5"),
        (one([1.0], given_first=True), "1 sequence has only one event"),
    ],
)
def test_each_suspicion_fires_on_its_fault(warnings: tuple[str, ...], sentence: str):
    import re

    assert any(re.search(sentence, warning) for warning in warnings), warnings


def test_names_of_dominant_marks_are_words():
    events = Events.of(T, mark=np.zeros(400, int), schema=Schema(vocabulary=("view", "buy")))
    assert any("Mark 'view' is 100.0%" in warning for warning in describe(events).warnings)


def test_taobao_page(data_root: Path):
    page = pages(data_root / "easytpp/taobao/train.parquet")
    for words in ("1,300", "75,231", "17 kinds", "23 zero gaps", "4,410 gaps of 73,931 (6.0%) disagree", "43.70%"):
        assert words in " ".join(page.split())
    page = pages("taobao")
    assert page.count("what looks wrong") == 3 and "4,410 gaps" in " ".join(page.split())


def test_float32_is_a_trap_for_absolute_times(data_root: Path):
    from eventflow.io import LogColumns

    events = read_events(data_root / "easytpp/taobao/train.parquet", columns=LogColumns(time="time_since_start"))
    assert any("As float32 these times would have a step of 0.0156" in w for w in describe(events).warnings)


def test_broken_weblog_is_described(data_root: Path):
    page = " ".join(pages(data_root / "logs/weblog.csv").split())
    for words in (
        "15 rows go back",
        "15,789",
        "218 of 16,007 rows were left out",
        "columns guessed",
        "line 1775",
        "in disorder",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "t,mark\n1,0\nnan,1\n0.5,2\n", ["1 row goes back", "1 of 3 rows were left out (1 x is not finite)"]),
        ("x.jsonl", '{"t": 1, "mark": 0}\n{broken\n{"t": 2, "mark": 1}\n', ["1 of 3 rows were left out"]),
        ("x.json", '[{"time_since_last_event": [0, -1, NaN], "type_event": [0, 5, 0.5], "dim_process": 3}]',
         ["NaN or infinite", "goes back", "are outside [0, K=3)", "are no integers"]),
        ("one.csv", "t,mark\n1,0\n", ["1 sequence has only one event"]),
    ],
)  # fmt: skip
def test_broken_files_are_described(tmp_path: Path, name: str, text: str, words: list[str]):
    (tmp_path / name).write_text(text)
    page = " ".join(pages(tmp_path / name).split())
    for word in words:
        assert word in page, page
    with pytest.raises(InputError) if name != "one.csv" else _nothing():
        read_events(tmp_path / name)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_million_events_in_a_few_seconds(tmp_path: Path):
    generator = np.random.default_rng(0)
    n = 1_000_000
    t = np.sort(generator.uniform(0, 1e6, n))
    events = Events.of(
        t, offsets=np.arange(0, n + 1, 100), mark=generator.integers(0, 20, n), schema=Schema(num_marks=20)
    )
    begin = time.process_time()
    page = text_of(describe(events))
    assert time.process_time() - begin < 10 and "1,000,000" in page


def test_empty_events_are_described():
    empty = Events.of(np.array([]), offsets=[0, 0], span=(0.0, 1.0), mark=np.array([], int), schema=Schema(num_marks=2))
    assert "1 sequence has no event" in " ".join(text_of(describe(empty)).split())


def test_small_pieces():
    assert sparkline([0, 1, 8, 4]) == " ▁█▄" and sparkline([]) == ""
    assert bar(1.0, 4) == "████" and bar(0.5, 4) == "██" and bar(0.03, 4) == "▏" and bar(0, 4) == ""
    assert duration(0.5, "h") == "30 min" and duration(1.0, "10ks") == "2.78 h" and duration(2.5, "1") == "2.5"


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], data_root: Path):
    data_list()
    listed = capsys.readouterr().out
    assert "taxi" in listed and "EVENTFLOW_DATA" in listed
    data_info(
        str(data_root / "logs/helpdesk.csv"),
        columns=["key=CaseID", "time=CompleteTimestamp", "mark=ActivityID", "unit=d"],
    )
    assert "3,804" in capsys.readouterr().out
    with pytest.raises(InputError, match="did you mean 'taxi'"):
        data_info("taxo")
    with pytest.raises(InputError, match="no such file"):
        data_info(str(tmp_path / "x.csv"))
    with pytest.raises(InputError, match="whose card says how"):
        data_info("taxi", columns=["time=t"])


def test_convert_files_and_datasets(tmp_path: Path, data_root: Path):
    target = tmp_path / "helpdesk.parquet"
    data_convert(
        str(data_root / "logs/helpdesk.csv"),
        str(target),
        columns=["key=CaseID", "time=CompleteTimestamp", "mark=ActivityID"],
    )
    assert read_events(target).num_events == 13710
    data_convert("taxi", str(tmp_path / "taxi"))
    back, taxi = load_dataset(tmp_path / "taxi"), load_dataset("taxi")
    assert all(
        np.array_equal(back[split].t, taxi[split].t) and back[split].schema == taxi[split].schema for split in taxi
    )
    with pytest.raises(InputError, match="give a folder"):
        data_convert("taxi", str(tmp_path / "taxi.parquet"))
    with pytest.raises(InputError, match="which column is the time"):
        data_convert(str(data_root / "logs/helpdesk.csv"), str(tmp_path / "no.parquet"))
    assert not (tmp_path / "no.parquet").exists()
    write_events(taxi["val"], tmp_path / "v.csv")
    data_convert(str(tmp_path / "v.csv"), str(tmp_path / "v.jsonl"))
    assert read_events(tmp_path / "v.jsonl").num_events == taxi["val"].num_events
