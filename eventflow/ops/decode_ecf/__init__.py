"""ECF, the event compression format of Metavision's HDF5 files: one chunk of bytes to the columns of its events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]
__all__ = ["decode_ecf"]
#: Most events of a chunk.
MOST = 65_535


def decode_ecf(data: bytes | Array, *, backend: str = "auto") -> tuple[Array, Array, Array, Array]:
    """t (n,) int64 us, x, y (n,) uint16, p (n,) uint8 of one chunk.

    Raises:
        InputError: if the bytes are no chunk of events.
    """
    raw = np.frombuffer(data, np.uint8)
    header = int.from_bytes(raw[:4].tobytes(), "little")
    n = header >> 2
    good = len(raw) >= 4 and n <= MOST
    columns = np.empty(n if good else 0, np.int64), np.empty(0), np.empty(0), np.empty(0)
    if good and backend == "naive":
        from eventflow.ops.decode_ecf import naive

        events = naive.decode(raw.tobytes())
        good = events is not None
        table = np.array(events or [], dtype=np.int64).reshape(-1, 4).T
        columns = table[0], table[1].astype(np.uint16), table[2].astype(np.uint16), table[3].astype(np.uint8)
    elif good and backend in ("auto", "numba"):
        from eventflow.ops.decode_ecf import numba

        columns = np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
        good = bool(numba.decode(raw[4:], n, header, columns))
    elif backend not in ("auto", "numba", "naive"):
        raise InputError(f"decode_ecf(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    if not good:
        raise InputError(f"decode_ecf: {len(raw):,} bytes that are no chunk of events (header 0x{header:08x})")
    return columns
