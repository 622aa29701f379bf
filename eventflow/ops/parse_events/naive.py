"""The definition: lines of decimal numbers to (t, x, y, p) in exact arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

#: A number, as C's strtod takes it.
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
SEPARATORS = re.compile(rb"[ \t\r,;]+")
#: What else p may be.
WORDS = {b"true": b"1", b"false": b"0"}
Event = tuple[int, int, int, int]


def parse(data: bytes, order: tuple[int, int, int, int], exponent: int) -> tuple[list[Event], int, bool]:
    """The events of whole lines, the bytes taken, and whether the next line is no event.

    ``order``: which column holds t, x, y and p. Times are multiplied by 10**exponent and rounded to the nearest
    integer, halves away from zero. Empty lines and those that begin with # or % are passed over; further columns, too.
    """
    events: list[Event] = []
    at = 0
    while (stop := data.find(b"\n", at)) >= 0:
        line = data[at:stop].strip(b" \t\r,;")
        if line and line[:1] not in b"#%":
            event = parse_line(line, order, exponent)
            if event is None:
                return events, at, True
            events.append(event)
        at = stop + 1
    return events, at, False


def parse_line(line: bytes, order: tuple[int, int, int, int], exponent: int) -> Event | None:
    """One event, or None: too few numbers, or x, y, p that are not what they must be. Columns between them may be
    anything; p may be a word."""
    cells = SEPARATORS.split(line)
    if len(cells) <= max(order):
        return None
    chosen = [cells[column] for column in order]
    chosen[3] = WORDS.get(chosen[3].lower(), chosen[3])
    if not all(map(NUMBER.match, chosen)):
        return None
    t, x, y, p = (Fraction(cell.decode()) for cell in chosen)
    t *= Fraction(10) ** exponent
    whole = int(abs(t) + Fraction(1, 2)) * (-1 if t < 0 else 1)
    if abs(whole) >= 10**18 or any(v.denominator != 1 or not 0 <= v < 65536 for v in (x, y)) or p not in (-1, 0, 1):
        return None
    return whole, int(x), int(y), int(p > 0)


def write(events: Iterable[Event]) -> bytes:
    """One line an event: seconds with six decimals, x, y, p."""
    lines = [f"{'-' * (t < 0)}{abs(t) // 10**6}.{abs(t) % 10**6:06} {x} {y} {p}\n" for t, x, y, p in events]
    return "".join(lines).encode()
