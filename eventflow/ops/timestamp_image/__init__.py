"""The timestamp image: when in the window each pixel fired. ``naive.py`` is the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

REDUCTIONS = ("last", "mean")


def timestamp_image(
    t: Any, x: Any, y: Any, p: Any, *, height: int, width: int, span: Any = None, reduce: str = "last",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """The last or the mean time of each pixel's positive (channel 0) and negative (channel 1) events in the window.

    Times are (t - t0) / (t1 - t0). Pixels without an event hold 0, as one that fired at the very start does.

    Args:
        t: (n,) times in any unit, in any order. numpy arrays or CPU tensors; the result is of that kind.
        x: (n,) integer columns.
        y: (n,) integer rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        height: sensor rows.
        width: sensor columns.
        span: (t0, t1), half-open; None is the closed [first, last] of the events.
        reduce: "last", as in Zhu et al., "EV-FlowNet", RSS 2018; or "mean", as in their loss of CVPR 2019.
        backend: "numba" ("auto") or "naive" (the definition).

    Returns:
        (2, height, width) float32 in [0, 1].

    Raises:
        InputError: columns that do not fit; pixels that are no integers on the sensor; an unknown option.
    """
    doors.choose("timestamp_image", "reduce", reduce, REDUCTIONS)
    doors.choose("timestamp_image", "backend", backend, ("auto", "numba", "naive"))
    cols.sensor("timestamp_image", 2, height, width)
    c = cols.whole("timestamp_image", cols.columns("timestamp_image", *(doors.to_numpy(v) for v in (t, x, y, p))))
    w = cols.in_order(cols.window("timestamp_image", c.t, span), c.t)
    if backend == "naive":
        from eventflow.ops.timestamp_image.naive import naive_timestamp_image

        c = cols.checked("timestamp_image", c, None, height, width)
        return doors.like(naive_timestamp_image(c, w, (height, width), reduce).astype(np.float32), t)
    last, total, count = (np.zeros((2, height, width)) for _ in range(3))
    add_times(c, w, (last, total, count))
    image = last if reduce == "last" else total / np.maximum(count, 1)
    return doors.like(image.astype(np.float32), t)


def add_times(c: cols.Columns, w: cols.Window, sums: tuple[cols.Array, cols.Array, cols.Array]) -> None:
    """Add events to (last, total, count), each (2, height, width) float64, in place: a stream may come in chunks."""
    from eventflow.ops.timestamp_image.numba import gather_times

    if gather_times(c, tuple(w), *sums)[0]:
        fault = cols.first_fault("timestamp_image", c, *sums[0].shape[1:])
        if fault is not None:
            raise fault
