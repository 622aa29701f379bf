"""The event frame: one signed image of a window. ``naive.py`` is the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

REDUCTIONS = ("sum", "last")


def event_frame(
    t: Any, x: Any, y: Any, p: Any, *, height: int, width: int, span: Any = None, reduce: str = "sum", out: Any = None,
    backend: str = "auto",
) -> Any:  # fmt: skip
    """The sum of each pixel's signs, or the sign of its last event, in the window.

    Args:
        t: (n,) times in any unit. numpy arrays or CPU tensors; the result is of that kind.
        x: (n,) integer columns.
        y: (n,) integer rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        height: sensor rows.
        width: sensor columns.
        span: (t0, t1), half-open; None takes all events.
        reduce: "sum" or "last" (in the order of the arrays).
        out: (height, width) float32 to go on with, in place: a stream may come in chunks.
        backend: "numba" ("auto") or "naive" (the definition).

    Returns:
        (height, width) float32; 0 where there was no event.

    Raises:
        InputError: columns that do not fit; pixels that are no integers on the sensor; an unknown option.
    """
    doors.choose("event_frame", "reduce", reduce, REDUCTIONS)
    doors.choose("event_frame", "backend", backend, ("auto", "numba", "naive"))
    cols.sensor("event_frame", 1, height, width)
    c = cols.whole("event_frame", cols.columns("event_frame", *(doors.to_numpy(v) for v in (t, x, y, p))))
    w = cols.in_order(cols.window("event_frame", c.t, span), c.t)
    fresh = np.zeros((height, width), np.float32)
    frame = fresh if out is None else doors.to_numpy(out)
    if frame.shape != fresh.shape or frame.dtype != np.float32:
        raise InputError(f"event_frame: out is {frame.dtype} {frame.shape}; expected float32 {fresh.shape}")
    if out is not None and (fault := cols.first_fault("event_frame", c, height, width)):
        raise fault
    if backend == "naive":
        from eventflow.ops.event_frame.naive import naive_event_frame

        c = cols.checked("event_frame", c, None, height, width)
        drawn = naive_event_frame(c, w, (height, width), reduce)
        frame[:] = frame + drawn if reduce == "sum" else np.where(drawn != 0, drawn, frame)
    else:
        from eventflow.ops.event_frame.numba import draw

        if draw(c, tuple(w), reduce == "sum", frame)[0] and (
            fault := cols.first_fault("event_frame", c, height, width)
        ):
            raise fault
    return out if out is not None else doors.like(frame, t)
