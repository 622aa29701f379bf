"""The event count: how many events of each polarity, per bin of time and pixel. ``naive.py`` is the definition."""

from __future__ import annotations

from typing import Any

from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

INTERPOLATIONS = ("nearest", "bilinear")


def event_count(
    t: Any, x: Any, y: Any, p: Any, *, bins: int, height: int, width: int, span: Any = None,
    interpolation: str = "nearest", rectify: Any = None, out: Any = None, threads: int = 1, backend: str = "auto",
) -> Any:  # fmt: skip
    """Number of positive (channel 0) and negative (channel 1) events in each of ``bins`` equal stretches of time.

    An event belongs to bin floor(bins (t - t0) / (t1 - t0)). With ``rectify`` and "bilinear" this is the input of
    Ponghiran et al., "Event-based temporally dense optical flow estimation with sequential learning", ICCV 2023. With
    ``bins=1`` and warped positions it is the image of warped events, differentiable in x and y. Nothing that is given
    is changed, but ``out``.

    Args:
        t: (n,) times in any unit; integers or float64. numpy arrays or torch tensors; the result is of that kind.
        x: (n,) columns: integer pixels, or sub-pixel positions (pixel centres are whole numbers).
        y: (n,) rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        bins: number of stretches that the window is cut into.
        height: sensor rows.
        width: sensor columns.
        span: (t0, t1), half-open: events outside it are ignored, and a stream may come in chunks (see ``out``). None is
            the closed [first, last] of the events.
        interpolation: "nearest": one count in the nearest pixel. "bilinear": shared among the four pixels around;
            what falls off the sensor is lost.
        rectify: (height, width, 2) map of (x, y) at [y, x]; integer pixels are moved by it first.
        out: (bins, 2, height, width) float32 array to add to, in place, and return: the counts so far of a stream.
            Needs ``span``. Any cutting into chunks gives the same bits.
        threads: CPU threads, each with bins of its own. One where times go back.
        backend: "numba" (CPU), "torch" (any device; differentiable), "naive" (the definition), or "auto": torch where a
            gradient is wanted or the tensors are not on the CPU, else numba.

    Returns:
        (bins, 2, height, width) float32. With backend "torch" and a float64 position that wants a gradient: float64.

    Raises:
        InputError: columns that do not fit; integer pixels off the sensor; unknown polarity, option or span.
    """
    doors.choose("event_count", "interpolation", interpolation, INTERPOLATIONS)
    doors.choose("event_count", "backend", backend, doors.BACKENDS)
    cols.sensor("event_count", bins, 2 * height, width)
    r = doors.Request("event_count", (bins, 2, height, width), span, interpolation, rectify, out, threads, "bilinear")
    if doors.wants_torch(t, x, y, p, backend=backend):
        from eventflow.ops.event_count.torch import torch_event_count

        return doors.by_torch((t, x, y, p), r, torch_event_count)
    c = cols.columns("event_count", *(doors.to_numpy(v) for v in (t, x, y, p)))
    w, grid = cols.window("event_count", c.t, span), doors.new_or_given(r)
    if backend == "naive":
        from eventflow.ops.event_count.naive import naive_event_count

        doors.by_definition(c, w, grid, r, naive_event_count)
    else:
        from eventflow.ops.event_count.numba import count

        doors.by_kernel(c, w, grid, r, count)
    return out if out is not None else doors.like(grid, t)
