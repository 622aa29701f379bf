"""What a bag holds, record by record and without its index: for bags that were cut off, never closed or damaged.

ROS 1 (format 2.0): records of a header (fields ``name=value``) and data. MCAP: a byte that tells the kind, a length and
data. In both, records of messages and connections may lie packed in chunks; a cut chunk gives what is there of it.
SQLite: see :mod:`._sqlite_pages`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from eventflow.io.cameras import _ros_packing, _sqlite_pages
from eventflow.io.cameras._source import BrokenError

_ROS1, _MCAP = b"#ROSBAG V2.0\n", b"\x89MCAP0\r\n"
#: ROS 1: op of a message, of the head, of a chunk, of a connection, and of what says where they are.
_R_MESSAGE, _R_HEAD, _R_CHUNK, _R_CONNECTION, _R_OTHER = 2, 3, 5, 7, (4, 6)
#: MCAP: kind of the footer, a schema, a channel, a message, a chunk, and the last kind that there is.
_M_FOOTER, _M_SCHEMA, _M_CHANNEL, _M_MESSAGE, _M_CHUNK, _M_LAST = 2, 3, 4, 5, 6, 15


class Message(NamedTuple):
    """A message as it is stored: ``at`` is the byte of its record, or of the packed chunk or the page it lies in."""

    topic: str
    kind: str
    raw: bytes
    at: int


_Known = dict[int, tuple[str, str]]
_Messages = Generator[Message, None, bool]


class _Bytes:
    """Bytes of a file, or of a chunk that begins at byte ``begin``, one after the other."""

    def __init__(self, file: IO[bytes], size: int, begin: int = 0, *, packed: bool = False) -> None:
        self._file, self.size, self._begin, self._packed, self._at = file, size, begin, packed, file.tell()

    @property
    def left(self) -> int:
        return self.size - self._at

    @property
    def place(self) -> int:
        """The byte of the file that comes next; of a packed chunk, the chunk's."""
        return self._begin + (0 if self._packed else self._at)

    def some(self, count: int) -> bytes:
        """The next bytes, or as many as there are."""
        data = self._file.read(min(count, self.left))
        self._at += len(data)
        return data

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise _cut(self.place + (0 if self._packed else self.left), count - self.left)
        return self.some(count)

    def number(self, kind: str) -> int:
        """The next little-endian number."""
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0])

    def text(self) -> str:
        """The next text, behind its length."""
        return self.take(self.number("I")).decode("utf-8", "replace")


def stored_messages(path: Path) -> Iterator[Message]:
    """All messages of a bag in the order of the file; of a file that is none, none.

    Raises:
        BrokenError: after the last message before a fault; it names the byte.
    """
    with _ros_packing.opened(path) as plain:
        try:
            for found in _walk(plain.file, plain.size):
                yield found._replace(at=0) if plain.packed else found
        except BrokenError as error:
            told = f"byte 0: of what is packed there, {error}" if plain.packed else str(error)
            raise BrokenError(plain.fault or told) from None
        if plain.fault:
            raise BrokenError(plain.fault)


def _walk(file: IO[bytes], size: int) -> Iterator[Message]:
    """The messages of an open file."""
    head, closed = file.read(len(_ROS1)), True
    if head == _ROS1:
        closed = yield from _ros1(_Bytes(file, size), {})
    elif head.startswith(_MCAP):
        file.seek(len(_MCAP))
        closed = yield from _mcap(_Bytes(file, size), {})
    elif head == _sqlite_pages.MAGIC[: len(_ROS1)]:
        topics = _sqlite_pages.bag_topics(file, size)
        for topic, raw, at in _sqlite_pages.bag_messages(file, size):
            if topic in topics:
                yield _ros2(topics[topic], raw, at)
    if not closed:
        raise BrokenError(f"byte {size:,}: the bag was never closed")


def _ros2(topic: tuple[str, str], raw: bytes, at: int) -> Message:
    """A message of ROS 2, which may be packed by itself."""
    try:
        return Message(*topic, _ros_packing.message(raw), at)
    except BrokenError as error:
        raise BrokenError(f"byte {at:,}: {error}") from None


def fault_place(path: Path, raw: bytes | None = None) -> str:
    """Where a bag is damaged, or where this message of it is: "byte N, "; nothing if that cannot be told."""
    if path.is_dir():
        places = (fault_place(file, raw) for file in _ros_packing.bag_files(path))
        return next(filter(None, places), "")
    try:
        for message in stored_messages(path):
            if message.raw == raw:
                return f"byte {message.at:,}, "
    except BrokenError as error:
        return f"{str(error).split(':')[0]}, "
    return ""


def refuse_cut(path: Path) -> None:
    """Raise BrokenError for a database that lacks pages: SQLite takes them for zeros."""
    for part in _ros_packing.bag_files(path):
        with part.open("rb") as file:
            head = file.read(100)
        missing = _sqlite_pages.missing_bytes(head, part.stat().st_size) if head[:16] == _sqlite_pages.MAGIC else 0
        if missing:
            raise BrokenError(f"{missing:,} bytes are missing at its end")


def _cut(at: int, missing: int) -> BrokenError:
    return BrokenError(f"byte {at:,}: the bag is cut off; {missing:,} bytes are missing")


# -- ROS 1 ------------------------------------------------------------------------------------------------------------


def _ros1(stream: _Bytes, known: _Known) -> _Messages:
    """Messages of records; ``known``: topic and type of a connection. Returns whether the head tells of an index."""
    closed = False
    while stream.left:
        at = stream.place
        fields = _fields(stream.take(stream.number("I")), at)
        op, length = fields.get("op", b"")[:1], stream.number("I")
        kind = op[0] if op else -1
        if kind == _R_CHUNK:
            packing = fields.get("compression", b"none").decode("latin-1")
            yield from _chunk(stream, length, packing, at, lambda inner: _ros1(inner, known))
            continue
        if kind == _R_HEAD:
            closed = _number(fields, "index_pos") > 0
        elif kind not in (_R_MESSAGE, _R_CONNECTION, *_R_OTHER):
            raise BrokenError(f"byte {at:,}: no record of a ROS 1 bag")
        data = stream.take(length)
        if kind == _R_CONNECTION:
            facts = _fields(data, at)
            name = facts.get("type", b"").decode("latin-1")
            topic = fields.get("topic", b"").decode("latin-1")
            known[_number(fields, "conn")] = topic, name if "/msg/" in name else name.replace("/", "/msg/", 1)
        elif kind == _R_MESSAGE and (connection := known.get(_number(fields, "conn"))):
            yield Message(*connection, data, at)
    return closed


def _fields(data: bytes, at: int) -> dict[str, bytes]:
    """A header's fields ``name=value``, each behind its length."""
    found, begin = {}, 0
    while begin < len(data):
        end = begin + 4 + int.from_bytes(data[begin : begin + 4], "little")
        name, equals, value = data[begin + 4 : end].partition(b"=")
        if not equals or end > len(data):
            raise BrokenError(f"byte {at:,}: no record of a ROS 1 bag")
        found[name.decode("latin-1")] = value
        begin = end
    return found


def _number(fields: dict[str, bytes], name: str) -> int:
    return int.from_bytes(fields.get(name, b""), "little")


# -- MCAP -------------------------------------------------------------------------------------------------------------


def _mcap(stream: _Bytes, known: _Known) -> _Messages:
    """Messages of records; ``known``: topic and type of a channel; at -1 - number a schema's name, twice.

    Returns whether the file ends as it should.
    """
    while stream.left:
        at, kind, length = stream.place, stream.number("B"), stream.number("Q")
        if kind == _M_CHUNK:
            yield from _mcap_chunk(stream, length, known, at)
            continue
        if kind == 0 or _M_LAST < kind < 128:
            raise BrokenError(f"byte {at:,}: no record of an MCAP")
        data = stream.take(length)
        if kind == _M_FOOTER:
            return stream.take(len(_MCAP)) == _MCAP
        part = _Bytes(BytesIO(data), length, at, packed=True)
        if kind == _M_SCHEMA:
            number = part.number("H")
            name = part.text()
            known[-1 - number] = name, name
        elif kind == _M_CHANNEL:
            number, schema = part.number("H"), part.number("H")
            known[number] = part.text(), known.get(-1 - schema, ("", ""))[1]
        elif kind == _M_MESSAGE and (channel := known.get(part.number("H"))):
            part.take(20)  # number, time of logging, time of sending
            yield _ros2(channel, part.some(length), at)
    return False


def _mcap_chunk(stream: _Bytes, length: int, known: _Known, at: int) -> Iterator[Message]:
    """Messages of a chunk: from and to (ns), unpacked size, its sum, how it is packed, the size of what follows."""
    stream.take(24)
    total = stream.number("I")
    packing, inner = stream.text(), stream.number("Q")
    rest = length - 40 - len(packing)
    if inner != rest:
        raise BrokenError(f"byte {at:,}: a chunk of {inner:,} bytes where {rest:,} are")
    yield from _chunk(stream, inner, packing or "none", at, lambda part: _mcap(part, known), total)


# -- chunks -----------------------------------------------------------------------------------------------------------


def _chunk(
    stream: _Bytes, length: int, packing: str, at: int, walk: Callable[[_Bytes], _Messages], total: int = 0
) -> Iterator[Message]:  # fmt: skip
    """What the records of a chunk hold; of one that is cut off, those that are whole. ``total``: its CRC-32, or 0."""
    begin = stream.place
    data = stream.some(length)
    missing = length - len(data)
    packed = packing != "none"
    try:
        whole = _ros_packing.unpack(packing, data) if packed else data
    except BrokenError as error:
        raise BrokenError(f"byte {at:,}: {error}") from None
    if total and not missing and zlib.crc32(whole) != total:
        raise BrokenError(f"byte {at:,}: a chunk whose bytes do not add up to its CRC")
    try:
        yield from walk(_Bytes(BytesIO(whole), len(whole), at if packed else begin, packed=packed))
    except BrokenError:
        if missing:
            raise _cut(begin + len(data), missing) from None
        raise
    if missing:
        raise _cut(begin + len(data), missing)
