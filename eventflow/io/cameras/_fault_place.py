"""Where a fault lies in a file that a library reads: it says what is wrong, but not at which byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

#: Bytes of "#!AER-DAT4.0\r\n", which the length of the file's description follows.
_AEDAT4 = 14
#: What h5py raises for a damaged file.
FAULTS = (OSError, KeyError, RuntimeError, ValueError)


def hdf5_place(sets: tuple[Any, ...], rows: tuple[int, int]) -> tuple[int, str]:
    """Of the first chunk of these rows that cannot be read: its row, and "byte N, in /events/x: ".

    The first row and nothing if all can.
    """
    found = []
    for data in sets:
        size = data.chunks[0] if data.chunks else max(rows[1] - rows[0], 1)
        for begin in range(rows[0] // size * size, rows[1], size):
            try:
                data[begin : begin + size]
            except FAULTS:
                found.append((begin, chunk_place(data, begin)))
                break
    return min(found, default=(rows[0], ""))


def chunk_place(data: Any, row: int) -> str:
    """Where the chunk of a row is stored: "byte N, in /events/x: "; nothing if what says that is damaged too."""
    try:
        if data.chunks is None:
            at = data.id.get_offset()
        else:
            at = data.id.get_chunk_info_by_coord((row,) + (0,) * (data.ndim - 1)).byte_offset
    except (*FAULTS, TypeError):
        at = None
    return "" if at is None else f"byte {at:,}, in {data.name}: "


def aedat4_place(path: Path, number: int) -> str:
    """Where a packet of an AEDAT 4 file begins, the first being 0: "byte N: "; or the first one before it that is cut.

    After the description each packet begins with its stream and its length, four bytes each.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        at = _AEDAT4
        for skip in (4, *(8,) * number):
            file.seek(at)
            head = file.read(skip)
            length = struct.unpack("<i", head[-4:])[0] if len(head) == skip else -1
            if length < 0 or at + skip + length > size:
                break  # the fault itself
            at += skip + length
    return f"byte {min(at, size):,}: "
