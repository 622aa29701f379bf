"""The definition of the time surface: one event at a time, in double precision."""

from __future__ import annotations

import math

import numpy as np

from eventflow.ops._columns import Array, Columns


def naive_latest(c: Columns, latest: Array, until: float) -> Array:
    """(2, height, width) float64: time of the last event of each polarity; -inf where there was none."""
    out = latest.copy()
    for t, x, y, p in zip(c.t.tolist(), c.x.tolist(), c.y.tolist(), c.p.tolist(), strict=True):
        if t <= until:
            out[1 - p, y, x] = max(out[1 - p, y, x], t)
    return out


def naive_decayed(latest: Array, at: float, tau: float, decay: str) -> Array:
    """exp(-age / tau), or 1 - age / tau while that is positive; 0 where there was no event."""
    out = np.zeros(latest.shape)
    for place in np.ndindex(latest.shape):
        age = at - latest[place]
        if math.isfinite(age):
            out[place] = math.exp(-age / tau) if decay == "exponential" else max(0.0, 1 - age / tau)
    return out
