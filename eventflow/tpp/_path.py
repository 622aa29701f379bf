"""The intensity of a point process along a sequence, for pictures and tables."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events, pad
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess

Array = NDArray[np.float64]


@torch.no_grad()
def intensity_path(process: PointProcess, events: Events, *, points: int = 1000) -> tuple[Array, Array]:
    """Intensities along one sequence: times (n,) in its span, and (n, K) events per unit of time.

    Each event is there twice, with the left limit and the value just after, so that a line through the points jumps
    where the intensity does; between them lie ``points`` equal steps from the span's start to its end.
    """
    if len(events) != 1 or points < 2:
        raise InputError(
            f"intensity_path: {len(events)} sequences, points={points}; expected one, and at least 2 points"
        )
    start, end = (float(edge) for edge in events.span[0])
    came = events.t.astype(np.float64)
    grid = np.linspace(start, end, points)
    before, after = np.arange(len(came)), np.arange(len(came)) + 1
    t = np.concatenate([grid, came, came])
    past = np.concatenate(
        [np.searchsorted(came, grid, side="right"), before, after]
    )  # events in the past of each point
    order = np.lexsort((past, t))
    t, past = t[order], past[order]
    batch = pad(events, dtype=process.dtype)
    first, states = process.init_at(batch.start), process.encode(batch)
    state = map_state(lambda a, b: torch.cat([a[:, None], b], 1)[0, torch.from_numpy(past)], first, states)
    gap = torch.from_numpy(t - np.concatenate([[start], came])[past]).to(process.dtype)
    return t, process.intensity(state, gap).double().numpy()
