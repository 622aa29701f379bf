"""``run``: snapshots and what they refuse, dead letters, summaries, live answers over tcp, stopping."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_operator import Counting, Toy, write_events

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.io import open_sink, open_source
from eventflow.io.live._lines import LineSource
from eventflow.io.live._sinks import PipeSink
from eventflow.io.live._tcp import TcpSource
from eventflow.online import Snapshot, StreamOptions, Summary, run

K3 = Schema(num_marks=3)


def _options(folder: Path, **changes: Any) -> StreamOptions:
    plain = StreamOptions(schema=K3, start=0.0, snapshot=folder / "snap", every=40, chunk=10,
                          dead_letters=folder / "dead.jsonl")  # fmt: skip
    return replace(plain, **changes)


def _run(folder: Path, options: StreamOptions | None = None, *, operator: Any = None, stop: Any = None) -> Summary:
    source, sink = open_source(str(folder / "events.jsonl")), open_sink(str(folder / "out.jsonl"))
    try:
        return run(operator or Toy(), source, sink, options or _options(folder), stop=stop)
    finally:
        source.close()
        sink.close()


def _stop_after(chunks: int) -> Any:
    left = [chunks]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


def _out(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 200)
    options = _options(tmp_path, lateness=3.0)
    _run(tmp_path, replace(options, snapshot=None))
    expected = (tmp_path / "out.jsonl").read_bytes()
    first = _run(tmp_path, options, stop=_stop_after(7))
    assert first.counters.lines == 70 and first.waiting > 0 and first.counters.events_out == 70 - first.waiting
    second = _run(tmp_path, options)
    assert (tmp_path / "out.jsonl").read_bytes() == expected
    assert second.waiting == 0 and second.counters.events_out == 200 and second.answered == 200 - first.answered
    assert second.notes and "resumed behind line 70" in second.notes[0]
    third = _run(tmp_path, options)
    assert third.answered == 0 and (tmp_path / "out.jsonl").read_bytes() == expected, "a finished stream stays as it is"


def test_a_file_that_has_grown_is_taken_up_at_its_old_end(tmp_path: Path) -> None:
    records = write_events(tmp_path / "events.jsonl", 120)
    _run(tmp_path, _options(tmp_path, snapshot=None))
    expected = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records[:50]))
    _run(tmp_path)
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    _run(tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_a_run_stopped_without_snapshots_answers_what_waits(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 50)
    summary = _run(tmp_path, _options(tmp_path, snapshot=None, lateness=1e6), stop=_stop_after(2))
    assert summary.counters.events_in == 20 and len(_out(tmp_path)) == 20 and summary.waiting == 0


def test_a_damaged_newest_snapshot_is_passed_over_and_said(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 200)
    _run(tmp_path, _options(tmp_path, snapshot=None))
    expected = (tmp_path / "out.jsonl").read_bytes()
    _run(tmp_path, stop=_stop_after(13))
    older, newest = sorted((tmp_path / "snap").glob("snapshot-*.efs"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    summary = _run(tmp_path)
    assert "is damaged: its checksum does not match" in summary.notes[0] and "resumed" in summary.notes[1]
    assert (tmp_path / "out.jsonl").read_bytes() == expected
    for path in (tmp_path / "snap").glob("snapshot-*.efs"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="no snapshot in .* is whole .* rm -r"):
        _run(tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == expected, "nothing was touched"


@pytest.mark.parametrize(
    "change, word",
    [
        ({"operator": Toy(seed=1)}, "another checkpoint"),
        ({"operator": Counting(), "schema": Schema(num_marks=5)}, "another checkpoint"),
        ({"identity": "sha of another"}, "another checkpoint"),
        ({"lateness": 1.0}, "lateness 0.0, this run has 1.0"),
        ({"start": -1.0}, "start 0.0, this run has -1.0"),
        ({"schema": Schema(num_marks=3, unit="h")}, "schema"),
        ({"max_keys": 4}, "max_keys None, this run has 4"),
    ],
)
def test_the_snapshot_of_another_run_is_refused(change: dict[str, Any], word: str, tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 60)
    _run(tmp_path, stop=_stop_after(5))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    operator = change.pop("operator", Toy())
    with pytest.raises(InputError, match=word):
        _run(tmp_path, _options(tmp_path, **change), operator=operator)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_another_source_or_sink_is_refused_before_anything_is_cut(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 60)
    _run(tmp_path, stop=_stop_after(5))
    out = (tmp_path / "out.jsonl").read_bytes()
    write_events(tmp_path / "events.jsonl", 60, seed=1)
    with pytest.raises(InputError, match="another stream"):
        _run(tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == out
    write_events(tmp_path / "events.jsonl", 60)
    (tmp_path / "out.jsonl").write_bytes(out[: len(out) // 2])
    with pytest.raises(InputError, match="had been written when the snapshot was taken"):
        _run(tmp_path)


def test_an_operator_that_cannot_run_says_so_before_anything_is_written(tmp_path: Path) -> None:
    class Sampler(Counting):
        num_marks = 3

        def observe(self, state: Any, marks: Any, dt: Any) -> Any:
            return {"nll": torch.rand_like(dt)}, state

    write_events(tmp_path / "events.jsonl", 6)
    (tmp_path / "out.jsonl").write_text("of an older run\n")
    with pytest.raises(InputError, match="depends on who else"):
        _run(tmp_path, _options(tmp_path, snapshot=None), operator=Sampler())
    assert (tmp_path / "out.jsonl").read_text() == "of an older run\n"


def test_one_folder_serves_one_process(tmp_path: Path) -> None:
    import fcntl

    write_events(tmp_path / "events.jsonl", 6)
    (tmp_path / "snap").mkdir()
    with (tmp_path / "snap" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="in use by another process"):
            _run(tmp_path)
    with pytest.raises(InputError, match="mkdir -p"):
        _run(tmp_path, _options(tmp_path, snapshot=tmp_path / "a" / "b"))
    with pytest.raises(InputError, match="is a file"):
        _run(tmp_path, _options(tmp_path, snapshot=tmp_path / "events.jsonl"))


def test_a_change_of_version_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(tmp_path / "events.jsonl", 60)
    _run(tmp_path, stop=_stop_after(3))
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert any("torch" in note and "9.9" in note for note in _run(tmp_path).notes)


def test_a_snapshot_holds_everything_and_comes_back_the_same(tmp_path: Path) -> None:
    import numpy as np

    arrays = [np.arange(6.0).reshape(3, 2), np.zeros((3,), np.int64), np.zeros((0, 4), np.float32)]
    plain = {"keys": ["a", 7, "\ud800", "Zo\u00eb"], "last": [1.5, 2**62, None]}
    snapshot = Snapshot({"model": "x"}, {"offset": 3}, {"bytes": 4}, {"bytes": 0}, plain, arrays, {"torch": "1"})
    snapshot.save(tmp_path / "one.efs")
    again = Snapshot.load(tmp_path / "one.efs")
    assert again.engine == plain and again.source == {"offset": 3} and again.identity == {"model": "x"}
    for ours, theirs in zip(again.arrays, arrays, strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs) and ours.flags.writeable
    assert [path.name for path in tmp_path.iterdir()] == ["one.efs"]


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "foreign", "absent"])
def test_a_damaged_snapshot_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "one.efs"
    Snapshot({}, {}, {}, {}, {}, [], {}).save(path)
    data = path.read_bytes()
    for kind, content in (("empty", b""), ("short", data[:-1]), ("flipped", data[:40] + b"?" + data[41:]),
                          ("foreign", b"PK" + data)):  # fmt: skip
        if kind == damage:
            path.write_bytes(content)
    if damage == "absent":
        path.unlink()
    with pytest.raises(InputError, match="one.efs"):
        Snapshot.load(path)


def test_the_last_two_snapshots_are_kept_and_leftovers_cleared(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 200)
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap" / ".snapshot-000000000003.efs.123.tmp").write_bytes(b"half")
    _run(tmp_path)
    names = sorted(path.name for path in (tmp_path / "snap").iterdir())
    assert names == ["lock", "snapshot-000000000005.efs", "snapshot-000000000006.efs"]


def test_dead_letters_and_counts(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(
        b'{"key": "a", "t": 5.0, "mark": 0}\nrubbish\n{"key": "a", "t": 1.0, "mark": 0}\n\n'
        b'{"key": "b", "t": 1, "mark": 9}'
    )
    summary = _run(tmp_path)
    count = summary.counters
    assert (count.lines, count.events_in, count.events_out, count.late, count.malformed) == (5, 1, 1, 1, 2)
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert [letter["line"] for letter in letters] == [2, 3, 5]
    assert summary.keys == 1 and summary.bytes_per_key == 64
    assert 0 < summary.latency[0] <= summary.latency[1] < 10


def test_an_empty_stream_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    assert _run(tmp_path).counters.lines == 0
    assert (tmp_path / "out.jsonl").read_text() == "" and not (tmp_path / "dead.jsonl").exists()


def test_tables_in_and_out_are_resumed_too(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(write_events(tmp_path / "events.jsonl", 90)), tmp_path / "events.parquet")
    _run(tmp_path, _options(tmp_path, snapshot=None))
    expected = _out(tmp_path)
    for stop in (_stop_after(4), None):
        source, sink = open_source(str(tmp_path / "events.parquet")), open_sink(str(tmp_path / "out.parquet"))
        run(Toy(), source, sink, _options(tmp_path), stop=stop)
        sink.close()
        assert (tmp_path / "out.parquet").exists() is (stop is None)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == expected


def test_live_over_tcp_every_line_is_answered_before_the_next_is_sent() -> None:
    source = TcpSource("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as consumer:
        sink = open_sink(f"tcp://127.0.0.1:{consumer.getsockname()[1]}")
        result: list[Summary] = []
        options = StreamOptions(schema=K3, start=0.0)
        thread = threading.Thread(target=lambda: result.append(run(Toy(), source, sink, options)))
        thread.start()
        answers, _ = consumer.accept()
        answers.settimeout(30)
        with socket.create_connection(source.address) as producer, answers, answers.makefile() as lines:
            for i in range(20):
                producer.sendall(json.dumps({"key": f"k{i % 3}", "t": i + 0.5, "mark": i % 3}).encode() + b"\n")
                assert json.loads(lines.readline())["t"] == i + 0.5, "answered at once, without filling a chunk"
        thread.join(30)
        assert result[0].counters.events_out == 20
        source.close()
        sink.close()


def test_lines_to_a_pipe_carry_their_number_if_the_run_may_be_resumed(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 30)
    for options, numbered in ((_options(tmp_path), True), (_options(tmp_path, snapshot=None), False)):
        read, write = os.pipe()
        run(Toy(), open_source(str(tmp_path / "events.jsonl")), PipeSink(lambda w=write: w, "a pipe"), options)
        os.close(write)
        with os.fdopen(read) as out:
            records = [json.loads(line) for line in out]
        assert len(records) == 30
        assert [r.get("seq") for r in records] == (list(range(30)) if numbered else [None] * 30)


def test_snapshots_are_taken_by_the_clock_too(tmp_path: Path) -> None:
    read, write = os.pipe()
    taken: list[int] = []

    def feed() -> None:
        for i in range(3):
            os.write(write, json.dumps({"key": "a", "t": i + 1.0, "mark": 0}).encode() + b"\n")
            time.sleep(0.4)
            taken.append(int(max((tmp_path / "snap").glob("snapshot-*")).name[9:21]))
        os.close(write)

    thread = threading.Thread(target=feed)
    thread.start()
    options = _options(tmp_path, every=10**6, seconds=0.05)
    run(Toy(), LineSource(read, "a pipe"), open_sink(str(tmp_path / "out.jsonl")), options)
    thread.join()
    os.close(read)
    assert taken[0] < taken[1] < taken[2]
