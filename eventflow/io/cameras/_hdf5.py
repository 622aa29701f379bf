"""HDF5 in three layouts: DSEC, MVSEC and Metavision. Only the rows of a window are read.

DSEC: ``events/{t, x, y, p}``, ``ms_to_idx`` and ``t_offset`` (t + t_offset is the camera's clock; 640 x 480). MVSEC:
``davis/{left,right}/events``, n x 4 float64 (x, y, t in seconds, p; 346 x 260). Metavision: ``CD/events``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventflow.errors import InputError, require
from eventflow.io._text import Progress
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns

#: Events read at a time.
_ROWS = 1 << 19
_FILTERS = {32001: "Blosc", 32026: "Blosc2", 32015: "Zstandard", 32004: "LZ4", 32008: "bitshuffle"}
#: Prophesee's event compression format.
_ECF = 0x8ECF


@dataclass(slots=True)
class Hdf5Source(Source):
    """``rows(file, lo, hi)`` reads rows as (t, x, y, p); ``times(file, i)`` is the time of one of them."""

    rows: Callable[[Any, int, int], tuple[Array, Array, Array, Array]] | None = None
    times: Callable[[Any, int], int] | None = None
    length: int = 0
    narrow: Callable[[Any, int, tuple[int, int]], tuple[int, int]] | None = None

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        assert self.rows is not None
        progress = Progress(self.opening.path)
        row = 0
        try:
            with opened(self.opening) as file:
                row = self._first(file, start)
                while row < self.length:
                    stop = min(row + _ROWS, self.length)
                    block = as_columns(*self.rows(file, row, stop), first=row)
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

    def _first(self, file: Any, start: Bound) -> int:
        """A row at or before the first event at or after ``start``, found by bisection (or by the file's index)."""
        if start is None or not self.length or self.times is None:
            return 0
        if self.narrow is not None:
            row = self._bisect(file, start, self.narrow(file, start, (0, self.length)))
            before = row == 0 or self.times(file, row - 1) < start
            if before and (row == self.length or self.times(file, row) >= start):
                return row  # else the file's index is wrong
        return self._bisect(file, start, (0, self.length))

    def _bisect(self, file: Any, start: int, rows: tuple[int, int]) -> int:
        assert self.times is not None
        lo, hi = rows
        while lo < hi:
            middle = (lo + hi) // 2
            lo, hi = (middle + 1, hi) if self.times(file, middle) < start else (lo, middle)
        return lo


@contextmanager
def opened(opening: Opening) -> Iterator[Any]:
    """The file; with its compression filters, if hdf5plugin is installed."""
    import importlib.util

    import h5py

    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")
    try:
        file = h5py.File(opening.path, "r")
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
        span = _span(file)
    length = min(lengths.values())
    notes = (
        [f"its columns have different lengths ({lengths}); the shortest counts"]
        if len(set(lengths.values())) > 1
        else []
    )

    def rows(file: Any, lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
        t, x, y, p = (file[f"events/{name}"][lo:hi] for name in "txyp")
        return t.astype(np.int64) + offset, x, y, p

    def narrow(file: Any, start: int, bounds: tuple[int, int]) -> tuple[int, int]:
        steps, at = file["ms_to_idx"], (start - offset) // 1000
        if at < 0:
            return 0, 0
        lo = int(steps[at]) if at < len(steps) else int(steps[-1])
        hi = int(steps[at + 1]) if at + 1 < len(steps) else bounds[1]
        return (lo, hi) if 0 <= lo <= hi <= bounds[1] else bounds

    return Hdf5Source(
        opening, height, width, span, notes=notes, rows=rows, length=length, narrow=narrow if index else None,
        times=lambda file, i: int(file["events/t"][i]) + offset,
    )  # fmt: skip


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
        length = len(data)

    def rows(file: Any, lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
        x, y, t, p = file[path][lo:hi].T
        return t * 1e6, x, y, p

    return Hdf5Source(
        opening, opening.height or 260, opening.width or 346, rows=rows, length=length,
        times=lambda file, i: int(np.rint(file[path][i, 2] * 1e6)),
    )  # fmt: skip


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
        length = len(data)
        compressed = _ECF in _filters(data)
        if not compressed:
            _check_filters(opening, data)
    height, width = opening.height or size[0], opening.width or size[1]

    def plain(file: Any, lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
        block = file["CD/events"][lo:hi]
        return block["t"], block["x"], block["y"], block["p"]

    rows = EcfRows() if compressed else plain
    return Hdf5Source(
        opening, height, width, rows=rows, length=length, times=lambda file, i: int(rows(file, i, i + 1)[0][0])
    )


def _expect(opening: Opening, file: Any, wanted: str) -> None:
    found = layout(file)
    if found != wanted:
        raise opening.error(
            f"this HDF5 file is {found or 'of no known layout'}, not {wanted}; it holds {', '.join(file)}"
        )


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
