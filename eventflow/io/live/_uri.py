"""Where a live stream comes from and where it goes: ``open_source(uri)`` and ``open_sink(uri)``.

    -                   stdin / stdout, JSON lines
    path.jsonl          JSON lines (also .ndjson, .txt, and pipes and devices of any name)
    path.csv            a header and one event a row (also .tsv)
    path.parquet        one event a row
    tcp://host:port     JSON lines. A source listens there for one producer (and ends when it closes); a sink connects
                        to a consumer that listens. tcp://host:port?resume=1: see below
    udp://host:port?format=spif, tcp://host:port?format=evt3, camera://metavision, camera://dv
                        an event camera's events, as JSON lines {"key", "t", "mark", "x", "y"}; see
                        :mod:`eventflow.io.live`. ``open_recording`` gives the same as arrays

A source's **position** is plain data: what has been handed out so far, with a checksum of the last line. After
``seek(position)`` it goes on behind that line. Regular files (``< file`` too) jump there; a pipe or a producer must
send the same stream from its beginning, which is skipped up to the position and checked. With ``?resume=1`` a tcp
source instead tells its producer, in one JSON line, its position (``{"offset": bytes, "line": lines, ...}``), and
expects it to continue from there; the producer must read that line.

A sink is **rewindable** if what was written after a position can be taken back: files, and stdout redirected to a file
(with ``>>``; ``>`` would empty it before a resumed run). A pipe or a socket is not: what it was sent is gone.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from eventflow.errors import InputError
from eventflow.io._packed import packing

#: What a position is: plain data that json can hold.
Position = dict[str, Any]

LINES = (".jsonl", ".ndjson", ".txt")
TABLES = (".csv", ".tsv", ".parquet")


@runtime_checkable
class Source(Protocol):
    """Lines of a stream, handed out in chunks. :func:`eventflow.testing.check_source` states the laws."""

    name: str

    @property
    def position(self) -> Position:
        """Behind the last line handed out."""
        ...

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """The next lines without their newline, at most ``limit``, as soon as there is one; [] when none came within
        ``timeout`` seconds (None: wait); None at the end of the stream."""
        ...

    def seek(self, position: Position) -> None:
        """Go on behind ``position``; before the first read only. :class:`InputError` if this is another stream."""
        ...

    def close(self) -> None:
        """Release files and sockets."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where lines go, in order."""

    name: str
    #: True if ``truncate`` takes back what was written behind a position.
    rewindable: bool

    @property
    def position(self) -> Position:
        """Behind the last line written."""
        ...

    def truncate(self, position: Position | None) -> None:
        """Before the first write: go on behind ``position``, taking back what lies there; None begins a new run."""
        ...

    def write(self, lines: Sequence[str]) -> None:
        """Append lines (without newline), visible to readers at once."""
        ...

    def sync(self) -> None:
        """Return when everything written is on disk (where there is one)."""
        ...

    def finish(self) -> None:
        """The stream is complete: no line will follow."""
        ...

    def close(self) -> None:
        """Release files and sockets."""
        ...


def open_source(uri: str, *, words: bool = False) -> Source:
    """The source behind ``uri`` (see the module). ``words``: cells of a table's ``mark`` are words, numbers or not."""
    if uri == "-":
        from eventflow.io.live._lines import LineSource

        return LineSource(0, "stdin")
    if "://" in uri:
        return _remote_source(uri)
    path = Path(uri)
    _check_readable(path)
    if path.suffix.lower() in TABLES and path.is_file():
        from eventflow.io.live import _tables as tables

        if path.suffix.lower() == ".parquet":
            return tables.ParquetSource(path, words=words)
        return tables.CsvSource(path, words=words)
    from eventflow.io.live._lines import LineSource

    return LineSource(os.open(path, os.O_RDONLY), str(path), owned=True)


def open_sink(uri: str) -> Sink:
    """The sink behind ``uri`` (see the module). Nothing is created or emptied before ``truncate`` or ``write``."""
    from eventflow.io.live import _sinks as sinks

    if uri == "-":
        regular = stat.S_ISREG(os.fstat(1).st_mode)
        return sinks.FileSink.of_stdout() if regular else sinks.PipeSink(lambda: 1, "stdout")
    if "://" in uri:
        return _remote_sink(uri)
    path = Path(uri)
    _check_writable(path)
    if path.exists() and not path.is_file():
        return sinks.PipeSink(lambda: os.open(path, os.O_WRONLY), str(path), owned=True)
    kinds = {".csv": sinks.CsvSink, ".tsv": sinks.CsvSink, ".parquet": sinks.ParquetSink}
    return kinds.get(path.suffix.lower(), sinks.FileSink)(path)


def _remote_source(uri: str) -> Source:
    from eventflow.io.live import _address, _tcp

    address = _address.parse(uri)
    if address.is_camera:
        from eventflow.io.live._open import open_camera
        from eventflow.io.live._stream import CameraLines

        pixels = address.choice("key", ("camera", "pixel"), "camera") == "pixel"
        return CameraLines(open_camera(uri), pixels=pixels)
    address.check(("resume",))
    return _tcp.TcpSource(address.host, address.port, resume=address.flag("resume"))


def _remote_sink(uri: str) -> Sink:
    from eventflow.io.live import _address, _tcp

    address = _address.parse(uri)
    if address.is_camera:
        from eventflow.io.live._open import open_camera_sink

        return open_camera_sink(uri)
    address.check(())
    return _tcp.TcpSink(address.host, address.port)


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file, -, or tcp://host:port")
    if not path.exists():
        nearby = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, nearby, n=1)
        hint = f"did you mean {path.parent / close[0]}?" if close else f"{path.parent} holds {len(nearby)} other names"
        raise InputError(f"source {path} does not exist; {hint}")
    if path.is_file() and path.suffix.lower() not in LINES + TABLES:
        raise InputError(
            f"source {path}: suffix {path.suffix!r}; expected one of {', '.join(LINES + TABLES)}. "
            f"If it holds JSON lines, write: --source - < {path}; of another log: eventflow data convert {path} "
            "events.jsonl"
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"source {path} may not be read by this user")
    if path.is_file() and (kind := packing(_begin(path))):
        raise InputError(
            f"source {path} is compressed by {kind[0]}; a stream is read unpacked. Write: eventflow data convert "
            f"{path} events.jsonl"
        )


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"sink {path} is a folder; expected a file in it, -, or tcp://host:port")
    if not path.parent.is_dir():
        raise InputError(f"sink {path}: the folder {path.parent} does not exist. Write: mkdir -p {path.parent}")
    special = path.exists() and not path.is_file()
    if not special and path.suffix.lower() not in LINES + TABLES:
        raise InputError(f"sink {path}: suffix {path.suffix!r}; expected one of {', '.join(LINES + TABLES)}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"sink {path} may not be written by this user")
