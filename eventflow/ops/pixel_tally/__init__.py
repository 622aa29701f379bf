"""Events counted pixel by pixel, chunk after chunk: which pixels fire too much, and which fire twice at one time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]
__all__ = ["NEVER", "pixel_tally"]
#: The last time of a pixel that has not fired.
NEVER = -(1 << 62)


def pixel_tally(t: Array, x: Array, y: Array, counts: Array, last: Array, *, backend: str = "auto") -> int:
    """Add events to ``counts`` and put their times into ``last``, in place; how many fired at their pixel's last time.

    Args:
        t: (n,) int64, nondecreasing.
        x: (n,) uint16.
        y: (n,) uint16.
        counts: (H, W) int64.
        last: (H, W) int64, ``NEVER`` to begin with.
        backend: auto (numba), numba or naive.

    Raises:
        InputError: an event outside, an unknown backend.
    """
    height, width = counts.shape
    if len(x) and (int(x.max()) >= width or int(y.max()) >= height):
        raise InputError(f"pixel_tally: x up to {x.max()}, y up to {y.max()}; the sensor is {width} x {height}")
    if backend == "naive":
        from eventflow.ops.pixel_tally import naive

        return naive.tally(t, x, y, counts, last)
    if backend not in ("auto", "numba"):
        raise InputError(f"pixel_tally(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    from eventflow.ops.pixel_tally import numba

    given = [np.require(column, kind, ["C", "A"]).view() for column, kind in ((t, "i8"), (x, "u2"), (y, "u2"))]
    for column in given:
        column.flags.writeable = False  # one type of array, compiled once
    return int(numba.tally(given[0], given[1], given[2], counts, last))
