"""What an event camera's recording looks like, in numbers: read once, chunk by chunk, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from eventflow.events import Events
from eventflow.events._events import Array
from eventflow.io.cameras import Recording
from eventflow.io.info._info import BINS
from eventflow.ops.pixel_tally import NEVER, pixel_tally

#: A pixel is hot with more than so many times the events of its neighbours' median, plus one.
HOT = 10
#: Bins of the rate while the duration is not known yet; when they are full, each two become one.
_FINE = 8192
#: Rows and columns of the map.
MAP = (16, 64)


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """Facts about a recording (pure data; :func:`eventflow.io.info._recording_page.render_recording` draws them).

    Args:
        title, format: what was read, and as what.
        sensor: (height, width), as the file says; None: it does not.
        seen: (height, width) of the part with events.
        events: how many. on: how many of them brighter.
        first, last: times (us). span: as the file states it.
        rate: (BINS,) events in equal parts of [first, last].
        ties: events at the time of the event before. busiest: (time, events at it), of the time with most.
        silence: (begin, length) of the longest gap (us). step: greatest common divisor of the gaps (us).
        repeats: events at the time of their pixel's last one.
        active: pixels with events. hot: (x, y, events) of hot pixels, the hottest first.
        map: ``MAP`` of events, rows from above.
        notes, broken: what the reader says.
        warnings: what looks wrong.
    """

    title: str
    format: str
    sensor: tuple[int, int] | None
    seen: tuple[int, int]
    events: int
    on: int
    first: int
    last: int
    span: tuple[int, int] | None
    rate: tuple[int, ...]
    ties: int
    busiest: tuple[int, int]
    silence: tuple[int, int]
    step: int
    repeats: int
    active: int
    hot: tuple[tuple[int, int, int], ...]
    map: Array
    notes: tuple[str, ...]
    broken: bool
    warnings: tuple[str, ...] = field(default=())


def describe_recording(recording: Recording, *, title: str = "") -> RecordingInfo:
    """Read a recording once and say what it is like."""
    tally = _Tally(recording)
    for events in recording.chunks():
        tally.add(events)
    sensor = (recording.schema.height, recording.schema.width)
    known = (sensor[0], sensor[1]) if sensor[0] and sensor[1] else None
    counts = tally.counts
    rows, columns = np.flatnonzero(counts.any(1)), np.flatnonzero(counts.any(0))
    seen = (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0)
    tally.close_run()
    info = RecordingInfo(
        title=title or recording.name, format=recording.format, sensor=known, seen=seen, events=tally.events,
        on=tally.on, first=tally.first, last=tally.last, span=recording.stated_span, rate=tally.rate.columns(),
        ties=tally.ties, busiest=tally.busiest, silence=tally.silence, step=tally.step, repeats=tally.repeats,
        active=int((counts > 0).sum()), hot=_hot(counts), map=_map(counts if known else counts[: seen[0], : seen[1]]),
        notes=tuple(recording.report.notes), broken=bool(recording.report.facts.get("broken")),
    )  # fmt: skip
    return replace(info, warnings=tuple(_wrong(info)))


class _Rate:
    """Events over time, in bins that grow with the recording."""

    def __init__(self) -> None:
        self.bins = np.zeros(_FINE, np.int64)
        self.width, self.begin, self.end = 1, 0, 0

    def add(self, t: Array, first: int) -> None:
        """Count times, none of which is before ``first``, the first of all."""
        self.begin, self.end = first, int(t[-1])
        while (self.end - first) // self.width >= _FINE:
            self.bins = np.append(self.bins.reshape(-1, 2).sum(1), np.zeros(_FINE // 2, np.int64))
            self.width *= 2
        self.bins += np.bincount((t - first) // self.width, minlength=_FINE)

    def columns(self) -> tuple[int, ...]:
        """Events in ``BINS`` equal parts, to a fine bin."""
        length = self.end - self.begin + 1
        middles = (np.arange(_FINE) + 0.5) * self.width
        at = np.minimum(middles * BINS / length, BINS - 1).astype(np.int64)
        return tuple(np.bincount(at, weights=self.bins, minlength=BINS).astype(np.int64).tolist())


class _Tally:
    """Everything that is counted on the way."""

    def __init__(self, recording: Recording) -> None:
        size = (recording.schema.height or 1, recording.schema.width or 1)
        self.counts, self.last_fired = np.zeros(size, np.int64), np.full(size, NEVER, np.int64)
        self.rate = _Rate()
        self.events = self.on = self.ties = self.repeats = self.step = self.first = self.last = 0
        self.busiest, self.silence = (0, 0), (0, 0)
        self._run = 0  # events at `last` so far

    def add(self, events: Events) -> None:
        """The next chunk."""
        t, x, y = events.t, events.marks["x"], events.marks["y"]
        if not self.events:
            self.first = self.last = int(t[0])
        self._grow(int(y.max()) + 1, int(x.max()) + 1)
        self.repeats += pixel_tally(t, x, y, self.counts, self.last_fired)
        self.rate.add(t, self.first)
        self._gaps(t)
        self.events += len(t)
        self.on += int(np.count_nonzero(events.marks["p"]))
        self.last = int(t[-1])

    def _grow(self, height: int, width: int) -> None:
        """Only where the file does not tell the sensor."""
        more = max(0, height - self.counts.shape[0]), max(0, width - self.counts.shape[1])
        if any(more):
            around = ((0, more[0]), (0, more[1]))
            self.counts = np.pad(self.counts, around)
            self.last_fired = np.pad(self.last_fired, around, constant_values=NEVER)

    def _gaps(self, t: Array) -> None:
        gaps = np.diff(t, prepend=self.last)
        starts = np.flatnonzero(gaps)
        self.ties += len(t) - len(starts) - (not self.events)
        lengths = np.diff(starts, append=len(t))
        before = int(starts[0]) if len(starts) else len(t)
        self._run += before
        if not len(starts):
            return
        self.close_run()
        if int(lengths.max()) > self.busiest[1]:
            at = int(np.argmax(lengths))
            self.busiest = int(t[starts[at]]), int(lengths[at])
        self._run = int(lengths[-1])
        wide = int(np.argmax(gaps))
        if int(gaps[wide]) > self.silence[1]:
            self.silence = int(t[wide] - gaps[wide]), int(gaps[wide])
        if self.step != 1:
            self.step = int(np.gcd(self.step, np.gcd.reduce(gaps[starts])))

    def close_run(self) -> None:
        """The events at the last time are all there."""
        if self._run > self.busiest[1]:
            self.busiest = self.last, self._run


def _hot(counts: Array) -> tuple[tuple[int, int, int], ...]:
    """Pixels with far more events than the eight around them."""
    if counts.size < 9 or not counts.any():
        return ()
    height, width = counts.shape
    likely = np.argwhere(counts > HOT)
    around = np.pad(counts.astype(np.float64), 1, constant_values=np.nan)
    steps = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    near = np.stack([around[likely[:, 0] + i, likely[:, 1] + j] for i, j in steps]) if len(likely) else np.empty((8, 0))
    own = counts[likely[:, 0], likely[:, 1]]
    hot = own > HOT * (np.nanmedian(near, axis=0) + 1) if len(likely) else np.zeros(0, bool)
    order = np.argsort(-own[hot], kind="stable")
    found = zip(likely[hot][order].tolist(), own[hot][order].tolist(), strict=True)
    return tuple((column, row, count) for (row, column), count in found)


def _map(counts: Array) -> Array:
    """Events in ``MAP`` parts of the sensor, keeping its shape (a character is twice as high as wide)."""
    height, width = counts.shape
    if not counts.any():
        return np.zeros((0, 0), np.int64)
    columns = min(MAP[1], width)
    rows = max(1, min(MAP[0], height, round(columns * height / width / 2)))
    columns = max(1, min(columns, round(rows * 2 * width / height)))
    by_row = np.add.reduceat(counts, np.arange(rows) * height // rows, axis=0)
    return np.add.reduceat(by_row, np.arange(columns) * width // columns, axis=1)


def _wrong(info: RecordingInfo) -> Iterator[str]:
    """What looks wrong, each in one sentence with the number that raised it."""
    if not info.events:
        yield "There is no event in it."
        return
    duration = info.last - info.first
    share = sum(count for *_, count in info.hot) / info.events
    if share > 0.001:
        x, y, count = info.hot[0]
        yield (
            f"{len(info.hot):,} hot pixels (more than {HOT} times their neighbours) send {share:.1%} of the events; "
            f"the hottest, ({x}, {y}), {count:,}."
        )
    share = info.on / info.events
    if info.events >= 100 and not 0.05 < share < 0.95:
        yield f"{share:.1%} of the events are brighter ones: is one polarity filtered out, or p read from another bit?"
    if info.step > 1 and duration:
        yield f"Every time is a multiple of {info.step:,} us after the first: a coarse clock, or rendered from frames."
    time, most = info.busiest
    if most > 100 and most > 0.01 * info.events and most > 20 * info.events / max(1, info.events - info.ties):
        yield f"{most:,} events ({most / info.events:.1%}) have the very same time, {time:,} us."
    begin, length = info.silence
    if length >= 10_000 and length > 0.05 * duration:
        yield f"A silence of {length / 1e3:,.1f} ms from {begin:,} us on, {length / duration:.0%} of the recording."
    if info.repeats > 0.005 * info.events:
        share = info.repeats / info.events
        yield f"{info.repeats:,} events ({share:.1%}) come from a pixel that fired at that very time."
    if info.first > 1 << 53:
        yield f"Times begin at {info.first:,} us: in float64 they would be rounded."
