"""A trained flow network, live: a field at the end of every step of a recording or of a camera that is watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eventflow.errors import InputError
from eventflow.io import Recording
from eventflow.io.live._stream import CameraStream
from eventflow.nn import map_state, state_leaves
from eventflow.online._run import Latency, check_identity, environment, fingerprint
from eventflow.online._snapshot import Snapshot, SnapshotFolder
from eventflow.vision._flow_checkpoint import INTERVAL, LoadedFlow
from eventflow.vision._flow_sinks import Field, FieldSink
from eventflow.vision._flow_steps import Frame, Step, Steps
from eventflow.vision._flow_view import View
from eventflow.vision.models._live import live


@dataclass(frozen=True, slots=True)
class FlowStreamOptions:
    """How a flow network is run over a stream.

    Args:
        snapshot: a folder; with it a run over a file that was killed goes on exactly, and one of a camera with the
            state that it had.
        every: events after which a snapshot is taken.
        seconds: seconds after which one is taken, if sooner.
        max_lag: seconds by which fields of a live camera may be late before some are left out: the network still sees
            every step, and only the fields are not computed. 0.1 by default.
    """

    snapshot: Path | None = None
    every: int = 1_000_000
    seconds: float = 30.0
    max_lag: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1 or not self.seconds > 0 or not self.max_lag > 0:
            raise InputError(f"every {self.every}, seconds {self.seconds}, max_lag {self.max_lag}: expected positive "
                             "numbers")  # fmt: skip


@dataclass(slots=True)
class FlowCounters:
    """Since the stream's first run: part of every snapshot. ``skipped``: fields left out because they would have been
    late; ``late``: events that came when their step was over."""

    steps: int = 0
    fields: int = 0
    skipped: int = 0
    events: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """What a run did.

    Args:
        counters: since the stream's first run.
        fields: of this run.
        seconds: of this run, waiting included.
        busy: of these, those in which a step was computed or written.
        compute: (p50, p99) seconds from a whole step to its written field.
        behind: (p50, p99) seconds from the end of a step, as the camera's events told it, to the written field; None of
            a file.
        lost: what a camera's stream lost, by cause.
        state_bytes: of the network's state.
        ended: False if the run was stopped.
    """

    counters: FlowCounters
    fields: int
    seconds: float
    busy: float
    compute: tuple[float, float]
    behind: tuple[float, float] | None
    lost: dict[str, int]
    state_bytes: int
    ended: bool


def run_flow(
    loaded: LoadedFlow, recording: Recording, sink: FieldSink, options: FlowStreamOptions, *,
    view: View | None = None, note: Callable[[str], None] = lambda _: None, stop: Callable[[], bool] = lambda: False,
) -> FlowSummary:  # fmt: skip
    """Read events, step the network every ``INTERVAL / bins`` us, write each field, until the end or ``stop()``.

    The network runs as :func:`eventflow.vision.live` makes it. Sensors whose size it cannot halve often enough are
    padded with zeros at the right and below, and the fields cut again.

    Raises:
        InputError: recording, checkpoint, sink or snapshot do not fit together; no events.
    """
    with torch.inference_mode():
        runner = _Runner(loaded, recording, sink, options, note)
        if options.snapshot is None:
            return runner.go(None, view, stop)
        folder = SnapshotFolder(options.snapshot)
        with folder.locked():
            return runner.go(folder, view, stop)


def sensor_size(loaded: LoadedFlow, recording: Recording) -> tuple[int, int]:
    """(height, width): the recording's, else the checkpoint's.

    Raises:
        InputError: neither is known.
    """
    trained = (loaded.schema.height, loaded.schema.width)
    seen = (recording.schema.height, recording.schema.width)
    if None in seen:
        seen = trained
    if None in seen:
        hint = f"{recording.name}&width=W&height=H" if "://" in recording.name else "a format that states it"
        raise InputError(f"{recording.name}: neither it nor the checkpoint says how large the sensor is. Write: {hint}")
    assert seen[0] is not None and seen[1] is not None
    return seen[0], seen[1]


def _about_sensor(loaded: LoadedFlow, recording: Recording, size: tuple[int, int]) -> str | None:
    """What the user should know of a network that runs on images of another size than those of its training."""
    trained = (loaded.schema.height, loaded.schema.width)
    if None in (recording.schema.height, recording.schema.width):
        return f"{recording.name} does not say how large its sensor is: {size[0]}x{size[1]} is the checkpoint's"
    if None in trained or size == trained:
        return None
    return (
        f"a sensor of {size[0]}x{size[1]} (height x width); the checkpoint was trained on {trained[0]}x{trained[1]}. "
        "It runs on any size, but what moves by more pixels than it ever saw is not to be trusted"
    )


def rectification(recording: Recording) -> Any:
    """The map beside a file in DSEC's layout, as in training; None where there is none, or nothing to move."""
    path = recording.path.with_name("rectify_map.h5")
    if recording.format != "dsec" or isinstance(recording, CameraStream) or not path.is_file():
        return None
    import h5py

    from eventflow.vision._flow_frames import moved

    with h5py.File(path) as file:
        return moved(np.asarray(file["rectify_map"], np.float32))


class _Runner:
    def __init__(
        self, loaded: LoadedFlow, recording: Recording, sink: FieldSink, options: FlowStreamOptions,
        note: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._loaded, self._recording, self._sink, self._options = loaded, recording, sink, options
        self._note, self._network = note, live(loaded.network)
        self._size = sensor_size(loaded, recording)
        if text := _about_sensor(loaded, recording, self._size):
            note(text)
        self._frame = Frame(loaded.representation, self._size, rectify=rectification(recording))
        self._counters = FlowCounters()
        self._compute, self._behind, self._busy = Latency(), Latency(), 0.0
        self._state: Any = self._blank()
        self._carried = self._frame.init()
        self._origin: int | None = None
        self._saved, self._late = (0, time.monotonic()), 0
        self._warm_up()

    def _warm_up(self) -> None:
        """A step of nothing, so that no kernel is compiled while a camera waits."""
        none = (np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))
        image, _ = self._frame.step(self._carried, Step(0, 0, 1000, none))
        self._network.step(self._state, F.pad(torch.from_numpy(image)[None], self._pad))

    def _blank(self) -> Any:
        unit = 2**self._network.depth
        height, width = (-(-size // unit) * unit for size in self._size)
        self._pad = (0, width - self._size[1], 0, height - self._size[0])
        return self._network.init(1, height, width)

    def go(self, folder: SnapshotFolder | None, view: View | None, stop: Callable[[], bool]) -> FlowSummary:
        begin = time.perf_counter()
        before = self._start(folder)
        steps = self._steps = Steps(
            self._recording, self._loaded.bins, origin=self._origin, first=self._counters.steps, stop=stop
        )
        ended = True
        for step in steps:
            self._take(step, view)
            if folder is not None and self._due():
                self._save(folder)
            if stop():
                ended = steps.live
                break
        if folder is not None:
            self._save(folder)
        if ended and not self._counters.steps:
            self._note(f"no field: {self._recording.name} is shorter than a step of {interval_ms(self._loaded):g} ms")
        if ended or folder is None:
            self._sink.finish()
        return FlowSummary(
            counters=self._counters, fields=self._counters.fields - before,
            seconds=time.perf_counter() - begin, busy=self._busy,
            compute=(self._compute.quantile(0.5), self._compute.quantile(0.99)),
            behind=(self._behind.quantile(0.5), self._behind.quantile(0.99)) if steps.live else None,
            lost=_lost(self._recording), state_bytes=sum(leaf.nbytes for leaf in state_leaves(self._state)),
            ended=ended,
        )  # fmt: skip

    # -- a step ---------------------------------------------------------------------------------------------------

    def _take(self, step: Step, view: View | None) -> None:
        begin = time.perf_counter()
        if step.anew:
            self._note(f"nothing came for a while before t = {step.start} us: the network's state begins anew")
            self._state, self._carried = self._blank(), self._frame.init()
        image, self._carried = self._frame.step(self._carried, step)
        counts = torch.from_numpy(image)[None]
        x = F.pad(counts, self._pad) if any(self._pad) else counts
        self._counters.steps = step.number + 1
        self._counters.events += len(step.columns[0])
        self._counters.late = self._late + self._steps.late
        if step.due is not None and time.monotonic() - step.due > self._options.max_lag:
            self._state = self._network.update(self._state, x)
            self._counters.skipped += 1
            self._busy += time.perf_counter() - begin
            return
        flow, self._state = self._network.step(self._state, x)
        self._write(step, image, flow)
        if view is not None:
            view.show(self._last)
        seconds = time.perf_counter() - begin
        self._busy += seconds
        self._compute.add(seconds, 1)
        if step.due is not None:
            self._behind.add(time.monotonic() - step.due, 1)

    def _write(self, step: Step, image: Any, flow: Tensor) -> None:
        height, width = self._size
        field = flow[0, :, :height, :width].float().numpy()
        self._last = Field(step.end, field, image, len(step.columns[0]))
        self._sink.write(self._last)
        self._counters.fields += 1

    # -- snapshots --------------------------------------------------------------------------------------------------

    def _start(self, folder: SnapshotFolder | None) -> int:
        """Begin anew or behind the newest snapshot; how many fields there were then."""
        snapshot = None
        if folder is not None:
            snapshot, notes = folder.latest()
            for text in notes:
                self._note(text)
        live_camera = isinstance(self._recording, CameraStream)
        if not live_camera and self._recording.first is None:
            raise InputError(f"{self._recording.name}: no events, so no flow; expected an event camera's recording")
        if snapshot is not None:
            check_identity(snapshot.identity, self._identity())
        self._sink.truncate(None if snapshot is None else snapshot.sink)
        if snapshot is not None:
            self._counters = FlowCounters(**snapshot.engine["counters"])
            arrays = iter(torch.from_numpy(array) for array in snapshot.arrays)
            self._state = map_state(lambda blank: torch.empty_like(blank).copy_(next(arrays)), self._state)
            self._carried = next(arrays).numpy()
            self._origin = None if live_camera else snapshot.engine["origin"]
            if live_camera:
                self._counters.steps = 0  # what was missed is gone: its clock begins anew
            self._late = self._counters.late
            self._note(f"resumed behind {self._counters.fields} fields")
        return self._counters.fields

    def _identity(self) -> dict[str, Any]:
        return {
            "model": fingerprint(self._loaded.network), "bins": self._loaded.bins,
            "representation": self._loaded.representation, "sensor": list(self._size),
        }  # fmt: skip

    def _due(self) -> bool:
        events, moment = self._saved
        late = time.monotonic() - moment >= self._options.seconds
        return late or self._counters.events - events >= self._options.every

    def _save(self, folder: SnapshotFolder) -> None:
        self._saved = (self._counters.events, time.monotonic())
        self._sink.sync()
        arrays = [leaf.contiguous().numpy() for leaf in state_leaves(self._state)]
        folder.save(
            Snapshot(
                identity=self._identity(), source={"origin": self._steps.origin, "step": self._counters.steps},
                sink=self._sink.position, dead_letters={},
                engine={"counters": asdict(self._counters), "origin": self._steps.origin},
                arrays=[*arrays, self._carried], environment=environment(),
            )
        )  # fmt: skip


def _lost(recording: Recording) -> dict[str, int]:
    """What a camera's stream lost, by cause; nothing of a file."""
    if not isinstance(recording, CameraStream):
        return {}
    counts = recording.counts
    return {name: counts[name] for name in ("dropped", "truncated", "late", "malformed") if counts.get(name)}


def interval_ms(loaded: LoadedFlow) -> float:
    """Milliseconds of a step."""
    return INTERVAL / loaded.bins / 1000
