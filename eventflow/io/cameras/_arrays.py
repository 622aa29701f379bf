"""numpy's files: a structured array (``.npy``, as tonic's), or arrays by name (``.npz``), read piece by piece.

An ``.npz`` holds t, x, y and p (and height, width, span, as we write them), or one structured array with those fields.
Times are integers in microseconds; fractional times, or others, need ``Schema(unit=...)``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from eventflow.io._text import Progress
from eventflow.io.cameras._lines import EXPONENTS, NAMES
from eventflow.io.cameras._source import Array, Bound, BrokenError, Columns, Opening, Source, as_columns

#: Events read at a time.
_ROWS = 1 << 18
_FIELDS = ("t", "x", "y", "p")


@dataclass(slots=True)
class _Member:
    """One array in the file: its dtype, length, and how to open the bytes after its header."""

    dtype: np.dtype[Any]
    length: int
    name: str | None = None


@dataclass(slots=True)
class ArraySource(Source):
    """``members``: t, x, y, p, or ``all`` for a structured array; ``fields``: their names in it."""

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
                arrays = {key: _rows(file, self.members[key], (row, count)) for key, file in files.items()}
                whole = arrays.get("all")
                t, x, y, p = (arrays[k] if whole is None else whole[self.fields[k]] for k in _FIELDS)
                yield as_columns(_in_us(t, self.exponent), x, y, p, first=row)
                progress.at(progress.total * (row + count) // length)
        finally:
            progress.stop()
            for file in files.values():
                file.close()


def open_npy(opening: Opening) -> ArraySource:
    """One structured array."""
    with opening.path.open("rb") as file:
        member = _header(opening, file, None)
    return _structured(opening, member)


def open_npz(opening: Opening) -> ArraySource:
    """Arrays by name, or one structured array."""
    try:
        with zipfile.ZipFile(opening.path) as archive:
            members = {}
            facts: dict[str, Any] = {}
            if other := [name for name in archive.namelist() if not name.endswith(".npy")]:
                held = ", ".join(other[:4])
                raise opening.error(f"a zip archive with {held}; expected numpy's arrays. Unpack it first")
            for name in archive.namelist():
                key = name.removesuffix(".npy")
                with archive.open(name) as file:
                    member = _header(opening, file, name)
                    members[key] = member
                    if key in ("height", "width", "span") and member.dtype.kind in "iu" and member.length <= 2:
                        facts[key] = np.frombuffer(file.read(member.dtype.itemsize * member.length), member.dtype)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError) as error:
        raise opening.error(f"an .npz archive that cannot be opened ({error}); it is probably cut off") from None
    found = {key: _named(members, NAMES[key]) for key in _FIELDS}
    structured = [member for member in members.values() if member.dtype.names]
    if None in found.values():
        if len(structured) != 1:
            raise opening.error(f"expected the arrays t, x, y, p or one structured array; it has {', '.join(members)}")
        return _structured(opening, structured[0])
    lengths = {key: member.length for key, member in found.items() if member is not None}
    if len(set(lengths.values())) > 1:
        raise opening.error(f"its arrays have different lengths: {lengths}")
    chosen = {key: member for key, member in found.items() if member is not None}
    source = ArraySource(opening, members=chosen, exponent=_exponent(opening, chosen["t"].dtype))
    return _with_facts(source, facts)


def _with_facts(source: ArraySource, facts: dict[str, Any]) -> ArraySource:
    opening = source.opening
    source.height = opening.height or (int(facts["height"][0]) if len(facts.get("height", ())) else None)
    source.width = opening.width or (int(facts["width"][0]) if len(facts.get("width", ())) else None)
    span = facts.get("span", ())
    source.span = (int(span[0]), int(span[1])) if len(span) == 2 else None
    return source


def _structured(opening: Opening, member: _Member) -> ArraySource:
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
            f"its times are {dtype}, and no unit is known. Write: read_events(..., schema=Schema(unit='s'))"
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
        shape, _, dtype = read(file)
    except (ValueError, EOFError, OSError) as error:
        raise opening.error(f"{where} has no readable numpy header ({error})") from None
    if dtype.hasobject:
        raise opening.error(f"{where} holds Python objects, which are never unpickled; expected numbers")
    if len(shape) > 1:
        raise opening.error(f"{where} has shape {shape}; expected one dimension, of a column or of records t, x, y, p")
    return _Member(dtype, shape[0] if shape else 1, name)


def _open_member(opening: Opening, member: _Member) -> IO[bytes]:
    if member.name is None:
        file: IO[bytes] = opening.path.open("rb")
    else:
        file = zipfile.ZipFile(opening.path).open(member.name)
    _header(opening, file, member.name)
    return file


def _rows(file: IO[bytes], member: _Member, rows: tuple[int, int]) -> Array:
    first, count = rows
    wanted = count * member.dtype.itemsize
    try:
        data = file.read(wanted)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise BrokenError(f"event {first:,}: {member.name or 'the array'} is damaged ({error})") from None
    if len(data) < wanted:
        raise BrokenError(
            f"event {first + len(data) // member.dtype.itemsize:,}: {member.name or 'the array'} is cut off; it should "
            f"hold {member.length:,} events"
        )
    return np.frombuffer(data, member.dtype)
