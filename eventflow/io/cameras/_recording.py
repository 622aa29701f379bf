"""A recording of an event camera, opened: facts at once, events on demand, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io._report import ReadReport
from eventflow.io.cameras._source import BrokenError, Columns, Source, checked, delivered, recovery

#: Most events of a chunk, unless told otherwise.
SIZE = 1 << 20
_Bounds = tuple["int | None", "int | None"]


class Recording:
    """An event camera's file. :func:`eventflow.io.open_recording` opens one.

    Attributes:
        path: the file.
        name: the same, as people write it.
        format: its format.
        schema: unit ``us``, the sensor's height and width (None where the file does not say).
        report: what was noticed; with ``recover``, why and where reading ended.

    Every method reads the file anew; none of them holds more than a block of it (but :meth:`read`, which returns all).
    """

    def __init__(self, source: Source, *, format: str, schema: Schema | None = None, recover: bool = False) -> None:
        self.path: Path = source.opening.path
        self.name = str(self.path)
        self.format = format
        self.schema = replace(
            schema or Schema(), unit="us", height=source.height, width=source.width, given_first=False
        )
        self.report = ReadReport(self.path, format, notes=[*source.doubts, *source.notes])
        if source.doubts:
            self.report.facts["assumed"] = 1.0
        self._source = source
        self._recover = recover
        self._first: int | None = None

    def chunks(self, *, size: int = SIZE, window: tuple[int, int] | None = None) -> Iterator[Events]:
        """The events (of the half-open ``window`` in us) in order, at most ``size`` at a time.

        A chunk's span runs from its first event to just past its last; events of equal time may lie in two chunks.
        """
        if size < 1:
            raise InputError(f"chunks(size={size}): expected size >= 1")
        for block in self._blocks(_checked_window(window)):
            for lo in range(0, len(block.t), size):
                part = block.part(lo, min(lo + size, len(block.t)))
                yield self._events(part, int(part.t[0]), int(part.t[-1]) + 1)

    def read(self, window: tuple[float, float] | None = None) -> Events:
        """All events (of the half-open ``window`` in us), with the span in which the camera watched."""
        start, end = _checked_window(window)
        parts: list[Columns] = []
        last: int | None = None
        for block in self._blocks((start, None), enough=end):
            last = int(block.t[-1])
            parts.append(_within(block, None, end))
            if end is not None and last >= end:
                break
        stop = last + 1 if last is not None else start or 0
        whole = self._source.span or (self.first or 0, stop)
        if start is not None and end is not None:
            whole = min(max(whole[0], start), end), min(max(whole[1], start), end)
        return self._events(_joined(parts), *whole)

    def window(
        self, *, dt: int | None = None, n: int | None = None, within: tuple[int, int | None] | None = None
    ) -> Iterator[Events]:
        """Consecutive half-open windows: ``dt`` us long from the span's start, or ``n`` events each (the last: fewer).

        The same windows as ``read(within).window(...)``, without holding the recording. A silence of many windows is
        that many empty ones. ``within``: half-open (us), instead of the whole span.
        """
        if (dt is None) == (n is None):
            raise InputError("window(dt=...) in us, or window(n=...) events: recording.window(dt=10_000)")
        if (dt if dt is not None else n or 0) < 1:
            raise InputError(f"window(dt={dt}, n={n}): expected a positive integer")
        bounds = self._source.span
        if within is not None:
            bounds = _checked_window((within[0], 2**62 if within[1] is None else within[1]))
            bounds = bounds[0], None if within[1] is None else bounds[1]
        return self._by_time(int(dt), bounds) if dt is not None else self._by_count(int(n or 0), bounds)

    @property
    def stated_span(self) -> tuple[int, int] | None:
        """The half-open interval in which the camera watched, where the file states it."""
        return self._source.span

    @property
    def first(self) -> int | None:
        """Time of the first event (us); None if there is none."""
        if self._first is None:
            self._first = next((int(block.t[0]) for block in self._blocks((None, None), quietly=True)), None)
        return self._first

    # -- blocks ---------------------------------------------------------------------------------------------------

    def _blocks(
        self, bounds: tuple[int | None, int | None], *, quietly: bool = False, enough: int | None = None,
        every: int | None = None,
    ) -> Iterator[Columns]:  # fmt: skip
        """Non-empty blocks within the bounds; ends early, with a note, where the file is broken and that is allowed.

        ``enough``: nothing is wanted after an event at or past it, but that event is. ``every``: windows of so many us
        are wanted.
        """
        source, (start, end) = self._source, bounds
        blocks = source.blocks(start, end if enough is None else enough)
        if every is not None and start is not None:
            blocks = source.aligned(start, every)
        blocks, rows = delivered(blocks), 0
        try:
            for block in blocks if source.sorted else checked(source, blocks):
                cut = _within(block, start, end)
                rows += len(cut.t)
                if len(cut.t):
                    yield cut
                if end is not None and len(block.t) and block.t[-1] >= end:
                    break
        except BrokenError as error:
            if not self._recover:
                raise InputError(f"{self.name}: {error}. {self._hint()}") from None
            note = f"reading ended at {error}; {rows:,} events before that were kept"
            if not quietly and note not in self.report.notes:
                self.report.facts["broken"] = 1.0
                self.report.notes.append(note)
        self.report.rows = max(self.report.rows, rows)
        self.report.notes += [note for note in source.notes if note not in self.report.notes]

    def _hint(self) -> str:
        return recovery(self.path)

    def _events(self, columns: Columns, start: int, end: int) -> Events:
        marks = {"x": columns.x, "y": columns.y, "p": columns.p}
        span = np.array([[start, end]], dtype=np.int64)
        return Events(columns.t, marks, np.array([0, len(columns.t)]), span, self.schema)

    # -- windows --------------------------------------------------------------------------------------------------

    def _begin(self) -> int | None:
        """Where windows begin if no span is stated; None: at the first event that comes."""
        return self.first

    def _by_time(self, dt: int, stated: _Bounds | None) -> Iterator[Events]:
        held: list[Columns] = []
        lo, last = (stated[0] if stated else self._begin()), None
        for block in self._blocks((lo, stated[1] if stated else None), every=dt):
            lo, last = int(block.t[0]) if lo is None else lo, int(block.t[-1])
            while block.t[-1] >= lo + dt:
                at = int(np.searchsorted(block.t, lo + dt))
                yield self._events(_joined([*held, block.part(0, at)]), lo, lo + dt)
                held, block, lo = [], block.part(at, len(block.t)), lo + dt
            held.append(block)
        if lo is None:
            return
        end = stated[1] if stated else None
        end = end if end is not None else last + 1 if last is not None else lo
        while lo < end:
            yield self._events(_joined(held), lo, min(lo + dt, end))
            held, lo = [], lo + dt

    def _by_count(self, n: int, stated: _Bounds | None) -> Iterator[Events]:
        held: list[Columns] = []
        count = 0
        lo, last = (stated[0] if stated else None), 0
        for block in self._blocks(stated or (None, None)):
            lo, last = int(block.t[0]) if lo is None else lo, int(block.t[-1])
            while count + len(block.t) > n:
                at = n - count
                following = int(block.t[at])
                yield self._events(_joined([*held, block.part(0, at)]), lo, following)
                held, count, block, lo = [], 0, block.part(at, len(block.t)), following
            held.append(block)
            count += len(block.t)
        if count and lo is not None:
            end = stated[1] if stated else None
            yield self._events(_joined(held), lo, last + 1 if end is None else end)


def _within(block: Columns, start: int | None, end: int | None) -> Columns:
    if not len(block.t):
        return block
    lo = 0 if start is None or block.t[0] >= start else int(np.searchsorted(block.t, start))
    hi = len(block.t) if end is None or block.t[-1] < end else int(np.searchsorted(block.t, end))
    return block.part(lo, hi) if (lo, hi) != (0, len(block.t)) else block


def _joined(parts: list[Columns]) -> Columns:
    parts = [part for part in parts if len(part.t)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Columns(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))
    return Columns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _checked_window(window: tuple[float, float] | None) -> tuple[int | None, int | None]:
    """Integer bounds: an event at an integer t lies in [t0, t1) exactly if it lies in [ceil(t0), ceil(t1))."""
    if window is None:
        return None, None
    if len(window) != 2 or not window[0] <= window[1]:
        raise InputError(f"window={window!r}: expected (t0, t1) with t0 <= t1, in us")
    most = float(2**62)
    return tuple(int(np.ceil(min(max(bound, -most), most))) for bound in window)  # type: ignore[return-value]
