"""Tables as streams: every row of a CSV or Parquet file as one JSON line, ``{"key": ..., "t": ..., "mark": ...}``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from eventflow.errors import InputError, did_you_mean
from eventflow.io.live._lines import check_position, mark_of
from eventflow.io.live._uri import Position

NEEDED = ("key", "t")


def check_columns(name: str, columns: list[str]) -> None:
    """Raise :class:`InputError` unless there are columns ``key`` and ``t`` (``mark`` is needed if there are kinds)."""
    for needed in NEEDED:
        if needed not in columns:
            raise InputError(
                f"source {name} has no column {needed!r} ({did_you_mean(needed, columns)}); expected key, t, mark. "
                f"Write: eventflow data convert {name} events.jsonl"
            )


class CsvSource:
    """Rows of a CSV (or TSV) file with a header. Its position is in bytes, at the start of a row.

    Args:
        path: the file.
        words: cells of ``mark`` are words even where they look like numbers.
    """

    def __init__(self, path: Path, *, words: bool = False) -> None:
        self.name = str(path)
        self._file = path.open("rb")
        self._words = words
        self._broken: InputError | None = None
        self._offset, self._line, self._last, self._raw = 0, 0, b"", b""
        self._reader = csv.reader(self._text(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            header = next(self._reader, None)
            if header is None:
                raise InputError(f"source {path} is empty; expected a header: key,t,mark")
            self._columns = [name.strip().removeprefix("\ufeff") for name in header]
            check_columns(self.name, self._columns)
        except csv.Error as error:
            self._file.close()
            raise self._fault(error) from None
        except InputError:
            self._file.close()
            raise
        self._settle()

    def _fault(self, error: csv.Error) -> InputError:
        return InputError(
            f"source {self.name}: row {self._line + 1} cannot be read as CSV ({error}). Write: eventflow data convert "
            f"{self.name} events.jsonl"
        )

    def _text(self) -> Iterator[str]:
        """Lines as the csv reader asks for them, one row at a time; ``_raw`` collects the bytes of the row."""
        for line in self._file:
            self._raw += line
            yield line.decode("utf-8", "backslashreplace")

    def _settle(self) -> None:
        self._offset += len(self._raw)
        self._line += 1
        self._last, self._raw = self._raw, b""

    @property
    def position(self) -> Position:
        """{"offset": bytes, "line": rows with the header, "last": [length, crc32] of the last row}."""
        return {"offset": self._offset, "line": self._line, "last": mark_of(self._last)}

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """See :class:`~eventflow.io.Source`."""
        rows = []
        if self._broken is not None:
            raise self._broken
        try:
            for cells in islice(self._reader, limit):
                rows.append(self._as_json(cells))
                self._settle()
        except csv.Error as error:
            self._broken = self._fault(error)  # what came before it is given first
            if not rows:
                raise self._broken from None
        return rows or None

    def _as_json(self, cells: list[str]) -> bytes:
        if not cells:
            return b""
        return json.dumps({c: self._value(c, v) for c, v in zip(self._columns, cells, strict=False)}).encode()

    def _value(self, column: str, cell: str) -> Any:
        if column == "key" or (column == "mark" and self._words):
            return cell
        for number in (int, float):
            try:
                return number(cell)
            except ValueError:
                continue
        return cell

    def seek(self, position: Position) -> None:
        """See :class:`~eventflow.io.Source`."""
        check_position(position, self.name, ("offset", "line", "last"))
        self._file.seek(max(0, position["offset"] - position["last"][0]))
        last = self._file.read(position["last"][0])
        if mark_of(last) != list(position["last"]):
            raise InputError(
                f"source {self.name}: row {position['line']} is not the one that had been read when the snapshot was "
                "taken: this is another file, or it was changed. Give the file of the snapshot, or another --snapshot "
                "folder"
            )
        self._reader = csv.reader(self._text(), self._reader.dialect)
        self._offset, self._line, self._last, self._raw = position["offset"], position["line"], last, b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetSource:
    """Rows of a Parquet file. Its position is a row number.

    Args:
        path: the file.
        words: ``mark`` holds words (numbers are taken as such).
    """

    def __init__(self, path: Path, *, words: bool = False) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.name = str(path)
        self._words = words
        try:
            self._table = parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"source {path} is no whole Parquet file ({error}). Is it cut off?") from None
        columns = self._table.schema_arrow.names
        check_columns(self.name, columns)
        self._columns = [name for name in ("key", "t", "mark") if name in columns]
        kind = self._table.schema_arrow.field("t").type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise InputError(f"source {path}: column t is {kind}; expected numbers in the model's unit")
        self._row, self._last = 0, b""
        self._lines = self._from(0)

    def _from(self, row: int) -> Iterator[bytes]:
        for batch in self._table.iter_batches(columns=self._columns):
            if row >= batch.num_rows:
                row -= batch.num_rows
                continue
            for record in batch.slice(row).to_pylist():
                if self._words and "mark" in record:
                    record["mark"] = str(record["mark"])
                yield json.dumps(record, default=str).encode()
            row = 0

    @property
    def position(self) -> Position:
        """{"row": rows, "last": [length, crc32] of the last line}."""
        return {"row": self._row, "last": mark_of(self._last)}

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """See :class:`~eventflow.io.Source`."""
        lines = list(islice(self._lines, limit))
        if not lines:
            return None
        self._row += len(lines)
        self._last = lines[-1]
        return lines

    def seek(self, position: Position) -> None:
        """See :class:`~eventflow.io.Source`."""
        check_position(position, self.name, ("row", "last"))
        row = position["row"]
        self._lines, last = self._from(max(0, row - 1)), b""
        if row:
            last = next(self._lines, b"")
        if mark_of(last) != list(position["last"]):
            raise InputError(
                f"source {self.name}: row {row} is not the one that had been read when the snapshot was taken: this is "
                "another file, or it was changed. Give the file of the snapshot, or another --snapshot folder"
            )
        self._row, self._last = row, last

    def close(self) -> None:
        """Close the file."""
        self._table.close()
