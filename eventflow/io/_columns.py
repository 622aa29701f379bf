"""Which columns of a log mean what, and what to do about bad rows: the declared side of every log format."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from eventflow.errors import InputError, did_you_mean
from eventflow.events import UNITS, Schema

#: Epoch units that ``time_format`` may name.
EPOCHS = ("s", "ms", "us", "ns")
SPANS = ("first_to_last", "log")
ON_ERROR = ("raise", "skip")


@dataclass(frozen=True, slots=True)
class LogColumns:
    """How to read a log: one row an event, grouped into sequences by ``key``.

    ``LogColumns(key="CaseID", time="CompleteTimestamp", mark="ActivityID", unit="d")``; on the command line
    ``--columns key=CaseID time=CompleteTimestamp mark=ActivityID unit=d``.

    Args:
        key: column that names the sequence; None: the whole file is one sequence. Web logs: ``host``, ``host+user``.
        time: column of the timestamps. EasyTPP layout: ``time_since_last_event`` (the default: the benchmark's
            cumulative sum) or ``time_since_start``.
        mark: column of the kind of event: words become marks with a vocabulary in alphabetical order (all-integer words
            in numerical order), integer cells are taken as they are. None: a single kind of event.
            Web logs: ``method+status`` (default), ``method``, ``status``, ``path`` or ``method+path``.
            XES: ``concept:name`` (default) or ``concept:name+lifecycle:transition``.
            In all logs ``a+b`` joins the cells of columns a and b with a space (for ``key`` and ``time``, too).
        mark_pattern: a regular expression; a mark is what its groups find in the cell, joined with a space. A cell that
            does not match is a bad row.
        words: True reads integer cells of ``mark`` as words too (the CSV cell 7 is then the word "7").
        numeric: further columns, kept as float64 (or int64) marks under their own names.
        time_format: ``auto`` (numbers as they are, or ISO dates), ``iso``, an epoch unit ``s | ms | us | ns``, or a
            strptime pattern such as ``[%d/%b/%Y:%H:%M:%S``. Dates without a zone are read as UTC.
        unit: unit of the resulting ``t``; None: the epoch's own unit, seconds for dates, dimensionless for plain
            numbers. Dates become int64 ticks in ms, us and ns, float64 in s and coarser units.
        span: ``first_to_last`` (each sequence is watched from its first event, which is then given, to just past its
            last one), ``log`` (all are watched from the log's first to just past its last event), or
            (start, end) in the unit of the times.
        session: cut a sequence where the silence is longer than this (in ``unit``); pieces are named ``key/0``, ...
        sort: put the rows of each sequence in time order (ties keep the file's order) instead of refusing them.
        on_error: ``raise`` at the first bad row, or ``skip`` bad rows, with a :class:`ReadWarning` that counts them.
        skip_lines: ranges (first, last) of file lines to leave out, e.g. a block that the file holds twice.
        delimiter: of a CSV file; None looks at the first line (comma, semicolon, tab or bar).
        header: the names of a CSV file's columns, where its first line is a row already.
        decimal: "," where numbers are written 12,5.
    """

    key: str | None = None
    time: str | None = None
    mark: str | None = None
    mark_pattern: str | None = None
    words: bool = False
    numeric: tuple[str, ...] = ()
    time_format: str = "auto"
    unit: str | None = None
    span: str | tuple[float, float] = "first_to_last"
    session: float | None = None
    sort: bool = False
    on_error: str = "raise"
    skip_lines: tuple[tuple[int, int], ...] = ()
    delimiter: str | None = None
    header: tuple[str, ...] = ()
    decimal: str = "."

    def __post_init__(self) -> None:
        _one_of("on_error", self.on_error, ON_ERROR)
        if isinstance(self.span, str):
            _one_of("span", self.span, SPANS)
        elif len(self.span) != 2 or not self.span[0] <= self.span[1]:
            raise InputError(
                f"LogColumns(span={self.span!r}): expected (start, end) with start <= end, or one of {SPANS}"
            )
        else:
            object.__setattr__(self, "span", (self.span[0], self.span[1]))
        if self.unit is not None:
            _one_of("unit", self.unit, UNITS)
        if self.time_format not in ("auto", "iso", *EPOCHS) and "%" not in self.time_format:
            raise InputError(
                f"LogColumns(time_format={self.time_format!r}): expected auto, iso, {', '.join(EPOCHS)} or a strptime "
                "pattern such as '%d/%m/%Y %H:%M'"
            )
        if self.mark_pattern is not None:
            _check_pattern(self.mark_pattern)
        if self.session is not None and not self.session > 0:
            raise InputError(f"LogColumns(session={self.session}): expected a silence > 0, in the unit of the times")
        _one_of("decimal", self.decimal, (".", ","))
        for name in ("numeric", "header"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InputError(f"LogColumns({name}={value!r}): expected a tuple of names. Write: ({value!r},)")
            object.__setattr__(self, name, tuple(value))
        if any(len(ends) != 2 or ends[0] > ends[1] for ends in self.skip_lines):
            raise InputError(
                f"LogColumns(skip_lines={self.skip_lines!r}): expected pairs (first, last) of line numbers"
            )
        object.__setattr__(self, "skip_lines", tuple((int(a), int(b)) for a, b in self.skip_lines))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LogColumns:
        """From plain data (a card's ``columns``); unknown keys are errors."""
        known = {f.name for f in fields(cls)}
        for key in data:
            if key not in known:
                raise InputError(f"columns: unknown key {key!r}; {did_you_mean(key, known)}")
        plain = dict(data)
        if isinstance(plain.get("span"), list):
            plain["span"] = tuple(plain["span"])
        return cls(**plain)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> LogColumns:
        """From the words of a command line: ``key=CaseID time=Timestamp unit=d sort=true skip_lines=10-20,40-41``."""
        data: dict[str, Any] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise InputError(f"--columns {word!r}: expected name=value, such as time=Timestamp")
            data[name] = _parse(name, value)
        return cls.from_dict(data)


def declared(words: Sequence[str] | None) -> tuple[LogColumns | str | None, Schema | None]:
    """What ``--columns`` says: of a log, or (words without =, or sensor=) the order of a camera's columns and its
    schema."""
    if not words:
        return None, None
    order = [word for word in words if "=" not in word]
    facts = dict(word.split("=", 1) for word in words if "=" in word)
    if not order and not set(facts) <= {"unit", "sensor"}:
        return LogColumns.from_words(words), None
    if not order and set(facts) == {"unit"}:  # of the one or the other
        return LogColumns.from_words(words), Schema(unit=facts["unit"])
    if unknown := set(facts) - {"unit", "sensor"}:
        raise InputError(
            f"--columns {' '.join(words)}: of a camera's table, expected the order of its columns, unit= and sensor=, "
            f"as in t y x p unit=us sensor=640x480; {did_you_mean(min(unknown), ('unit', 'sensor'))}"
        )
    if facts.get("unit", "us") not in UNITS:
        raise InputError(f"--columns unit={facts['unit']}: {did_you_mean(facts['unit'], UNITS)}")
    size = re.fullmatch(r"(\d+)x(\d+)", facts.get("sensor", "1x1"))
    if size is None or not int(size[1]) or not int(size[2]):
        raise InputError(f"--columns sensor={facts['sensor']}: expected width x height, as in sensor=640x480")
    schema = Schema(unit=facts.get("unit", "1"))
    if "sensor" in facts:
        schema = replace(schema, width=int(size[1]), height=int(size[2]))
    return " ".join(order) or None, schema


def schema_of(words: Sequence[str] | None) -> tuple[str | None, Schema | None]:
    """The order of a camera's columns and its schema, as said by ``--columns t y x p unit=us sensor=640x480``."""
    said, schema = declared(words)
    if isinstance(said, LogColumns) and schema is None:
        raise InputError(f"--columns {' '.join(words or ())}: a camera's recording is expected, not a log")
    return said if isinstance(said, str) else None, schema


def on_command_line(**changes: object) -> str:
    """The two ways to write a change of the columns: in Python, and for ``eventflow data``."""
    inside = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    said = [f"{name}={_word(value)}" for name, value in changes.items()]
    return f"LogColumns(..., {inside}), or on the command line: --columns ... {' '.join(map(shlex.quote, said))}"


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse(name: str, value: str) -> Any:
    try:
        if name in ("words", "sort"):
            return {"true": True, "false": False}[value.lower()]
        if name == "session":
            return float(value)
        if name in ("numeric", "header"):
            return tuple(value.split(","))
        if name == "skip_lines":
            return tuple(tuple(int(end) for end in part.split("-")) for part in value.split(","))
        if name == "span" and value not in SPANS:
            return tuple(float(end) for end in value.split(","))
    except (ValueError, KeyError):
        example = {"session": "1800", "skip_lines": "10-20,40-41", "span": "0,100"}.get(name, "true")
        raise InputError(f"--columns {name}={value}: expected something like {name}={example}") from None
    return {"\\t": "\t", "tab": "\t"}.get(value, value) if name == "delimiter" else value


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"LogColumns(mark_pattern={pattern!r}): {error}") from None
    if not groups:
        raise InputError(
            f"LogColumns(mark_pattern={pattern!r}): it has no (group); expected one around what is the mark"
        )


def _one_of(name: str, value: object, known: Any) -> None:
    if value not in known:
        raise InputError(f"LogColumns({name}={value!r}): {did_you_mean(str(value), known)}")
