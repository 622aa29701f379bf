"""The EasyTPP layout: parquet, json, jsonl; the benchmark's convention; every broken file one clear message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.io import LogColumns, read_events, read_with_report

ROW: dict[str, Any] = {
    "dim_process": 3, "seq_idx": 0, "seq_len": 3, "time_since_start": [0.0, 1.5, 2.0],
    "time_since_last_event": [0.0, 1.5, 0.5], "type_event": [0, 2, 1],
}  # fmt: skip
OTHER: dict[str, Any] = {
    "dim_process": 3, "seq_idx": 7, "seq_len": 1, "time_since_start": [0.0], "time_since_last_event": [0.0],
    "type_event": [1],
}  # fmt: skip


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl"])
def test_three_containers_give_the_same_events(tmp_path: Path, suffix: str):
    events = read_events(save(tmp_path / f"train{suffix}", [ROW, OTHER]))
    assert events.t.tolist() == [0.0, 1.5, 2.0, 0.0]
    assert events.t.dtype == np.float64
    assert events.marks["mark"].tolist() == [0, 2, 1, 1]
    assert events.offsets.tolist() == [0, 3, 4]
    assert events.keys is not None and events.keys.tolist() == ["0", "7"]
    assert events.schema == Schema(num_marks=3, given_first=True)
    assert events.span.tolist() == [[0.0, np.nextafter(2.0, 3)], [0.0, np.nextafter(0.0, 1)]]
    assert events.num_scored == 2


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl"])
@pytest.mark.parametrize("gone", ["dim_process", "seq_idx", "seq_len", "time_since_start", "time_since_last_event"])
def test_columns_that_may_be_missing(tmp_path: Path, suffix: str, gone: str):
    rows = [{name: value for name, value in row.items() if name != gone} for row in (ROW, OTHER)]
    events = read_events(save(tmp_path / f"x{suffix}", rows))
    assert events.t.tolist() == [0.0, 1.5, 2.0, 0.0]
    assert events.schema.num_marks == 3
    assert (events.keys is None) == (gone == "seq_idx")


def test_no_types_no_marks(tmp_path: Path):
    events = read_events(save(tmp_path / "x.json", [{"time_since_last_event": [0.5, 1.0]}]))
    assert not events.marks and events.schema.num_marks is None
    assert events.t.tolist() == [0.5, 1.5]


def test_times_are_the_sums_of_the_gaps_unless_chosen(tmp_path: Path):
    row = {**ROW, "time_since_start": [151156.0, 151157.5, 151160.0]}
    path = save(tmp_path / "x.parquet", [row])
    events, report = read_with_report(path)
    assert events.t.tolist() == [0.0, 1.5, 2.0]
    assert report.facts == {"deltas": 2.0, "deltas_disagree": 1.0}
    absolute = read_events(path, columns=LogColumns(time="time_since_start"))
    assert absolute.t.tolist() == [151156.0, 151157.5, 151160.0]
    assert absolute.span[0, 0] == 151156.0


def test_first_gap_of_a_sequence_is_never_a_disagreement(tmp_path: Path):
    row = {**ROW, "time_since_start": [5.0, 6.5, 7.0], "time_since_last_event": [0.0, 1.5, 0.5]}
    assert read_with_report(save(tmp_path / "x.json", [row, row]))[1].facts["deltas_disagree"] == 0


def test_real_sets(data_root: Path):
    taxi, report = read_with_report(data_root / "easytpp/taxi/train.parquet")
    assert (len(taxi), taxi.num_events, taxi.num_scored) == (1400, 51854, 50454)
    assert report.facts["deltas_disagree"] == 0
    taobao, report = read_with_report(data_root / "easytpp/taobao/train.parquet")
    assert (len(taobao), taobao.num_events) == (1300, 75231)
    assert 0.06 * 0.98 < report.facts["deltas_disagree"] / report.facts["deltas"] < 0.08
    table = pq.read_table(data_root / "easytpp/taobao/train.parquet")
    gaps = np.concatenate(table["time_since_last_event"].to_pylist()[:50])
    first = taobao[np.arange(50)]
    assert np.allclose(first.gaps, gaps, atol=1e-11, rtol=0)


def test_window_is_half_open(tmp_path: Path):
    path = save(tmp_path / "x.json", [ROW, OTHER])
    events = read_events(path, window=(1.5, 2.0))
    assert events.t.tolist() == [1.5]
    with pytest.raises(InputError, match="t0 <= t1"):
        read_events(path, window=(2.0, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_since_last_event": [0.0, float("nan"), 0.5]}, "time is nan at event 1 of sequence 1"),
        ({"time_since_last_event": [0.0, float("inf"), 0.5]}, "time is inf at event 1 of sequence 1"),
        ({"time_since_last_event": [0.0, -1.0, 0.5]}, "go back"),
        ({"type_event": [0, -1, 2]}, "mark -1 at event 1 of sequence 1"),
        ({"type_event": [0, 3, 2]}, "mark 3 at event 1 of sequence 1.*K=3"),
        ({"type_event": [0, 1.5, 2]}, "type_event 1.5"),
        ({"type_event": [0, 1]}, "'type_event' has 2 values"),
        ({"seq_len": 5}, "row 1: seq_len is 5, but its lists have 3 values"),
        ({"dim_process": 4}, "dim_process differs"),
    ],
)
@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_broken_rows(tmp_path: Path, suffix: str, change: dict[str, Any], message: str):
    path = save(tmp_path / f"x{suffix}", [ROW, {**ROW, **change}])
    with pytest.raises(InputError, match=message) as caught:
        read_events(path)
    assert str(path) in str(caught.value)


def test_negative_mark_without_dim_process(tmp_path: Path):
    row = {"time_since_last_event": [0.0, 1.0], "type_event": [-1, 2]}
    with pytest.raises(InputError, match="type_event -1 in event 0 of sequence 0"):
        read_events(save(tmp_path / "x.json", [row]))


def test_k_of_the_schema_must_agree(tmp_path: Path):
    path = save(tmp_path / "x.json", [ROW])
    assert read_events(path, schema=Schema(unit="h", num_marks=3)).schema.unit == "h"
    with pytest.raises(InputError, match="K=3.*schema says 4"):
        read_events(path, schema=Schema(num_marks=4))
    with pytest.raises(InputError, match="columns say unit 's', the schema says 'h'"):
        read_events(path, schema=Schema(unit="h"), columns=LogColumns(unit="s"))


def test_time_column_of_another_name(tmp_path: Path):
    path = save(tmp_path / "x.json", [ROW])
    with pytest.raises(InputError, match="did you mean 'time_since_start'"):
        read_events(path, columns=LogColumns(time="time_since_strat"))


def test_strings_where_lists_of_numbers_belong(tmp_path: Path):
    with pytest.raises(InputError, match="row 0: 'type_event'.*list of numbers"):
        read_events(save(tmp_path / "x.json", [{**ROW, "type_event": ["a", "b", "c"]}]))
    with pytest.raises(InputError, match="'type_event'.*one list of numbers"):
        read_events(save(tmp_path / "x.parquet", [{**ROW, "type_event": ["a", "b", "c"]}]))
    with pytest.raises(InputError, match="dim_process"):
        read_events(save(tmp_path / "y.json", [{**ROW, "dim_process": "three"}]))


def test_truncated_parquet(tmp_path: Path, data_root: Path):
    whole = (data_root / "easytpp/taxi/dev.parquet").read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut off: copy or download"):
        read_events(cut)


def test_damaged_pages_of_parquet(tmp_path: Path, data_root: Path):
    broken = bytearray((data_root / "easytpp/taxi/dev.parquet").read_bytes())
    broken[2000:40000] = bytes(38000)
    path = tmp_path / "broken.parquet"
    path.write_bytes(bytes(broken))
    with pytest.raises(InputError, match="damaged parquet|cannot be opened"):
        read_events(path)


def test_truncated_json(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([ROW, OTHER])[:-20])
    with pytest.raises(InputError, match="not valid JSON.*cut off"):
        read_events(path)


def test_float32_times_are_reported(tmp_path: Path):
    table = pa.table({"time_since_last_event": pa.array([[0.0, 0.1]], pa.list_(pa.float32())), "type_event": [[0, 1]]})
    pq.write_table(table, tmp_path / "x.parquet")
    events, report = read_with_report(tmp_path / "x.parquet")
    assert events.t.dtype == np.float64
    assert report.facts["float32:time_since_last_event"] == 1


def test_the_layout_can_be_named(tmp_path: Path):
    for suffix in (".parquet", ".json"):
        assert read_events(save(tmp_path / f"x{suffix}", [ROW]), format="easytpp").num_events == 3
