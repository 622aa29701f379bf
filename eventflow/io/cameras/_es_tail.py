"""Whether an Event Stream file ends within an event: its library passes over what is left then.

A byte that only moves the clock stands alone, any other begins an event of five bytes (Event Stream, version 2).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

#: Bytes before the events: magic, version, kind, width and height; how many are read at a time.
_HEADER, _BLOCK = 20, 1 << 22


@njit(cache=True, nogil=True)
def walk(data, alone, missing):  # pragma: no cover - compiled
    """Bytes missing of the last event after these; ``alone``: the least byte that stands alone."""
    i = missing
    while i < len(data):
        i += 1 if data[i] >= alone else 5
    return i - len(data)


def missing(path: Path, *, atis: bool) -> int:
    """Bytes missing at the end of the file; 0: it may be whole."""
    left, alone = 0, np.uint8(0xFC if atis else 0xFE)
    with path.open("rb") as file:
        file.seek(_HEADER)
        while data := file.read(_BLOCK):
            left = int(walk(np.frombuffer(data, np.uint8), alone, left))
    return left
