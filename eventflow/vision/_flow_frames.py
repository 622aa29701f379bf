"""The steps that a flow network takes: event counts (or a voxel grid) of a stretch, counted once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events
from eventflow.ops import event_count, voxel_grid
from eventflow.vision._dsec import DsecSequence
from eventflow.vision._flow_targets import Stretch

Array = NDArray[Any]
#: representation -> channels of a step.
CHANNELS = {"count": 2, "voxel": 1}


class Frames:
    """The steps of a stretch: ``frames.read(a, b)`` are steps a to b, from 0.

    "count": the numbers of positive and of negative events in the step, at rectified pixels, each event shared among
    the four around (Ponghiran et al.). "voxel": positive minus negative, each event shared in time, too, between its
    own step and the next: the grid that DSEC's networks see, cut so that a step never needs what comes after it.

    Args:
        stretch: the recording's.
        bins: steps of an interval.
        representation: "count" or "voxel".
        cache: the folder for what was counted, float16; None: nothing is kept, every read counts.

    Raises:
        InputError: an unknown representation.
    """

    def __init__(
        self, stretch: Stretch, bins: int, *, representation: str = "count", cache: Path | None = None
    ) -> None:
        if representation not in CHANNELS:
            raise InputError(f"representation={representation!r}: {did_you_mean(representation, CHANNELS)}")
        self.stretch, self.bins, self.representation = stretch, bins, representation
        self.channels = CHANNELS[representation]
        self.path = None if cache is None else cache / f"{stretch.name}-{self._key()}.npy"
        self._table: Array | None = None
        self._looked = False
        self._kept: Array | None = None

    def __len__(self) -> int:
        return len(self.stretch) * self.bins

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(steps, channels, height, width)."""
        return (len(self), self.channels, *self.stretch.size)

    @property
    def missing_bytes(self) -> int:
        """What :meth:`keep` would write."""
        if self.path is None or self.path.is_file():
            return 0
        return 2 * int(np.prod(self.shape)) + 128

    def read(self, first: int, last: int, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """(last - first, channels, rows, columns) float32.

        Raises:
            InputError: the cache's file is broken.
        """
        if self.path is not None and self._kept is None and self.path.is_file():
            self._kept = self._opened(self.path)
        if self._kept is not None:
            return self._kept[first:last, :, rows, columns].astype(np.float32)
        i, j = first // self.bins, -(-last // self.bins)
        counted = np.concatenate([self.count(k) for k in range(i, j)])
        return counted[first - i * self.bins : last - i * self.bins, :, rows, columns]

    def count(self, interval: int) -> Array:
        """(bins, channels, height, width) float32: the steps of one interval, counted from its events."""
        if not self._looked:
            self._table, self._looked = _rectify_map(self.stretch), True
        start, end = self.stretch.edges[interval : interval + 2].tolist()
        if self.representation == "count":
            events = self.stretch.recording.read((start, end))
            return self._counted(event_count, events, self.bins, (start, end))
        # a grid of tents around the steps' beginnings: one step more on each side, of which half a tent is known
        step = (end - start) / self.bins
        events = self.stretch.recording.read((start - step, end))
        return self._counted(voxel_grid, events, self.bins + 2, (start - step, end))[1:-1, None]

    def _counted(self, count: Callable[..., Array], events: Events, bins: int, span: tuple[float, float]) -> Array:
        height, width = self.stretch.size
        how = "nearest" if count is event_count else "time"
        if self._table is not None:
            how = "bilinear" if count is event_count else "trilinear"
        m = events.marks
        return count(
            events.t, m["x"], m["y"], m["p"], bins=bins, height=height, width=width, span=span, interpolation=how,
            rectify=self._table,
        )  # fmt: skip

    def keep(self) -> None:
        """Count everything once, into the cache's file, whole or not at all."""
        if self.path is None or self.path.is_file():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            room = np.lib.format.open_memmap(part, "w+", np.float16, self.shape)
            for i in range(len(self.stretch)):
                room[i * self.bins : (i + 1) * self.bins] = self.count(i)
            room.flush()
            del room
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

    def _opened(self, path: Path) -> Array:
        try:
            kept = np.load(path, mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{path}: broken or truncated ({error}). Remove it, and it is counted anew") from None
        if kept.shape != self.shape:
            raise InputError(f"{path}: holds {kept.shape}; expected {self.shape}. Write: rm {path}")
        return kept

    def _key(self) -> str:
        """Of everything that the counts follow from."""
        file = self.stretch.recording.path
        seen = file.stat()
        facts = [str(file.resolve()), seen.st_size, seen.st_mtime_ns, self.stretch.edges.tolist(), self.bins]
        return hashlib.sha256(json.dumps([*facts, self.representation]).encode()).hexdigest()[:12]


def _rectify_map(stretch: Stretch) -> Array | None:
    """The sequence's map; None where it has none to apply: pixels lie where they should."""
    if not isinstance(stretch.source, DsecSequence):
        return None
    return moved(stretch.source.rectify_map())


def moved(table: Array) -> Array | None:
    """A rectification map (height, width, 2); None where every pixel stays in its place."""
    y, x = np.mgrid[: table.shape[0], : table.shape[1]]
    return None if np.array_equal(table, np.stack([x, y], -1)) else table


def keep_all(frames: Sequence[Frames], *, progress: Callable[[Iterable[Frames]], Iterable[Frames]] = iter) -> int:
    """Fill the cache; says how much room that takes before anything is written. Returns the bytes.

    Raises:
        InputError: the disk has less room.
    """
    missing = [each for each in frames if each.missing_bytes]
    size = sum(each.missing_bytes for each in missing)
    if not missing:
        return 0
    folder = missing[0].path
    assert folder is not None
    folder = folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    rate = missing[0].bins * 10
    print(f"counting events of {len(missing)} stretches at {rate} Hz, once: {_human(size)} in {folder} "
          f"({_human(free)} free)", flush=True)  # fmt: skip
    if size > 0.95 * free:
        raise InputError(
            f"{folder}: the event counts take {_human(size)}, and {_human(free)} are free. Write: --data.cache FOLDER "
            "on a larger disk, or --data.cache null, which counts the events again whenever they are needed"
        )
    for each in progress(missing):
        each.keep()
    return size


def _human(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
