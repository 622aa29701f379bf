"""Representations that can be streamed: ``init`` with a window, ``step`` with chunks of events, ``flush`` the tensor.

Any cutting of a stream into chunks gives the same bits as all events at once, because every state is a running sum (or
maximum) in the order of the events. A state is a value: ``step`` returns a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events
from eventflow.ops import event_count, event_frame, spike_tensor, voxel_grid
from eventflow.ops._columns import Columns, Window, columns
from eventflow.ops.time_surface import decayed, latest
from eventflow.ops.timestamp_image import add_times

Array = NDArray[Any]


class State(NamedTuple):
    """What a representation has seen so far of the window [start, end), or [start, end] where ``closed``."""

    start: float
    end: float
    closed: bool
    sums: tuple[Array, ...]


@dataclass(frozen=True, kw_only=True)
class Representation:
    """The contract. ``representation(events)`` is ``flush(step(init(*span), events))``.

    Args:
        height: sensor rows.
        width: sensor columns.
    """

    height: int
    width: int
    _takes_closed: ClassVar[bool] = True

    def __call__(self, events: Events, *, closed: bool = False) -> Array:
        """The tensor of one sequence, over its span; ``closed``: over [first event, last event], as DSEC does."""
        if len(events) != 1:
            raise InputError(f"{type(self).__name__}: {len(events)} sequences; expected one. Write: events[0]")
        start, end = events.span[0].tolist()
        if closed and events.num_events:
            start, end = events.t[0].item(), events.t[-1].item()
        return self.flush(self.step(self.init(start, end, closed=closed), events))

    def init(self, start: float, end: float, *, closed: bool = False) -> State:
        """The state before any event of the window, in the unit of the events' times."""
        if closed and not self._takes_closed:
            raise InputError(f"{type(self).__name__}: streams need a half-open window. Write: closed=False")
        if not (start < end or (closed and start == end)):
            raise InputError(f"{type(self).__name__}: window [{start}, {end}); expected start < end")
        return State(start, end, closed, self._empty())

    def step(self, state: State, events: Events) -> State:
        """The state after more events; those outside the window are ignored."""
        c = columns(type(self).__name__, events.t, *(events.marks[name] for name in "xyp"))
        sums = tuple(v.copy() for v in state.sums)
        self._add(state, c, sums)
        return state._replace(sums=sums)

    def flush(self, state: State) -> Array:
        """The tensor of what was seen."""
        raise NotImplementedError

    def _empty(self) -> tuple[Array, ...]:
        raise NotImplementedError

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        """Add to ``sums``, in place."""
        raise NotImplementedError


#: rule -> (n, where "T / n" or "T / (n - 1)" is the distance of bins; position of the window's start)
RULES: dict[str, tuple[int, float]] = {
    "dsec": (-1, 0.0), "eraft": (-1, 0.0), "bflow": (-1, 0.0), "tonic": (0, 0.0), "openeb": (0, -0.5),
    "openeb_volume": (0, -0.5),
}  # fmt: skip
NORMALISATIONS = ("rule", "none", "nonzero", "max")


@dataclass(frozen=True, kw_only=True)
class VoxelGrid(Representation):
    """Signed events shared among bins of time, by the rule of one of five libraries (one of them has two).

    With n bins, a window of length T and an event at time s after its start, the event's position is

    - "dsec", "eraft": (n - 1) s / T: the first and the last bin are the ends of the window;
    - "bflow": the same, but events up to one bin before and after the window take part;
    - "tonic": n s / T, and what would fall into an (n + 1)-th bin is lost: mass is not conserved;
    - "openeb" (its event cube): n s / T - 1/2: bins are stretches with centres; of an event before the first centre or
      after the last, the share that would lie beyond is lost;
    - "openeb_volume" (its ``event_volume`` in torch): the same, but the share beyond the last centre goes to the last
      bin, and that before the first to the second, because its code clamps bins and not positions.

    Args:
        bins: n.
        rule: see above.
        interpolation: "time" or "trilinear", see :func:`eventflow.ops.voxel_grid`.
        normalise: "rule": what the library does ("eraft": "nonzero"; else none). "nonzero": the voxels that are not 0
            get mean 0 and (unbiased) standard deviation 1. "max": divided by the largest modulus.
        split_polarity: positive and negative events apart: (2, bins, height, width).
        rectify: (height, width, 2) map, applied first.
    """

    bins: int
    rule: str = "dsec"
    interpolation: str = "time"
    normalise: str = "rule"
    split_polarity: bool = False
    rectify: Array | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("rule", RULES), ("interpolation", ("time", "trilinear")), ("normalise", NORMALISATIONS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"VoxelGrid({name}={getattr(self, name)!r}): {did_you_mean(getattr(self, name), known)}"
                )

    def _empty(self) -> tuple[Array, ...]:
        # one more bin before and one after: what the rules lose, extend or clamp lies there
        shape = (self.bins + 2, self.height, self.width)
        return tuple(np.zeros(shape, np.float32) for _ in range(1 + self.split_polarity))

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        less, offset = RULES[self.rule]
        length, count = float(state.end - state.start), self.bins + less
        distance = length / count if count and length else 1e300
        s = (c.t - np.asarray(state.start, np.float64 if c.t.dtype.kind == "f" else np.int64)).astype(np.float64)
        if self.rule == "bflow":
            keep = (s > -distance) & (s < length + distance)
        else:
            keep = (s >= 0) & ((s <= length) if state.closed else (s < length))
        span = ((-1 - offset) * distance, (self.bins - offset) * distance)
        parts = ((keep & (c.p == 1), 1), (keep & (c.p == 0), 1)) if self.split_polarity else ((keep, None),)
        for grid, (chosen, sign) in zip(sums, parts, strict=True):
            voxel_grid(
                s[chosen], c.x[chosen], c.y[chosen], np.ones(chosen.sum(), np.uint8) if sign else c.p[chosen],
                bins=self.bins + 2, height=self.height, width=self.width, span=span, interpolation=self.interpolation,
                rectify=self.rectify, out=grid,
            )  # fmt: skip

    def flush(self, state: State) -> Array:
        """(bins, height, width) float32, or (2, bins, height, width) where polarities are split."""
        grids = []
        for padded in state.sums:
            grid = padded[1:-1].copy()
            if self.rule == "openeb_volume":
                grid[min(1, self.bins - 1)] += padded[0]
                grid[-1] += padded[-1]
            grids.append(grid)
        out = np.stack(grids) if self.split_polarity else grids[0]
        chosen = ("nonzero" if self.rule == "eraft" else "none") if self.normalise == "rule" else self.normalise
        return normalised(out, chosen)


def normalised(grid: Array, how: str) -> Array:
    """A grid by one of ``NORMALISATIONS`` but "rule"; a grid of zeros stays as it is."""
    if how == "nonzero":
        filled = grid != 0
        values = grid[filled].astype(np.float64)
        if not len(values):
            return grid
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        out = grid.copy()
        out[filled] = ((values - values.mean()) / (spread or 1.0)).astype(np.float32)
        return out
    largest = float(np.abs(grid).max(initial=0.0)) if how == "max" else 0.0
    return grid / np.float32(largest) if largest else grid


@dataclass(frozen=True, kw_only=True)
class EventCount(Representation):
    """(bins, 2, height, width): see :func:`eventflow.ops.event_count`. tonic's ToFrame has polarity the other way."""

    bins: int
    interpolation: str = "nearest"
    rectify: Array | None = field(default=None, compare=False)
    _takes_closed: ClassVar[bool] = False

    def _empty(self) -> tuple[Array, ...]:
        return (np.zeros((self.bins, 2, self.height, self.width), np.float32),)

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        event_count(
            *c, bins=self.bins, height=self.height, width=self.width, span=(state.start, state.end),
            interpolation=self.interpolation, rectify=self.rectify, out=sums[0],
        )  # fmt: skip

    def flush(self, state: State) -> Array:
        """(bins, 2, height, width) float32."""
        return state.sums[0].copy()


@dataclass(frozen=True, kw_only=True)
class EventFrame(Representation):
    """(height, width): see :func:`eventflow.ops.event_frame`."""

    reduce: str = "sum"

    def _empty(self) -> tuple[Array, ...]:
        return (np.zeros((self.height, self.width), np.float32),)

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        keep = _inside(state, c)
        event_frame(*(v[keep] for v in c), height=self.height, width=self.width, reduce=self.reduce, out=sums[0])

    def flush(self, state: State) -> Array:
        """(height, width) float32."""
        return state.sums[0].copy()


@dataclass(frozen=True, kw_only=True)
class TimeSurface(Representation):
    """(2, height, width) at the window's end: see :func:`eventflow.ops.time_surface`."""

    tau: float
    decay: str = "exponential"

    def __post_init__(self) -> None:
        if not self.tau > 0 or self.decay not in ("exponential", "linear"):
            raise InputError(
                f"TimeSurface(tau={self.tau}, decay={self.decay!r}): expected tau > 0 in the unit of t, and a decay "
                "'exponential' or 'linear'"
            )

    def _empty(self) -> tuple[Array, ...]:
        return (np.full((2, self.height, self.width), -np.inf),)

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        keep = _inside(state, c)
        sums[0][:] = latest(Columns(*(v[keep] for v in c)), self.height, self.width, before=sums[0])

    def flush(self, state: State) -> Array:
        """(2, height, width) float32."""
        return decayed(state.sums[0], float(state.end), self.tau, self.decay)


@dataclass(frozen=True, kw_only=True)
class TimestampImage(Representation):
    """(2, height, width): see :func:`eventflow.ops.timestamp_image`."""

    reduce: str = "last"

    def __post_init__(self) -> None:
        if self.reduce not in ("last", "mean"):
            raise InputError(f"TimestampImage(reduce={self.reduce!r}): {did_you_mean(self.reduce, ['last', 'mean'])}")

    def _empty(self) -> tuple[Array, ...]:
        return tuple(np.zeros((2, self.height, self.width)) for _ in range(3))

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        kind = np.float64 if c.t.dtype.kind == "f" else np.int64
        window = Window(kind(state.start), float(state.end - state.start), state.closed)
        add_times(c, window, (sums[0], sums[1], sums[2]))

    def flush(self, state: State) -> Array:
        """(2, height, width) float32."""
        last, total, count = state.sums
        return (last if self.reduce == "last" else total / np.maximum(count, 1)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class SpikeTensor(Representation):
    """(bins, 2, height, width): see :func:`eventflow.ops.spike_tensor`, with a fixed kernel."""

    bins: int
    kernel: str = "triangle"
    measure: str = "time"
    _takes_closed: ClassVar[bool] = False

    def _empty(self) -> tuple[Array, ...]:
        return (np.zeros((self.bins, 2, self.height, self.width), np.float32),)

    def _add(self, state: State, c: Columns, sums: tuple[Array, ...]) -> None:
        spike_tensor(
            *c, bins=self.bins, height=self.height, width=self.width, span=(state.start, state.end),
            kernel=self.kernel, measure=self.measure, out=sums[0],
        )  # fmt: skip

    def flush(self, state: State) -> Array:
        """(bins, 2, height, width) float32."""
        return state.sums[0].copy()


def _inside(state: State, c: Columns) -> Array:
    return (c.t >= state.start) & ((c.t <= state.end) if state.closed else (c.t < state.end))
