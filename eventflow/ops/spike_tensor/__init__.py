"""The event spike tensor: polarities apart, a kernel in time. ``naive.py`` is the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

KERNELS = ("triangle", "exponential")
MEASURES = ("time", "count")


def spike_tensor(
    t: Any, x: Any, y: Any, p: Any, *, bins: int, height: int, width: int, span: Any = None,
    kernel: str | Callable[[Any], Any] = "triangle", measure: str = "time", out: Any = None, backend: str = "auto",
) -> Any:  # fmt: skip
    """Sum over events of measure(t) kernel(b - (bins - 1) s), with s = (t - t0) / (t1 - t0), for every bin b.

    Args:
        t: (n,) times in any unit. numpy arrays or torch tensors; the result is of that kind.
        x: (n,) integer columns.
        y: (n,) integer rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        bins: number of points in time.
        height: sensor rows.
        width: sensor columns.
        span: (t0, t1), half-open; None is the closed [first, last] of the events.
        kernel: "triangle": max(0, 1 - |d|). "exponential": exp(-d) for d >= 0. Or a function of the distances d
            (bins, n) as a tensor, for example a small network: it takes the torch path and is learned through it.
        measure: "time": s. "count": 1.
        out: (bins, 2, height, width) float32 to add to, in place: a stream may come in chunks. Needs ``span``.
        backend: "numba", "torch", "naive" (the definition), or "auto", as for :func:`~eventflow.ops.voxel_grid`.

    Returns:
        (bins, 2, height, width) float32; channel 0 positive, 1 negative.

    Raises:
        InputError: columns that do not fit; pixels that are no integers on the sensor; an unknown option.

    Source: Gehrig et al., "End-to-end learning of representations for asynchronous event-based data", ICCV 2019,
    equation 8.
    """
    if not callable(kernel):
        doors.choose("spike_tensor", "kernel", kernel, KERNELS)
    doors.choose("spike_tensor", "measure", measure, MEASURES)
    doors.choose("spike_tensor", "backend", backend, doors.BACKENDS)
    cols.sensor("spike_tensor", bins, 2 * height, width)
    shape = (bins, 2, height, width)
    r = doors.Request("spike_tensor", shape, span, "", None, out, 1, "")
    if callable(kernel) or doors.wants_torch(t, x, y, p, backend=backend):
        from eventflow.ops.spike_tensor.torch import torch_spike_tensor

        return doors.by_torch(
            (t, x, y, p), r,
            lambda *given, shape, span, interpolation: torch_spike_tensor(
                *given, shape=shape, span=span, kernel=kernel, measure=measure
            ),
        )  # fmt: skip
    c = cols.whole("spike_tensor", cols.columns("spike_tensor", *(doors.to_numpy(v) for v in (t, x, y, p))))
    w, grid = cols.in_order(cols.window("spike_tensor", c.t, span), c.t), doors.new_or_given(r)
    if out is None:
        grid[:] = 0
    c = cols.checked("spike_tensor", c, None, height, width)
    if backend == "naive":
        from eventflow.ops.spike_tensor.naive import naive_spike_tensor

        grid += naive_spike_tensor(c, w, shape, kernel, measure)
    else:
        from eventflow.ops.spike_tensor.numba import splat

        splat(c, tuple(w), kernel == "triangle", measure == "time", grid)
    return out if out is not None else doors.like(grid, t)
