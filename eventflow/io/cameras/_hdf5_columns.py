"""HDF5 with a dataset for each of t, x, y and p: DSEC's layout, M3ED's, event_utils', and their like.

DSEC: ``events/{t, x, y, p}``, ``ms_to_idx`` and ``t_offset`` (t + t_offset is the camera's clock; 640 x 480). M3ED:
``prophesee/{left, right}/{t, x, y, p}``, ``ms_map_idx`` and ``calib/resolution``. event_utils (and what E2VID, HQF and
others are kept in): ``events/{ts, xs, ys, ps}``, ts in seconds, and the attribute ``sensor_resolution``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventflow.io.cameras._blosc import Chunked
from eventflow.io.cameras._hdf5 import Hdf5Source, Reader, check_filters, expect, filters, opened, room
from eventflow.io.cameras._lines import EXPONENTS
from eventflow.io.cameras._order import NAMES, check_times
from eventflow.io.cameras._source import Array, Opening

Size = tuple["int | None", "int | None"]
#: Rows at the beginning, in the middle and at the end that tell whether a size can be, and of what unit times are.
_SOME = 1 << 14
#: Events in a microsecond that no camera reaches, where there are more than a few.
_FASTEST, _FEW = 1000, 64


@dataclass(frozen=True, slots=True)
class _Place:
    """A group, its datasets t, x, y, p, the index of milliseconds and what is added to t."""

    group: str
    names: dict[str, str]
    index: str | None = None
    offset: int = 0

    def sets(self, file: Any) -> list[Any]:
        """t, x, y, p."""
        return [file[f"{self.group}/{self.names[key]}"] for key in "txyp"]


def groups(file: Any) -> dict[str, dict[str, str]]:
    """The groups, at most two deep, that have a dataset for each of t, x, y and p: the names of those."""
    found = {}
    for path in _paths(file, 2):
        group = file[path]
        names = {
            key: next((name for name in group if name.lower() in known and _is_column(group[name])), "")
            for key, known in NAMES.items()
        }
        if all(names.values()):
            found[path.strip("/") or "/"] = names
    return found


def _paths(group: Any, depth: int) -> list[str]:
    inner = [child for child in group.values() if depth and hasattr(child, "keys")]
    return [group.name, *(path for child in inner for path in _paths(child, depth - 1))]


def _is_column(data: Any) -> bool:
    return getattr(data, "ndim", 0) == 1 and data.dtype.kind in "iufb"


def open_dsec(opening: Opening) -> Hdf5Source:
    """DSEC's events.h5."""
    with opened(opening) as file:
        expect(opening, file, "dsec")
        offset = int(file["t_offset"][()]) if "t_offset" in file else 0
        place = _Place("events", {key: key for key in "txyp"}, "ms_to_idx" if "ms_to_idx" in file else None, offset)
        return _source(opening, file, place, (480, 640))


def open_m3ed(opening: Opening) -> Hdf5Source:
    """M3ED; ``opening.variant`` is left or right."""
    with opened(opening) as file:
        expect(opening, file, "m3ed")
        found = groups(file)
        path = next((path for path in found if opening.variant in path), None)
        if path is None:
            raise opening.error(
                f"no camera {opening.variant!r} in it; it has {', '.join(found)}. Write: "
                f"format={'m3ed' if opening.variant == 'right' else 'm3ed-right'!r}"
            )
        index = f"{path}/ms_map_idx"
        return _source(opening, file, _Place(path, found[path], index if index in file else None), (None, None))


def open_columns(opening: Opening) -> Hdf5Source:
    """The only group that has a dataset for each of t, x, y and p."""
    with opened(opening) as file:
        expect(opening, file, "columns")
        found = groups(file)
        if len(found) > 1:
            raise opening.error(f"several groups hold events: {', '.join(found)}. Copy one of them into a file")
        ((path, names),) = found.items()
        return _source(opening, file, _Place(path, names), (None, None))


def _source(opening: Opening, file: Any, place: _Place, usual: Size) -> Hdf5Source:
    """``usual``: (height, width) where the file does not say it and the events do not contradict."""
    sets = place.sets(file)
    for data in sets:
        check_filters(opening, data)
    lengths = {key: len(data) for key, data in zip("txyp", sets, strict=True)}
    length = min(lengths.values())
    exponent = _exponent(opening, sets[0], length)
    size, said = _sensor(file, place, usual, sets)
    source = Hdf5Source(
        opening, opening.height or size[0], opening.width or size[1], _span(file), bind=_binding(place, exponent),
        length=length, cache=room(*sets),
    )  # fmt: skip
    source.notes += said
    if len(set(lengths.values())) > 1:
        source.notes.append(f"its columns have different lengths ({lengths}); the shortest counts")
    return source


def _binding(place: _Place, exponent: int) -> Any:
    def bind(file: Any) -> Reader:
        data = place.sets(file)
        fast = exponent == 0 and data[0].dtype.kind != "f"
        chunked = Chunked(data, [filters(column) for column in data], added=place.offset if fast else 0)

        def times(lo: int, hi: int) -> Array:
            t = chunked.first(lo, hi)
            return t if fast else _in_us(t, exponent, place.offset)

        def rows(lo: int, hi: int) -> tuple[Array, Array, Array, Array]:
            t, x, y, p = chunked.rows(lo, hi)
            return (t if fast else _in_us(t, exponent, place.offset)), x, y, p

        steps = file[place.index] if place.index is not None and exponent == 0 else None

        def narrow(start: int) -> tuple[int, int]:
            assert steps is not None
            at, last = (start - place.offset) // 1000, len(steps) - 1
            length = len(data[0])
            if at < 0 or last < 0:
                return 0, 0 if at < 0 else length
            return int(steps[min(at, last)]), int(steps[at + 1]) if at < last else length

        return Reader(
            rows, times, tuple(data), narrow if steps is not None else None, lambda: fast and chunked.ordered
        )

    return bind


def _in_us(t: Array, exponent: int, offset: int) -> Array:
    """t + offset in int64 us; fractions are rounded."""
    if t.dtype.kind == "f" or exponent < 0:
        t = np.rint(t * 10.0**exponent) if exponent else np.rint(t)
        return t.astype(np.int64) + offset
    return np.add(t.astype(np.int64) * 10**exponent if exponent else t, offset, dtype=np.int64)


def _exponent(opening: Opening, t: Any, length: int) -> int:
    """Power of ten of the unit: the one that was said, else microseconds; seconds for fractions."""
    if opening.unit not in (None, *EXPONENTS):
        raise opening.error(f"times in {opening.unit!r}; expected one of {', '.join(EXPONENTS)}")
    if opening.unit is not None:
        return EXPONENTS[opening.unit]
    seconds = t.dtype.kind == "f" and t.name.rsplit("/", 1)[-1] == "ts"
    ends = [0, length // 2, length - 1] if length else []
    some = _sampled(t, _samples(length) if t.dtype.kind == "f" else [(row, row + 1) for row in ends])
    check_times(opening, some.astype(np.float64), pointed=seconds)
    if t.dtype.kind == "f" and not seconds and len(some) > _FEW and float(some[-1] - some[0]) * _FASTEST < length:
        raise opening.error(
            f"{length:,} events from {some[0]} to {some[-1]}: too many for microseconds. Write: read_events(..., "
            "schema=Schema(unit='s')), or on the command line: --columns unit=s"
        )
    return 6 if seconds else 0


def _sampled(data: Any, rows: list[tuple[int, int]]) -> Array:
    """These rows; none where the file is damaged, which reading will tell."""
    try:
        return np.concatenate([np.asarray(data[lo:hi]) for lo, hi in rows]) if rows else np.empty(0)
    except (OSError, RuntimeError, ValueError):
        return np.empty(0)


def _samples(length: int) -> list[tuple[int, int]]:
    """Rows (lo, hi) at the beginning, in the middle and at the end."""
    starts = (0, max(length // 2 - _SOME // 2, 0), max(length - _SOME, 0))
    return [(lo, min(lo + _SOME, length)) for lo in dict.fromkeys(starts) if lo < length]


def _extent(sets: list[Any], length: int) -> tuple[int, int]:
    """(rows, columns) of the sensor that are surely there."""
    y, x = (_sampled(data, _samples(length)) for data in (sets[2], sets[1]))
    return int(y.max(initial=0)) + 1, int(x.max(initial=0)) + 1


def _sensor(file: Any, place: _Place, usual: Size, sets: list[Any]) -> tuple[Size, list[str]]:
    """(height, width) and what is to be said about it: from the file, else the usual one if events do not contradict.

    ``sensor_resolution`` is (height, width) in some files and (width, height) in others.
    """
    group = file[place.group]
    stated = [_number(file.attrs.get(name)) or _number(group.get(name)) for name in ("height", "width")]
    if all(stated):
        return (stated[0], stated[1]), []
    pair = np.ravel(np.asarray(file.attrs.get("sensor_resolution", ())))
    if "calib/resolution" in group:
        pair = np.ravel(group["calib/resolution"][()])[::-1]
    sizes = [(int(pair[0]), int(pair[1])), (int(pair[1]), int(pair[0]))] if len(pair) > 1 else [usual]
    if sizes == [(None, None)]:
        return (None, None), []
    seen = _extent(sets, min(len(data) for data in sets))
    for height, width in sizes:
        if height is not None and width is not None and seen[0] <= height and seen[1] <= width:
            return (height, width), []
    told = " x ".join(str(side) for side in sizes[0])
    return (None, None), [f"it is not of a sensor of {told} (height x width): pixels up to {seen[0]} x {seen[1]} fired"]


def _number(value: Any) -> int | None:
    if value is None or np.size(value) != 1:
        return None
    return int(np.ravel(np.asarray(value[()] if hasattr(value, "shape") else value))[0])


def _span(file: Any) -> tuple[int, int] | None:
    value = file.attrs.get("span")
    return (int(value[0]), int(value[1])) if value is not None and len(value) == 2 else None
