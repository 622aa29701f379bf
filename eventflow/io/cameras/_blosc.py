"""Blosc's chunks read as stored and unpacked here, the columns side by side: HDF5 unpacks one after the other.

The unpacker is that of hdf5plugin, called directly; it needs neither Python's lock nor HDF5's. What it cannot take (no
Blosc, other filters, a chunk that is not there) is read through h5py.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.io.cameras._source import Array

#: The filter's number in HDF5.
BLOSC = 32001
#: Fewer rows are not worth another thread.
_WORTH = 1 << 14
#: Chunks that are held while the next rows are sought.
_FEW = 4


@functools.cache
def _library() -> Any:
    """hdf5plugin's Blosc, if it is there and can be called; None if not."""
    try:
        import hdf5plugin

        folder = Path(hdf5plugin.PLUGIN_PATH)
        blosc = ctypes.CDLL(str(next(path for path in folder.iterdir() if "h5blosc." in path.name)))
        blosc.blosc_cbuffer_validate.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)]
        blosc.blosc_decompress_ctx.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    except (ImportError, AttributeError, OSError, StopIteration):
        return None
    return blosc


def _cores() -> int:
    """Those that this thread may run on now."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(process: int, cores: int) -> Executor | None:
    """A thread of this process beside the one that asks; none where there is one core, or where other processes are at
    work beside this one."""
    alone = multiprocessing.parent_process() is None
    return ThreadPoolExecutor(1, "eventflow blosc") if cores > 1 and alone else None


class Chunked:
    """``rows(lo, hi)`` of several open datasets of one length, each with chunks of its own, in one dimension.

    Args:
        sets: the datasets.
        filters: the numbers of the filters of each.
        added: what is added to the first one, in int64; only if that holds integers.
    """

    def __init__(self, sets: list[Any], filters: list[list[int]], *, added: int) -> None:
        self._columns = [_Column(data, found == [BLOSC]) for data, found in zip(sets, filters, strict=True)]
        if sets[0].dtype.kind in "iu":
            self._columns[0].added = added

    @property
    def ordered(self) -> bool:
        """Whether in the rows that came last the first column was seen not to go back: while it was in the cache."""
        return self._columns[0].ordered

    def first(self, lo: int, hi: int) -> Array:
        """Rows of the first column alone; their chunks are held."""
        column = self._columns[0]
        return column.rows(lo, column.room(lo, hi), column.packed(lo, hi), hold=True)

    def rows(self, lo: int, hi: int) -> list[Array]:
        """The rows of each column."""
        pool = _pool(os.getpid(), _cores())
        jobs = [(column, column.room(lo, hi), column.packed(lo, hi)) for column in self._columns]

        def work(some: slice) -> list[Array]:
            return [column.rows(lo, out, chunks) for column, out, chunks in jobs[some]]

        if pool is None or hi - lo < _WORTH:
            return work(slice(None))
        others = pool.submit(work, slice(1, None))  # t is about as dear as the rest; each hand-over costs, too
        return [*work(slice(1)), *others.result()]


class _Column:
    """A dataset; of its chunks, if they are Blosc's, the last few that are not yet used up are held."""

    def __init__(self, data: Any, packed: bool) -> None:
        self.added: int | None = None
        self.ordered = False
        self._data, self._length, self._dtype = data, len(data), data.dtype
        direct = packed and data.ndim == 1 and _library() is not None
        self._size = data.chunks[0] if direct else 0
        self._held: dict[int, Array] = {}
        self._spare: list[Array] = []  # memory that is used again: new memory costs as much as unpacking

    def room(self, lo: int, hi: int) -> Array:
        """Memory for these rows."""
        return np.empty(max(min(hi, self._length) - lo, 0), self._dtype if self.added is None else np.int64)

    def packed(self, lo: int, hi: int) -> dict[int, bytes | Array]:
        """number -> bytes of the chunks of these rows; of those that were held, which they are no more, the rows."""
        wanted, held = self._numbers(lo, min(hi, self._length)), self._held
        return {number: held.pop(number) if number in held else self._stored(number) for number in wanted}

    def _numbers(self, lo: int, hi: int) -> range:
        return range(lo // self._size, -(-hi // self._size)) if self._size else range(0)

    def _stored(self, number: int) -> bytes:
        """A chunk as it is in the file; b"": it is not there, or was stored otherwise."""
        try:
            mask, raw = self._data.id.read_direct_chunk((number * self._size,))
        except (OSError, RuntimeError, ValueError, MemoryError):  # the last: h5py's, of a chunk that is not there
            return b""
        return b"" if mask else bytes(raw)

    def rows(self, lo: int, out: Array, chunks: dict[int, bytes | Array], *, hold: bool = False) -> Array:
        """``out`` filled with the rows from ``lo`` on, chunk by chunk; those that go on after it are held, or all."""
        hi, self.ordered = lo + len(out), self.added is not None
        if not self._size:
            self._put(self._data[lo:hi], out, 0)
        for number, chunk in chunks.items():
            base, end = number * self._size, (number + 1) * self._size
            at = max(base - lo, 0)
            part = out[at : end - lo]
            if self.added is None and len(part) == self._size and _unpacked(chunk, part):
                continue
            held = self._chunk(chunk)
            if held is None:  # HDF5 can read it, or say what is wrong
                self._put(self._data[max(base, lo) : min(end, hi)], out, at)
                continue
            self._put(held[max(lo - base, 0) :][: len(part)], out, at)
            if hold or end > hi:
                self._hold(number, held)
            else:
                self._spare.append(held)
        return out

    def _put(self, rows: Array, out: Array, at: int) -> None:
        part = out[at : at + len(rows)]
        part[:] = rows
        if self.added is not None:
            part += self.added
            seen = rows if rows.itemsize < 8 else part  # the narrower the faster, but sums in 64 bits may wrap
            self.ordered &= not (seen[1:] < seen[:-1]).any() and not (at and (part[:1] < out[at - 1]).any())

    def _chunk(self, chunk: bytes | Array) -> Array | None:
        """Its rows; None: it cannot be unpacked."""
        if not isinstance(chunk, bytes):
            return chunk
        room = self._spare.pop() if self._spare else np.empty(self._size, self._dtype)
        if _unpacked(chunk, room):
            return room
        self._spare.append(room)
        return None

    def _hold(self, number: int, rows: Array) -> None:
        """Hold it, as the last of a few."""
        self._held[number] = rows
        while len(self._held) > _FEW:
            self._spare.append(self._held.pop(next(iter(self._held))))


def _unpacked(raw: bytes | Array, room: Array) -> bool:
    """Whether ``raw`` is a sound buffer of Blosc's that fills ``room``, as it does then."""
    blosc, told = _library(), ctypes.c_size_t()
    if (
        not isinstance(raw, bytes)
        or blosc.blosc_cbuffer_validate(raw, len(raw), ctypes.byref(told)) < 0
        or told.value != room.nbytes
    ):
        return False
    return blosc.blosc_decompress_ctx(raw, room.ctypes.data, room.nbytes, 1) == room.nbytes
