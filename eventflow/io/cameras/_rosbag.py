"""ROS 1 bags (extra ``ros``): messages of events are taken apart here, 13 bytes an event; rosbags knows the container.

``dvs_msgs/EventArray`` and ``prophesee_event_msgs/EventArray``: header (sequence, stamp, frame), height, width, and
events of x, y (16 bits), seconds, nanoseconds (32 bits) and polarity (8 bits). Times are rounded to microseconds.
``event_camera_msgs/EventPacket`` is as in ROS 2, but for the alignment.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventflow.errors import require
from eventflow.io._text import Progress
from eventflow.io.cameras._rosbag2 import ARRAYS, PACKETS, Cdr, Packets
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns

TYPES = ARRAYS + PACKETS
_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])


@dataclass(slots=True)
class BagSource(Source):
    """The messages of one topic."""

    topic: str = ""

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        progress, row, packets = Progress(self.opening.path), 0, Packets(self)
        try:
            with _reader(self.opening) as bag:
                chosen = [c for c in bag.connections if c.topic == self.topic and c.msgtype in TYPES]
                for connection, _, raw in bag.messages(connections=chosen):
                    block = _packet(raw, row, packets) if connection.msgtype in PACKETS else _array(raw, row)
                    row += len(block.t)
                    yield block
                    if end is not None and len(block.t) and block.t[-1] >= end:
                        return
                    if packets.fault:
                        raise BrokenError(f"event {row:,}: {packets.fault}")
        except _faults() as error:
            raise BrokenError(f"event {row:,}: {error}") from None
        finally:
            progress.stop()
        packets.tell()


class Message(Cdr):
    """A message of ROS 1: as in CDR, but packed, with a number in front of the header's time."""

    aligned, lead = False, 0

    def header(self) -> None:
        """Pass over a std_msgs/Header: number, seconds, nanoseconds, frame."""
        self.pass_over(3)
        self.text()


def _packet(raw: Any, row: int, packets: Packets) -> Columns:
    try:
        return packets.take(Message(raw, row))
    except BrokenError as error:
        raise BrokenError(f"event {row:,}: {error}") from None


def _array(raw: Any, row: int) -> Columns:
    _, _, events = _take_apart(raw, row)
    t = events["s"].astype(np.int64) * 1_000_000 + (events["ns"].astype(np.int64) + 500) // 1000
    return as_columns(t, events["x"].copy(), events["y"].copy(), events["p"], first=row)


def open_bag(opening: Opening) -> BagSource:
    """A ROS 1 bag; of several topics with events, the first in the alphabet."""
    try:
        with _reader(opening) as bag:
            topics = sorted({c.topic for c in bag.connections if c.msgtype in TYPES})
            if not topics:
                held = ", ".join(sorted({c.msgtype for c in bag.connections})) or "nothing"
                raise opening.error(f"no topic of {' or '.join(TYPES)} in it; it holds {held}")
            chosen = [c for c in bag.connections if c.topic == topics[0]]
            first = next(bag.messages(connections=chosen), None)
            height, width = _size(first[2]) if first is not None else (None, None)
    except _faults() as error:
        raise opening.error(f"a bag that cannot be opened ({error})") from None
    except BrokenError as error:
        raise opening.error(str(error)) from None
    notes = [f"it has events on {', '.join(topics)}; this is {topics[0]}"] if len(topics) > 1 else []
    return BagSource(opening, opening.height or height, opening.width or width, notes=notes, topic=topics[0])


def _size(raw: Any) -> tuple[int | None, int | None]:
    message = Message(raw, 0)
    message.header()
    return message.number(4) or None, message.number(4) or None


def _reader(opening: Opening) -> Any:
    return require("rosbags.rosbag1", "ros").Reader(opening.path)


def _faults() -> tuple[type[Exception], ...]:
    """What rosbags raises for a damaged bag."""
    own: Any = require("rosbags.rosbag1", "ros").ReaderError
    return own, OSError, EOFError, AssertionError, LookupError, UnicodeDecodeError, struct.error, zlib.error


def _take_apart(raw: Any, row: int) -> tuple[int, int, Array]:
    """(height, width, events) of one message."""
    data = np.frombuffer(raw, np.uint8)

    def word(at: int) -> int:
        if at + 4 > len(data):
            raise BrokenError(f"event {row:,}: a message of {len(data)} bytes that is cut off")
        return int.from_bytes(data[at : at + 4].tobytes(), "little")

    at = 16 + word(12)
    height, width, count = word(at), word(at + 4), word(at + 8)
    at += 12
    if at + count * _EVENT.itemsize > len(data):
        raise BrokenError(f"event {row:,}: a message that says {count:,} events, in {len(data):,} bytes")
    return height, width, data[at : at + count * _EVENT.itemsize].view(_EVENT)
