"""One sequence in DSEC's layout, from the dataset or simulated: events and flow, map by map, lazily."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, require
from eventflow.events import Events
from eventflow.io import Recording, open_recording
from eventflow.vision._png16 import read_flow_png
from eventflow.vision._scene import Scene

Array = NDArray[Any]


class FlowItem(NamedTuple):
    """A flow map and the events of its interval.

    ``flow`` (height, width, 2) float32 is the displacement (x, y) in pixels from ``start`` to ``end`` (us, absolute) of
    what is at each *rectified* pixel at ``start``, known where ``valid``; the events lie at raw pixels, see
    ``DsecSequence.rectify_map``. Both are None in DSEC's test sequences, whose flow is not public.
    """

    events: Events
    flow: Array | None
    valid: Array | None
    start: int
    end: int


class _Flow(NamedTuple):
    """Where a sequence's flow lies: PNGs (None in test sequences), the file of timestamps."""

    maps: list[Path] | None
    stamps: Path


class DsecSequence:
    """``sequence[i]`` is the i-th :class:`FlowItem`; nothing is read before it is asked for.

    Args:
        folder: of the sequence. Its events are looked for in ``events/left``, ``events_left`` and
            ``NAME_events_left``, which are the forms that DSEC's downloads have: ``events.h5``, with
            ``rectify_map.h5`` beside it. So is its flow: ``flow/forward/*.png`` with ``flow/forward_timestamps.txt``,
            ``NAME_optical_flow_forward_event/*.png`` with ``NAME_optical_flow_forward_timestamps.txt``, or (no flow,
            test) ``NAME.csv``.
        flow: where the flow is if not in ``folder``: the folder that holds ``forward/``, or a csv of test timestamps.
        side: the camera, "left" or "right". The flow is that of the left one.

    Attributes:
        timestamps: (n, 2) int64: start and end of each item, absolute us.
        indices: (n,) int64: the numbers of the items' files, as a submission names them.

    Raises:
        InputError: a file is missing, or flow maps and timestamps are not as many.

    Source: Gehrig et al., "DSEC: a stereo event camera dataset for driving scenarios", RA-L 2021.
    """

    def __init__(self, folder: str | Path, *, flow: str | Path | None = None, side: str = "left") -> None:
        self.folder = Path(folder)
        name = self.folder.name
        places = [self.folder / p for p in (f"events/{side}", f"events_{side}", f"{name}_events_{side}")]
        self.events_file = _existing([place / "events.h5" for place in places])
        self.maps, stamps = _flow_files(self.folder, None if flow is None else Path(flow))
        rows = _stamps(stamps, columns=2 if self.maps is not None else 3)
        if self.maps is not None and len(rows) != len(self.maps):
            raise InputError(f"{stamps}: {len(self.maps)} maps and {len(rows)} lines of timestamps")
        self.timestamps = rows[:, :2]
        self.indices = rows[:, 2] if self.maps is None else np.array([int(m.stem) for m in self.maps], np.int64)

    @property
    def name(self) -> str:
        """The sequence's name: that of its folder."""
        return self.folder.resolve().name

    def __len__(self) -> int:
        return len(self.timestamps)

    def __iter__(self) -> Iterator[FlowItem]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> FlowItem:
        start, end = self.timestamps[i].tolist()
        return FlowItem(self.events(start, end), *self.flow(i), start, end)

    def flow(self, i: int) -> tuple[Array, Array] | tuple[None, None]:
        """(flow, valid) of the i-th item, without its events."""
        if self.maps is None:
            return None, None
        return read_flow_png(self.maps[i])

    def events(self, start: int, end: int) -> Events:
        """The events of [start, end), absolute us, at raw pixels; only that part of the file is read."""
        return self.recording.read((start, end))

    def windows(self, *, dt: int | None = None, n: int | None = None) -> Iterator[Events]:
        """All events, in windows of ``dt`` us or of ``n`` events, in constant memory."""
        return self.recording.window(dt=dt, n=n)

    @cached_property
    def recording(self) -> Recording:
        """The file of events."""
        return open_recording(self.events_file, format="dsec")

    def rectify_map(self) -> Array:
        """(height, width, 2) float32: the rectified (x, y) of the raw pixel [y, x]."""
        import h5py

        require("hdf5plugin", "vision")
        with h5py.File(_existing([self.events_file.with_name("rectify_map.h5")])) as file:
            return np.asarray(file["rectify_map"], np.float32)

    @cached_property
    def scene(self) -> Scene | None:
        """What a simulated sequence shows, its times in seconds from the first timestamp; None in a real one."""
        path = self.folder / "scene.json"
        return Scene.load(path) if path.is_file() else None

    def exact_flow(self, start: int, end: int) -> tuple[Array, Array]:
        """The flow between any two times (absolute us) of a simulated sequence, without error: see ``Scene.flow``.

        Raises:
            InputError: a real sequence.
        """
        if self.scene is None:
            raise InputError(f"{self.folder}: no scene.json; exact flow is known of simulated sequences only")
        origin = self.recording.stated_span
        assert origin is not None, "a simulated recording states its span"
        return self.scene.flow((start - origin[0]) * 1e-6, (end - origin[0]) * 1e-6)


def _flow_files(folder: Path, flow: Path | None) -> _Flow:
    if flow is not None and flow.suffix == ".csv":
        return _Flow(None, _existing([flow]))
    inside = folder / "flow" if flow is None else flow
    pairs = [(inside / "forward", inside / "forward_timestamps.txt")]
    if flow is None:
        stem = f"{folder.name}_optical_flow_forward"
        pairs.append((folder / f"{stem}_event", folder / f"{stem}_timestamps.txt"))
        tests = [folder / f"{folder.name}.csv", folder / "test_forward_flow_timestamps.csv"]
        if found := [path for path in tests if path.is_file() and not pairs[0][1].is_file()]:
            return _Flow(None, found[0])
    for maps, stamps in pairs:
        if stamps.is_file():
            return _Flow(sorted(maps.glob("*.png")), stamps)
    return _Flow([], _existing([pairs[0][1]]))


def _stamps(path: Path, *, columns: int) -> Array:
    """Lines of whole numbers with commas between; a first line of names is left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line.strip()[0] != "#"]
    if lines and lines[0].strip()[0].isalpha():
        lines = lines[1:]
    try:
        rows = [[int(word) for word in line.split(",")] for line in lines]
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected lines of {columns} numbers with commas between") from None
    if any(len(row) != columns for row in rows):
        raise InputError(f"{path}: expected {columns} numbers on each line: from_us, to_us" + ", file" * (columns == 3))
    return np.array(rows, np.int64).reshape(-1, columns)


def _existing(paths: list[Path]) -> Path:
    for path in paths:
        if path.is_file():
            return path
    raise InputError(f"{paths[0]}: no such file; expected a sequence in DSEC's layout, see DsecSequence")
