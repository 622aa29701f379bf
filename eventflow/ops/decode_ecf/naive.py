"""The definition of one ECF chunk, byte by byte.

Little-endian: a header of 4 bytes (number of events << 2, bit 1: y, x and p packed, bit 0: x and p packed), the first
time (8 bytes), then the times, the rows, the columns and the polarities of all events, one after another:

- times: bytes of (step, count), 4 bits each: so many events, ``step`` us after those before. Count 15: the next two
  bytes hold it. Step 15: no events; the low halves of all such bytes in a row, lowest first, are the silence.
- rows: 16 bits of (y, count of 5 bits); count 31: the next 16 bits hold it.
- columns: 16 bits of (x, 5 flags): the pixel x and those of x + 1 .. x + 5 whose flag is set, the highest flag first.
- polarities: bytes of (p, count of 7 bits); count 127: the next two bytes hold it.
- packed x and p: 4 events of 12 bits (x << 1 | p) in three 16-bit words: each word's high bits end one event (the first
  word's are all of it), its low bits begin the next.
- packed y, x and p: the same with 24 bits (y << 12 | x << 1 | p) in three 32-bit words.
"""

from __future__ import annotations

Event = tuple[int, int, int, int]


class _Bytes:
    """A cursor that raises EOFError behind the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise EOFError
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little")


def decode(data: bytes) -> list[Event] | None:
    """The events (t, x, y, p) of a chunk, or None if it is none."""
    cursor = _Bytes(data)
    try:
        header = cursor.take(4)
        n = header >> 2
        t = _times(cursor, n)
        if header & 2:
            packed = _packed(cursor, n, 4, 24)
            y, x, p = ([v >> 12 & 0x7FF for v in packed], [v >> 1 & 0x7FF for v in packed], [v & 1 for v in packed])
        else:
            y = _runs(cursor, n, 2, 5)
            if header & 1:
                packed = _packed(cursor, n, 2, 12)
                x, p = [v >> 1 for v in packed], [v & 1 for v in packed]
            else:
                x, p = _columns(cursor, n), _runs(cursor, n, 1, 7)
    except EOFError:
        return None
    if not (len(t) == len(x) == len(y) == len(p) == n) or (n and not 0 <= min(t) <= max(t) < 2**62):
        return None
    return list(zip(t, x, y, p, strict=True))


def _times(cursor: _Bytes, n: int) -> list[int]:
    times: list[int] = []
    now = cursor.take(8)
    place = silence = 0
    while len(times) < n:
        byte = cursor.take(1)
        step, count = byte >> 4, byte & 15
        if step == 15:
            if place >= 60:
                raise EOFError
            silence |= count << place
            place += 4
            continue
        now, place, silence = now + silence + step, 0, 0
        count = cursor.take(2) if count == 15 else count
        times += [now] * count
    return times


def _runs(cursor: _Bytes, n: int, size: int, bits: int) -> list[int]:
    values: list[int] = []
    while len(values) < n:
        word = cursor.take(size)
        count = word & ((1 << bits) - 1)
        count = cursor.take(2) if count == (1 << bits) - 1 else count
        values += [word >> bits] * count
    return values


def _columns(cursor: _Bytes, n: int) -> list[int]:
    values: list[int] = []
    while len(values) < n:
        word = cursor.take(2)
        values += [word >> 5] + [(word >> 5) + k + 1 for k in range(5) if word >> (4 - k) & 1]
    return values


def _packed(cursor: _Bytes, n: int, size: int, bits: int) -> list[int]:
    values: list[int] = []
    while len(values) < n:
        left = 8 * size - bits  # bits of the first word that the first value leaves
        first, second, third = (cursor.take(size) for _ in range(3))
        low, middle = first & ((1 << left) - 1), second & ((1 << 2 * left) - 1)
        values += [first >> left, low | second >> 2 * left << left, middle | third >> 3 * left << 2 * left]
        values.append(third & ((1 << bits) - 1))
    return values[:n]
