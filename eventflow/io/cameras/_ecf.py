"""Rows of a Metavision dataset whose chunks are ECF: read as stored, decoded by us, no HDF5 plug-in needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.io.cameras._fault_place import FAULTS, chunk_place
from eventflow.io.cameras._source import Array, BrokenError, as_columns
from eventflow.ops.decode_ecf import decode_ecf


class EcfRows:
    """``rows(lo, hi)`` of an open dataset; remembers the chunk decoded last."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._number = -1
        self._columns: tuple[Array, Array, Array, Array] | None = None

    def __call__(self, lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
        size = self._data.chunks[0]
        parts = []
        for number in range(lo // size, (hi - 1) // size + 1):
            try:
                columns = self._chunk(number)
            except BrokenError as error:
                kept = [np.concatenate(column) for column in zip(*parts, strict=True)]
                raise BrokenError(str(error), as_columns(*kept, first=lo) if kept else None) from None
            begin = number * size
            parts.append([column[max(lo - begin, 0) : hi - begin] for column in columns])
        t, x, y, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return t, x, y, p

    def _chunk(self, number: int) -> tuple[Array, Array, Array, Array]:
        if self._columns is None or number != self._number:
            data, first = self._data, number * self._data.chunks[0]
            expected = min(data.chunks[0], len(data) - first)
            try:
                columns = decode_ecf(data.id.read_direct_chunk((first,))[1])
                if len(columns[0]) < expected:
                    raise InputError(f"a chunk of {len(columns[0]):,} events; expected {expected:,}")
            except (InputError, *FAULTS) as error:
                raise BrokenError(f"{chunk_place(data, first)}event {first:,}: {error}") from None
            self._number, self._columns = number, columns
        return self._columns
