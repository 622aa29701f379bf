"""Sinks over file descriptors: files that can be rewound, pipes that cannot, and tables written from JSON lines."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eventflow.errors import InputError
from eventflow.io.live._lines import check_position, mark_of
from eventflow.io.live._uri import Position

_ROWS = 1 << 16  # lines a row group


class FileSink:
    """Lines appended to a regular file, which is created when a run begins (``truncate``), not before.

    Args:
        path: the file.
        lazy: create it at the first write only, and remove an old one when a new run begins.
    """

    rewindable = True

    def __init__(self, path: Path, *, lazy: bool = False) -> None:
        self.name = str(path)
        self._path: Path | None = path
        self._lazy = lazy
        self._fd: int | None = None
        self._bytes = 0
        self._last = b""

    @classmethod
    def of_stdout(cls) -> FileSink:
        """Standard output, redirected to a file."""
        sink = cls(Path("stdout"))
        sink._path, sink._fd = None, 1
        appending = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_APPEND
        sink._bytes = os.lseek(1, 0, os.SEEK_END if appending else os.SEEK_CUR)
        return sink

    @property
    def position(self) -> Position:
        """{"bytes": length of the file, "last": [length, crc32] of the last line}."""
        return {"bytes": self._bytes, "last": mark_of(self._last)}

    def truncate(self, position: Position | None) -> None:
        """See :class:`~eventflow.io.Sink`; :class:`InputError` if the file is not the one that was written."""
        if position is None:
            return self._begin()
        check_position(position, self.name, ("bytes", "last"))
        self._bytes = position["bytes"]
        if self._path is not None and not self._path.exists():
            if self._bytes:
                raise self._shorter(0)
            return self._begin()
        fd = self._open(os.O_RDWR)
        if (size := os.fstat(fd).st_size) < self._bytes:
            raise self._shorter(size)
        self._last = _read_back(fd, self._bytes - position["last"][0], position["last"][0])
        if mark_of(self._last) != list(position["last"]):
            raise InputError(
                f"sink {self.name}: what stands before byte {self._bytes} is not what the snapshot's run had written. "
                "Give the sink of the snapshot, or another --snapshot folder"
            )
        os.ftruncate(fd, self._bytes)
        os.lseek(fd, self._bytes, os.SEEK_SET)
        return None

    def _begin(self) -> None:
        if self._path is None:
            return
        if self._lazy:
            self._path.unlink(missing_ok=True)
        else:
            os.ftruncate(self._open(os.O_RDWR | os.O_CREAT), 0)

    def _shorter(self, size: int) -> InputError:
        hint = "write >> instead of >" if self._path is None else "give the sink of the snapshot"
        return InputError(
            f"sink {self.name} has {size} bytes, but {self._bytes} had been written when the snapshot was taken; "
            f"{hint}, or begin anew with another --snapshot folder"
        )

    def _open(self, flags: int) -> int:
        if self._fd is None:
            assert self._path is not None
            try:
                self._fd = os.open(self._path, flags, 0o666)
            except OSError as error:
                raise InputError(f"sink {self.name}: {error.strerror}") from None
        return self._fd

    def encode(self, lines: Sequence[str]) -> bytes:
        """The bytes of these lines, newlines included."""
        return ("\n".join(lines) + "\n").encode()

    def write(self, lines: Sequence[str]) -> None:
        """See :class:`~eventflow.io.Sink`."""
        if not lines:
            return
        data = self.encode(lines)
        write_all(self._open(os.O_RDWR | os.O_CREAT), data, self.name)
        self._bytes += len(data)
        self._last = data[data.rfind(b"\n", 0, -1) + 1 :]

    def sync(self) -> None:
        """fsync."""
        if self._fd is not None:
            os.fsync(self._fd)

    def finish(self) -> None:
        """Nothing more is needed."""

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None and self._path is not None:
            os.close(self._fd)
            self._fd = None


class PipeSink:
    """Lines to a pipe or a socket: gone once written, so a resumed run may repeat some; ``position`` counts lines."""

    rewindable = False

    def __init__(self, connect: Callable[[], int], name: str, *, owned: bool = False) -> None:
        self.name = name
        self._connect = connect
        self._owned = owned
        self._fd: int | None = None
        self._line = 0

    @property
    def position(self) -> Position:
        """{"line": lines written}."""
        return {"line": self._line}

    def truncate(self, position: Position | None) -> None:
        """Count from there on."""
        if position is not None:
            check_position(position, self.name, ("line",))
            self._line = position["line"]
        self._descriptor()

    def _descriptor(self) -> int:
        if self._fd is None:
            self._fd = self._connect()
        return self._fd

    def write(self, lines: Sequence[str]) -> None:
        """See :class:`~eventflow.io.Sink`; :class:`InputError` when the reader has gone."""
        if lines:
            write_all(self._descriptor(), ("\n".join(lines) + "\n").encode(), self.name)
            self._line += len(lines)

    def sync(self) -> None:
        """Nothing lies on a disk."""

    def finish(self) -> None:
        """Nothing more is needed."""

    def close(self) -> None:
        """Close the descriptor, if it is ours."""
        if self._owned and self._fd is not None:
            os.close(self._fd)
            self._fd = None


class CsvSink(FileSink):
    """JSON lines as rows, under the names of the first one; lists stand as JSON in their cell."""

    _names: list[str] | None = None

    def encode(self, lines: Sequence[str]) -> bytes:
        """See :meth:`FileSink.encode`; the header comes with the first line."""
        rows = [json.loads(line) for line in lines]
        out = io.StringIO()
        writer = csv.writer(out, delimiter="\t" if self.name.endswith(".tsv") else ",", lineterminator="\n")
        if self._names is None:
            self._names = list(rows[0])
        if self._bytes == 0:
            writer.writerow(self._names)
        writer.writerows([_cell(row[name]) for name in self._names] for row in rows)
        return out.getvalue().encode()


class ParquetSink(FileSink):
    """JSON lines kept in ``<path>.partial`` while the stream runs, turned into a Parquet file when it is complete."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.with_name(path.name + ".partial"))
        self.target = path
        self._complete = False

    def truncate(self, position: Position | None) -> None:
        """See :class:`~eventflow.io.Sink`; a run whose file is complete has nothing left to rewind."""
        assert self._path is not None
        self._complete = position is not None and self.target.exists() and not self._path.exists()
        if not self._complete:
            super().truncate(position)

    def write(self, lines: Sequence[str]) -> None:
        """See :class:`~eventflow.io.Sink`."""
        if self._complete and lines:
            raise InputError(f"sink {self.target} is complete; write to .jsonl to let a stream go on after its end")
        super().write(lines)

    def finish(self) -> None:
        """Write the Parquet file, whole or not at all."""
        import pyarrow as pa
        from pyarrow import parquet

        if self._complete:
            return
        assert self._path is not None
        self._open(os.O_RDWR | os.O_CREAT)
        whole = self.target.with_name(self.target.name + f".{os.getpid()}.tmp")
        writer = None
        with self._path.open(encoding="utf-8") as lines:
            for rows in _grouped(lines):
                if writer is None:
                    schema = pa.schema([(name, _arrow_type(name, rows)) for name in rows[0]])
                    writer = parquet.ParquetWriter(whole, schema)
                writer.write_table(pa.Table.from_pylist([_as_row(row) for row in rows], writer.schema))
        if writer is None:
            parquet.write_table(pa.table({}), whole)
        else:
            writer.close()
        os.replace(whole, self.target)
        self._path.unlink()


def _read_back(fd: int, start: int, length: int) -> bytes:
    """What stands in a file that may be open for writing only (``>>``)."""
    try:
        return os.pread(fd, length, start)
    except OSError:
        again = os.open(f"/dev/fd/{fd}", os.O_RDONLY)
        try:
            return os.pread(again, length, start)
        finally:
            os.close(again)


def _grouped(lines: Iterator[str]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for line in lines:
        rows.append(json.loads(line))
        if len(rows) == _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _arrow_type(name: str, rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    values = [row[name] for row in rows if row[name] is not None]
    if name == "key" or (values and isinstance(values[0], str)):
        return pa.string()
    if values and isinstance(values[0], list):
        return pa.list_(pa.float64())
    whole = name in ("t", "seq") and all(isinstance(v, int) for v in values)
    return pa.int64() if whole else pa.float64()


def _as_row(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "key": str(row["key"])} if "key" in row else row


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else "" if value is None else value


def write_all(fd: int, data: bytes, name: str) -> None:
    """Write every byte; :class:`InputError` that says what happened if the reader has gone or the disk is full."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        raise InputError(f"sink {name}: its reader has closed it, so the output could not be written") from None
    except OSError as error:
        raise InputError(f"sink {name}: {error.strerror}, so the output could not be written") from None
