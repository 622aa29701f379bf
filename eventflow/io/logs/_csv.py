"""Logs in CSV (or TSV): a header line, then one row an event.

Read in blocks. A block without quotes, blank lines or broken rows goes through arrow's parser; any other goes through
Python's ``csv``, which knows the line of each row. Both deliver the same chunks (tested).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from eventflow.events import Events
from eventflow.io._columns import on_command_line
from eventflow.io._request import Request
from eventflow.io._text import open_binary
from eventflow.io.logs._log import LogCollector
from eventflow.io.logs._names import make_chunk, resolve, wanted

#: Bytes read at once.
BLOCK = 8 << 20
_DELIMITERS = ",;\t|"
#: A number or a date: the cell of a row rather than the name of a column.
_NO_NAME = re.compile(r"([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\d{4}-\d\d-\d\d.*)$")


def read(request: Request) -> Events:
    """Events from a CSV file."""
    with open_binary(request) as (file, progress, raw):
        lead = _lead(file)
        table = _Table(request, lead)
        if request.columns.header or lead.row:
            file = io.BufferedReader(_Chained(lead.row or lead.header, file))
        collector: LogCollector | None = None
        for block, rest in _blocks(file):
            if collector is None:
                table.request = resolve(request, table.head(block))
                collector = LogCollector(table.request)
            progress.at(raw.tell())
            table.feed(block, rest, collector)
    if collector is None:
        raise request.error("a header and no rows; expected one row an event")
    return collector.events()


class _Lead(NamedTuple):
    """The header, the number of its line, what a line ``sep=;`` (Excel's) says, and the first row, if that was read."""

    header: bytes
    line: int
    delimiter: str | None = None
    row: bytes = b""


def _lead(file: IO[bytes]) -> _Lead:
    """The header: the first line that is neither blank nor a comment, or the last comment, if it has the names of what
    follows (numpy's way)."""
    number, delimiter, comment, named = 0, None, b"", 0
    while line := file.readline():
        number += 1
        bare = line.removeprefix(b"\xef\xbb\xbf").strip()
        if re.fullmatch(rb"sep=.", bare, re.IGNORECASE) and number == 1:
            delimiter = bare[-1:].decode("latin-1")
        elif bare.startswith(b"#"):
            comment, named = bare.lstrip(b"# "), number
        elif bare:
            own, said = (re.split(rb"[,;\t|]", cells) for cells in (bare, comment))
            row = any(_NO_NAME.match(cell.strip().decode("utf-8", "replace")) for cell in own)
            if named and row and len(own) == len(said):
                return _Lead(comment, named, delimiter, line)
            return _Lead(line.removeprefix(b"\xef\xbb\xbf"), number, delimiter)
    return _Lead(b"", max(number, 1), delimiter)


class _Table:
    """The columns of one file and how its blocks become chunks."""

    def __init__(self, request: Request, lead: _Lead) -> None:
        self.request, self.line = request, lead.line + 1
        text = lead.header.decode("utf-8", "replace").rstrip("\r\n")
        self.delimiter = request.columns.delimiter or lead.delimiter or max(_DELIMITERS, key=text.count)
        try:
            cells = next(csv.reader([text], delimiter=self.delimiter), [])
        except csv.Error as error:
            raise request.error(f"its first line, {text[:60]!r}, is no header ({error})") from None
        self.names = [cell.strip() for cell in cells]
        if request.columns.header:
            self._take_header(text)
            return
        if not any(self.names):
            raise request.error("the first line is blank; expected a header with the names of the columns")
        if request.columns.time not in self.names and any(_NO_NAME.match(name) for name in self.names):
            names = tuple(f"c{i}" for i in range(1, len(self.names) + 1))
            raise request.error(
                f"the first line is {text[:60]!r}; expected a header with the names of the columns. If there is none, "
                f"name them: {on_command_line(header=names)}"
            )
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise request.error(f"columns with the same name: {', '.join(map(repr, twice))}; rename one of them")

    def _take_header(self, text: str) -> None:
        """The names that were declared, for a file whose first line is a row."""
        names = self.request.columns.header
        if len(names) != len(self.names):
            raise self.request.error(
                f"header={names} names {len(names)} columns, the first line has {len(self.names)}: {text[:60]!r}"
            )
        self.names, self.line = list(names), self.line - 1

    def head(self, block: bytes) -> dict[str, Any]:
        """The first rows, column by column, to guess from."""
        text = io.StringIO(block[: 1 << 16].decode("utf-8", "replace"), newline="")
        rows = [row for row, _ in zip(csv.reader(text, delimiter=self.delimiter), range(100), strict=False)]
        whole = [row for row in rows if len(row) == len(self.names)]
        return {name: [row[i] or None for row in whole] for i, name in enumerate(self.names)}

    def feed(self, block: bytes, rest: IO[bytes] | None, collector: LogCollector) -> None:
        """One block (or, where quotes may span blocks, the ``rest`` of the file after it) as chunks."""
        fast = None if rest is not None else self._fast(block)
        if fast is not None:
            rows = np.arange(self.line, self.line + fast.num_rows)
            self.line += fast.num_rows
            cells = {name: fast[name] for name in fast.column_names}
            collector.add(make_chunk(self.request.columns, rows, cells))
            return
        stream: Any = io.BytesIO(block) if rest is None else _Chained(block, rest)
        for rows, cells in self._slow(stream, collector):
            collector.add(make_chunk(self.request.columns, rows, cells))

    def _fast(self, block: bytes) -> pa.Table | None:
        if len(self.names) < 2 or block.count(b"\r") != block.count(b"\r\n"):
            return None
        needed = wanted(self.request.columns, self.names)
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(block),
                read_options=pyarrow.csv.ReadOptions(column_names=self.names, block_size=2 * BLOCK),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter, quote_char=False, ignore_empty_lines=False
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=needed, column_types=dict.fromkeys(needed, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            return None

    def _slow(self, stream: IO[bytes], collector: LogCollector) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")
        reader = csv.reader(text, delimiter=self.delimiter)
        places = {name: self.names.index(name) for name in wanted(self.request.columns, self.names)}
        base, rows, kept = self.line - 1, [], []
        while True:
            begin = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                collector.bad_row(base + begin, "", f"cannot be read ({error})")
                continue
            if len(row) == len(self.names):
                rows.append(base + begin)
                kept.append(row)
            elif row and any(cell.strip() for cell in row):
                collector.bad_row(
                    base + begin, f"it has {len(row)} cells, ", f"expected {len(self.names)} as in the header"
                )
            if len(rows) == 1 << 16:
                yield np.array(rows), {name: [r[i] for r in kept] for name, i in places.items()}
                rows, kept = [], []
        self.line = base + reader.line_num + 1
        if rows:
            yield np.array(rows), {name: [r[i] for r in kept] for name, i in places.items()}


class _Chained(io.RawIOBase):
    """The bytes of ``first``, then those of ``rest``."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._parts = [io.BytesIO(first), rest]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts:
            data = self._parts[0].read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._parts.pop(0)
        return 0


def _blocks(file: IO[bytes]) -> Iterator[tuple[bytes, IO[bytes] | None]]:
    """Blocks that end with a line; from the first quote on, one block and the rest of the file."""
    carried = b""
    while data := file.read(BLOCK):
        if b'"' in data:
            yield carried + data, file
            return
        cut = data.rfind(b"\n") + 1
        if cut:
            yield carried + data[:cut], None
            carried = data[cut:]
        else:
            carried += data
    if carried:
        yield carried, None
