"""The definition."""

from __future__ import annotations

from typing import Any


def tally(t: Any, x: Any, y: Any, counts: Any, last: Any) -> int:
    """See :func:`eventflow.ops.pixel_tally.pixel_tally`."""
    repeats = 0
    for time, column, row in zip(t.tolist(), x.tolist(), y.tolist(), strict=True):
        counts[row, column] += 1
        repeats += bool(last[row, column] == time)
        last[row, column] = time
    return repeats
