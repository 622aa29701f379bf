"""Events as they travel over a network: records in datagrams that may be lost, late, repeated, cut or foreign.

    spif     32-bit words, little endian: bit 31 set: no time follows; x in bits 30..16, p in 15, y in 14..0. Where bit
             31 is clear, a second word is the time in us (it comes round after 71 minutes). SpiNNaker's interface
             board, AEStream.
    t64      13 bytes: t (64 bits, us), x, y (16 bits), p (8 bits). faery's default.
    t32      8 bytes: t (32 bits, us), x (16 bits), y in bits 15..1 of the last 16, p in bit 0. faery's short form.

The clock: a time without a stamp is the arrival of its datagram. Times never go back: a step back of up to ``SLACK`` us
holds the clock; a datagram that begins earlier than that is *late* and left out, unless it is earlier by more than
``LATE``: then the sender has begun anew, and its times go on from ours. An impossible record ends its datagram.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.ops.decode_datagrams._registers import LATE as LATE
from eventflow.ops.decode_datagrams._registers import LAYOUTS as LAYOUTS
from eventflow.ops.decode_datagrams._registers import SLACK as SLACK
from eventflow.ops.decode_datagrams._registers import Registers as Registers

Array = NDArray[Any]
__all__ = ["LATE", "LAYOUTS", "SLACK", "Arrived", "Registers", "decode_datagrams"]


class Arrived(NamedTuple):
    """t (n,) int64 us, nondecreasing; x, y (n,) uint16; p (n,) uint8 in {0, 1}; the registers for the next call."""

    t: Array
    x: Array
    y: Array
    p: Array
    registers: Registers


def decode_datagrams(
    rows: Array, sizes: Array, arrivals: Array, *, layout: str, registers: Registers | None = None,
    limits: tuple[int | None, int | None] = (None, None), stream: bool = False, backend: str = "auto",
) -> Arrived:  # fmt: skip
    """The events of datagrams, in the order in which they arrived.

    Args:
        rows: (d, size) uint8, a datagram each.
        sizes: (d,) int64, how much of each row it fills.
        arrivals: (d,) int64 us.
        layout: spif, t64 or t32.
        registers: those of the call before.
        limits: width and height of the sensor, where they are known; an event outside is impossible.
        stream: the rows are pieces of a stream that lost nothing: ``registers.rest`` then says how many bytes at the
            end of the last row are not yet a record, and every step back beyond ``SLACK`` is a sender that began anew.
        backend: auto (numba), numba or naive.

    Raises:
        InputError: for an unknown layout or backend.
    """
    if layout not in LAYOUTS:
        raise InputError(f"decode_datagrams(layout={layout!r}): {did_you_mean(layout, LAYOUTS)}")
    state = registers or Registers()
    bounds = (limits[0] or 1 << 16, limits[1] or 1 << 16)
    late = SLACK if stream else LATE
    if backend == "naive":
        from eventflow.ops.decode_datagrams import naive

        data = [row[:size].tobytes() for row, size in zip(rows, sizes.tolist(), strict=True)]
        events, state = naive.decode(data, arrivals.tolist(), LAYOUTS[layout], state, (*bounds, late, stream))
        table = np.array(events, dtype=np.int64).reshape(-1, 4).T
        kinds = (np.int64, np.uint16, np.uint16, np.uint8)
        columns = [column.astype(kind) for column, kind in zip(table, kinds, strict=True)]
        return Arrived(columns[0], columns[1], columns[2], columns[3], state)
    if backend not in ("auto", "numba"):
        raise InputError(f"decode_datagrams(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    from eventflow.ops.decode_datagrams import numba

    most = int(sizes.sum()) // LAYOUTS[layout].least
    columns = np.empty(most, np.int64), np.empty(most, np.uint16), np.empty(most, np.uint16), np.empty(most, np.uint8)
    words = np.array(state, dtype=np.int64)
    options = _options(layout, bounds, late, stream)
    n = numba.decode(rows, sizes, arrivals, words, options, columns)
    t, x, y, p = (column[:n] for column in columns)
    return Arrived(t, x, y, p, Registers(*words.tolist()))


@lru_cache
def _options(layout: str, bounds: tuple[int, int], late: int, stream: bool) -> Array:
    return np.array([LAYOUTS[layout].code, *bounds, late, stream], dtype=np.int64)
