"""Text: one event a line, in the order that a header names, else ``t x y p`` (as the Event-Camera Dataset has it).

Where the first lines cannot be that, or their times would go back, ``x y t p`` and ``x y p t`` (as Metavision writes)
are tried. Seconds if one of those times has a point or an exponent, else microseconds; ``Schema(unit=...)`` says it
otherwise. A first line of two integers is the sensor's width and height, and so is ``%geometry:640,480``; ours is the
comment ``# width 640 height 480 span 0 1000``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from eventflow.io._text import Progress
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Opening, Source
from eventflow.ops.parse_events import parse_events

NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"), "x": ("x", "xs"), "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}  # fmt: skip
#: Where t, x, y and p are in a line, likeliest first.
_ORDERS = {"t x y p": (0, 1, 2, 3), "x y t p": (2, 0, 1, 3), "x y p t": (3, 0, 1, 2)}
#: Microseconds in a unit, as a power of ten.
EXPONENTS = {"s": 6, "ms": 3, "us": 0, "ns": -3}
_BOM = b"\xef\xbb\xbf"
_OURS = re.compile(r"#\s*width (\d+) height (\d+)(?: span (-?\d+) (-?\d+))?\s*$")
_BARE = re.compile(r"# span (-?\d+) (-?\d+)\s*$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_GEOMETRY = re.compile(r"[#%]\s*geometry\s*:?\s*(\d+)\s*[,x]\s*(\d+)\s*$", re.IGNORECASE)
_BLOCK = 1 << 22
#: Bytes of the beginning that tell the order, and the most lines of it that are looked at.
_HEAD, _LINES = 1 << 16, 200
#: Fewer lines may be in order by chance.
_TELLING = 8


@dataclass(slots=True)
class _Head:
    """What the first lines say: where the events begin (byte), columns, whether a header named them, size, span."""

    begin: int = 0
    order: tuple[int, int, int, int] = (0, 1, 2, 3)
    named: bool = False
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
    lines = [line for line in whole.split("\n") if line.strip() and line[0] not in "#%"]
    if not lines:
        return bool(_OURS.match(whole) or _BARE.match(whole))
    if _order(lines[0]) is not None:
        return len(_cells(lines[0])) == 4
    lines = lines[1:] if re.fullmatch(r"\d+ \d+\s*", lines[0]) else lines
    return bool(_guess(lines))


def _guess(lines: list[str]) -> str:
    """The likeliest of ``_ORDERS`` for lines of four numbers: one in which time does not go back, if any; "": none."""
    rows = [_cells(line) for line in lines[:_LINES]]
    if not rows or not all(len(row) == 4 and all(map(_NUMBER.match, row)) for row in rows):
        return ""
    numbers = [[float(cell) for cell in row] for row in rows]
    fits = [name for name, order in _ORDERS.items() if all(_is_event(row, order) for row in numbers)]
    onward = [name for name in fits if _goes_on([row[_ORDERS[name][0]] for row in numbers])]
    return ([*(onward if len(rows) >= _TELLING else []), *fits, ""])[0]


def _is_event(row: list[float], order: tuple[int, int, int, int]) -> bool:
    x, y, p = (row[i] for i in order[1:])
    return x.is_integer() and y.is_integer() and 0 <= x < 65536 and 0 <= y < 65536 and p in (0, 1, -1)


def _goes_on(times: list[float]) -> bool:
    return all(before <= after for before, after in zip(times, times[1:], strict=False))


def _cells(line: str) -> list[str]:
    return [cell for cell in re.split(r"[ \t\r,;]+", line.strip()) if cell]


def _order(line: str) -> tuple[int, int, int, int] | None:
    """The columns of t, x, y and p, if the line names them; a comment may, if it says nothing else."""
    cells = [cell.strip('"').lower() for cell in _cells(line.lstrip("#%"))]
    if line[:1] in ("#", "%") and len(cells) != 4:
        return None
    found = [next((i for i, cell in enumerate(cells) if cell in names), -1) for names in NAMES.values()]
    return tuple(found) if -1 not in found else None  # type: ignore[return-value]


def open_text(opening: Opening) -> TextSource:
    """A text file of events."""
    head = _read_head(opening)
    first = _first_lines(opening, head.begin)
    guess = "" if head.named else _guess(first)
    order = _ORDERS.get(guess, head.order)
    times = [cells[order[0]] for cells in map(_cells, first) if len(cells) > order[0]]
    unit = opening.unit or ("s" if any(re.search("[.eE]", cell) for cell in times) else "us")
    if unit not in EXPONENTS:
        raise opening.error(f"times in {unit!r}; expected one of {', '.join(EXPONENTS)}")
    height, width = opening.height or head.size[0], opening.width or head.size[1]
    source = TextSource(
        opening, height, width, span=head.span, begin=head.begin, order=order, exponent=EXPONENTS[unit]
    )
    if order != head.order:
        source.notes.append(f"no header names its columns; by their numbers they are {guess}")
    return source


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
            text = line.decode("latin-1").strip()
            if ours := _OURS.match(text):
                found.size = int(ours[2]), int(ours[1])
                found.span = (int(ours[3]), int(ours[4])) if ours[3] else None
            elif bare := _BARE.match(text):
                found.span = int(bare[1]), int(bare[2])
            elif size := _GEOMETRY.match(text):
                found.size = int(size[2]), int(size[1])
            elif order := _order(text):
                found.order, found.named = order, True
            elif re.fullmatch(r"\d+ \d+", text):
                width, height = map(int, text.split())
                found.size = height, width
            elif text and text[0] not in "#%":
                break
            found.begin = file.tell()
    return found


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
