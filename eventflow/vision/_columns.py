"""Events of one camera recording, with columns replaced or rows left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events

Array = NDArray[Any]


def sensor_of(events: Events) -> tuple[int, int]:
    """(height, width) of a single sequence of camera events, checked.

    Raises:
        InputError: several sequences, missing columns, an unknown sensor, a pixel off it.
    """
    if len(events) != 1:
        raise InputError(f"{len(events)} sequences; expected one. Write: events[0]")
    for name in "xyp":
        if name not in events.marks:
            raise InputError(f"no column {name!r}; {did_you_mean(name, events.marks)}; expected camera events: x, y, p")
    height, width = events.schema.height, events.schema.width
    if height is None or width is None:
        raise InputError("the sensor's size is not known. Write: Events.of(..., schema=Schema(height=..., width=...))")
    x, y = events.marks["x"], events.marks["y"]
    off = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    if off.any():
        i = int(np.argmax(off))
        raise InputError(f"event {i} is at pixel (x, y) = ({x[i]}, {y[i]}), outside height={height}, width={width}")
    return height, width


def keep_events(events: Events, keep: Array) -> Events:
    """The events of a single sequence where ``keep``."""
    marks = {name: column[keep] for name, column in events.marks.items()}
    return replace(events, t=events.t[keep], marks=marks, offsets=np.array([0, int(keep.sum())]))


def with_columns(events: Events, t: Array | None = None, **marks: Array) -> Events:
    """A single sequence with other times or marks, sorted by time; ties keep their order."""
    t = events.t if t is None else t
    order = np.argsort(t, kind="stable")
    columns = {**events.marks, **marks}
    return replace(
        events, t=t[order], marks={name: v[order] for name, v in columns.items()}, offsets=np.array([0, len(t)])
    )
