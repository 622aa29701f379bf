"""Text: one event a line, in the order that the caller or a header names, else ``t x y p`` (the Event-Camera
Dataset's), ``x y t p`` or ``x y p t`` (Metavision's), whichever alone the first lines can be; see :mod:`._order`.

Seconds if one of their times has a point or an exponent, else microseconds; ``Schema(unit=...)`` says it otherwise. A
first line of two integers is the sensor's width and height, and so is ``%geometry:640,480``; ours is the comment
``# width 640 height 480 span 0 1000``, which also says that the order is t x y p.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from eventflow.io._text import Progress
from eventflow.io.cameras._order import Array, Order, Told, check_times, declared, fitting, named, tell
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Opening, Source
from eventflow.ops.parse_events import parse_events

#: Microseconds in a unit, as a power of ten.
EXPONENTS = {"s": 6, "ms": 3, "us": 0, "ns": -3}
_BOM = b"\xef\xbb\xbf"
_OURS = re.compile(r"#\s*width (\d+) height (\d+)(?: span (-?\d+) (-?\d+))?\s*$")
_BARE = re.compile(r"# span (-?\d+) (-?\d+)\s*$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_WORDS = {"true": "1", "false": "0"}
_GEOMETRY = re.compile(r"[#%]\s*geometry\s*:?\s*(\d+)\s*[,x]\s*(\d+)\s*$", re.IGNORECASE)
#: What may stand before the names of columns in a comment.
_TITLE = re.compile(r"[#%]+\s*(?:(?:columns|fields|format)\s*:)?\s*", re.IGNORECASE)
_BLOCK = 1 << 22
#: Bytes of the beginning that tell the order, and the most lines of it that are looked at.
_HEAD, _LINES = 1 << 16, 2000
#: Lines of four numbers that make a text one of events, whatever follows.
_SURE = 8


@dataclass(slots=True)
class _Head:
    """What the first lines say: where the events begin (byte), the order of their columns and how many they are, if a
    header names them, sensor, span."""

    begin: int = 0
    order: Order | None = None
    count: int | None = None
    size: tuple[int | None, int | None] = (None, None)
    span: tuple[int, int] | None = None


def looks_like_events(head: bytes) -> bool:
    """Whether text that begins so is one event a line: a header that names t, x, y, p, or lines of such numbers."""
    head = head.removeprefix(_BOM)
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return False
    whole = text[: text.rfind("\n") + 1]
    said = _Head()
    for line in whole.split("\n"):
        if line[:1] in ("#", "%"):
            _reads(line, said, False)
    lines = [line for line in whole.split("\n") if line.strip() and line[0] not in "#%"]
    if said.order is not None and lines:
        return True
    if not lines:
        return bool(_OURS.match(whole) or _BARE.match(whole))
    cells = _cells(lines[0])
    if named(cells) is not None:
        return len([cell for cell in cells if cell]) == 4  # with further columns it may be a log
    lines = lines[1:] if re.fullmatch(r"\d+ \d+\s*", lines[0]) else lines
    rows = _good(lines[:_LINES])
    few = rows is None or len(rows) < min(_SURE, len(lines))  # with a bad line after many good ones, it is told so
    return rows is not None and not few and bool(fitting(rows))


def _cells(line: str) -> list[str]:
    """What lies between blanks and commas; a nameless first column (pandas' index) counts, too."""
    cells = [cell for cell in re.split(r"[ \t\r,;]+", line.strip()) if cell]
    return ["", *cells] if line[:1] in ",;" and cells else cells


def _numbers(lines: list[str]) -> Array | None:
    """(n, 4), if that is what the lines hold."""
    rows = [[_WORDS.get(cell.lower(), cell) for cell in _cells(line)] for line in lines]
    if not rows or not all(len(row) == 4 and all(map(_NUMBER.match, row)) for row in rows):
        return None
    return np.array(rows, dtype=np.float64)


def _good(lines: list[str]) -> Array | None:
    """(n, 4): the lines before the first that is no four numbers."""
    bad = (i for i, line in enumerate(lines) if _numbers([line]) is None)
    return _numbers(lines[: next(bad, len(lines))])


def open_text(opening: Opening) -> TextSource:
    """A text file of events."""
    head = _read_head(opening)
    first = _first_lines(opening, head.begin)
    height, width = opening.height or head.size[0], opening.width or head.size[1]
    told = _told(opening, head, first, (height, width))
    times = [cells[told.order[0]] for cells in map(_cells, first) if len(cells) > told.order[0]]
    pointed = any(re.search("[.eE]", cell) for cell in times)
    unit = opening.unit or ("s" if pointed else "us")
    if unit not in EXPONENTS:
        raise opening.error(f"times in {unit!r}; expected one of {', '.join(EXPONENTS)}")
    check_times(opening, np.array([float(cell) for cell in times if _NUMBER.match(cell)]), pointed=pointed)
    source = TextSource(
        opening, height, width, span=head.span, begin=head.begin, order=told.order, exponent=EXPONENTS[unit]
    )
    if told.name:
        said = f"no header names its columns; by their numbers they are {told.name}"
        (source.doubts if told.doubt else source.notes).append(said + (f". {told.doubt}" if told.doubt else ""))
    return source


def _told(opening: Opening, head: _Head, first: list[str], size: tuple[int | None, int | None]) -> Told:
    """The order: declared, named or told by the numbers; its name is empty unless they told it."""
    if opening.columns:
        return Told(declared(opening), "")
    if head.order is None:
        rows = _good(first)  # reading says what is wrong with the next one
        if rows is not None:
            return tell(opening, rows, size)
        if not first:
            return Told((0, 1, 2, 3), "")
        raise opening.error(
            f"its lines are no four numbers, as in {_shown(first[0].encode())}. If they are events, write: "
            "read_events(..., columns='t x y p'), with their order and any other word for a column to pass over"
        )
    if first and head.count not in (None, len(_cells(first[0]))):
        raise opening.error(
            f"its header names {head.count} columns, its first line has {len(_cells(first[0]))}: {first[0][:60]!r}"
        )
    return Told(head.order, "")


def _first_lines(opening: Opening, begin: int) -> list[str]:
    """Whole lines of events from byte ``begin`` on, as many as tell the order."""
    with opening.path.open("rb") as file:
        file.seek(begin)
        data = file.read(_HEAD)
    whole = data[: data.rfind(b"\n") + 1] if len(data) == _HEAD else data
    lines = (line for line in whole.decode("latin-1").split("\n") if line.strip() and line[0] not in "#%")
    return list(islice(lines, _LINES))


def _read_head(opening: Opening) -> _Head:
    found = _Head()
    with opening.path.open("rb") as file:
        if file.read(len(_BOM)) == _BOM:
            found.begin = len(_BOM)
        file.seek(found.begin)
        while line := file.readline(1 << 16):
            if not _reads(line.decode("latin-1").rstrip(), found, bool(opening.columns)):
                break
            found.begin = file.tell()
    return found


def _reads(text: str, found: _Head, declared: bool) -> bool:
    """Whether a line belongs to the head, which is told what it says."""
    stripped = text.strip()
    if ours := _OURS.match(stripped):
        found.size, found.order = (int(ours[2]), int(ours[1])), (0, 1, 2, 3)
        found.span = (int(ours[3]), int(ours[4])) if ours[3] else None
    elif bare := _BARE.match(stripped):
        found.span, found.order = (int(bare[1]), int(bare[2])), (0, 1, 2, 3)
    elif size := _GEOMETRY.match(stripped):
        found.size = int(size[2]), int(size[1])
    elif stripped[:1] in ("#", "%"):
        cells = _cells(_TITLE.sub("", stripped, count=1))
        found.order = (named(cells) if len(cells) == 4 else None) or found.order
    elif order := named(_cells(text)):
        found.order, found.count = order, len(_cells(text))
    elif re.fullmatch(r"\d+ \d+", stripped):
        width, height = map(int, stripped.split())
        found.size = height, width
    elif stripped:
        return declared and not any(map(_NUMBER.match, _cells(text)))  # a header of other names
    return True


@dataclass(slots=True)
class TextSource(Source):
    """Lines from byte ``begin`` on."""

    begin: int = 0
    order: tuple[int, int, int, int] = (0, 1, 2, 3)
    exponent: int = 0

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        path, tail, offset = self.opening.path, b"", self.begin
        progress = Progress(path)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                while data := file.read(_BLOCK):
                    data = tail + data
                    yield from self._parse(data, offset)
                    taken = data.rfind(b"\n") + 1
                    tail, offset = data[taken:], offset + taken
                    progress.at(offset)
                    if len(tail) > _BLOCK:
                        raise BrokenError(f"byte {offset:,}: a line of more than {_BLOCK:,} bytes")
            yield from self._parse(tail + b"\n", offset)
        finally:
            progress.stop()

    def _parse(self, data: bytes, offset: int) -> Iterator[Columns]:
        out = parse_events(data, order=self.order, exponent=self.exponent)
        yield Columns(*out[:4])
        if out.fault:
            line = data[out.taken :].split(b"\n", 1)[0]
            raise BrokenError(
                f"byte {offset + out.taken:,}: {self._number(offset + out.taken)}{_shown(line)} is no event t x y p"
            )

    def _number(self, offset: int) -> str:
        """The number of the line at this byte."""
        lines = 1
        with self.opening.path.open("rb") as file:
            while offset > 0 and (data := file.read(min(offset, _BLOCK))):
                lines += data.count(b"\n")
                offset -= len(data)
        return f"line {lines:,}: "


def _shown(line: Any) -> str:
    return repr(line[:60].decode("utf-8", "replace"))
