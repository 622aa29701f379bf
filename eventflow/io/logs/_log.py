"""Rows of a log into :class:`Events`: bad rows, sequences by key, marks, order, units, sessions and spans."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from eventflow.errors import InputError
from eventflow.events import Events, first_to_last
from eventflow.events._events import Array
from eventflow.io._columns import on_command_line
from eventflow.io._request import Request
from eventflow.io.logs._cells import Cells, as_numbers, as_strings, flat, parse_numbers, pc
from eventflow.io.logs._coders import Marks, WordCoder, find_words, settle_marks
from eventflow.io.logs._times import Parsed, TimeParser, convert


@dataclass(slots=True)
class Chunk:
    """A run of rows as a format's reader delivers them: cells as they are, and where each row stands in the file."""

    rows: Array
    time: Cells
    key: Cells | None = None
    mark: Cells | None = None
    numeric: dict[str, Cells] = field(default_factory=dict)


class LogCollector:
    """Takes the chunks of one log and makes Events of them; memory grows with the events kept, not with their text.

    ``noun`` is what a row is called in messages: line, row, event.
    """

    def __init__(self, request: Request, *, noun: str = "line") -> None:
        self.request, self.noun = request, noun
        self._times = TimeParser(request.columns.time_format)
        self._keys, self._words = WordCoder(), WordCoder()
        self._t: list[Array] = []
        self._rows: list[Array] = []
        self._key: list[Array] = []
        self._mark: list[Array] = []
        self._numeric: dict[str, list[Array]] = {}
        self._has_key = self._has_mark = False

    def bad_row(self, row: int, what: str, reason: str) -> None:
        """A row that is no row (wrong number of cells, broken JSON, ...): count it, or refuse it."""
        request = self.request
        if self._outside_skipped(np.array([row])).all():
            request.report.rows += 1
            if not request.skips:
                raise self._refusal(row, what, reason)
            request.report.skip(f"{self.noun} {row}", what, reason)

    def add(self, chunk: Chunk) -> None:
        """The next rows of the log."""
        chunk = _take(chunk, self._outside_skipped(chunk.rows))
        self.request.report.rows += len(chunk.rows)
        if not len(chunk.rows):
            return
        if self.request.columns.decimal == ",":
            chunk = replace(
                chunk, time=_pointed(chunk.time), numeric={name: _pointed(c) for name, c in chunk.numeric.items()}
            )
        parsed = self._parse_times(chunk.time)
        if chunk.mark is not None and self.request.columns.mark_pattern is not None:
            chunk = replace(chunk, mark=find_words(chunk.mark, self.request.columns.mark_pattern))
        good = self._refuse(chunk, "time", chunk.time, parsed.bad, parsed.reasons)
        for name, cells in (("key", chunk.key), ("mark", chunk.mark)):
            if cells is not None:
                missing = np.asarray(as_strings(cells).is_null()) & good
                pattern = self.request.columns.mark_pattern if name == "mark" else None
                reason = f"is missing or does not match {pattern!r}" if pattern else "is missing"
                good &= self._refuse(chunk, name, cells, missing, reason)
        numeric = {}
        for name, cells in chunk.numeric.items():
            numeric[name], bad = _numbers(cells)
            good &= self._refuse(chunk, name, cells, bad & good, "is no number")
        self._keep(_take(chunk, good), parsed.values[good], {name: values[good] for name, values in numeric.items()})

    def events(self) -> Events:
        """All rows, grouped by key in the order of first appearance, as Events."""
        self._refuse_nothing(sum(map(len, self._t)))
        self._tell_bytes()
        rows, key = np.concatenate(self._rows), np.concatenate(self._key) if self._has_key else None
        t, unit = self._in_unit(np.concatenate(self._t))
        columns = {name: np.concatenate(parts) for name, parts in self._numeric.items()}
        marks = None
        if self._has_mark:
            mark, marks, kept = self._marks(np.concatenate(self._mark), rows)
            columns = {"mark": mark, **{name: column[kept] for name, column in columns.items()}}
            t, rows, key = t[kept], rows[kept], key if key is None else key[kept]
            self._refuse_nothing(len(t))
        order, offsets, names = _group(key, self._keys.words, len(t))
        t, rows, columns = t[order], rows[order], {name: column[order] for name, column in columns.items()}
        order = self._order(t, rows, offsets, names)
        if order is not None:
            t, columns = t[order], {name: column[order] for name, column in columns.items()}
        return self._assemble(t, columns, offsets, names, (unit, marks))

    # -- one chunk ------------------------------------------------------------------------------------------------

    def _outside_skipped(self, rows: Array) -> Array:
        keep = np.ones(len(rows), dtype=bool)
        for first, last in self.request.columns.skip_lines:
            keep &= (rows < first) | (rows > last)
        left_out = int((~keep).sum())
        if left_out:
            facts = self.request.report.facts
            facts["skip_lines"] = facts.get("skip_lines", 0) + left_out
        return keep

    def _refuse(self, chunk: Chunk, what: str, cells: Cells, bad: Array, reasons: dict[int, str] | str) -> Array:
        """A mask of the good rows; bad ones are counted, or the first of them is refused."""
        if bad.any():
            name = {"time": self.request.columns.time, "key": self.request.columns.key,
                    "mark": self.request.columns.mark}.get(what) or what  # fmt: skip
            for i in np.flatnonzero(bad).tolist():
                reason = reasons if isinstance(reasons, str) else reasons[i]
                missing = reason.startswith("is missing")
                told = "" if missing else f"column {name!r} is {_cell(cells, i)!r}: it "
                self._count(int(chunk.rows[i]), told, f"column {name!r} {reason}" if missing else reason)
        return ~bad

    def _parse_times(self, cells: Cells) -> Parsed:
        try:
            return self._times.parse(cells)
        except InputError as error:
            raise self.request.error(f"column {self.request.columns.time!r}: {error}") from None

    def _count(self, row: int, told: str, reason: str) -> None:
        request = self.request
        if not request.skips:
            raise self._refusal(row, told, reason)
        request.report.skip(f"{self.noun} {row}", told, reason)

    def _refusal(self, row: int, told: str, reason: str) -> InputError:
        return self.request.error(
            f"{self.noun} {row}: {told}{reason}. Mend it, or leave out such rows with a report: "
            + on_command_line(on_error="skip")
        )

    def _keep(self, chunk: Chunk, t: Array, numeric: dict[str, Array]) -> None:
        self._t.append(t)
        self._rows.append(chunk.rows)
        if chunk.key is not None:
            self._has_key = True
            self._key.append(self._keys.encode(chunk.key, chunk.rows))
        if chunk.mark is not None:
            self._has_mark = True
            self._mark.append(self._words.encode(chunk.mark, chunk.rows))
        for name, values in numeric.items():
            self._numeric.setdefault(name, []).append(values)

    def _tell_bytes(self) -> None:
        """Warn of words with bytes that are not UTF-8: different ones may have become the same."""
        spoilt = [word for word in (*self._keys.words, *self._words.words) if "\ufffd" in word]
        if spoilt:
            self.request.report.facts["assumed"] = 1.0
            self.request.report.notes.append(
                f"{len(spoilt):,} of its words, such as {spoilt[0]!r}, had bytes that are not UTF-8; different ones "
                "may have become one. Write: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
            )

    # -- the whole ------------------------------------------------------------------------------------------------

    def _refuse_nothing(self, events: int) -> None:
        report = self.request.report
        if not events:
            raise self.request.error(f"no event in it ({report.rows:,} rows seen). {report.text()}".rstrip())

    def _in_unit(self, t: Array) -> tuple[Array, str]:
        source, wanted = self._times.unit, self.request.unit
        if source is None:
            return t, wanted or "1"
        target = wanted or ("s" if self._times.kind == "date" else source)
        t, rounded = convert(t, source, target)
        if rounded:
            self.request.report.notes.append(f"{rounded:,} times were rounded to whole {target}")
        if self._times.kind == "date" and target in ("s", "min", "h", "d", "10ks"):
            t = t.astype(np.float64)
        return t, target

    def _marks(self, codes: Array, rows: Array) -> tuple[Array, Marks, Array]:
        schema, words = self.request.schema, self._words.words
        column = f"column {self.request.columns.mark or 'mark'!r}"
        try:
            settled = settle_marks(
                words, vocabulary=schema.vocabulary if schema else None, num_marks=schema.num_marks if schema else None,
                as_words=self.request.columns.words,
            )  # fmt: skip
        except InputError as error:
            raise self.request.error(f"{column}: {error}") from None
        kept = np.ones(len(codes), dtype=bool)
        told = f"{column} is "
        for code, reason in sorted(settled.refused.items(), key=lambda item: self._words.first_row[item[0]]):
            if not self.request.skips:
                self._count(self._words.first_row[code], f"{told}{words[code]!r}: it ", reason)
            for i in np.flatnonzero(codes == code).tolist():
                self._count(int(rows[i]), f"{told}{words[code]!r}: it ", reason)
            kept &= codes != code
        return settled.table[codes[kept]], settled, kept

    def _order(self, t: Array, rows: Array, offsets: Array, names: Array | None) -> Array | None:
        """How to put the rows of each sequence in time order; None if they are (or are to stay as they are)."""
        back = np.diff(t) < 0
        back[offsets[1:-1] - 1] = False
        count, request = int(back.sum()), self.request
        request.report.facts["out_of_order"] = count
        if not count:
            return None
        if request.columns.sort:
            return np.lexsort((t, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))))
        if request.lenient:
            return None
        places = np.flatnonzero(back) + 1
        places = places[np.argsort(rows[places])]
        i = places[0]
        sequence = "" if names is None else f" of {str(names[np.searchsorted(offsets, i, side='right') - 1])!r}"
        others = ", ".join(str(row) for row in rows[places[1:6]])
        raise request.out_of_order(
            f"{count:,} of {len(t):,} rows go back in time within their sequence; the first is {self.noun} {rows[i]}"
            f"{sequence}, {t[i - 1] - t[i]:g} before its predecessor"
            + (f" (then {self.noun}s {others})" if others else "")
        )

    def _assemble(
        self, t: Array, columns: dict[str, Array], offsets: Array, names: Array | None, found: tuple[str, Marks | None]
    ) -> Events:
        rule, (unit, marks) = self.request.columns.span, found
        if self.request.columns.session is not None:
            offsets, names = _sessions(t, offsets, names, self.request.columns.session)
        schema = self.request.resolve_schema(
            num_marks=marks.num_marks if marks else None, unit=unit, given_first=rule == "first_to_last"
        )
        if marks is not None:
            schema = replace(schema, vocabulary=marks.vocabulary)
        if rule == "first_to_last":
            span = first_to_last(t, offsets)
        else:
            whole = first_to_last(np.array([t.min(), t.max()], t.dtype), np.array([0, 2]))[0] if rule == "log" else rule
            span = np.broadcast_to(np.asarray(whole, dtype=t.dtype), (len(offsets) - 1, 2)).copy()
        return self.request.finish(Events(t, columns, offsets, span, schema, names))


def _group(key: Array | None, words: list[str], n: int) -> tuple[Array, Array, Array | None]:
    """(order, offsets, names): rows by key, keys by first appearance, file order kept within."""
    if key is None:
        return np.arange(n), np.array([0, n], dtype=np.int64), None
    counts = np.bincount(key, minlength=len(words))
    held = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[held])])
    return np.argsort(key, kind="stable"), offsets, np.array(words)[held]


def _sessions(t: Array, offsets: Array, names: Array | None, silence: float) -> tuple[Array, Array]:
    """Cut where the gap is longer than ``silence``; the pieces of ``key`` are called key/0, key/1, ..."""
    cut = np.zeros(len(t), dtype=bool)
    cut[1:] = np.diff(t) > silence
    cut[offsets[:-1]] = True
    begin = np.flatnonzero(cut)
    owner = np.searchsorted(offsets, begin, side="right") - 1
    number = np.arange(len(begin)) - np.searchsorted(owner, owner)
    keys = names if names is not None else np.array([""])
    return np.append(begin, len(t)), np.array([f"{keys[o]}/{i}" for o, i in zip(owner, number, strict=True)])


def _pointed(cells: Cells) -> Cells:
    """Text with decimal points for commas; numbers as they are."""
    values, _ = as_numbers(cells)
    return cells if values is not None else pc.replace_substring(as_strings(cells), ",", ".")


def _numbers(cells: Cells) -> tuple[Array, Array]:
    values, missing = as_numbers(cells)
    if values is None:
        values, missing = parse_numbers(as_strings(cells))
    return values, missing


def _take(chunk: Chunk, keep: Array) -> Chunk:
    if keep.all():
        return chunk
    pick = [_pick(cells, keep) for cells in (chunk.time, chunk.key, chunk.mark)]
    numeric = {name: _picked(cells, keep) for name, cells in chunk.numeric.items()}
    return Chunk(chunk.rows[keep], _picked(chunk.time, keep), pick[1], pick[2], numeric)


def _pick(cells: Cells | None, keep: Array) -> Cells | None:
    return None if cells is None else _picked(cells, keep)


def _picked(cells: Cells, keep: Array) -> Cells:
    if isinstance(cells, np.ndarray):
        return cells[keep]
    if isinstance(cells, (pa.Array, pa.ChunkedArray)):
        return flat(cells).filter(pa.array(keep))
    return [cell for cell, kept in zip(cells, keep.tolist(), strict=True) if kept]


def _cell(cells: Cells, i: int) -> object:
    cell = cells[i].as_py() if isinstance(cells, (pa.Array, pa.ChunkedArray)) else cells[i]
    cell = cell.item() if isinstance(cell, np.generic) else cell
    return cell if not isinstance(cell, str) or len(cell) <= 60 else cell[:57] + "..."
