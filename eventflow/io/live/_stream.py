"""An event camera, live: chunks and windows as of a recording, or one JSON line an event."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io.cameras._recording import Recording
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Opening, Source
from eventflow.io.live._lines import check_position
from eventflow.io.live._links import Link
from eventflow.io.live._ring import Batch
from eventflow.io.live._uri import Position
from eventflow.io.live._wire import NOTHING, Wire


@dataclass(slots=True)
class LiveSource(Source):
    """Events as they come.

    Args:
        link: where from.
        wire: what they look like on the way.
        idle: seconds without anything after which the stream has ended; None: never.
    """

    link: Any = None
    wire: Any = None
    idle: float | None = None
    received: dict[str, int] = field(default_factory=lambda: {"datagrams": 0, "bytes": 0, "events": 0})
    sorted: bool = True

    def take(self, timeout: float | None) -> Columns | None:
        """What has come; empty if nothing did within ``timeout`` seconds; None at the end of the stream.

        Raises:
            BrokenError: a connection failed, or what it brought makes no sense any more.
        """
        link: Link = self.link
        wire: Wire = self.wire
        if wire.fault is not None:
            raise BrokenError(wire.fault)
        batch: Batch | None = link.ring.take(timeout)
        if batch is None:
            if link.ring.error is not None:
                raise BrokenError(f"after {self.received['bytes']:,} bytes: {link.ring.error}")
            return None
        count = len(batch.sizes)
        if not count:
            return NOTHING
        columns = wire.decode(batch)
        self.received["datagrams"] += count
        self.received["bytes"] += int(batch.sizes.sum())
        self.received["events"] += len(columns.t)
        link.ring.release(count)
        return columns

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        """See :class:`Source`: from now on, whatever was read before. Ends after ``idle``."""
        while True:
            before = self.received["datagrams"]
            columns = self.take(self.idle)
            if columns is None or (self.idle is not None and self.received["datagrams"] == before):
                return
            if len(columns.t):
                yield columns


class CameraStream(Recording):
    """An event camera that is watched live; :func:`eventflow.io.open_camera` opens one.

    ``with open_camera("udp://0.0.0.0:3333?format=spif&width=640&height=480") as camera:``
    ``    for events in camera.window(dt=10_000): ...``

    As of a :class:`Recording`, but nothing comes twice: each method goes on where the one before it stopped. A window
    of time is told when the first event behind it has come. ``report`` is complete once the stream is closed.
    """

    def __init__(
        self, source: LiveSource, *, format: str, schema: Schema | None = None, recover: bool = False
    ) -> None:  # fmt: skip
        super().__init__(source, format=format, schema=schema, recover=recover)
        self.name = source.link.name
        self._live = source

    @property
    def address(self) -> Any:
        """(host, port) where it listens; None for a camera."""
        return getattr(self._live.link, "address", None)

    @property
    def idle(self) -> float | None:
        """Seconds without anything after which the stream has ended; None: never."""
        return self._live.idle

    @property
    def first(self) -> int | None:
        """Time of the first event so far (us)."""
        return self._first

    @property
    def counts(self) -> dict[str, int]:
        """datagrams, bytes and events received; dropped, truncated, late, malformed: datagrams lost, by cause; held:
        events whose time was held; restarts: of the sender; full: how often the ring was full."""
        live = self._live
        return {**live.received, **live.link.lost(), **live.wire.counts(), "full": live.link.ring.full}

    def next(self, timeout: float | None = None) -> Events | None:
        """All events that have come, as soon as there are any: one sequence, perhaps (after ``timeout`` seconds) of no
        events; None when the stream has ended."""
        limit = None if timeout is None else time.monotonic() + timeout
        while True:
            columns = self._live.take(None if limit is None else max(0.0, limit - time.monotonic()))
            if columns is None:
                return None
            if len(columns.t):
                self._first = int(columns.t[0]) if self._first is None else self._first
                return self._events(columns, int(columns.t[0]), int(columns.t[-1]) + 1)
            if limit is not None and time.monotonic() >= limit:
                return self._events(columns, 0, 0)

    def _blocks(
        self, bounds: tuple[int | None, int | None], *, quietly: bool = False, enough: int | None = None,
        every: int | None = None,
    ) -> Iterator[Columns]:  # fmt: skip
        for block in super()._blocks(bounds, quietly=quietly, enough=enough, every=every):
            self._first = int(block.t[0]) if self._first is None else self._first
            yield block

    def _begin(self) -> int | None:
        return None

    def _hint(self) -> str:
        return f"To keep the events before that: open_camera({self.name!r}, recover=True)"

    def close(self) -> None:
        """Stop listening; what was lost goes into the report."""
        self._live.link.close()
        counts = self.counts
        self.report.facts |= {name: float(count) for name, count in counts.items() if count}
        told = [*self._live.link.notes()]
        for name, what in _TROUBLE.items():
            if counts.get(name):
                told.append(f"{counts[name]:,} {what}")
        self.report.notes += [note for note in told if note not in self.report.notes]

    @contextmanager
    def ended_by_interrupt(self) -> Iterator[None]:
        """Within, the first Ctrl-C ends the stream in order, as if the camera had stopped."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def end(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            threading.Thread(target=self._live.link.ring.end, daemon=True).start()  # its lock may be held here

        signal.signal(signal.SIGINT, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def __enter__(self) -> CameraStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TROUBLE = {
    "malformed": "datagrams held something that is no event (another format? ?format= says which is expected)",
    "late": "datagrams came too late, and were left out",
    "restarts": "times the sender began anew; its times were moved to go on from the last event",
}


class CameraLines:
    """A camera as a :class:`~eventflow.io.Source` of JSON lines: ``{"key", "t", "mark", "x", "y"}``, the mark being p.

    What is sent while nobody listens is gone: after ``seek`` the stream goes on with what comes now, and only the
    number of events is continued.

    Args:
        camera: the stream.
        pixels: the key is the pixel, as in ``"12,34"``, rather than one word for all.
    """

    def __init__(self, camera: CameraStream, *, pixels: bool = False) -> None:
        self.name = camera.name
        self.camera = camera
        self._pixels = pixels
        self._pending: list[bytes] = []
        self._at = self._given = 0
        self._last: float | None = None  # when something came, or was first waited for

    @property
    def position(self) -> Position:
        """{"events": how many were handed out}."""
        return {"events": self._given}

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """See :class:`~eventflow.io.Source`; the end comes with ``idle``, or with the connection's."""
        if self._at == len(self._pending):
            events = self._await(timeout)
            if events is None:
                return None
            self._pending, self._at = _as_lines(events, self._pixels), 0
        lines = self._pending[self._at : self._at + limit]
        self._at += len(lines)
        self._given += len(lines)
        return lines

    def _await(self, timeout: float | None) -> Events | None:
        """What has come; None at the end, or when nothing came for ``idle`` seconds."""
        now, idle = time.monotonic(), self.camera.idle
        self._last = now if self._last is None else self._last
        left = None if idle is None else max(0.0, self._last + idle - now)
        waits = [seconds for seconds in (timeout, left) if seconds is not None]
        try:
            events = self.camera.next(min(waits, default=None))
        except BrokenError as error:
            raise InputError(f"{self.name}: {error}") from None
        if events is not None and events.num_events:
            self._last = time.monotonic()
        elif idle is not None and time.monotonic() - self._last >= idle:
            return None
        return events

    def seek(self, position: Position) -> None:
        """See the class."""
        check_position(position, self.name, ("events",))
        self._given = position["events"]

    def close(self) -> None:
        """Stop listening; what was lost is told as a warning."""
        self.camera.close()
        self.camera.report.warn()


def _as_lines(events: Events, pixels: bool) -> list[bytes]:
    columns = (events.t, *(events.marks[name] for name in "xyp"))
    rows: Sequence[tuple[int, int, int, int]] = list(zip(*(column.tolist() for column in columns), strict=True))
    if pixels:
        return [b'{"key": "%d,%d", "t": %d, "mark": %d, "x": %d, "y": %d}' % (x, y, t, p, x, y) for t, x, y, p in rows]
    return [b'{"key": "camera", "t": %d, "mark": %d, "x": %d, "y": %d}' % (t, p, x, y) for t, x, y, p in rows]


def open_stream(
    link: Link, wire: Wire, *, format: str, schema: Schema, idle: float | None = None, recover: bool = False
) -> CameraStream:
    """A stream over a link, whatever feeds it."""
    opening = Opening(Path(link.name), schema.height, schema.width)
    source = LiveSource(opening, schema.height, schema.width, link=link, wire=wire, idle=idle)
    return CameraStream(source, format=format, schema=schema, recover=recover)
