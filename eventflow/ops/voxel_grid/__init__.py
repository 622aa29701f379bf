"""The voxel grid: signed events, shared among bins of time (and pixels). ``naive.py`` is the definition."""

from __future__ import annotations

from typing import Any

from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

INTERPOLATIONS = ("time", "trilinear", "nearest")


def voxel_grid(
    t: Any, x: Any, y: Any, p: Any, *, bins: int, height: int, width: int, span: Any = None,
    interpolation: str = "time", rectify: Any = None, out: Any = None, threads: int = 1, backend: str = "auto",
) -> Any:  # fmt: skip
    """Sum of the events' signs, each shared between the two nearest of ``bins`` points in time.

    An event lies at position (bins - 1) (t - t0) / (t1 - t0) of the window [t0, t1]. Weights add up to 1, so the grid
    adds up to the positive less the negative events in the window (less what sub-pixel positions share with pixels off
    the sensor). Nothing that is given is changed, but ``out``.

    Args:
        t: (n,) times in any unit; integers or float64. numpy arrays or torch tensors; the result is of that kind.
        x: (n,) columns: integer pixels, or sub-pixel positions (pixel centres are whole numbers).
        y: (n,) rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        bins: number of points in time; the first and the last are the ends of the window.
        height: sensor rows.
        width: sensor columns.
        span: (t0, t1), half-open: events outside it are ignored, and a stream may come in chunks (see ``out``). None is
            the closed [first, last] of the events, as DSEC has it.
        interpolation: "time": linear in time, in the pixel floor(x), floor(y). "trilinear": linear in time, x and y;
            what falls off the sensor is lost. "nearest": all to the nearest voxel.
        rectify: (height, width, 2) map of (x, y) at [y, x]; integer pixels are moved by it first.
        out: (bins, height, width) float32 array to add to, in place, and return: the grid so far of a stream. Needs
            ``span``. Any cutting into chunks gives the same bits.
        threads: CPU threads, each with bins of its own; sums may differ in the last bits. One where times go back.
        backend: "numba" (CPU), "torch" (any device; differentiable in t, x and y), "naive" (the definition), or "auto":
            torch where a gradient is wanted or the tensors are not on the CPU, else numba.

    Returns:
        (bins, height, width) float32. With backend "torch" and a float64 column that wants a gradient: float64.

    Raises:
        InputError: columns that do not fit; integer pixels off the sensor; unknown polarity, option or span.

    Source: Zhu et al., CVPR 2019, equations 1 and 2; the window is DSEC's (Gehrig et al., 2021).
    """
    doors.choose("voxel_grid", "interpolation", interpolation, INTERPOLATIONS)
    doors.choose("voxel_grid", "backend", backend, doors.BACKENDS)
    cols.sensor("voxel_grid", bins, height, width)
    r = doors.Request("voxel_grid", (bins, height, width), span, interpolation, rectify, out, threads, "trilinear")
    if doors.wants_torch(t, x, y, p, backend=backend):
        from eventflow.ops.voxel_grid.torch import torch_voxel_grid

        return doors.by_torch((t, x, y, p), r, torch_voxel_grid)
    c = cols.columns("voxel_grid", *(doors.to_numpy(v) for v in (t, x, y, p)))
    w, grid = cols.window("voxel_grid", c.t, span), doors.new_or_given(r)
    if backend == "naive":
        from eventflow.ops.voxel_grid.naive import naive_voxel_grid

        doors.by_definition(c, w, grid, r, naive_voxel_grid)
    else:
        from eventflow.ops.voxel_grid.numba import splat

        doors.by_kernel(c, w, grid, r, splat)
    return out if out is not None else doors.like(grid, t)
