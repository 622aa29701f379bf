"""What a network should say: the flow over the last 100 ms, at any time, from maps of 10 Hz or from a known scene.

Steps. A stretch of n intervals has n * bins steps; step e (from 1) ends e / bins intervals after the stretch's start.
The flow of step e is the displacement over the interval's length up to its end, of what is at each pixel at the start
of that time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.io import Recording
from eventflow.vision._dsec import DsecSequence

Array = NDArray[Any]
#: Length of every flow map, us.
INTERVAL = 100_000
TARGETS = ("composed", "exact")
Window = tuple[slice, slice]
EVERYWHERE: Window = (slice(None), slice(None))
_HELD = 1 << 24  # bytes of a stretch's maps that are kept once they are decoded
_GAP = 10_000  # us: two intervals this near to each other are consecutive
_FILLED = 1_000_000  # us: a test sequence's silence between maps that is no longer than this is run through


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive intervals of a recording, without a gap: what a network may run over with one state.

    Args:
        name: of the recording and the stretch.
        source: the sequence, or a recording of which nothing but its events is known.
        edges: (n + 1,) int64 us: where the intervals begin, and the last one's end.
        maps: (n,) int64: the sequence's map of each interval; -1 where there is none.
    """

    name: str
    source: DsecSequence | Recording
    edges: Array
    maps: Array

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def recording(self) -> Recording:
        """The file of events."""
        return self.source.recording if isinstance(self.source, DsecSequence) else self.source

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the sensor.

        Raises:
            InputError: the file does not say.
        """
        schema = self.recording.schema
        if not (schema.height and schema.width):
            raise InputError(f"{self.recording.name}: the file does not say how large the sensor is; convert it to one "
                             "that does: eventflow data convert SRC DST.h5")  # fmt: skip
        return schema.height, schema.width

    @property
    def has_truth(self) -> bool:
        """Whether any interval has a map that is not kept secret."""
        return isinstance(self.source, DsecSequence) and self.source.maps is not None and bool((self.maps >= 0).any())

    @property
    def scene(self) -> bool:
        """Whether the flow between any two times is known."""
        return isinstance(self.source, DsecSequence) and self.source.scene is not None

    def moment(self, step: int, bins: int) -> float:
        """The end of a step, us."""
        i, part = divmod(step, bins)
        if not part:
            return float(self.edges[i])
        return float(self.edges[i] + (self.edges[i + 1] - self.edges[i]) * part / bins)


def stretches(source: DsecSequence | Recording) -> list[Stretch]:
    """The stretches of a recording; events without flow maps around them make intervals of 100 ms.

    A sequence with maps is cut where two of them do not follow each other. Between the maps of a test sequence, of
    which DSEC asks for one in five, lie intervals without a map.
    """
    if not isinstance(source, DsecSequence):
        return _unmapped(source)
    stamps = source.timestamps
    if not len(stamps):
        return []
    if source.maps is None:
        edges, maps = _filled(stamps)
    else:
        edges, maps = [stamps[0].tolist()], [[0]]
        for i, (start, end) in enumerate(stamps[1:].tolist(), 1):
            if abs(start - edges[-1][-1]) < _GAP:
                edges[-1].append(end)
                maps[-1].append(i)
            else:
                edges.append([start, end])
                maps.append([i])
    pairs = zip(edges, maps, strict=True)
    return [Stretch(f"{source.name}.{k}", source, np.array(e, np.int64), np.array(m)) for k, (e, m) in enumerate(pairs)]


def _unmapped(recording: Recording) -> list[Stretch]:
    whole = recording.stated_span or recording.read().span[0].tolist()
    count = int(whole[1] - whole[0]) // INTERVAL
    edges = int(whole[0]) + INTERVAL * np.arange(count + 1, dtype=np.int64)
    return [Stretch(recording.path.stem, recording, edges, np.full(count, -1))] if count else []


def _filled(stamps: Array) -> tuple[list[list[int]], list[list[int]]]:
    """Edges and maps of a sequence in which maps are far between."""
    edges, maps = [stamps[0].tolist()], [[0]]
    for i, (start, end) in enumerate(stamps[1:].tolist(), 1):
        silence = start - edges[-1][-1]
        if silence > _FILLED:
            edges.append([start, end])
            maps.append([i])
            continue
        count = round(silence / INTERVAL)
        between = np.linspace(edges[-1][-1], start, count + 1).round().astype(np.int64)[1:].tolist() if count else []
        edges[-1] += [*between, end]
        maps[-1] += [*[-1] * count, i]
    return edges, maps


def compose_flow(
    previous: tuple[Array, Array], current: tuple[Array, Array], share: float, *, window: Window = EVERYWHERE
) -> tuple[Array, Array]:
    """The flow over the 100 ms that end ``share`` of the way through the current interval, from the maps of both.

    What is at x then moves on by (1 - share) F_previous(x) until the current interval begins, to x', and by
    share F_current(x') until the end. That F_previous is asked at x, as if x were a place at the previous interval's
    start, is the paper's approximation. Maps are asked at the nearest pixel.

    Args:
        previous: flow (H, W, 2) in pixels and valid (H, W) of the interval before.
        current: of the interval in which the time ends.
        share: 0 < share <= 1; at 1 it is the current map itself, and the previous one is not asked.
        window: (rows, columns) of the result; look-ups go beyond it.

    Returns:
        flow (h, w, 2) float32; valid (h, w): both look-ups were on the image and at valid pixels. A flow of exactly
        zero is as valid as any.

    Source: Ponghiran et al., ICCV 2023, arXiv 2210.01244.
    """
    if not 0 < share <= 1:
        raise InputError(f"compose_flow(share={share}): expected 0 < share <= 1")
    if share == 1:
        valid = current[1][window]
        return np.where(valid[..., None], current[0][window], 0).astype(np.float32), valid.copy()
    height, width = previous[1].shape
    y, x = np.arange(height, dtype=np.float32)[window[0], None], np.arange(width, dtype=np.float32)[None, window[1]]
    before, valid = _look(previous, x, y)
    rest = (1 - share) * before
    after, also = _look(current, x + rest[..., 0], y + rest[..., 1])
    valid &= also
    return np.where(valid[..., None], rest + share * after, 0).astype(np.float32), valid


def _look(known: tuple[Array, Array], x: Array, y: Array) -> tuple[Array, Array]:
    """Flow (h, w, 2) and valid (h, w) at the pixels nearest to (x, y); 0 and False off the image."""
    flow, valid = known
    column, row = np.floor(x + 0.5).astype(np.int32), np.floor(y + 0.5).astype(np.int32)
    inside = (column >= 0) & (row >= 0) & (column < valid.shape[1]) & (row < valid.shape[0])
    place = np.where(inside, row * valid.shape[1] + column, 0)
    good = inside & valid.ravel()[place]
    return np.where(good[..., None], flow.reshape(-1, 2)[place], np.float32(0)), good


class Targets:
    """The flow of any step of a stretch.

    Args:
        stretch: of a sequence with maps, or with a scene.
        bins: steps of an interval.
        kind: "composed" from the maps of 10 Hz, "exact" from the scene.

    Raises:
        InputError: an unknown kind; exact flow of a recording whose scene is not known.
    """

    def __init__(self, stretch: Stretch, bins: int, *, kind: str = "composed") -> None:
        if kind not in TARGETS:
            raise InputError(f"targets={kind!r}: {did_you_mean(kind, TARGETS)}")
        if kind == "exact" and not stretch.scene:
            raise InputError(f"{stretch.name}: exact flow is known of simulated recordings only. Write: "
                             "--data.targets composed")  # fmt: skip
        self.stretch, self.bins, self.kind = stretch, bins, kind
        self._held: OrderedDict[int, tuple[Array, Array]] = OrderedDict()

    def known(self, step: int) -> bool:
        """Whether there is any truth at the step's end."""
        if not self.bins <= step <= self.bins * len(self.stretch):
            return False
        i = (step - 1) // self.bins
        maps = self.stretch.maps[i : i + 1] if step % self.bins == 0 else self.stretch.maps[i - 1 : i + 1]
        return self.kind == "exact" or (self.stretch.has_truth and bool((maps >= 0).all()))

    def at(self, step: int, window: Window = EVERYWHERE) -> tuple[Array, Array]:
        """flow (2, h, w) float32 in pixels and valid (h, w) of a known step, of the window's rows and columns."""
        i, part = (step - 1) // self.bins, (step - 1) % self.bins + 1
        if self.kind == "exact":
            flow, valid = self._exact(step)
            flow, valid = flow[window], valid[window]
        else:
            before = self._map(i) if part == self.bins else self._map(i - 1)  # not asked at the interval's end
            flow, valid = compose_flow(before, self._map(i), part / self.bins, window=window)
        return np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float32), valid

    def _exact(self, step: int) -> tuple[Array, Array]:
        source = self.stretch.source
        assert isinstance(source, DsecSequence) and source.scene is not None
        origin = source.recording.stated_span
        assert origin is not None, "a simulated recording states its span"
        start, end = ((self.stretch.moment(e, self.bins) - origin[0]) * 1e-6 for e in (step - self.bins, step))
        flow, _ = source.scene.flow(start, end)
        return flow, np.abs(flow).max(-1) < 255.99  # what 16 bits hold, as in the maps

    def _map(self, i: int) -> tuple[Array, Array]:
        if i not in self._held:
            assert isinstance(self.stretch.source, DsecSequence)
            flow, valid = self.stretch.source.flow(int(self.stretch.maps[i]))
            assert flow is not None and valid is not None
            self._held[i] = flow, valid
            while len(self._held) > max(2, _HELD // (flow.nbytes + valid.nbytes)):
                self._held.popitem(last=False)
        return self._held[i]
