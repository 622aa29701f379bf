"""ROS 2 bags (extra ``ros``), SQLite or MCAP: a folder, or one of its files. rosbags knows the container.

``dvs_msgs/EventArray`` and ``prophesee_event_msgs/EventArray``: x, y, seconds, nanoseconds, polarity in CDR, whose
alignment makes every event but the first 16 bytes long; times are rounded to microseconds. ``event_camera_msgs/
EventPacket``: EVT 3.0 words as they came from the sensor (its time, in us), ``mono``: 64 bits an event, or those of
iniVation's driver (see :mod:`._libcaer`).
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventflow.errors import require
from eventflow.io.cameras import _libcaer
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns

ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
#: The second is what the first was called before.
PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
_ENCODINGS = ("evt3", "mono", "libcaer", "libcaer_cmp")


@dataclass(slots=True)
class Bag2Source(Source):
    """The messages of one topic."""

    topic: str = ""

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        row, packets = 0, Packets(self)
        for kind, raw in _messages(self):
            try:
                cdr = Cdr(raw, row)
                block = array(cdr) if kind in ARRAYS else packets.take(cdr)
            except BrokenError as error:
                raise BrokenError(f"event {row:,}: {error}") from None
            row += len(block.t)
            yield block
            if end is not None and len(block.t) and block.t[-1] >= end:
                return
            if packets.fault:
                raise BrokenError(f"event {row:,}: {packets.fault}")
        packets.tell()


def _messages(source: Bag2Source) -> Iterator[tuple[str, Any]]:
    """(type, bytes) of the topic's messages, as long as rosbags can give them."""
    try:
        with _reader(source.opening) as bag:
            chosen = [c for c in bag.connections if c.topic == source.topic and c.msgtype in ARRAYS + PACKETS]
            for connection, _, raw in bag.messages(connections=chosen):
                yield connection.msgtype, raw
    except _faults() as error:
        raise BrokenError(f"the bag cannot be read further ({error or type(error).__name__})") from None


def open_bag2(opening: Opening) -> Bag2Source:
    """A ROS 2 bag; of several topics with events, the first in the alphabet."""
    try:
        with _reader(opening) as bag:
            topics = sorted({c.topic for c in bag.connections if c.msgtype in ARRAYS + PACKETS})
            if not topics:
                held = ", ".join(sorted({c.msgtype for c in bag.connections})) or "nothing"
                raise opening.error(f"no topic of {', '.join(ARRAYS + PACKETS)} in it; it holds {held}")
            chosen = [c for c in bag.connections if c.topic == topics[0]]
            first = next(bag.messages(connections=chosen), None)
            height = width = None
            if first is not None:
                cdr = Cdr(first[2], 0)
                cdr.header()
                height, width = cdr.number(4), cdr.number(4)
    except _faults() as error:
        raise opening.error(f"a bag that cannot be opened ({error})") from None
    except BrokenError as error:
        raise opening.error(str(error)) from None
    notes = [f"it has events on {', '.join(topics)}; this is {topics[0]}"] if len(topics) > 1 else []
    source = Bag2Source(opening, opening.height or height or None, opening.width or width or None, notes=notes)
    source.topic = topics[0]
    return source


def _reader(opening: Opening) -> Any:
    return require("rosbags.rosbag2", "ros").Reader(opening.path)


def _faults() -> tuple[type[Exception], ...]:
    """What rosbags raises for a damaged bag."""
    own: Any = require("rosbags.rosbag2", "ros").ReaderError
    zstd: Any = require("rosbags.rosbag2.reader", "ros").zstd
    return (
        own, zstd.ZstdError, sqlite3.Error, OSError, EOFError, AssertionError, LookupError, UnicodeError, TypeError,
        ValueError, AttributeError, MemoryError, ArithmeticError, struct.error, zlib.error, RuntimeError, *_apsw(),
    )  # fmt: skip


def _apsw() -> tuple[type[Exception], ...]:
    """The errors of the SQLite that rosbags uses."""
    try:
        return (require("apsw", "ros").Error,)  # type: ignore[attr-defined]
    except ImportError:
        return ()


class Cdr:
    """A message in the Common Data Representation: numbers aligned to their size, counted behind the first 4 bytes."""

    aligned, lead = True, 4

    def __init__(self, raw: Any, row: int) -> None:
        self.data = np.frombuffer(raw, np.uint8)
        self.row, self._at, self.order = row, 0, "<"
        if not self.lead:
            return
        if len(self.data) < 4 or self.data[1] > 1:
            raise self.broken("that is not in CDR")
        self.order = "<" if self.data[1] else ">"

    def broken(self, why: str) -> BrokenError:
        """A fault of this message."""
        return BrokenError(f"a message of {len(self.data):,} bytes {why}")

    def number(self, size: int) -> int:
        """The next unsigned integer of so many bytes."""
        self._at = -(-self._at // size) * size if self.aligned else self._at
        found = self.take(size)
        return int(found.view(f"{self.order}u{size}")[0]) if size > 1 else int(found[0])

    def take(self, count: int) -> Array:
        """The next bytes."""
        at = self.lead + self._at
        if count > len(self.data) - at:
            raise self.broken(f"that is cut off: {count:,} more are missing behind byte {at:,}")
        self._at += count
        return self.data[at : at + count]

    def text(self) -> str:
        """The next string."""
        return self.take(self.number(4)).tobytes().rstrip(b"\0").decode("latin-1")

    def pass_over(self, count: int) -> None:
        """Leave out so many numbers of 4 bytes."""
        for _ in range(count):
            self.number(4)

    def header(self) -> None:
        """Pass over a std_msgs/Header: seconds, nanoseconds, frame."""
        self.pass_over(2)
        self.text()


def array(cdr: Cdr) -> Columns:
    """The events of an EventArray."""
    cdr.header()
    cdr.pass_over(2)
    count = cdr.number(4)
    if not count:
        return _columns(np.empty(0, _record(cdr.order)), cdr)
    # The first event is 13 bytes; behind it a byte of padding, then events of 16, of which the last lacks its padding.
    first, raw = cdr.take(13), cdr.take(16 * count - 16)
    rest = np.append(raw[1:], np.zeros(int(count > 1), np.uint8))
    lead = np.concatenate([first[:4], np.zeros(2, np.uint8), first[4:13], np.zeros(1, np.uint8)])
    return _columns(np.concatenate([lead, rest]).view(_record(cdr.order)), cdr)


def _record(order: str) -> np.dtype[Any]:
    return np.dtype({
        "names": ["x", "y", "s", "ns", "p"], "formats": [f"{order}u2", f"{order}u2", f"{order}i4", f"{order}u4", "u1"],
        "offsets": [0, 2, 6, 10, 14], "itemsize": 16,
    })  # fmt: skip


def _columns(events: Array, cdr: Cdr) -> Columns:
    t = events["s"].astype(np.int64) * 1_000_000 + (events["ns"].astype(np.int64) + 500) // 1000
    x, y = (events[name].astype(np.uint16) for name in "xy")
    return as_columns(t, x, y, np.ascontiguousarray(events["p"]), first=cdr.row)


class Packets:
    """EventPackets one after the other: the words of one count on those of the packet before."""

    def __init__(self, source: Source) -> None:
        from eventflow.io.live._wire import WordWire

        self._source, self._seq, self._missing = source, -1, 0
        self._wire = WordWire("evt3", (source.width, source.height), stream=True)
        self._wire.seek()
        self._words = _libcaer.Words()

    @property
    def fault(self) -> str | None:
        """Why nothing more can be told."""
        return self._wire.fault

    def take(self, cdr: Cdr) -> Columns:
        """The events of the next packet."""
        cdr.header()
        cdr.pass_over(2)
        seq, base = cdr.number(8), cdr.number(8)
        encoding, big = cdr.text(), cdr.number(1)
        data = cdr.take(cdr.number(4))
        if encoding not in _ENCODINGS or big:
            order = "big" if big else "little"
            raise cdr.broken(f"encoded as {encoding!r}, {order}-endian; {', '.join(_ENCODINGS)} can be read")
        if self._seq >= 0 and seq != self._seq + 1:
            self._missing += max(1, seq - self._seq - 1)
            self._wire.seek()
        self._seq = seq
        if encoding == "evt3":
            return self._wire.step(data.tobytes())
        if encoding == "libcaer":
            return _libcaer.events(data.copy(), base)
        if encoding == "libcaer_cmp":
            return self._words.step(data.copy(), base)
        words = data[: len(data) // 8 * 8].copy().view("<u8")
        t = (base + (words & 0xFFFFFFFF).astype(np.int64) + 500) // 1000
        x, y, p = words >> 32 & 0xFFFF, words >> 48 & 0x7FFF, words >> 63
        return Columns(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))

    def tell(self) -> None:
        """Notes for the report."""
        if self._missing:
            note = f"{self._missing:,} packets are missing (their numbers have gaps); events that count on them, too"
            self._source.notes += [note] if note not in self._source.notes else []
