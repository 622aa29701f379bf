"""HDF5 with all events in one dataset: n x 4 numbers (v2e, 3ET), whose order is told as that of a text is, or records
of t, x, y and p. Times are integers in microseconds; others need ``Schema(unit=...)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.io.cameras._hdf5 import Hdf5Source, Reader, check_filters, expect, opened, room
from eventflow.io.cameras._lines import EXPONENTS
from eventflow.io.cameras._order import NAMES, Told, check_times, declared, tell
from eventflow.io.cameras._source import Array, Opening

#: Rows that tell the order of the columns.
_TELLING = 2000


def tables(file: Any) -> list[str]:
    """The datasets, at most one group deep, that may be all events in one table."""
    found = []
    for name, held in file.items():
        inside = [(f"{name}/{key}", part) for key, part in held.items()] if hasattr(held, "keys") else [(name, held)]
        found += [path for path, data in inside if _is_table(path, data)]
    return found


def _is_table(path: str, data: Any) -> bool:
    if getattr(data, "ndim", 0) == 1 and data.dtype.names:
        return len(_fields(data.dtype)) == 4
    return getattr(data, "ndim", 0) == 2 and data.shape[1] == 4 and data.dtype.kind in "iuf" and "event" in path.lower()


def _fields(dtype: np.dtype[Any]) -> dict[str, str]:
    """t, x, y, p -> the name of the field."""
    names = dtype.names or ()
    found = {key: next((name for name in names if name.lower() in known), "") for key, known in NAMES.items()}
    return {key: name for key, name in found.items() if name}


def open_table(opening: Opening) -> Hdf5Source:
    """The only such table in the file."""
    with opened(opening) as file:
        expect(opening, file, "table")
        found = tables(file)
        if len(found) > 1:
            raise opening.error(f"several tables may be events: {', '.join(found)}. Copy one of them into a file")
        path, data = found[0], file[found[0]]
        check_filters(opening, data)
        length, cache = len(data), room(data)
        first = data[: min(length, _TELLING)]
        told = None
        if data.dtype.names is None:
            said = opening.columns
            told = Told(declared(opening), "") if said else tell(opening, first.astype(float), _size(opening))
        fields = _fields(data.dtype) if told is None else {}
        exponent = _exponent(opening, first[fields["t"]] if told is None else first[:, told.order[0]])

    def part(block: Array) -> tuple[Array, Array, Array, Array]:
        if told is None:
            t, x, y, p = (block[fields[key]] for key in "txyp")
        else:
            t, x, y, p = (block[:, column] for column in told.order)
        return t * 10.0**exponent if exponent else t, x, y, p

    def bind(file: Any) -> Reader:
        data = file[path]

        def rows(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            return part(data[lo:hi])

        return Reader(rows, lambda lo, hi: np.rint(rows(lo, hi)[0]), (data,))

    source = Hdf5Source(opening, *_size(opening), bind=bind, length=length, cache=cache)
    if told is not None and told.name:
        said = f"the columns of {path} have no names; by their numbers they are {told.name}"
        (source.doubts if told.doubt else source.notes).append(said + (f". {told.doubt}" if told.doubt else ""))
    return source


def _size(opening: Opening) -> tuple[int | None, int | None]:
    return opening.height, opening.width


def _exponent(opening: Opening, t: Array) -> int:
    if opening.unit not in (None, *EXPONENTS):
        raise opening.error(f"times in {opening.unit!r}; expected one of {', '.join(EXPONENTS)}")
    if t.dtype.kind == "f" and opening.unit is None:
        raise opening.error(
            f"its times are {t.dtype}, and no unit is known. Write: read_events(..., schema=Schema(unit='s')), or on "
            "the command line: --columns unit=s"
        )
    check_times(opening, t.astype(np.float64), pointed=False)
    return EXPONENTS[opening.unit or "us"]
