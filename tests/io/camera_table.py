"""A small table of events for tests of camera files, and its lines of text."""

from __future__ import annotations

import numpy as np

from eventflow.events import Events

T = np.sort(np.random.default_rng(0).integers(0, 200_000, 400))
X, Y, P = (np.random.default_rng(1).integers(0, side, 400) for side in (120, 100, 2))
COLUMNS = {"t": T, "x": X, "y": Y, "p": P}


def same(events: Events) -> bool:
    return np.array_equal(events.t, T) and all(np.array_equal(events.marks[k], COLUMNS[k]) for k in "xyp")


def lines(order: str, *, seconds: bool = False, separator: str = " ") -> str:
    shown = {**COLUMNS, "t": [f"{t / 1e6:.6f}" for t in T] if seconds else T}
    return "".join(separator.join(map(str, row)) + "\n" for row in zip(*(shown[k] for k in order), strict=True))
