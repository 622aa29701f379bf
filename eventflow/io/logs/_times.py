"""Cells of a time column as numbers: dates (ISO or strptime) to int64 nanoseconds UTC, or numbers as they are.

Everything is vectorised where the pattern allows it; a cell that cannot be read is named, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa

from eventflow.errors import InputError
from eventflow.events._events import Array
from eventflow.io._columns import EPOCHS, on_command_line
from eventflow.io.logs._cells import Cells, as_numbers, as_strings, flat, parse_numbers, pc

#: Nanoseconds in one unit.
NS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
    "10ks": 10**13,
}  # fmt: skip
_ZONE = r"(?P<z>Z|z|[+-]\d{2}:?\d{2}|[+-]\d{2})"
_ISO = (
    r"^(?P<Y>\d{4})[-/](?P<m>\d{2})[-/](?P<d>\d{2})"
    r"(?:[T ](?P<H>\d{2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?\s*" + _ZONE + "?$"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})", "H": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d{1,2})", "S": r"(?P<S>\d{1,2})", "f": r"(?P<f>\d{1,6})", "z": _ZONE,
    "b": "(?P<b>(?i:" + "|".join(_MONTHS) + "))", "%": "%",
}  # fmt: skip
_YEAR = re.compile(r"%[YyGcxs]")
_CLOCK = r"^\s*\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([AaPp][Mm])?\s*$"
_DAY = r"^\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|\d{1,2}[- ][A-Za-z]{3}[- ]\d{4})\s*$"
#: Cells on which patterns are tried.
_TRIED = 100
#: Patterns that error messages try on a cell that is no ISO date.
_COMMON = (
    "%d/%b/%Y:%H:%M:%S %z", "[%d/%b/%Y:%H:%M:%S %z]", "[%d/%b/%Y:%H:%M:%S", "%d/%b/%Y:%H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p", "%d %b %Y %H:%M:%S", "%b %d %Y %H:%M:%S", "%b %d, %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y",
    "%d/%m/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S.%f", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y", "%d/%m/%y %H:%M:%S",
    "%m/%d/%y %H:%M:%S", "%y/%m/%d %H:%M:%S", "%d/%m/%y %H:%M", "%m/%d/%y %H:%M", "%d.%m.%y %H:%M:%S", "%d.%m.%y %H:%M",
    "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%Y%m%d-%H:%M:%S:%f", "%Y%m%d %H:%M:%S", "%Y-%m-%d-%H.%M.%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f%z",
)  # fmt: skip


@dataclass(slots=True)
class Parsed:
    """``values`` (n,) with a mask of the bad cells and, for each of them, why."""

    values: Array
    bad: Array
    reasons: dict[int, str]


class TimeParser:
    """Reads the chunks of one time column; what ``auto`` means is settled by the first chunk and then holds."""

    def __init__(self, time_format: str) -> None:
        self.time_format = time_format
        self.kind = {"iso": "date", "auto": ""}.get(time_format, "number" if time_format in EPOCHS else "date")
        self.zoned: bool | None = None
        if "%" in time_format and not _YEAR.search(time_format):
            raise InputError(f"time_format={time_format!r} has no year; dates without one cannot be put in order")
        if "%" in time_format:
            _check_directives(time_format)
        self._pattern = _compile(time_format) if "%" in time_format else _ISO

    @property
    def unit(self) -> str | None:
        """The unit of what :meth:`parse` returns; None: plain numbers, whose unit the caller declares."""
        return "ns" if self.kind == "date" else self.time_format if self.time_format in EPOCHS else None

    def parse(self, cells: Cells) -> Parsed:
        """int64 nanoseconds (dates), int64 or float64 (numbers)."""
        dates = _typed_dates(cells)
        if dates is not None:
            self.kind, self.zoned = "date", True
            return dates
        numbers, missing = as_numbers(cells)
        if numbers is not None and self.kind != "date":
            self.kind = "number"
            return _finite(numbers, missing, {i: "is missing" for i in np.flatnonzero(missing).tolist()})
        strings = as_strings(cells)
        if not self.kind:
            self.kind = _settle(strings)
        return self._numbers(strings) if self.kind == "number" else self._dates(strings)

    def _numbers(self, strings: pa.Array) -> Parsed:
        values, bad = parse_numbers(strings)
        return _finite(values, bad, self._why(strings, bad))

    def _dates(self, strings: pa.Array) -> Parsed:
        trimmed = pc.utf8_trim_whitespace(strings)
        if self._pattern is _ISO and self.zoned is not True and not trimmed.null_count:
            try:
                return _good(np.asarray(trimmed.cast(pa.timestamp("ns")).cast(pa.int64())), self)
            except (pa.ArrowException, ValueError):
                pass  # a bad cell, or zones: the patterns below name them
        if self._pattern is None:
            values, bad, zoned = _strptime(trimmed, self.time_format)
        else:
            values, bad, zoned = _extract(trimmed, self._pattern)
        reasons = self._why(strings, bad)
        if self.zoned is None and not bad.all():
            self.zoned = bool(zoned[~bad].mean() >= 0.5)
        mixed = ~bad & (zoned != self.zoned)
        said = "has no time zone, unlike the others" if self.zoned else "has a time zone, unlike the others"
        reasons |= {i: said for i in np.flatnonzero(mixed).tolist()}
        return Parsed(values, bad | mixed, reasons)

    def _why(self, strings: pa.Array, bad: Array) -> dict[int, str]:
        expected = {"number": "is no number", "date": "is no ISO date"}[self.kind]
        if "%" in self.time_format:
            expected = f"does not match {self.time_format!r}"
        null = np.asarray(strings.is_null())
        return {i: "is missing" if null[i] else expected for i in np.flatnonzero(bad).tolist()}


def _check_directives(pattern: str) -> None:
    try:
        datetime.strptime("", pattern)
    except ValueError as error:
        if "directive" in str(error) or "stray" in str(error):
            raise InputError(f"time_format={pattern!r}: {error}") from None


def suggest_format(cells: Cells) -> str | None:
    """A strptime pattern that fits most of the cells, for error messages; None if they are ISO dates, too."""
    held = [cell.strip() for cell in as_strings(cells).drop_null().to_pylist()[:_TRIED]]
    if not held or _are_iso(as_strings(cells).drop_null()):
        return None
    return (*_fitting(held), None)[0]


def other_formats(cells: Cells) -> list[str]:
    """Patterns that fit as many of the cells as the one suggested: day and month may be the other way round."""
    return _fitting([cell.strip() for cell in as_strings(cells).drop_null().to_pylist()[:_TRIED]])[1:]


def _fitting(held: list[str]) -> list[str]:
    """The patterns that fit the most of the cells, if that is more than half of them."""
    fits = {pattern: sum(map(_fits(pattern), held)) for pattern in _COMMON}
    most = max(fits.values())
    return [pattern for pattern, count in fits.items() if count == most] if 2 * most > len(held) else []


def _fits(pattern: str) -> Callable[[str], bool]:
    def fit(cell: str) -> bool:
        if cell.isdigit() and len(cell) != len("20260131235959"):  # strptime takes seconds since 1970 for a date
            return False
        try:
            datetime.strptime(cell, pattern)
        except ValueError:
            return False
        return True

    return fit


def suggest_epoch(cells: Cells) -> str | None:
    """The unit in which numbers would be times since 1970, between 1990 and 2100; None if they are none."""
    numbers, bad = as_numbers(cells)
    if numbers is None:
        numbers, bad = parse_numbers(as_strings(cells))
    middle = float(np.median(numbers[~bad])) if (~bad).any() else 0.0
    return next((unit for unit in EPOCHS if 631_152_000 <= middle * NS[unit] / 10**9 <= 4_102_444_800), None)


def looks_like_time(cells: Cells) -> bool:
    """Whether most of the cells are dates of some kind (numbers are not)."""
    if _typed_dates(cells) is not None:
        return True
    strings = as_strings(cells).drop_null()
    return bool(len(strings)) and (_are_iso(strings) or suggest_format(strings) is not None)


def is_clock(cells: Cells) -> bool:
    """Whether most of the cells are times of day without a date."""
    return _mostly(cells, _CLOCK)


def is_day(cells: Cells) -> bool:
    """Whether most of the cells are dates without a time of day."""
    return _mostly(cells, _DAY)


def _mostly(cells: Cells, pattern: str) -> bool:
    strings = as_strings(cells).drop_null()
    return bool(len(strings)) and pc.mean(pc.match_substring_regex(strings, pattern).cast(pa.int8())).as_py() > 0.5


def _are_iso(strings: pa.Array) -> bool:
    _, bad, _ = _extract(pc.utf8_trim_whitespace(strings), _ISO)
    return bool(bad.mean() < 0.5)


def convert(values: Array, source: str, target: str) -> tuple[Array, int]:
    """``values`` in ``source`` units as ``target`` units, and how many had to be rounded to whole ticks.

    Integers stay integers where the target is a whole fraction of the source, or one of ms, us, ns; else float64.
    """
    if source == target or target == "1":
        return values, 0
    up, down = NS[source], NS[target]
    if values.dtype.kind == "f":
        return values * (up / down), 0
    if up % down == 0:
        if len(values) and np.abs(values).max() > 2**62 // (up // down):
            raise InputError(
                f"times up to {np.abs(values).max()} {source} do not fit into int64 {target}; take a coarser unit"
            )
        return values * (up // down), 0
    if down % up == 0:
        whole, rest = np.divmod(np.abs(values), down // up)
        if target in ("ms", "us", "ns"):
            return np.sign(values) * (whole + (2 * rest >= down // up)), int(np.count_nonzero(rest))
        return np.sign(values) * (whole + rest / (down // up)), 0
    return values * (up / down), 0


def _good(values: Array, parser: TimeParser) -> Parsed:
    parser.zoned = False
    return Parsed(values, np.zeros(len(values), dtype=bool), {})


def _finite(values: Array, bad: Array, reasons: dict[int, str]) -> Parsed:
    if values.dtype.kind == "f":
        wild = ~np.isfinite(values) & ~bad
        reasons |= {i: "is not finite" for i in np.flatnonzero(wild).tolist()}
        bad = bad | wild
    return Parsed(values, bad, reasons)


def _typed_dates(cells: Cells) -> Parsed | None:
    if not isinstance(cells, (pa.Array, pa.ChunkedArray)):
        return None
    column = flat(cells)
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return None
    missing = np.asarray(column.is_null())
    try:
        values = column.cast(pa.timestamp("ns")).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise InputError(f"dates that do not fit into nanoseconds since 1970: {error}") from None
    return Parsed(values, missing, {i: "is missing" for i in np.flatnonzero(missing).tolist()})


def _settle(strings: pa.Array) -> str:
    """``number`` or ``date``, whichever more of the cells are."""
    _, no_number = parse_numbers(strings)
    _, no_date, _ = _extract(pc.utf8_trim_whitespace(strings), _ISO)
    numbers, dates = int((~no_number).sum()), int((~no_date).sum())
    if not numbers and not dates:
        held = strings.drop_null()
        cell = held[0].as_py() if len(held) else ""
        raise InputError(f"{cell!r} is {_said(held, cell)}")
    return "number" if numbers > dates else "date"


def _said(held: pa.Array, cell: str) -> str:
    """What a cell is that is neither a number nor an ISO date, and what to write."""
    if is_clock(held):
        return (
            "a time of day without its date. If the date stands in a column of its own, write both, with a plus: "
            + on_command_line(time="Date+Time")
        )
    if re.fullmatch(r"[+-]?\d+,\d+", cell.strip()):
        return f"a number with a decimal comma. Write: {on_command_line(decimal=',')}"
    pattern = suggest_format(held)
    if pattern is not None:
        others = " or ".join(map(repr, other_formats(held)))
        line = on_command_line(time_format=pattern)
        return f"neither a number nor an ISO date. Write: {line}" + (f"; or is it {others}?" if others else "")
    return (
        "neither a number nor an ISO date. Say how its dates are written, as strptime does; dates such as 31/01/2026 "
        f"18:05 are {on_command_line(time_format='%d/%m/%Y %H:%M')}"
    )


def _compile(pattern: str) -> str | None:
    """The regular expression of a strptime pattern; None if it uses more than we can read at once."""
    body = pattern.replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    out, seen = "", set()
    for piece in re.findall(r"%.|\s+|.", body, re.DOTALL):
        if piece.isspace():
            out += r"\s+"
        elif piece[0] == "%" and len(piece) == 2:
            if piece[1] not in _DIRECTIVES or piece in seen:
                return None
            seen.add(piece)
            out += _DIRECTIVES[piece[1]]
        else:
            out += re.escape(piece)
    return f"^{out}$" if "%Y" in seen else None


def _extract(strings: pa.Array, pattern: str) -> tuple[Array, Array, Array]:
    """(int64 ns UTC, bad, has a zone) of each cell."""
    found = pc.extract_regex(strings, pattern)
    bad = np.asarray(found.is_null())
    names = [found.type.field(i).name for i in range(found.type.num_fields)]
    parts = {name: pc.fill_null(pc.struct_field(found, name), "") for name in names}

    def number(name: str, default: int) -> Array:
        if name not in parts:
            return np.full(len(bad), default, dtype=np.int64)
        return np.asarray(pc.if_else(pc.equal(parts[name], ""), str(default), parts[name]).cast(pa.int64()))

    year, day = number("Y", 1970), number("d", 1)
    month = _month_numbers(parts["b"]) if "b" in parts else number("m", 1)
    hour, minute, second = number("H", 0), number("M", 0), number("S", 0)
    fraction = np.asarray(pc.utf8_rpad(parts["f"], 9, "0").cast(pa.int64())) if "f" in parts else 0
    shift, zoned = _zones(parts["z"]) if "z" in parts else (0, np.zeros(len(bad), dtype=bool))
    bad = bad | (month < 1) | (month > 12) | (day < 1) | (hour > 23) | (minute > 59) | (second > 60)
    bad |= (year < 1678) | (year > 2261)
    first = ((np.where(bad, 1970, year) - 1970) * 12 + np.where(bad, 1, month) - 1).astype("datetime64[M]")
    date = first.astype("datetime64[D]") + (np.where(bad, 1, day) - 1)
    bad |= date.astype("datetime64[M]") != first
    seconds = date.astype(np.int64) * 86400 + hour * 3600 + minute * 60 + second - shift
    return np.where(bad, 0, seconds * 10**9 + fraction), bad, zoned


def _month_numbers(words: pa.Array) -> Array:
    coded = pc.utf8_lower(words).dictionary_encode()
    table = [_MONTHS.index(word) + 1 if word in _MONTHS else 0 for word in coded.dictionary.to_pylist()]
    return np.array(table, dtype=np.int64)[np.asarray(coded.indices)]


def _zones(words: pa.Array) -> tuple[Array, Array]:
    """(seconds east of UTC, has a zone)."""
    coded = words.dictionary_encode()
    table = []
    for word in coded.dictionary.to_pylist():
        digits = word[1:].replace(":", "").ljust(4, "0")
        east = 0 if word in ("", "Z", "z") else int(digits[:2]) * 3600 + int(digits[2:]) * 60
        table.append((-east if word.startswith("-") else east, word != ""))
    picked = np.array(table, dtype=np.int64).reshape(-1, 2)[np.asarray(coded.indices)]
    return picked[:, 0], picked[:, 1].astype(bool)


def _strptime(strings: pa.Array, pattern: str) -> tuple[Array, Array, Array]:
    """The same, cell by distinct cell, for patterns that only Python's strptime knows."""
    coded = strings.dictionary_encode()
    table = []
    for cell in coded.dictionary.to_pylist():
        try:
            moment = datetime.strptime(cell, pattern)
        except ValueError:
            table.append((0, True, False))
            continue
        zoned = moment.tzinfo is not None
        since = (moment if zoned else moment.replace(tzinfo=timezone.utc)) - datetime(1970, 1, 1, tzinfo=timezone.utc)
        table.append(((since // timedelta(microseconds=1)) * 1000, abs(since.days) > 106_000, zoned))
    values, bad, zoned = (np.array(column) for column in zip(*(table + [(0, True, False)]), strict=True))
    index = np.asarray(coded.indices.fill_null(len(table)))
    return values.astype(np.int64)[index], bad.astype(bool)[index], zoned.astype(bool)[index]
