"""The time surface: how long ago each pixel last fired, as a number that decays. ``naive.py`` is the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.ops import _columns as cols
from eventflow.ops import _doors as doors

DECAYS = ("exponential", "linear")


def time_surface(
    t: Any, x: Any, y: Any, p: Any, *, height: int, width: int, tau: Any, at: Any = None, decay: str = "exponential",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """What is left, at time ``at``, of the last positive (channel 0) and negative (channel 1) event of each pixel.

    Args:
        t: (n,) times in any unit, in any order. numpy arrays or torch tensors; the result is of that kind.
        x: (n,) integer columns.
        y: (n,) integer rows.
        p: (n,) polarity: {0, 1}, bool or {-1, +1}.
        height: sensor rows.
        width: sensor columns.
        tau: time constant, in the unit of t.
        at: when to look; later events are ignored. None is the time of the last event.
        decay: "exponential": exp(-age / tau). "linear": 1 - age / tau, at least 0.
        backend: as for :func:`~eventflow.ops.voxel_grid`; the torch path is differentiable in t, ``at`` and ``tau``.

    Returns:
        (2, height, width) float32 in [0, 1]; 0 where there was no event.

    Raises:
        InputError: columns that do not fit; pixels that are no integers on the sensor; tau not positive.

    Source: Lagorce et al., "HOTS: a hierarchy of event-based time-surfaces for pattern recognition", TPAMI 2017.
    """
    doors.choose("time_surface", "decay", decay, DECAYS)
    doors.choose("time_surface", "backend", backend, doors.BACKENDS)
    cols.sensor("time_surface", 2, height, width)
    if not float(tau.detach() if doors.is_tensor(tau) else tau) > 0:
        raise InputError(f"time_surface(tau={tau}): expected a positive number")
    if doors.wants_torch(t, x, y, p, *(v for v in (at, tau) if doors.is_tensor(v)), backend=backend):
        return _by_torch((t, x, y, p), (height, width), at, tau, decay)
    c = cols.columns("time_surface", *(doors.to_numpy(v) for v in (t, x, y, p)))
    now = float(c.t.max()) if at is None and len(c.t) else float(at or 0.0)
    last = latest(c, height, width, until=now, backend=backend)
    return doors.like(decayed(last, now, float(tau), decay, backend=backend), t)


def latest(
    c: cols.Columns, height: int, width: int, *, until: float = np.inf, before: Any = None, backend: str = "auto"
) -> cols.Array:
    """(2, height, width) float64: time of the last event of each polarity up to ``until``; -inf: none.

    ``before`` is the same of earlier events; a stream may come in chunks.
    """
    cols.whole("time_surface", c)
    start = np.full((2, height, width), -np.inf) if before is None else before.copy()
    if backend == "naive":
        from eventflow.ops.time_surface.naive import naive_latest

        return naive_latest(cols.checked("time_surface", c, None, height, width), start, until)
    from eventflow.ops.time_surface.numba import latest as run

    if run(*c, until, start) and (fault := cols.first_fault("time_surface", c, height, width)):
        raise fault
    return start


def decayed(last: cols.Array, at: float, tau: float, decay: str, *, backend: str = "auto") -> cols.Array:
    """The surface at time ``at``, float32, from what :func:`latest` returned."""
    if backend == "naive":
        from eventflow.ops.time_surface.naive import naive_decayed

        return naive_decayed(last, at, tau, decay).astype(np.float32)
    age = (at - last) / tau
    return (np.exp(-age) if decay == "exponential" else np.maximum(1 - age, 0)).astype(np.float32)


def _by_torch(given: tuple[Any, ...], size: tuple[int, int], at: Any, tau: Any, decay: str) -> Any:
    import torch

    from eventflow.ops.time_surface.torch import torch_time_surface

    t, x, y, p = doors.torch_columns("time_surface", given, None, size)
    if x.is_floating_point() or y.is_floating_point():
        raise InputError("time_surface: x and y are sub-pixel positions; expected integer pixels. Write: x.long()")
    now = at if at is not None else t.max() if len(t) else 0
    now = torch.as_tensor(now, device=t.device)
    scale = tau if doors.is_tensor(tau) else torch.tensor(float(tau), device=t.device)
    return torch_time_surface(t, x, y, p, size=size, at=now, tau=scale, decay=decay)
