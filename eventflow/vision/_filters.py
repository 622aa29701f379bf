"""Filters against noise, for recordings and for streams: however a stream is cut, the same events survive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.vision._columns import keep_events, sensor_of

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class RefractoryPeriod:
    """Keep an event if its pixel had kept none less than ``delta`` before (tonic's name).

    Args:
        delta: in the unit of t.
    """

    delta: float

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise InputError(f"RefractoryPeriod(delta={self.delta}): expected a positive time in the unit of t")

    def __call__(self, events: Events) -> Events:
        """The events that are kept, of one sequence."""
        return self.step(self.init(*sensor_of(events)), events)[1]

    def init(self, height: int, width: int) -> Array:
        """The state of a sensor before any event: when each pixel last kept one."""
        return np.full((height, width), -np.inf)

    def step(self, state: Array, events: Events) -> tuple[Array, Events]:
        """The state after these events, and those that are kept."""
        from eventflow.vision._filter_kernels import refractory

        after, keep = state.copy(), np.empty(events.num_events, np.bool_)
        refractory(events.t, events.marks["x"], events.marks["y"], self.delta, after, keep)
        return after, keep_events(events, keep)


@dataclass(frozen=True, slots=True)
class Denoise:
    """Keep an event if one of its neighbours fired less than ``filter_time`` before (tonic's name; background activity
    has no such neighbours).

    Args:
        filter_time: in the unit of t.
        diagonal: eight neighbours instead of four.

    Unlike in tonic, the time before a recording counts as silent. Source: Delbruck, "Frame-free dynamic digital
    vision", 2008.
    """

    filter_time: float
    diagonal: bool = False

    def __post_init__(self) -> None:
        if not self.filter_time > 0:
            raise InputError(f"Denoise(filter_time={self.filter_time}): expected a positive time in the unit of t")

    def __call__(self, events: Events) -> Events:
        """The events that are kept, of one sequence."""
        return self.step(self.init(*sensor_of(events)), events)[1]

    def init(self, height: int, width: int) -> Array:
        """The state of a sensor before any event: when each pixel last fired, with a margin of one pixel."""
        return np.full((height + 2, width + 2), -np.inf)

    def step(self, state: Array, events: Events) -> tuple[Array, Events]:
        """The state after these events, and those that are kept."""
        from eventflow.vision._filter_kernels import supported

        after, keep = state.copy(), np.empty(events.num_events, np.bool_)
        marks = events.marks
        supported(events.t, marks["x"], marks["y"], (float(self.filter_time), self.diagonal), after, keep)
        return after, keep_events(events, keep)
