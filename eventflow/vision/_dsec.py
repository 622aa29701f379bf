"""One sequence in DSEC's layout, from the dataset or simulated: events and flow, map by map, lazily."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.vision._png16 import read_flow_png

Array = NDArray[Any]


class FlowItem(NamedTuple):
    """A flow map and the events of its interval.

    ``flow`` (height, width, 2) float32 is the displacement (x, y) in pixels from ``start`` to ``end`` (us, absolute) of
    what is at each *rectified* pixel at ``start``; the events lie at raw pixels, see ``DsecSequence.rectify_map``.
    """

    events: Events
    flow: Array
    valid: Array
    start: int
    end: int


class DsecSequence:
    """``sequence[i]`` is the i-th :class:`FlowItem`; nothing is read before it is asked for.

    Args:
        folder: of the sequence. Looked for in it: ``events/left/events.h5`` and ``rectify_map.h5`` beside it,
            ``flow/forward/*.png``, ``flow/forward_timestamps.txt``. DSEC's download keeps events and flow in two trees:
            then this is the one with the events.
        flow: the folder that holds ``forward/``; None is ``folder/flow``.
        side: the camera, "left" or "right". The flow is that of the left one.

    Raises:
        InputError: a file is missing, or flow maps and timestamps are not as many.

    Source: Gehrig et al., "DSEC: a stereo event camera dataset for driving scenarios", RA-L 2021.
    """

    def __init__(self, folder: str | Path, *, flow: str | Path | None = None, side: str = "left") -> None:
        self.folder = Path(folder)
        flow = self.folder / "flow" if flow is None else Path(flow)
        self.events_file = self._existing(self.folder / "events" / side / "events.h5")
        self.maps = sorted((flow / "forward").glob("*.png"))
        stamps = self._existing(flow / "forward_timestamps.txt")
        try:
            self.timestamps = np.loadtxt(stamps, delimiter=",", dtype=np.int64, ndmin=2, comments="#")
        except ValueError as error:
            raise InputError(f"{stamps}: {error}; expected lines 'from_us, to_us'") from None
        if self.timestamps.shape != (len(self.maps), 2):
            raise InputError(f"{flow}: {len(self.maps)} maps and {len(self.timestamps)} lines of timestamps")

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[FlowItem]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> FlowItem:
        start, end = self.timestamps[i].tolist()
        flow, valid = read_flow_png(self.maps[i])
        return FlowItem(self.events(start, end), flow, valid, start, end)

    def events(self, start: int, end: int) -> Events:
        """The events of [start, end), absolute us, at raw pixels; only that part of the file is read."""
        from eventflow.io import read_events

        return read_events(self.events_file, window=(start, end))

    def rectify_map(self) -> Array:
        """(height, width, 2) float32: the rectified (x, y) of the raw pixel [y, x]."""
        import h5py

        from eventflow.errors import require

        require("hdf5plugin", "vision")
        with h5py.File(self._existing(self.events_file.with_name("rectify_map.h5"))) as file:
            return np.asarray(file["rectify_map"], np.float32)

    def _existing(self, path: Path) -> Path:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected a sequence in DSEC's layout, see DsecSequence")
        return path
