"""Bags of ROS 1, and of ROS 2 in SQLite or MCAP: a file, or in ROS 2 a folder of them (extra ``ros``).

rosbags knows the containers. What it cannot open, a bag that was cut off or never closed, is read record by record
where ``recover`` is asked for (see :mod:`._ros_records`).
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventflow.errors import require
from eventflow.io._text import Progress
from eventflow.io.cameras._ros_messages import ARRAYS, PACKETS, Cdr, Packets, Ros1, array
from eventflow.io.cameras._ros_packing import bag_files, message
from eventflow.io.cameras._ros_records import fault_place, refuse_cut, stored_messages
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Opening, Source, recovery

TYPES = ARRAYS + PACKETS


@dataclass(slots=True)
class BagSource(Source):
    """The messages of one topic; ``whole``: the bag has its index."""

    topic: str = ""
    whole: bool = True

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        path, row, packets = self.opening.path, 0, Packets(self)
        progress = Progress(path)
        progress.total = _bytes(path)
        try:
            for kind, raw, share in self._messages():
                progress.at(int(share * progress.total))
                try:
                    parsed = _of(self.opening)(raw, row)
                    block = array(parsed) if kind in ARRAYS else packets.take(parsed)
                except BrokenError as error:
                    told = f"{fault_place(path, bytes(raw))}event {row:,}: {error}"
                    raise BrokenError(told, error.kept) from None
                row += len(block.t)
                yield block
                if end is not None and len(block.t) and block.t[-1] >= end:
                    return
                if packets.fault:
                    raise BrokenError(f"{fault_place(path, bytes(raw))}event {row:,}: {packets.fault}")
        finally:
            progress.stop()
        packets.tell()

    def _messages(self) -> Iterator[tuple[str, Any, float]]:
        """(type, bytes, share of the bag that lies before it) of the topic's messages, as long as there are any."""
        path = self.opening.path
        if not self.whole:
            whole = _bytes(path)
            chosen = (m for m in _stored(path) if m.topic == self.topic and m.kind in TYPES)
            yield from ((m.kind, m.raw, m.at / whole) for m in chosen)
            return
        try:
            with _reader(self.opening) as bag:
                connections = [c for c in bag.connections if c.topic == self.topic and c.msgtype in TYPES]
                count = max(sum(c.msgcount for c in connections), 1)
                for i, (connection, _, raw) in enumerate(bag.messages(connections=connections)):
                    yield connection.msgtype, _plain(self.opening, raw), i / count
        except BrokenError as error:
            raise BrokenError(f"{fault_place(path)}{error}") from None
        except _faults() as error:
            place = fault_place(path)
            raise BrokenError(f"{place}the bag cannot be read further ({error or type(error).__name__})") from None


def open_bag(opening: Opening) -> BagSource:
    """A bag; of several topics with events, the first in the alphabet."""
    first = None
    try:
        refuse_cut(opening.path)
        with _reader(opening) as bag:
            held = {(c.topic, c.msgtype) for c in bag.connections}
            topics = _topics(held)
            chosen = [c for c in bag.connections if topics and c.topic == topics[0] and c.msgtype in TYPES]
            if chosen:
                first = next((_plain(opening, raw) for _, _, raw in bag.messages(connections=chosen)), None)
    except (BrokenError, *_faults()) as error:
        return _without_index(opening, error)
    return _source(opening, held, first)


def _without_index(opening: Opening, error: Exception) -> BagSource:
    """A bag that rosbags cannot open, read record by record; its facts are from what comes before the fault."""
    if not opening.recover:
        place = fault_place(opening.path)
        raise opening.error(f"{place}a bag that cannot be opened ({error}). {recovery(opening.path)}") from None
    held: set[tuple[str, str]] = set()
    firsts: dict[str, bytes] = {}
    try:
        for message in _stored(opening.path):
            held.add((message.topic, message.kind))
            if message.kind in TYPES:
                firsts.setdefault(message.topic, message.raw)
    except BrokenError:
        pass  # met again, and told, where the events are read
    if not _topics(held):
        kinds = ", ".join(sorted({kind for _, kind in held})) or "nothing"
        raise opening.error(
            f"{fault_place(opening.path)}a bag of which no events can be recovered ({error}); it still holds {kinds}"
        ) from None
    source = _source(opening, held, firsts.get(next(iter(_topics(held)), "")), whole=False)
    source.doubts.append(f"its index cannot be read ({error}); its records were read in the order of the file")
    return source


def _source(opening: Opening, held: set[tuple[str, str]], first: Any, *, whole: bool = True) -> BagSource:
    """``held``: topics and types; ``first``: the first message that tells the sensor's size, if there is one."""
    topics = _topics(held)
    if not topics:
        kinds = ", ".join(sorted({kind for _, kind in held})) or "nothing"
        raise opening.error(f"no topic of {', '.join(TYPES)} in it; it holds {kinds}")
    notes = [f"it has events on {', '.join(topics)}; this is {topics[0]}"] if len(topics) > 1 else []
    return BagSource(opening, *_size(opening, first), notes=notes, topic=topics[0], whole=whole)


def _topics(held: set[tuple[str, str]]) -> list[str]:
    """Those with events, in the order of the alphabet."""
    return sorted({topic for topic, kind in held if kind in TYPES})


def _stored(path: Path) -> Iterator[Any]:
    """The messages of a file, or of a folder's files in the order of their names."""
    for file in bag_files(path):
        yield from stored_messages(file)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in bag_files(path))


def _size(opening: Opening, raw: Any) -> tuple[int | None, int | None]:
    """Height and width: what the caller says, or the first message."""
    if raw is None:
        return opening.height, opening.width
    try:
        parsed = _of(opening)(raw, 0)
        parsed.header()
        height, width = parsed.number(4), parsed.number(4)
    except BrokenError as error:
        raise opening.error(str(error)) from None
    return opening.height or height or None, opening.width or width or None


def _of(opening: Opening) -> type[Cdr]:
    return Ros1 if opening.variant == "1" else Cdr


def _plain(opening: Opening, raw: Any) -> Any:
    """The message, unpacked if rosbags did not know that it is packed: it has that from metadata.yaml."""
    return raw if opening.variant == "1" else message(raw)


def _reader(opening: Opening) -> Any:
    return require(f"rosbags.rosbag{opening.variant}", "ros").Reader(opening.path)


def _faults() -> tuple[type[Exception], ...]:
    """What rosbags raises for a damaged bag."""
    own = [require(f"rosbags.rosbag{version}", "ros").ReaderError for version in "12"]  # type: ignore[attr-defined]
    zstd: Any = require("rosbags.rosbag2.reader", "ros").zstd  # type: ignore[attr-defined]
    return (
        *own, zstd.ZstdError, sqlite3.Error, OSError, EOFError, AssertionError, LookupError, UnicodeError, TypeError,
        ValueError, AttributeError, MemoryError, ArithmeticError, struct.error, zlib.error, RuntimeError, *_apsw(),
    )  # fmt: skip


def _apsw() -> tuple[type[Exception], ...]:
    """The errors of the SQLite that rosbags uses."""
    try:
        return (require("apsw", "ros").Error,)  # type: ignore[attr-defined]
    except ImportError:
        return ()
