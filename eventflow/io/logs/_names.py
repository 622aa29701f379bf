"""Which columns of a log are key, time and mark: as declared, by our own names, or a guess for error messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

from eventflow.events._events import Array
from eventflow.io._columns import LogColumns
from eventflow.io._request import Request
from eventflow.io.logs._cells import Cells, as_strings, pc
from eventflow.io.logs._log import Chunk
from eventflow.io.logs._times import is_clock, is_day, looks_like_time, other_formats, suggest_epoch, suggest_format

#: The column names of our own files.
KEY, TIME, MARK = "key", "t", "mark"
_TIME_WORDS = ("time:timestamp", "timestamp", "time", "date", "datetime", "created", "start")
_KEY_WORDS = (
    "case:concept:name", "caseid", "case", "user", "session", "client", "customer", "account", "key", "host", "ip",
    "sequence", "seq", "id",
)  # fmt: skip
_MARK_WORDS = (
    "concept:name", "activity", "mark", "event", "type", "action", "category", "label", "kind", "url", "status", "name",
)  # fmt: skip


def parts(name: str, known: Iterable[str]) -> list[str]:
    """The columns that ``name`` stands for: itself, or a and b for ``a+b``."""
    return [name] if "+" not in name or name in known else [part.strip() for part in name.split("+")]


def wanted(columns: LogColumns, known: Iterable[str]) -> list[str]:
    """All columns that are needed, each once."""
    names = [name for name in (columns.key, columns.time, columns.mark, *columns.numeric) if name is not None]
    return list(dict.fromkeys(part for name in names for part in parts(name, known)))


def make_chunk(columns: LogColumns, rows: Array, cells: Mapping[str, Cells]) -> Chunk:
    """The cells of some rows as a chunk, with key, time and mark in their places."""
    assert columns.time is not None
    key, mark = (None if name is None else _joined(name, cells) for name in (columns.key, columns.mark))
    return Chunk(rows, _joined(columns.time, cells), key, mark, {name: cells[name] for name in columns.numeric})


def _joined(name: str, cells: Mapping[str, Cells]) -> Cells:
    names = parts(name, cells)
    if len(names) == 1:
        return cells[name]
    return pc.binary_join_element_wise(*(as_strings(cells[part]) for part in names), " ")


def resolve(request: Request, sample: dict[str, Cells]) -> Request:
    """The request with its columns settled: declared and there, or those of our own files (``key``, ``t``, ``mark``).

    ``sample`` is the head of each column. A lenient request (the info page) takes the guess and says so.
    """
    columns, names = request.columns, list(sample)
    declared = wanted(columns, names)
    for name in declared:
        request.column(name, names)
    if columns.time is not None:
        return request
    if TIME in names and not declared:
        own = {"key": KEY if KEY in names else None, "mark": MARK if MARK in names else None}
        others = tuple(name for name in names if name not in (KEY, TIME, MARK))
        if others:
            request.report.notes.append(
                f"columns left out: {', '.join(others)} (numbers can be kept with numeric=(...))"
            )
        return replace(request, columns=replace(columns, time=TIME, **own))
    guessed = guess(sample, columns)
    line = _line(guessed)
    if request.lenient and guessed.time is not None:
        request.report.notes.append(f"columns guessed from their names and contents; to choose, write {line}")
        others = other_formats(_joined(guessed.time, sample)) if "%" in guessed.time_format else []
        if others and columns.time_format == "auto":
            fit = " and ".join(map(repr, others))
            request.report.notes.append(f"its dates fit {fit} as well: day and month may be wrong")
        return replace(request, columns=guessed)
    raise request.error(f"which column is the time? Columns: {', '.join(names)}. Write: columns={line}")


def guess(sample: dict[str, Cells], columns: LogColumns) -> LogColumns:
    """Columns by their names, and the time by its contents: a date and a time of day may stand in two columns."""
    names = list(sample)
    dated = [name for name in names if looks_like_time(sample[name])]
    clocks = [name for name in names if is_clock(sample[name])]
    time = _by_words(dated, _TIME_WORDS) or (dated[0] if dated else _by_words(names, _TIME_WORDS))
    cells = sample.get(time or "", [])
    if clocks and dated and is_day(cells):
        time = f"{time}+{_by_words(clocks, _TIME_WORDS) or clocks[0]}"
        cells = _joined(time, sample)
    rest = [name for name in names if name != time and name not in (time or "").split("+")]
    key = columns.key or _by_words(rest, _KEY_WORDS)
    rest = [name for name in rest if name != key]
    mark = columns.mark or _by_words(rest, _MARK_WORDS) or (rest[0] if rest else None)
    pattern = columns.time_format
    if pattern == "auto" and time is not None:
        pattern = (suggest_format(cells) if dated else suggest_epoch(cells)) or "auto"
    return replace(columns, key=key, time=time, mark=mark, time_format=pattern)


def _by_words(names: list[str], words: tuple[str, ...]) -> str | None:
    """The name that is one of the words, or has it in it; the first word counts most."""
    for word in words:
        plain = [(name, name.lower(), re.sub(r"[\s_-]", "", name.lower())) for name in names]
        for name, small, bare in plain:
            if word in (small, bare):
                return name
        for name, small, _ in plain:
            if (len(word) > 2 and word in small) or small.endswith(f"_{word}"):
                return name
    return None


def _line(columns: LogColumns) -> str:
    said = [f"{name}={value!r}" for name in ("key", "time", "mark") if (value := getattr(columns, name)) is not None]
    if columns.time is None:
        said.insert(0, "time='...'")
    if columns.time_format != "auto":
        said.append(f"time_format={columns.time_format!r}")
    words = [shlex.quote(word.replace("='", "=").removesuffix("'")) for word in said]
    return f"LogColumns({', '.join(said)}), or on the command line: --columns {' '.join(words)}"
