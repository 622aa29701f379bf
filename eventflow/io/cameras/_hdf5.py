"""HDF5 in three layouts: DSEC, MVSEC and Metavision. Only the rows of a window are read.

DSEC: ``events/{t, x, y, p}``, ``ms_to_idx`` and ``t_offset`` (t + t_offset is the camera's clock; 640 x 480). MVSEC:
``davis/{left,right}/events``, n x 4 float64 (x, y, t in seconds, p; 346 x 260). Metavision: ``CD/events``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from eventflow.errors import InputError, require
from eventflow.io._text import Progress
from eventflow.io.cameras._blosc import Chunked
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns

#: Events read at a time; of a window whose rows the index knows, all at once up to the second number.
_ROWS, _WINDOW = 1 << 17, 1 << 21
#: Bytes of unpacked chunks that HDF5 remembers for each dataset, at least: room for one chunk, so that its memory is
#: used again for the next. With room for many, each is unpacked into memory of its own, which costs a third more.
_CACHE = 1 << 20
_FILTERS = {32001: "Blosc", 32026: "Blosc2", 32015: "Zstandard", 32004: "LZ4", 32008: "bitshuffle"}
#: Prophesee's event compression format.
_ECF = 0x8ECF


class Reader(NamedTuple):
    """An open file: ``rows(lo, hi)`` are (t, x, y, p); ``times(lo, hi)`` is t alone; ``narrow(start)``, where there is
    an index, the rows (lo, hi) between which the first event at or after ``start`` should lie."""

    rows: Callable[[int, int], tuple[Array, Array, Array, Array]]
    times: Callable[[int, int], Array]
    narrow: Callable[[int], tuple[int, int]] | None = None


@dataclass(slots=True)
class Hdf5Source(Source):
    """``bind`` makes the reader of an open file, whose datasets stay open (and cached) while events are read."""

    bind: Callable[[Any], Reader] | None = None
    length: int = 0
    cache: int = _CACHE

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        assert self.bind is not None
        progress = Progress(self.opening.path)
        row = 0
        try:
            with opened(self.opening, self.cache) as file:
                reader = self.bind(file)
                row = self._first(reader, start)
                size = self._size(reader, row, end)
                while row < self.length:
                    stop, size = min(row + size, self.length), _ROWS
                    block = as_columns(*reader.rows(row, stop), first=row)
                    yield block
                    row = stop
                    progress.at(progress.total * row // self.length)
                    if end is not None and block.t[-1] >= end:
                        return
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise BrokenError(f"event {row:,}: {_reason(error)}") from None
        finally:
            progress.stop()

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
        last = reader.narrow(end)[1] + 1 if reader.narrow is not None and end is not None else row
        return last - row if 0 < last - row <= _WINDOW else _ROWS


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

    import h5py

    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")
    try:
        file = h5py.File(opening.path, "r", rdcc_nbytes=cache)
    except OSError as error:
        size = opening.path.stat().st_size
        raise opening.error(
            f"an HDF5 file that cannot be opened ({_reason(error)}); it has {size:,} bytes and is probably cut off"
        ) from None
    with file:
        yield file


def layout(file: Any) -> str | None:
    """dsec, mvsec or metavision: by what is in it."""
    if all(f"events/{name}" in file for name in "xytp"):
        return "dsec"
    if "davis/left/events" in file or "davis/right/events" in file:
        return "mvsec"
    return "metavision" if "CD/events" in file else None


def foreign(opening: Opening, file: Any) -> InputError:
    """The error for an HDF5 file of no known layout."""
    held = ", ".join(list(file)[:8]) or "nothing"
    return opening.error(
        f"an HDF5 file of no known layout; it holds {held}. Expected events/{{x,y,t,p}} (DSEC), "
        "davis/{left,right}/events (MVSEC) or CD/events (Metavision)"
    )


def open_dsec(opening: Opening) -> Hdf5Source:
    """DSEC's events.h5."""
    with opened(opening) as file:
        _expect(opening, file, "dsec")
        sets = {name: file[f"events/{name}"] for name in "txyp"}
        lengths = {name: len(data) for name, data in sets.items()}
        for data in sets.values():
            _check_filters(opening, data)
        offset = int(file["t_offset"][()]) if "t_offset" in file else 0
        index = "ms_to_idx" in file
        height = opening.height or _attribute(file, "height") or 480
        width = opening.width or _attribute(file, "width") or 640
        span, cache = _span(file), _room(*sets.values())
    length = min(lengths.values())
    notes = (
        [f"its columns have different lengths ({lengths}); the shortest counts"]
        if len(set(lengths.values())) > 1
        else []
    )

    def bind(file: Any) -> Reader:
        data = [file[f"events/{name}"] for name in "txyp"]
        chunked = Chunked(data, [_filters(column) for column in data], added=offset)
        steps = file["ms_to_idx"] if index else None

        def rows(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            t, x, y, p = chunked.rows(lo, hi)
            return (_shifted(t, offset) if t.dtype.kind == "f" else t), x, y, p

        def narrow(start: int) -> tuple[int, int]:
            assert steps is not None
            at, last = (start - offset) // 1000, len(steps) - 1
            if at < 0 or last < 0:
                return 0, 0 if at < 0 else length
            return int(steps[min(at, last)]), int(steps[at + 1]) if at < last else length

        return Reader(rows, lambda lo, hi: _shifted(data[0][lo:hi], offset), narrow if index else None)

    return Hdf5Source(opening, height, width, span, notes=notes, bind=bind, length=length, cache=cache)


def _shifted(t: Array, offset: int) -> Array:
    """t + offset in int64; fractions of a microsecond are rounded."""
    return np.add(np.rint(t).astype(np.int64) if t.dtype.kind == "f" else t, offset, dtype=np.int64)


def open_mvsec(opening: Opening) -> Hdf5Source:
    """MVSEC; ``opening.variant`` is left or right. Seconds become microseconds, rounded."""
    path = f"davis/{opening.variant}/events"
    with opened(opening) as file:
        _expect(opening, file, "mvsec")
        if path not in file:
            raise opening.error(f"no {path} in it. Write: format={'mvsec' if 'right' in path else 'mvsec-right'!r}")
        data = file[path]
        if data.ndim != 2 or data.shape[1] != 4:
            raise opening.error(f"{path} has shape {data.shape}; expected n x 4: x, y, t, p")
        _check_filters(opening, data)
        length, cache = len(data), _room(data)

    def bind(file: Any) -> Reader:
        data = file[path]

        def rows(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            x, y, t, p = data[lo:hi].T
            return t * 1e6, x, y, p

        return Reader(rows, lambda lo, hi: np.rint(data[lo:hi, 2] * 1e6))

    return Hdf5Source(opening, opening.height or 260, opening.width or 346, bind=bind, length=length, cache=cache)


def open_metavision(opening: Opening) -> Hdf5Source:
    """Metavision's HDF5, uncompressed, with a filter that h5py knows, or in ECF (decoded here)."""
    from eventflow.io.cameras._ecf import EcfRows

    with opened(opening) as file:
        _expect(opening, file, "metavision")
        data = file["CD/events"]
        fields = data.dtype.names or ()
        if not set("xypt") <= set(fields):
            raise opening.error(f"CD/events has the fields {', '.join(fields) or 'none'}; expected x, y, p, t")
        size = _geometry(file)
        length, cache = len(data), _room(data)
        compressed = _ECF in _filters(data)
        if not compressed:
            _check_filters(opening, data)
    height, width = opening.height or size[0], opening.width or size[1]

    def bind(file: Any) -> Reader:
        data = file["CD/events"]

        def plain(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            block = data[lo:hi]
            return block["t"], block["x"], block["y"], block["p"]

        rows = EcfRows(data) if compressed else plain
        return Reader(rows, lambda lo, hi: rows(lo, hi)[0])

    return Hdf5Source(opening, height, width, bind=bind, length=length, cache=cache)


def _expect(opening: Opening, file: Any, wanted: str) -> None:
    found = layout(file)
    if found != wanted:
        raise opening.error(
            f"this HDF5 file is {found or 'of no known layout'}, not {wanted}; it holds {', '.join(file)}"
        )


def _room(*sets: Any) -> int:
    """Bytes of cache that hold one chunk of any of these datasets."""
    return max(_CACHE, *(int(np.prod(data.chunks)) * data.dtype.itemsize for data in sets if data.chunks), 0)


def _filters(data: Any) -> list[int]:
    made = data.id.get_create_plist()
    return [made.get_filter(i)[0] for i in range(made.get_nfilters())]


def _check_filters(opening: Opening, data: Any) -> None:
    import h5py

    for code in _filters(data):
        if not h5py.h5z.filter_avail(code):
            if code in _FILTERS:
                require("hdf5plugin", "vision")
            raise opening.error(
                f"{data.name} needs the HDF5 filter {code} ({_FILTERS.get(code, 'unknown')}), which is not here"
            )


def _attribute(file: Any, name: str) -> int | None:
    value = file.attrs.get(name)
    return int(value) if value is not None else None


def _span(file: Any) -> tuple[int, int] | None:
    value = file.attrs.get("span")
    return (int(value[0]), int(value[1])) if value is not None and len(value) == 2 else None


def _geometry(file: Any) -> tuple[int | None, int | None]:
    text = file.attrs.get("geometry", "")
    text = text.decode() if isinstance(text, bytes) else str(text)
    width, _, height = text.partition("x")
    return (int(height), int(width)) if height.isdigit() and width.isdigit() else (None, None)


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
