"""Rows of an SQLite database that was cut off or damaged, page by page, without its trees (sqlite.org/fileformat2).

For the bags of ROS 2: rows of ``topics`` (id, name, type, ...) and of ``messages`` (id, topic, time, data) are told
apart by what is in them. Both are tables that only grow, so that the order of the pages is that of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from eventflow.io.cameras._source import BrokenError

MAGIC = b"SQLite format 3\0"
_LEAF, _HEAD = 13, 100
#: Bytes of a value of serial types 0 to 9: nothing, integers, a float, and the numbers 0 and 1.
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def bag_topics(file: IO[bytes], size: int) -> dict[int, tuple[str, str]]:
    """The name and the type of each topic, by its number, as far as pages can be read."""
    found: dict[int, tuple[str, str]] = {}
    try:
        for number, row, _ in _Pages(file, size).rows(longest=1 << 16):
            if len(row) >= 5 and all(isinstance(value, str) for value in row[1:3]) and row[1].startswith("/"):
                found[number] = row[1], row[2]
    except BrokenError:
        pass  # met again where the messages are read
    return found


def bag_messages(file: IO[bytes], size: int) -> Iterator[tuple[int, bytes, int]]:
    """(number of the topic, data, byte of the page) of the messages.

    Raises:
        BrokenError: after the last message before a fault.
    """
    for _, row, at in _Pages(file, size).rows():
        if len(row) == 4 and isinstance(row[1], int) and isinstance(row[3], bytes):
            yield row[1], row[3], at


def missing_bytes(head: bytes, size: int) -> int:
    """How many bytes shorter than it says a database is that begins so."""
    return max(_page_size(head) * int.from_bytes(head[28:32], "big") - size, 0)


def _page_size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big")
    return 65536 if size == 1 else size


class _Pages:
    def __init__(self, file: IO[bytes], size: int) -> None:
        file.seek(0)
        head = file.read(_HEAD)
        if len(head) < _HEAD:
            raise BrokenError(f"byte {size:,}: the bag is cut off within its head")
        self._file, self._size, self._missing = file, size, missing_bytes(head, size)
        self._page = _page_size(head)
        self._usable = self._page - head[20]
        if self._page < 512 or self._usable < 480:
            raise BrokenError(f"byte 16: pages of {self._page:,} bytes")

    def rows(self, longest: int | None = None) -> Iterator[tuple[int, list[Any], int]]:
        """(row's number, its values, byte of its page) of all tables; rows of more than ``longest`` bytes left out."""
        for number in range(1, -(-self._size // self._page) + 1):
            at = (number - 1) * self._page
            self._file.seek(at)
            page = self._file.read(self._page)
            begin = _HEAD if number == 1 else 0
            if page[begin : begin + 1] != bytes([_LEAF]):
                continue  # of an index, of a tree, or the rest of a long row
            for i in range(int.from_bytes(page[begin + 3 : begin + 5], "big")):
                pointer = begin + 8 + 2 * i
                cell = int.from_bytes(page[pointer : pointer + 2], "big")
                try:
                    row = self._row(page, cell, longest)
                except IndexError:
                    if len(page) < self._page:
                        break  # told below
                    raise BrokenError(f"byte {at:,}: a page of the database that is damaged") from None
                if row is not None:
                    yield *row, at
        if self._missing:
            raise BrokenError(f"byte {self._size:,}: the bag is cut off; {self._missing:,} bytes are missing")

    def _row(self, page: bytes, cell: int, longest: int | None) -> tuple[int, list[Any]] | None:
        length, at = _varint(page, cell)
        number, at = _varint(page, at)
        if longest is not None and length > longest:
            return None
        local = self._local(length)
        data = page[at : at + local]
        if len(data) < local:
            raise IndexError
        if local < length:
            data += self._overflow(int.from_bytes(page[at + local : at + local + 4], "big"), length - local)
        return number, _values(data)

    def _local(self, length: int) -> int:
        """How many bytes of a row are in its own page."""
        if length <= self._usable - 35:
            return length
        least = (self._usable - 12) * 32 // 255 - 23
        most = least + (length - least) % (self._usable - 4)
        return most if most <= self._usable - 35 else least

    def _overflow(self, number: int, length: int) -> bytes:
        """The rest of a row: a chain of pages."""
        parts = []
        while length > 0:
            at = (number - 1) * self._page
            share = min(length, self._usable - 4)
            if number < 1:
                raise IndexError
            if at + 4 + share > self._size:
                if not self._missing:
                    raise IndexError
                raise BrokenError(f"byte {self._size:,}: the bag is cut off; {self._missing:,} bytes are missing")
            self._file.seek(at)
            page = self._file.read(4 + share)
            parts.append(page[4:])
            number, length = int.from_bytes(page[:4], "big"), length - share
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of at most nine bytes, seven bits each but the last, and where it ends."""
    value = 0
    for i in range(8):
        value = value << 7 | data[at + i] & 127
        if data[at + i] < 128:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9


def _values(data: bytes) -> list[Any]:
    """The values of a row: its kinds, then their bytes."""
    at, (end, begin) = 0, _varint(data, 0)
    kinds, values = [], []
    at = begin
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else _SIZES[kind]
        part = data[at : at + size]
        if len(part) < size:
            raise IndexError
        values.append(_value(kind, part))
        at += size
    return values


def _value(kind: int, part: bytes) -> Any:
    if kind >= 12:
        return part.decode("utf-8", "replace") if kind % 2 else part
    if kind in (0, 7):
        return None  # a float is of no use here
    return kind - 8 if kind >= 8 else int.from_bytes(part, "big", signed=True)
