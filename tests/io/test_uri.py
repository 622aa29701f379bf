"""Sources and sinks behind URIs: files, pipes, tables, sockets; positions that resume; mistakes that are named."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventflow.errors import InputError
from eventflow.io import Sink, Source, open_sink, open_source
from eventflow.io.live._lines import LineSource
from eventflow.io.live._sinks import FileSink, PipeSink
from eventflow.io.live._tcp import TcpSource
from eventflow.testing import check_source

RECORDS = [{"key": f"k{i % 3}", "t": i + 0.5, "mark": i % 2} for i in range(23)]


def _jsonl(path: Path, *, newline: bool = True) -> Path:
    text = "\n".join(json.dumps(record) for record in RECORDS)
    path.write_text(text + "\n" * newline)
    return path


def _csv(path: Path) -> Path:
    rows = [f'"{r["key"]}",{r["t"]},{r["mark"]}' for r in RECORDS]
    rows[3] = '"k0 with ""quotes"",\nand a second line",3.5,1'
    path.write_text("key,t,mark\n" + "\n".join(rows) + "\n")
    return path


def _parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=5)
    return path


def _all(source: Source) -> list[Any]:
    lines: list[bytes] = []
    while (part := source.read(4)) is not None:
        lines += part
    source.close()
    return [json.loads(line) for line in lines if line]


# -- sources -------------------------------------------------------------------------------------


def test_every_kind_of_file_obeys_the_laws_of_a_source(tmp_path: Path) -> None:
    for path in (
        _jsonl(tmp_path / "a.jsonl"), _jsonl(tmp_path / "b.txt", newline=False), _csv(tmp_path / "a.csv"),
        _parquet(tmp_path / "a.parquet"),
    ):  # fmt: skip
        check_source(lambda path=path: open_source(str(path)))


def test_tables_give_the_records_of_their_rows(tmp_path: Path) -> None:
    assert _all(open_source(str(_parquet(tmp_path / "a.parquet")))) == RECORDS
    rows = _all(open_source(str(_csv(tmp_path / "a.csv"))))
    assert rows[3] == {"key": 'k0 with "quotes",\nand a second line', "t": 3.5, "mark": 1}
    assert rows[:3] + rows[4:] == RECORDS[:3] + RECORDS[4:]
    tabs = tmp_path / "a.tsv"
    tabs.write_text("mark\tt\tkey\n404\t1\t7\n\n")
    assert _all(open_source(str(tabs), words=True))[0] == {"key": "7", "t": 1, "mark": "404"}
    assert _all(open_source(str(tabs)))[0]["mark"] == 404


@contextmanager
def _pipe(data: bytes, pieces: int = 1) -> Iterator[int]:
    read, write = os.pipe()

    def feed() -> None:
        size = -(-len(data) // pieces)
        try:
            for i in range(0, len(data), size):
                os.write(write, data[i : i + size])
        except BrokenPipeError:
            pass
        finally:
            os.close(write)

    thread = threading.Thread(target=feed)
    thread.start()
    yield read
    os.close(read)
    thread.join()


def test_a_pipe_obeys_the_laws_when_it_is_fed_from_the_beginning(tmp_path: Path) -> None:
    data = _jsonl(tmp_path / "a.jsonl").read_bytes()
    made: list[int] = []

    def source() -> Source:
        read, write = os.pipe()
        os.write(write, data)
        os.close(write)
        made.append(read)
        return LineSource(read, "a pipe")

    check_source(source)
    for fd in made:
        os.close(fd)


def test_lines_cut_by_the_pipe_are_put_together(tmp_path: Path) -> None:
    data = _jsonl(tmp_path / "a.jsonl").read_bytes()
    with _pipe(data, pieces=301) as fd:
        assert _all(LineSource(fd, "a pipe")) == RECORDS


def test_an_idle_pipe_gives_up_after_the_timeout_and_a_line_is_given_at_once() -> None:
    read, write = os.pipe()
    source = LineSource(read, "a pipe")
    begin = time.monotonic()
    assert source.read(10, 0.05) == [] and time.monotonic() - begin < 2
    os.write(write, b'{"half":')
    assert source.read(10, 0.05) == []
    os.write(write, b" 1}\n")
    assert source.read(10, 30.0) == [b'{"half": 1}'], "it does not wait to fill the chunk"
    os.close(write)
    assert source.read(10, None) is None
    os.close(read)


def test_another_stream_is_refused(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl")
    source = open_source(str(path))
    source.read(9)
    position = source.position
    source.close()
    path.write_bytes(path.read_bytes().replace(b'"k2"', b'"kk"'))
    with pytest.raises(InputError, match="line 9 is not the one"):
        open_source(str(path)).seek(position)
    path.write_text("short\n")
    with pytest.raises(InputError, match="not the same file"):
        open_source(str(path)).seek(position)
    with _pipe(b"short\n") as fd, pytest.raises(InputError, match="from its beginning"):
        LineSource(fd, "a pipe").seek(position)
    assert _csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match="of another kind"):
        open_source(str(_parquet(tmp_path / "a.parquet"))).seek(position)


def _tcp_factory(data: bytes, *, resume: bool) -> tuple[Callable[[], Source], list[threading.Thread]]:
    """A source with a producer that sends the stream from the beginning, or from where it is told to."""
    threads: list[threading.Thread] = []

    def factory() -> Source:
        source = TcpSource("127.0.0.1", 0, resume=resume)

        def produce() -> None:
            with suppress(OSError), socket.create_connection(source.address) as connection:  # a refused one is closed
                start = json.loads(connection.makefile().readline())["offset"] if resume else 0
                connection.sendall(data[start:])

        threads.append(threading.Thread(target=produce, daemon=True))
        threads[-1].start()
        return source

    return factory, threads


def test_tcp_obeys_the_laws_of_a_source(tmp_path: Path) -> None:
    data = _jsonl(tmp_path / "a.jsonl").read_bytes()
    factory, threads = _tcp_factory(data, resume=False)
    check_source(factory)
    for thread in threads:
        thread.join(5)


def test_a_tcp_producer_that_is_told_where_to_continue(tmp_path: Path) -> None:
    data = _jsonl(tmp_path / "a.jsonl").read_bytes()
    factory, _ = _tcp_factory(data, resume=True)
    source = factory()
    first = [line for _ in range(3) for line in source.read(1) or []]
    position = source.position
    source.close()
    again = factory()
    again.seek(position)
    assert [json.loads(line) for line in first] + _all(again) == RECORDS


def test_a_tcp_source_waits_for_its_producer_no_longer_than_the_timeout() -> None:
    source = open_source("tcp://127.0.0.1:0")
    assert source.read(3, 0.05) == []
    source.close()


# -- sinks ---------------------------------------------------------------------------------------


def test_a_file_is_made_when_the_run_begins_and_cut_back_when_it_resumes(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = open_sink(str(path))
    assert not path.exists(), "nothing is made before the run begins"
    sink.truncate(None)
    sink.write(["one", "two"])
    assert path.read_text() == "one\ntwo\n", "visible at once"
    position = json.loads(json.dumps(sink.position))
    sink.write(["three"])
    sink.sync()
    sink.close()
    with path.open("a") as file:
        file.write("half a li")
    again = open_sink(str(path))
    again.truncate(position)
    again.write(["3"])
    again.close()
    assert path.read_text() == "one\ntwo\n3\n"
    fresh = open_sink(str(path))
    fresh.truncate(None)
    fresh.close()
    assert path.read_text() == ""


def test_a_sink_that_is_not_the_one_of_the_snapshot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = open_sink(str(path))
    sink.truncate(None)
    sink.write(["one", "two"])
    position = sink.position
    sink.close()
    path.write_text("one\ntwx\nthree\n")
    with pytest.raises(InputError, match="is not what the snapshot's run had written"):
        open_sink(str(path)).truncate(position)
    assert path.read_text() == "one\ntwx\nthree\n", "nothing was cut"
    path.write_text("one\n")
    with pytest.raises(InputError, match="has 4 bytes, but 8"):
        open_sink(str(path)).truncate(position)
    path.unlink()
    with pytest.raises(InputError, match="has 0 bytes, but 8"):
        open_sink(str(path)).truncate(position)
    assert not path.exists()


def test_a_lazy_file_comes_with_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_text("of an older run\n")
    sink = FileSink(path, lazy=True)
    sink.truncate(None)
    assert not path.exists()
    nothing = sink.position
    sink.write(["one"])
    sink.close()
    assert path.read_text() == "one\n"
    again = FileSink(path, lazy=True)
    again.truncate(nothing)
    assert path.read_text() == ""


@contextmanager
def _stdout(path: Path, flags: int) -> Iterator[None]:
    """File descriptor 1 as the shell's redirection makes it."""
    saved, fd = os.dup(1), os.open(path, flags | os.O_WRONLY | os.O_CREAT, 0o666)
    os.dup2(fd, 1)
    os.close(fd)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def test_stdout_redirected_to_a_file_can_be_cut_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before us\n")
    with capfd.disabled():
        with _stdout(path, os.O_APPEND):
            sink = open_sink("-")
            assert sink.rewindable
            sink.truncate(None)
            sink.write(["one"])
            position = sink.position
            sink.write(["two"])
        with _stdout(path, os.O_APPEND):
            again = open_sink("-")
            again.truncate(position)
            again.write(["2"])
        assert path.read_text() == "before us\none\n2\n"
        with _stdout(path, os.O_TRUNC), pytest.raises(InputError, match="write >> instead of >"):
            open_sink("-").truncate(position)


def test_a_pipe_cannot_be_cut_back_and_counts_its_lines() -> None:
    read, write = os.pipe()
    sink = PipeSink(lambda: write, "a pipe")
    assert not sink.rewindable
    sink.truncate({"line": 7})
    sink.write(["a", "b"])
    assert os.read(read, 100) == b"a\nb\n" and sink.position == {"line": 9}
    os.close(read)
    with pytest.raises(InputError, match="its reader has closed it"):
        sink.write(["c"])
    os.close(write)


def test_a_tcp_sink_sends_lines_to_the_consumer_that_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = open_sink(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        sink.truncate(None)
        connection, _ = server.accept()
        sink.write(["one", "two"])
        sink.close()
        with connection:
            assert connection.makefile().read() == "one\ntwo\n"


def test_csv_and_parquet_sinks_hold_the_lines_as_rows(tmp_path: Path) -> None:
    lines = ['{"key": "a,b", "t": 1.5, "nll": null, "next_mark_probs": [0.25, 0.75]}',
             '{"key": 7, "t": 2, "nll": 0.1, "next_mark_probs": [0.5, 0.5]}']  # fmt: skip
    out = tmp_path / "out.csv"
    sink = open_sink(str(out))
    sink.truncate(None)
    sink.write(lines[:1])
    position = sink.position
    sink.write(lines[1:])
    sink.close()
    again = open_sink(str(out))
    again.truncate(position)
    again.write(lines[1:])
    again.finish()
    again.close()
    assert out.read_text() == ('key,t,nll,next_mark_probs\n"a,b",1.5,,"[0.25, 0.75]"\n7,2,0.1,"[0.5, 0.5]"\n')
    table = tmp_path / "out.parquet"
    sink = open_sink(str(table))
    sink.truncate(None)
    sink.write(lines)
    end = sink.position
    assert not table.exists(), "a Parquet file is whole or not there"
    sink.finish()
    sink.close()
    assert [p.name for p in tmp_path.iterdir() if "parquet" in p.name] == ["out.parquet"]
    assert pq.read_table(table).to_pylist() == [
        {"key": "a,b", "t": 1.5, "nll": None, "next_mark_probs": [0.25, 0.75]},
        {"key": "7", "t": 2.0, "nll": 0.1, "next_mark_probs": [0.5, 0.5]},
    ]
    done = open_sink(str(table))
    done.truncate(end)
    done.finish()
    with pytest.raises(InputError, match="is complete"):
        done.write(lines)


def test_sources_and_sinks_are_what_their_protocols_say(tmp_path: Path) -> None:
    _jsonl(tmp_path / "a.jsonl")
    assert isinstance(open_source(str(tmp_path / "a.jsonl")), Source)
    assert isinstance(open_sink(str(tmp_path / "b.jsonl")), Sink)


@pytest.mark.parametrize(
    "uri, word",
    [
        ("nowhere.jsonl", "does not exist"),
        ("event.jsonl", "did you mean"),
        ("events.dat", "expected one of .jsonl"),
        (".", "is a folder"),
        ("tcp://localhost", "with a port"),
        ("tcp://localhost:x", "with a port"),
        ("tcp://localhost:99999", "with a port"),
        ("tcp://localhost:1?resum=1", "did you mean 'resume=1'"),
        ("udp://localhost:9", "which format? One of spif"),
        ("kafka://localhost:9092/topic", "kcat"),
        ("redis://localhost", "not built yet"),
        ("http://localhost:1", "unknown scheme 'http'"),
        ("empty.csv", "is empty"),
        ("wrong.csv", "no column 't' (did you mean 'tt'?)"),
        ("broken.parquet", "cut off"),
        ("dates.parquet", "expected numbers"),
        ("packed.jsonl", "by gzip; a stream is read unpacked. Write: eventflow data convert packed"),
        ("mac.csv", "row 1 cannot be read as CSV"),
    ],
)
def test_mistakes_in_sources_are_named(uri: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _jsonl(Path("events.jsonl"))
    Path("events.dat").write_text("x")
    Path("empty.csv").write_text("")
    Path("wrong.csv").write_text("key,tt,mark\n")
    Path("packed.jsonl").write_bytes(gzip.compress(b'{"key": "a", "t": 1}\n'))
    Path("mac.csv").write_bytes(b"key,t\ra,1\rb,2\r")
    _parquet(Path("broken.parquet")).write_bytes(_parquet(Path("whole.parquet")).read_bytes()[:200])
    pq.write_table(pa.table({"key": ["a"], "t": pa.array([1], pa.timestamp("s"))}), "dates.parquet")
    with pytest.raises(InputError) as caught:
        open_source(uri)
    assert word in str(caught.value)


def test_a_row_that_is_no_csv_is_told_after_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f"key,t\na,1\nb,{'2' * 200_000}\nc,3\n")  # a cell longer than Python's csv takes
    source = open_source(str(path))
    assert source.read(10) == [b'{"key": "a", "t": 1}']
    for _ in range(2):
        with pytest.raises(InputError, match="row 3 cannot be read as CSV"):
            source.read(10)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(InputError, match="Is another process there"):
            open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        port = server.getsockname()[1]
    with pytest.raises(InputError, match="nc -lk"):
        open_sink(f"tcp://127.0.0.1:{port}").truncate(None)


@pytest.mark.parametrize(
    "uri, word",
    [
        ("missing/out.jsonl", "mkdir -p missing"),
        (".", "is a folder"),
        ("out.dat", "expected one of .jsonl"),
        ("kafka://x:1", "not built yet"),
        ("tcp://x", "with a port"),
        ("tcp://x:1?resume=1", "known: none"),
    ],
)
def test_mistakes_in_sinks_are_named(uri: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=word):
        open_sink(uri)
    assert not list(tmp_path.iterdir())
