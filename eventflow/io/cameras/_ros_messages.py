"""Messages of events in ROS bags, taken apart here.

``dvs_msgs/EventArray`` and ``prophesee_event_msgs/EventArray``: header, height, width, and events of x, y (16 bits),
seconds, nanoseconds (32 bits) and polarity (8 bits): in ROS 1 13 bytes each, in the CDR of ROS 2 all but the first 16;
times are rounded to microseconds. ``event_camera_msgs/EventPacket``: EVT 3.0 words as they came from the sensor (its
time, in us), ``mono``: 64 bits an event, or those of iniVation's driver (see :mod:`._libcaer`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.io.cameras import _libcaer
from eventflow.io.cameras._source import Array, BrokenError, Columns, Source, as_columns

ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
#: The second is what the first was called before.
PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
_ENCODINGS = ("evt3", "mono", "libcaer", "libcaer_cmp")
#: An event of ROS 1.
_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])


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

    def records(self, count: int) -> Array:
        """The next events of an EventArray."""
        if not count:
            return np.empty(0, _record(self.order))
        # The first event is 13 bytes; behind it a byte of padding, then events of 16; the last lacks its padding.
        first, raw = self.take(13), self.take(16 * count - 16)
        rest = np.append(raw[1:], np.zeros(int(count > 1), np.uint8))
        lead = np.concatenate([first[:4], np.zeros(2, np.uint8), first[4:13], np.zeros(1, np.uint8)])
        return np.concatenate([lead, rest]).view(_record(self.order))


class Ros1(Cdr):
    """A message of ROS 1: as in CDR, but packed, with a number in front of the header's time."""

    aligned, lead = False, 0

    def header(self) -> None:
        """Pass over a std_msgs/Header: number, seconds, nanoseconds, frame."""
        self.pass_over(3)
        self.text()

    def records(self, count: int) -> Array:
        """The next events of an EventArray."""
        return self.take(count * _EVENT.itemsize).view(_EVENT)


def array(message: Cdr) -> Columns:
    """The events of an EventArray."""
    message.header()
    message.pass_over(2)
    events = message.records(message.number(4))
    t = events["s"].astype(np.int64) * 1_000_000 + (events["ns"].astype(np.int64) + 500) // 1000
    x, y = (events[name].astype(np.uint16) for name in "xy")
    return as_columns(t, x, y, np.ascontiguousarray(events["p"]), first=message.row)


def _record(order: str) -> np.dtype[Any]:
    return np.dtype({
        "names": ["x", "y", "s", "ns", "p"], "formats": [f"{order}u2", f"{order}u2", f"{order}i4", f"{order}u4", "u1"],
        "offsets": [0, 2, 6, 10, 14], "itemsize": 16,
    })  # fmt: skip


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
