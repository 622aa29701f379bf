"""What a flow network sees of a stream: steps of equal length, one after the other, as counts or a voxel grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.events import Events
from eventflow.io import Recording
from eventflow.io.live._stream import CameraStream
from eventflow.ops import event_count, voxel_grid
from eventflow.vision._flow_checkpoint import INTERVAL

Array = NDArray[Any]
#: Seconds without events after which a live stream begins anew.
SILENCE = 1.0


class Step(NamedTuple):
    """The events of [start, end) us; the ``number``-th step of its stream.

    due: when, by this machine's monotonic clock, a live camera had seen all of it; None of a file. anew: a live camera
    was silent for so long before it that nothing is to be remembered.
    """

    number: int
    start: int
    end: int
    columns: tuple[Array, Array, Array, Array]
    due: float | None = None
    anew: bool = False


class Steps:
    """Cuts a stream into steps of ``INTERVAL / bins`` us that tile time from ``origin`` on.

    Args:
        recording: a file, whose last step, which is not whole, is left out; or a live camera.
        bins: steps in 100 ms.
        origin: time of the first step (us); None: the file's span, else its first event.
        first: the number of the step to begin with.
        stop: asked between chunks of a live stream; True ends it.

    Attributes:
        late: events of a live camera that came when their step was over, and were left out.
    """

    def __init__(
        self, recording: Recording, bins: int, *, origin: int | None = None, first: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.recording, self.bins, self.origin = recording, bins, origin
        self.late = 0
        self._number, self._stop = first, stop
        self._held: list[tuple[Array, ...]] = []

    @property
    def live(self) -> bool:
        """Whether the events come as they happen."""
        return isinstance(self.recording, CameraStream)

    def edge(self, number: int) -> int:
        """Start of a step: the first whole microsecond that belongs to it."""
        assert self.origin is not None
        return self.origin - (-number * INTERVAL // self.bins)

    def __iter__(self) -> Iterator[Step]:
        return self._camera() if self.live else self._file()

    # -- files ----------------------------------------------------------------------------------------------------

    def _file(self) -> Iterator[Step]:
        stated = self.recording.stated_span
        if self.origin is None:
            self.origin = stated[0] if stated else self.recording.first
        if self.origin is None:
            return
        last = self.origin
        for events in self.recording.chunks(window=(self.edge(self._number), 1 << 62)):
            last = int(events.t[-1]) + 1
            yield from self._add(events)
        end = max(last, stated[1]) if stated else last
        while self.edge(self._number + 1) <= end:
            yield self._take(None)

    def _add(self, events: Events) -> Iterator[Step]:
        """The steps that these events complete."""
        t, columns = events.t, (events.t, *(events.marks[name] for name in "xyp"))
        lo = 0
        while lo < len(t):
            end = self.edge(self._number + 1)
            hi = len(t) if t[-1] < end else int(np.searchsorted(t, end))
            if hi > lo:
                self._held.append(tuple(column[lo:hi] for column in columns))
            lo = hi
            if lo < len(t):
                yield self._take(None)

    def _take(self, due: float | None, *, anew: bool = False) -> Step:
        parts, self._held = self._held, []
        number = self._number
        self._number += 1
        if not parts:
            columns = (np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))
        else:
            columns = parts[0] if len(parts) == 1 else tuple(np.concatenate(p) for p in zip(*parts, strict=True))
        return Step(number, self.edge(number), self.edge(number + 1), columns, due, anew)  # type: ignore[arg-type]

    # -- live cameras -----------------------------------------------------------------------------------------------

    def _camera(self) -> Iterator[Step]:
        """A step is over when an event behind it comes, or when it has been over by the clock for a step's length."""
        camera = self.recording
        assert isinstance(camera, CameraStream)
        length, behind = INTERVAL / self.bins / 1e6, float("inf")
        heard, anew = time.monotonic(), False
        while not self._stop():
            wait = 0.05 if self.origin is None else self._due(behind) + length - time.monotonic()
            events = camera.next(min(max(wait, 0.0), 0.05))
            now = time.monotonic()
            if events is None:
                return
            if events.num_events:
                heard, t = now, events.t
                self.origin = int(t[0]) if self.origin is None else self.origin
                if t[0] >= self.edge(self._number) + SILENCE * 1e6 and not self._held:
                    self._number = int((int(t[0]) - self.origin) * self.bins // INTERVAL)
                    behind, anew = float("inf"), True
                behind = min(behind, now - int(t[-1]) * 1e-6)
                for step in self._add(self._on_time(events)):
                    yield step._replace(due=step.end * 1e-6 + behind, anew=anew)
                    anew = False
            elif camera.idle is not None and now - heard >= camera.idle:
                return
            while now - heard < SILENCE and self.origin is not None and now > self._due(behind) + length:
                yield self._take(self._due(behind), anew=anew)
                anew = False

    def _due(self, behind: float) -> float:
        """When the step that is being filled is over, by this machine's clock."""
        return self.edge(self._number + 1) * 1e-6 + behind

    def _on_time(self, events: Events) -> Events:
        late = int(np.searchsorted(events.t, self.edge(self._number)))
        self.late += late
        if not late:
            return events
        marks = {name: column[late:] for name, column in events.marks.items()}
        rest = len(events.t) - late
        return Events(events.t[late:], marks, np.array([0, rest]), events.span, events.schema)


class Frame:
    """A step as an image (channels, height, width) float32, like those that networks were trained on.

    "count": (2, H, W) numbers of positive and negative events. "voxel": (1, H, W), each event shared between its own
    step and the next; what the next one gets is the state between calls.

    Args:
        representation: of the checkpoint.
        size: (height, width) of the sensor.
        rectify: (height, width, 2) map of a sequence in DSEC's layout.
    """

    def __init__(self, representation: str, size: tuple[int, int], *, rectify: Array | None = None) -> None:
        self.representation, self.size, self.rectify = representation, size, rectify
        self.channels = 2 if representation == "count" else 1
        self._counts = np.empty((1, 2, *size), np.float32)

    def init(self) -> Array:
        """What the step before the first one leaves: (0 or 1, H, W)."""
        return np.zeros((0 if self.representation == "count" else 1, *self.size), np.float32)

    def step(self, carried: Array, step: Step) -> tuple[Array, Array]:
        """(image, what is carried to the next step). The image is overwritten by the next call."""
        height, width = self.size
        if self.representation == "count":
            self._counts[:] = 0
            how = "nearest" if self.rectify is None else "bilinear"
            counts = event_count(
                *step.columns, bins=1, height=height, width=width, span=(step.start, step.end), interpolation=how,
                rectify=self.rectify, out=self._counts,
            )  # fmt: skip
            return counts[0], carried
        how = "time" if self.rectify is None else "trilinear"
        own, following = voxel_grid(
            *step.columns, bins=2, height=height, width=width, span=(step.start, step.end), interpolation=how,
            rectify=self.rectify,
        )  # fmt: skip
        return (carried[0] + own)[None], following[None]
