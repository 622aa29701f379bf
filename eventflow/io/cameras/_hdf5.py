"""HDF5: MVSEC, Metavision, and (in ``_hdf5_columns``) a dataset a column. Only the rows of a window are read.

MVSEC: ``davis/{left,right}/events``, n x 4 float64 (x, y, t in seconds, p; 346 x 260). Metavision: ``CD/events``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventflow.errors import InputError, require
from eventflow.io._text import Progress
from eventflow.io.cameras._fault_place import FAULTS, hdf5_place
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Ordered, Source, as_columns

#: Events read at a time; of a window whose rows the index knows, all at once up to the second number; where nothing is
#: known, few at first: often only the first event is asked for.
_ROWS, _WINDOW, _BEGIN = 1 << 17, 1 << 21, 1 << 12
#: Bytes of unpacked chunks that HDF5 remembers for each dataset, at least: room for one chunk, so that its memory is
#: used again for the next. With room for many, each is unpacked into memory of its own, which costs a third more.
_CACHE = 1 << 20
_FILTERS = {32001: "Blosc", 32026: "Blosc2", 32015: "Zstandard", 32004: "LZ4", 32008: "bitshuffle"}
#: Prophesee's event compression format.
_ECF = 0x8ECF


class Reader(NamedTuple):
    """An open file: ``rows(lo, hi)`` are (t, x, y, p); ``times(lo, hi)`` is t alone; ``sets`` what they are read from;
    ``narrow(start)``, where there is an index, the rows (lo, hi) between which the first event at or after ``start``
    should lie; ``ordered()``: whether the rows that came last were seen to be in the order of their times."""

    rows: Callable[[int, int], tuple[Array, Array, Array, Array]]
    times: Callable[[int, int], Array]
    sets: tuple[Any, ...]
    narrow: Callable[[int], tuple[int, int]] | None = None
    ordered: Callable[[], bool] = bool


@dataclass(slots=True)
class Hdf5Source(Source):
    """``bind`` makes the reader of an open file, whose datasets stay open (and cached) while events are read."""

    bind: Callable[[Any], Reader] | None = None
    length: int = 0
    cache: int = _CACHE

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        return self._read(start, end, None)

    def aligned(self, start: int, every: int) -> Iterator[Columns]:
        return self._read(start, None, every)

    def _read(self, start: Bound, end: Bound, every: int | None) -> Iterator[Columns]:
        assert self.bind is not None
        progress = Progress(self.opening.path)
        row = stop = 0
        sets: tuple[Any, ...] = ()
        reader: Reader | None = None
        try:
            with opened(self.opening, self.cache) as file:
                try:
                    reader = self.bind(file)
                    sets = reader.sets
                    row = stop = self._first(reader, start)
                    size = self._size(reader, row, end)
                    while row < self.length:
                        if every is not None and start is not None:
                            size = self._edge(reader, row, start, every) - row
                        stop = min(row + size, self.length)
                        size = _ROWS - stop % _ROWS  # from then on to a multiple: chunks are mostly whole then
                        block = as_columns(*reader.rows(row, stop), first=row)
                        yield Ordered(*block) if reader.ordered() else block
                        row = stop
                        progress.at(progress.total * row // self.length)
                        if end is not None and block.t[-1] >= end:
                            return
                except FAULTS as error:
                    if isinstance(error, InputError):
                        raise
                    at, place = hdf5_place(sets, (row, stop))
                    told = f"{place}event {max(at, row):,}: {_reason(error)}"
                    raise BrokenError(told, _before(reader, row, at)) from None
        finally:
            progress.stop()

    def _edge(self, reader: Reader, row: int, start: int, every: int) -> int:
        """The row at which a window begins, not too near and not too far from ``row``."""
        least = min(row + _ROWS // 2, self.length - 1)
        passed = int(reader.times(least, least + 1)[0]) - start
        stop = self._first(reader, start + (passed // every + 1) * every)
        return row + _ROWS if stop - row > _WINDOW else max(stop, least + 1)

    def _first(self, reader: Reader, start: Bound) -> int:
        """The first row at or after ``start``, by the file's index, if that is right, else by bisection."""
        if start is None or not self.length:
            return 0
        if reader.narrow is not None:
            lo, hi = reader.narrow(start)
            if 0 <= lo <= hi <= self.length and hi - lo < _ROWS:
                base = max(lo - 1, 0)
                near = reader.times(base, min(hi + 1, self.length))
                at = int(np.searchsorted(near, start))
                if (at or not base) and (at < len(near) or base + at == self.length):
                    return base + at
        return _bisect(reader, start, (0, self.length))

    def _size(self, reader: Reader, row: int, end: Bound) -> int:
        """How many rows to read first: up to just past ``end``, if the index says where that is."""
        if row == 0 and end is None:
            return _BEGIN
        last = reader.narrow(end)[1] + 1 if reader.narrow is not None and end is not None else row
        return last - row if 0 < last - row <= _WINDOW else _ROWS


def _before(reader: Reader | None, row: int, stop: int) -> Columns | None:
    """What can be read of a block that holds a fault: these rows."""
    if reader is None or stop <= row:
        return None
    try:
        return as_columns(*reader.rows(row, stop), first=row)
    except FAULTS:
        return None


def _bisect(reader: Reader, start: int, rows: tuple[int, int]) -> int:
    lo, hi = rows
    while lo < hi:
        middle = (lo + hi) // 2
        lo, hi = (middle + 1, hi) if reader.times(middle, middle + 1)[0] < start else (lo, middle)
    return lo


@contextmanager
def opened(opening: Opening, cache: int = _CACHE) -> Iterator[Any]:
    """The file; with its compression filters, if hdf5plugin is installed. ``cache``: bytes for each dataset."""
    import importlib.util

    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")
    with _file(opening, cache) as file:
        yield file


def _file(opening: Opening, cache: int) -> Any:
    import h5py

    try:
        return h5py.File(opening.path, "r", rdcc_nbytes=cache)
    except OSError as error:
        length = re.search(r"truncated file.* stored_eof = (\d+)", str(error))
        if length and opening.recover:
            try:
                return h5py.File(Padded(opening.path, int(length[1])), "r", rdcc_nbytes=cache)
            except (OSError, RuntimeError):
                pass  # what says where everything lies is gone
        size = opening.path.stat().st_size
        short = f"; {int(length[1]) - size:,} bytes are missing at its end, byte {size:,}" if length else ""
        raise opening.error(
            f"an HDF5 file that cannot be opened ({_reason(error)}); it has {size:,} bytes and is probably cut off"
            f"{short}"
        ) from None


class Padded(io.RawIOBase):
    """A file that was cut off, with zeros where the rest was: HDF5 then opens it, and finds what is left."""

    def __init__(self, path: Path, length: int) -> None:
        self._file, self._length, self._at = path.open("rb", buffering=0), length, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """See :class:`io.RawIOBase`."""
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        """See :class:`io.RawIOBase`."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See :class:`io.RawIOBase`."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._at)
        got = self._file.readinto(view) or 0
        wanted = max(min(len(view), self._length - self._at), got)
        view[got:wanted] = bytes(wanted - got)
        self._at += wanted
        return wanted

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def sniffed(opening: Opening) -> str:
    """The layout of a file, even if it is cut off."""
    with opened(replace(opening, recover=True)) as file:
        try:
            found = layout(file)
        except (OSError, RuntimeError, KeyError, ValueError):
            found = None
        if found is not None:
            return found
        with opened(opening):  # says so if it is cut off
            raise foreign(opening, file)


def layout(file: Any) -> str | None:
    """dsec, m3ed, columns, mvsec, metavision or table: by what is in it."""
    from eventflow.io.cameras._hdf5_columns import groups
    from eventflow.io.cameras._hdf5_table import tables

    if all(f"events/{name}" in file for name in "xytp"):
        return "dsec"
    if "davis/left/events" in file or "davis/right/events" in file:
        return "mvsec"
    if "CD/events" in file:
        return "metavision"
    found = groups(file)
    if found:
        return "m3ed" if any(path.startswith("prophesee/") for path in found) else "columns"
    return "table" if tables(file) else None


def foreign(opening: Opening, file: Any) -> InputError:
    """The error for an HDF5 file of no known layout."""
    held = ", ".join(list(file)[:8]) or "nothing"
    return opening.error(
        f"an HDF5 file of no known layout; it holds {held}. Expected events/{{x,y,t,p}} (DSEC), events/{{xs,ys,ts,ps}} "
        "(event_utils), prophesee/{left,right}/{x,y,t,p} (M3ED), davis/{left,right}/events (MVSEC), "
        "CD/events (Metavision) or events, n x 4 (v2e)"
    )


def open_mvsec(opening: Opening) -> Hdf5Source:
    """MVSEC; ``opening.variant`` is left or right. Seconds become microseconds, rounded."""
    path = f"davis/{opening.variant}/events"
    with opened(opening) as file:
        expect(opening, file, "mvsec")
        if path not in file:
            raise opening.error(f"no {path} in it. Write: format={'mvsec' if 'right' in path else 'mvsec-right'!r}")
        data = file[path]
        if data.ndim != 2 or data.shape[1] != 4:
            raise opening.error(f"{path} has shape {data.shape}; expected n x 4: x, y, t, p")
        check_filters(opening, data)
        length, cache = len(data), room(data)

    def bind(file: Any) -> Reader:
        data = file[path]

        def rows(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            x, y, t, p = data[lo:hi].T
            return t * 1e6, x, y, p

        return Reader(rows, lambda lo, hi: np.rint(data[lo:hi, 2] * 1e6), (data,))

    return Hdf5Source(opening, opening.height or 260, opening.width or 346, bind=bind, length=length, cache=cache)


def open_metavision(opening: Opening) -> Hdf5Source:
    """Metavision's HDF5, uncompressed, with a filter that h5py knows, or in ECF (decoded here)."""
    from eventflow.io.cameras._ecf import EcfRows

    with opened(opening) as file:
        expect(opening, file, "metavision")
        data = file["CD/events"]
        fields = data.dtype.names or ()
        if not set("xypt") <= set(fields):
            raise opening.error(f"CD/events has the fields {', '.join(fields) or 'none'}; expected x, y, p, t")
        size = _geometry(file)
        length, cache = len(data), room(data)
        compressed = _ECF in filters(data)
        if not compressed:
            check_filters(opening, data)
    height, width = opening.height or size[0], opening.width or size[1]

    def bind(file: Any) -> Reader:
        data = file["CD/events"]

        def plain(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            block = data[lo:hi]
            return block["t"], block["x"], block["y"], block["p"]

        rows = EcfRows(data) if compressed else plain
        return Reader(rows, lambda lo, hi: rows(lo, hi)[0], () if compressed else (data,))

    return Hdf5Source(opening, height, width, bind=bind, length=length, cache=cache)


def expect(opening: Opening, file: Any, wanted: str) -> None:
    found = layout(file)
    if found != wanted:
        raise opening.error(
            f"this HDF5 file is {found or 'of no known layout'}, not {wanted}; it holds {', '.join(file)}"
        )


def room(*sets: Any) -> int:
    """Bytes of cache that hold one chunk of any of these datasets."""
    return max(_CACHE, *(int(np.prod(data.chunks)) * data.dtype.itemsize for data in sets if data.chunks), 0)


def filters(data: Any) -> list[int]:
    made = data.id.get_create_plist()
    return [made.get_filter(i)[0] for i in range(made.get_nfilters())]


def check_filters(opening: Opening, data: Any) -> None:
    import h5py

    for code in filters(data):
        if not h5py.h5z.filter_avail(code):
            if code in _FILTERS:
                require("hdf5plugin", "vision")
            raise opening.error(
                f"{data.name} needs the HDF5 filter {code} ({_FILTERS.get(code, 'unknown')}), which is not here"
            )


def _geometry(file: Any) -> tuple[int | None, int | None]:
    text = file.attrs.get("geometry", "")
    text = text.decode() if isinstance(text, bytes) else str(text)
    width, _, height = text.partition("x")
    return (int(height), int(width)) if height.isdigit() and width.isdigit() else (None, None)


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
