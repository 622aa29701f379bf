"""Augmentations: frozen, given their randomness, and consistent: what happens to the events happens to the flow.

``transform(sample, rng)`` returns a new sample. tonic's names, where they mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.vision._columns import keep_events, sensor_of, with_columns

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Events of one window and what is known about them.

    Args:
        events: a single sequence with x, y, p; its span is the window.
        flow: (height, width, 2) displacement (x, y) in pixels over the window, of what is at each pixel at its start.
        valid: (height, width) bool, where the flow is known; None: everywhere.
    """

    events: Events
    flow: Array | None = None
    valid: Array | None = None

    def __post_init__(self) -> None:
        size = sensor_of(self.events)
        if self.flow is not None and self.flow.shape != (*size, 2):
            raise InputError(f"Sample: flow is {self.flow.shape}; the sensor {size}; expected {(*size, 2)}")
        if self.valid is not None and self.valid.shape != size:
            raise InputError(f"Sample: valid is {self.valid.shape}; expected {size}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return sensor_of(self.events)

    def moved(self, events: Events, image: Callable[[Array], Array], sign: tuple[int, int] = (1, 1)) -> Sample:
        """Other events, the maps changed by ``image``, the flow's components multiplied by ``sign``."""
        flow = None if self.flow is None else np.ascontiguousarray(image(self.flow) * np.array(sign, self.flow.dtype))
        return Sample(events, flow, None if self.valid is None else np.ascontiguousarray(image(self.valid)))


class Transform(Protocol):
    """What all augmentations are."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...


@dataclass(frozen=True, slots=True)
class Compose:
    """One after the other."""

    transforms: Sequence[Transform]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@dataclass(frozen=True, slots=True)
class RandomFlipLR:
    """With probability p, left and right change places."""

    p: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        x = sample.events.marks["x"]
        flipped = with_columns(sample.events, x=(sample.size[1] - 1 - x.astype(np.int64)).astype(x.dtype))
        return sample.moved(flipped, lambda image: image[:, ::-1], (-1, 1))


@dataclass(frozen=True, slots=True)
class RandomFlipUD:
    """With probability p, up and down change places."""

    p: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        y = sample.events.marks["y"]
        flipped = with_columns(sample.events, y=(sample.size[0] - 1 - y.astype(np.int64)).astype(y.dtype))
        return sample.moved(flipped, lambda image: image[::-1], (1, -1))


@dataclass(frozen=True, slots=True)
class RandomFlipPolarity:
    """With probability p, all polarities change (tonic: each event's by itself)."""

    p: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        return replace(sample, events=with_columns(sample.events, p=_other(sample.events.marks["p"])))


@dataclass(frozen=True, slots=True)
class RandomTimeReversal:
    """With probability p, the window runs backwards, which changes polarities too.

    The flow then starts where it ended: it is carried to the nearest pixel of its end and turned round. Pixels that
    nothing reaches, or that flows of more than half a pixel's difference reach, are not valid.
    """

    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        events = sample.events
        start, end = events.span[0]
        last = end - 1 if events.t.dtype == np.int64 else np.nextafter(end, start)
        t = np.clip(start + (last - events.t), start, last)[::-1]
        marks = {name: column[::-1] for name, column in events.marks.items()}
        backwards = with_columns(events, t, **{**marks, "p": _other(marks["p"])})
        return Sample(backwards, *_reversed_flow(sample.flow, sample.valid))


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle (height, width) of the sensor."""

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        room = _room(sample, self.size)
        return _crop(sample, self.size, (room[0] // 2, room[1] // 2))


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """(height, width) pixels of the sensor, somewhere."""

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        room = _room(sample, self.size)
        return _crop(sample, self.size, (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))))


@dataclass(frozen=True, slots=True)
class DropEvent:
    """Each event is dropped with probability p."""

    p: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, events=keep_events(sample.events, rng.random(sample.events.num_events) >= self.p))


@dataclass(frozen=True, slots=True)
class SpatialJitter:
    """Events move by a rounded normal distance, ``std`` pixels in x and in y; those that leave the sensor are lost."""

    std: float = 1.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        events, (height, width) = sample.events, sample.size
        x, y = (
            events.marks[name] + np.rint(rng.normal(0, self.std, events.num_events)).astype(np.int64) for name in "xy"
        )
        keep = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        kind = events.marks["x"].dtype
        moved = with_columns(keep_events(events, keep), x=x[keep].astype(kind), y=y[keep].astype(kind))
        return replace(sample, events=moved)


@dataclass(frozen=True, slots=True)
class TimeJitter:
    """Times move by a normal distance, ``std`` in the unit of t; events that leave the window are lost."""

    std: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        events = sample.events
        shift = rng.normal(0, self.std, events.num_events)
        t = events.t + (np.rint(shift).astype(np.int64) if events.t.dtype == np.int64 else shift)
        keep = (t >= events.span[0, 0]) & (t < events.span[0, 1])
        return replace(sample, events=with_columns(keep_events(events, keep), t[keep]))


@dataclass(frozen=True, slots=True)
class UniformNoise:
    """``n`` more events, uniform in window, pixel and polarity."""

    n: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        events, (height, width) = sample.events, sample.size
        start, end = events.span[0]
        whole = events.t.dtype == np.int64
        t = rng.integers(start, end, self.n) if whole else rng.uniform(start, end, self.n)
        more = {
            "x": rng.integers(0, width, self.n),
            "y": rng.integers(0, height, self.n),
            "p": rng.integers(0, 2, self.n),
        }
        unknown = set(events.marks) - set(more)
        if unknown:
            raise InputError(f"UniformNoise: events have columns {sorted(unknown)}, which noise has none of")
        marks = {name: np.concatenate([v, more[name].astype(v.dtype)]) for name, v in events.marks.items()}
        return replace(sample, events=with_columns(events, np.concatenate([events.t, t]), **marks))


def _other(p: Array) -> Array:
    return ~p if p.dtype == np.bool_ else (1 - p if not (p < 0).any() else -p).astype(p.dtype)


def _room(sample: Sample, size: tuple[int, int]) -> tuple[int, int]:
    height, width = sample.size
    if not (1 <= size[0] <= height and 1 <= size[1] <= width):
        raise InputError(f"crop to {size} of a sensor of ({height}, {width}); expected something smaller")
    return height - size[0], width - size[1]


def _crop(sample: Sample, size: tuple[int, int], corner: tuple[int, int]) -> Sample:
    (height, width), (top, left) = size, corner
    marks = sample.events.marks
    x, y = (marks[name].astype(np.int64) - shift for name, shift in (("x", left), ("y", top)))
    keep = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    inside = keep_events(sample.events, keep)
    inside = with_columns(inside, x=x[keep].astype(marks["x"].dtype), y=y[keep].astype(marks["y"].dtype))
    inside = replace(inside, schema=replace(inside.schema, height=height, width=width))
    return sample.moved(inside, lambda image: image[top : top + height, left : left + width])


def _reversed_flow(flow: Array | None, valid: Array | None) -> tuple[Array | None, Array | None]:
    """The flow from the end of the window back to its start, where that is known."""
    if flow is None:
        return None, None
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    u, v = np.rint(x + flow[..., 0]).astype(np.int64), np.rint(y + flow[..., 1]).astype(np.int64)
    known = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    known &= np.ones((height, width), bool) if valid is None else valid
    cell, back = v[known] * width + u[known], -flow[known]
    low, high = np.full((height * width, 2), np.inf), np.full((height * width, 2), -np.inf)
    np.minimum.at(low, cell, back)
    np.maximum.at(high, cell, back)
    reached = np.isin(np.arange(height * width), cell)
    low[~reached], high[~reached] = 0, 0
    agreed = reached & (high - low <= 0.5).all(1)
    out = np.where(agreed[:, None], (low + high) / 2, 0).astype(flow.dtype)
    return out.reshape(height, width, 2), agreed.reshape(height, width)
