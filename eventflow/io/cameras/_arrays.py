"""numpy's files: a structured array (``.npy``, as tonic's), n x 4 numbers, or arrays by name (``.npz``), read piece by
piece.

An ``.npz`` holds t, x, y and p (and height, width, span, as we write them), or one array of records or of n x 4 (or 4 x
n) numbers, whose order is told as that of a text is. Times are integers in microseconds; fractional times, or others,
need ``Schema(unit=...)``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np

from eventflow.errors import InputError
from eventflow.io._text import Progress
from eventflow.io.cameras._lines import EXPONENTS
from eventflow.io.cameras._npz import FAULTS, archive, member_place
from eventflow.io.cameras._order import NAMES, Told, declared, tell
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns, recovery

#: Events read at a time, and rows that tell the order of columns without names.
_ROWS, _TELLING = 1 << 18, 2000
_FIELDS = ("t", "x", "y", "p")


@dataclass(slots=True)
class _Member:
    """One array in the file: its dtype, length, and how to open the bytes after its header.

    ``skip``: bytes before its first row. ``table``: n x 4 numbers, "C" row by row or "F" column by column. ``cut``: the
    archive has no directory.
    """

    dtype: np.dtype[Any]
    length: int
    name: str | None = None
    skip: int = 0
    table: str = ""
    cut: bool = False

    def column(self, i: int) -> _Member:
        """Of a table that is stored column by column."""
        return replace(self, skip=i * self.length * self.dtype.itemsize, table="")

    def rows(self) -> _Member:
        """A table that is stored row by row, as records."""
        return replace(self, dtype=np.dtype([(str(i), self.dtype) for i in range(4)]), table="")


@dataclass(slots=True)
class ArraySource(Source):
    """``members``: t, x, y, p, or ``all`` for an array of records; ``fields``: their names in it."""

    members: dict[str, _Member] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    exponent: int = 0

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        progress = Progress(self.opening.path)
        length = next(iter(self.members.values())).length
        files: dict[str, IO[bytes]] = {}
        try:
            files = {key: _open_member(self.opening, member) for key, member in self.members.items()}
            for row in range(0, length, _ROWS):
                count = min(_ROWS, length - row)
                read = {key: _rows(file, self.members[key], count) for key, file in files.items()}
                shortest = min(read, key=lambda key: len(read[key][0]))
                there, fault = len(read[shortest][0]), read[shortest][1]
                arrays = {key: array[:there] for key, (array, _) in read.items()}
                whole = arrays.get("all")
                t, x, y, p = (arrays[k] if whole is None else whole[self.fields[k]] for k in _FIELDS)
                yield as_columns(_in_us(t, self.exponent), x, y, p, first=row)
                if fault:
                    place = member_place(self.opening.path, self.members[shortest].name)
                    raise BrokenError(f"{place}event {row + there:,}: {fault}")
                progress.at(progress.total * (row + count) // length)
        finally:
            progress.stop()
            for file in files.values():
                file.close()


def open_npy(opening: Opening) -> ArraySource:
    """One structured array."""
    with opening.path.open("rb") as file:
        member = _header(opening, file, None)
    return _single(opening, member)


def open_npz(opening: Opening) -> ArraySource:
    """Arrays by name, or one structured array."""
    members, facts, other = _members(opening)
    found = {key: _named(members, NAMES[key]) for key in _FIELDS}
    if None in found.values():
        whole = [member for member in members.values() if member.dtype.names or member.table]
        if other and not whole:
            raise other[0]
        if len(whole) != 1:
            raise opening.error(
                f"expected the arrays t, x, y, p, or one of records or of n x 4 numbers; it has {', '.join(members)}"
            )
        return _single(opening, whole[0])
    if opening.columns:
        raise opening.error(f"columns={opening.columns!r} is for n x 4 numbers; its arrays have names")
    if tables := [member.name for member in found.values() if member is not None and member.table]:
        raise opening.error(f"{', '.join(map(str, tables))}: a table; expected one dimension")
    lengths = {key: member.length for key, member in found.items() if member is not None}
    if len(set(lengths.values())) > 1:
        raise opening.error(f"its arrays have different lengths: {lengths}")
    chosen = {key: member for key, member in found.items() if member is not None}
    source = ArraySource(opening, members=chosen, exponent=_exponent(opening, chosen["t"].dtype))
    if chosen["t"].cut:
        source.doubts.append("its directory is missing, it is cut off; its arrays were read in the order of the file")
    return _with_facts(source, facts)


def _members(opening: Opening) -> tuple[dict[str, _Member], dict[str, Any], list[InputError]]:
    """The arrays, the numbers height, width and span among them, and what is wrong with arrays that are of no use."""
    try:
        with archive(opening.path) as whole:
            return _listed(opening, whole)
    except FAULTS as error:
        if isinstance(error, InputError):
            raise
        return _left(opening, error)


def _left(
    opening: Opening, error: Exception
) -> tuple[dict[str, _Member], dict[str, Any], list[InputError]]:  # fmt: skip
    """What is left of an archive that cannot be opened, where that is wanted."""
    told = f"an .npz archive that cannot be opened ({error})"
    if zipfile.is_zipfile(opening.path):
        raise opening.error(told) from None
    place = member_place(opening.path, None)
    if not opening.recover:
        raise opening.error(f"{place}{told}; it is probably cut off. {recovery(opening.path)}") from None
    with archive(opening.path, cut=True) as part:
        members, facts, other = _listed(opening, part)
    if None in (_named(members, NAMES[key]) for key in _FIELDS) and not any(
        member.dtype.names or member.table for member in members.values()
    ):
        held = ", ".join(members) or "nothing"
        raise opening.error(f"{place}{told}; what is left of it, {held}, makes no events") from None
    return {key: replace(member, cut=True) for key, member in members.items()}, facts, other


def _listed(opening: Opening, whole: Any) -> tuple[dict[str, _Member], dict[str, Any], list[InputError]]:
    members: dict[str, _Member] = {}
    facts: dict[str, Any] = {}
    other: list[InputError] = []
    if foreign := [name for name in whole.namelist() if not name.endswith(".npy")]:
        held = ", ".join(foreign[:4])
        raise opening.error(f"a zip archive with {held}; expected numpy's arrays. Unpack it first")
    for name in whole.namelist():
        key = name.removesuffix(".npy")
        try:
            with whole.open(name) as file:
                members[key] = member = _header(opening, file, name)
                if key in ("height", "width", "span") and member.dtype.kind in "iu" and member.length <= 2:
                    facts[key] = np.frombuffer(file.read(member.dtype.itemsize * member.length), member.dtype)
        except FAULTS as error:
            own = isinstance(error, InputError)
            place = member_place(opening.path, name)
            other.append(error if own else opening.error(f"{place}{name} is damaged ({error})"))
    return members, facts, other


def _with_facts(source: ArraySource, facts: dict[str, Any]) -> ArraySource:
    opening = source.opening
    source.height = opening.height or (int(facts["height"][0]) if len(facts.get("height", ())) else None)
    source.width = opening.width or (int(facts["width"][0]) if len(facts.get("width", ())) else None)
    span = facts.get("span", ())
    source.span = (int(span[0]), int(span[1])) if len(span) == 2 else None
    return source


def _single(opening: Opening, member: _Member) -> ArraySource:
    """All events in one array, of records or of n x 4 numbers."""
    if not member.table:
        return _structured(opening, member)
    order = declared(opening) if opening.columns else None
    if order is not None and max(order) > 3:
        raise opening.error(f"columns={opening.columns!r}; it has 4 columns")
    exponent = _exponent(opening, member.dtype)
    told = Told(order, "") if order is not None else tell(opening, _first(opening, member), _size(opening))
    height, width = _size(opening)
    source = ArraySource(opening, height, width, exponent=exponent)
    if member.table == "C":
        source.members = {"all": member.rows()}
        source.fields = {key: str(column) for key, column in zip(_FIELDS, told.order, strict=True)}
    else:
        source.members = {key: member.column(i) for key, i in zip(_FIELDS, told.order, strict=True)}
    if told.name:
        said = f"its four columns have no names; by their numbers they are {told.name}"
        (source.doubts if told.doubt else source.notes).append(said + (f". {told.doubt}" if told.doubt else ""))
    return source


def _size(opening: Opening) -> tuple[int | None, int | None]:
    return opening.height, opening.width


def _first(opening: Opening, member: _Member) -> Array:
    """(n, 4): the first rows of a table."""
    rows = min(member.length, _TELLING)
    parts = [member.rows()] if member.table == "C" else [member.column(i) for i in range(4)]
    read = []
    for part in parts:
        with _open_member(opening, part) as file:
            read.append(_rows(file, part, rows)[0])
    columns = [read[0][str(i)] for i in range(4)] if member.table == "C" else read
    there = min(map(len, columns))
    return np.stack([column[:there].astype(np.float64) for column in columns], 1)


def _structured(opening: Opening, member: _Member) -> ArraySource:
    if opening.columns:
        raise opening.error(f"columns={opening.columns!r} is for n x 4 numbers; this is an array of {member.dtype}")
    names = member.dtype.names or ()
    fields = {key: next((name for name in names if name.lower() in NAMES[key]), "") for key in _FIELDS}
    if "" in fields.values():
        seen = f"fields {', '.join(names)}" if names else f"{member.dtype} without fields"
        raise opening.error(f"an array of {seen}; expected a structured array with t, x, y and p")
    exponent = _exponent(opening, member.dtype[fields["t"]])
    return ArraySource(
        opening, opening.height, opening.width, members={"all": member}, fields=fields, exponent=exponent
    )


def _named(members: dict[str, _Member], names: tuple[str, ...]) -> _Member | None:
    return next((member for key, member in members.items() if key.lower() in names), None)


def _exponent(opening: Opening, dtype: np.dtype[Any]) -> int:
    if dtype.kind == "f" and opening.unit is None:
        raise opening.error(
            f"its times are {dtype}, and no unit is known. Write: read_events(..., schema=Schema(unit='s')), or on the "
            "command line: --columns unit=s"
        )
    if opening.unit not in (None, *EXPONENTS):
        raise opening.error(f"times in {opening.unit!r}; expected one of {', '.join(EXPONENTS)}")
    return EXPONENTS[opening.unit or "us"]


def _in_us(t: Array, exponent: int) -> Array:
    if exponent == 0:
        return t
    if t.dtype.kind == "f":
        return t * 10.0**exponent
    if exponent > 0:
        return t.astype(np.int64) * 10**exponent
    whole, rest = np.divmod(t.astype(np.int64), 10**-exponent)
    return whole + (2 * rest >= 10**-exponent)


def _header(opening: Opening, file: IO[bytes], name: str | None) -> _Member:
    where = name or "it"
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except (ValueError, EOFError, OSError) as error:
        raise opening.error(f"{where} has no readable numpy header ({error})") from None
    if dtype.hasobject:
        raise opening.error(f"{where} holds Python objects, which are never unpickled; expected numbers")
    if len(shape) == 2 and 1 in shape and dtype.names is None:  # a column of MATLAB
        return _Member(dtype, max(shape) if 0 not in shape else 0, name)
    if len(shape) == 2 and 4 in shape and dtype.kind in "iufb":
        turned = shape[1] != 4
        return _Member(dtype, max(shape) if turned else shape[0], name, table="F" if turned != by_column else "C")
    if len(shape) > 1:
        raise opening.error(
            f"{where} has shape {shape}; expected one dimension, of a column or of records t, x, y, p, or n x 4 numbers"
        )
    return _Member(dtype, shape[0] if shape else 1, name)


def _open_member(opening: Opening, member: _Member) -> IO[bytes]:
    if member.name is None:
        file: IO[bytes] = opening.path.open("rb")
    else:
        file = archive(opening.path, cut=member.cut).open(member.name)
    _header(opening, file, member.name)
    file.seek(member.skip, 1)
    return file


def _rows(file: IO[bytes], member: _Member, count: int) -> tuple[Array, str]:
    """The next rows, or those that can be read, and then what is wrong."""
    name, size = member.name or "the array", member.dtype.itemsize
    try:
        data = file.read(count * size)
    except FAULTS as error:
        return np.empty(0, member.dtype), f"{name} is damaged ({error})"
    there = len(data) // size
    fault = f"{name} is cut off; it should hold {member.length:,} events" if there < count else ""
    return np.frombuffer(data, member.dtype, there), fault
