"""The layout of the HuggingFace ``easytpp/*`` sets: one row a sequence, with lists of times, gaps and types.

Columns: ``time_since_start``, ``time_since_last_event``, ``type_event`` (lists), ``seq_len``, ``dim_process``,
``seq_idx`` (numbers); every one of them may be missing, but one of the two time columns must be there. The benchmark
takes its times to be the cumulative sum of ``time_since_last_event`` (the conversion of those sets recomputes them so),
and that is the default here; ``LogColumns(time="time_since_start")`` takes the other column. Where both are there, the
report's ``deltas_disagree`` counts the gaps that differ from the differences of ``time_since_start``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eventflow.events import Events, first_to_last
from eventflow.events._events import Array
from eventflow.io._request import Request

if TYPE_CHECKING:
    import pyarrow as pa

START, DELTA, MARK = "time_since_start", "time_since_last_event", "type_event"
LISTS = (START, DELTA, MARK)
SCALARS = ("seq_len", "dim_process", "seq_idx")
#: A gap disagrees with the difference of the absolute times when it is off by more than this.
TOLERANCE = 1e-6


@dataclass(slots=True)
class Rows:
    """The layout, flattened: ``lists`` name -> (n,) values, ``lengths`` (s,), ``scalars`` name -> (s,)."""

    lengths: Array
    lists: dict[str, Array] = field(default_factory=dict)
    scalars: dict[str, Array] = field(default_factory=dict)


def is_easytpp(names: Any) -> bool:
    """Whether columns of these names are this layout."""
    return START in names or DELTA in names


def from_table(table: pa.Table, request: Request) -> Events:
    """Events from an arrow table in this layout (parquet, or a HuggingFace dataset)."""
    lists: dict[str, Array] = {}
    lengths: dict[str, Array] = {}
    for name in LISTS:
        if name in table.column_names:
            lists[name], lengths[name] = _flatten(table, name, request)
    scalars = {
        name: table[name].to_numpy() for name in SCALARS if name in table.column_names and table[name].null_count == 0
    }
    return from_rows(Rows(_same_lengths(lengths, request), lists, scalars), request)


def from_records(records: list[dict[str, Any]], request: Request) -> Events:
    """Events from one mapping a sequence (json, jsonl)."""
    names = [name for name in LISTS if records and name in records[0]]
    lists: dict[str, Array] = {}
    lengths: dict[str, Array] = {}
    for name in names:
        parts = [_as_list(record, name, i, request) for i, record in enumerate(records)]
        lists[name] = np.concatenate(parts)
        lengths[name] = np.array([len(part) for part in parts])
    held = [name for name in SCALARS if records and all(name in record for record in records)]
    scalars = {name: np.array([record[name] for record in records]) for name in held}
    return from_rows(Rows(_same_lengths(lengths, request), lists, scalars), request)


def from_rows(rows: Rows, request: Request) -> Events:
    """Events from the flattened layout: times by the chosen convention, spans from first to last event."""
    if not len(rows.lengths):
        raise request.error("no sequence in it")
    _check_declared(rows, request)
    offsets = np.concatenate([[0], np.cumsum(rows.lengths)]).astype(np.int64)
    t = _times(rows, offsets, request)
    marks, num_marks = _marks(rows, offsets, request)
    if (order := _order(t, offsets, request)) is not None:
        t, marks = t[order], {name: column[order] for name, column in marks.items()}
    report = request.report
    report.rows = len(t)
    if START in rows.lists and DELTA in rows.lists:
        report.facts |= _disagreement(rows, offsets)
    keys = rows.scalars["seq_idx"].astype(str) if "seq_idx" in rows.scalars else None
    schema = request.resolve_schema(num_marks=num_marks, unit=None, given_first=True)
    return request.finish(Events(t, marks, offsets, first_to_last(t, offsets), schema, keys))


def _order(t: Array, offsets: Array, request: Request) -> Array | None:
    """How to put the events of each sequence in time order; None if they are, or are to stay as they are."""
    back = t[1:] < t[:-1]  # not by differences, which warn of infinite times
    back[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(t))] - 1] = False
    if not back.any() or request.lenient:
        return None
    if request.columns.sort:
        return np.lexsort((t, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))))
    i = int(np.argmax(back)) + 1
    row = int(np.searchsorted(offsets, i, side="right")) - 1
    raise request.out_of_order(
        f"{int(back.sum()):,} of {len(t):,} events go back in time within their sequence; the first is event "
        f"{i - int(offsets[row])} of sequence {row} (both counted from 0), {t[i - 1] - t[i]:g} before its predecessor"
    )


def _times(rows: Rows, offsets: Array, request: Request) -> Array:
    chosen = request.columns.time
    if chosen is None:
        chosen = DELTA if DELTA in rows.lists else START
    if chosen not in rows.lists:
        request.column(chosen, [name for name in (DELTA, START) if name in rows.lists])
    if chosen not in (DELTA, START):
        raise request.error(f"time={chosen!r}; expected {DELTA!r} or {START!r}")
    values = rows.lists[chosen].astype(np.float64)
    if chosen == DELTA:
        for lo, hi in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            np.cumsum(values[lo:hi], out=values[lo:hi])
    return values


def _marks(rows: Rows, offsets: Array, request: Request) -> tuple[dict[str, Array], int | None]:
    if MARK not in rows.lists:
        if (rows.scalars.get("dim_process", np.array([1])) > 1).any() and not request.lenient:
            raise request.error(f"no column {MARK!r}, although dim_process says that there are several kinds of event")
        return {}, None
    raw = rows.lists[MARK]
    mark = raw.astype(np.int64) if raw.dtype.kind in "iu" else _integral(raw, offsets, request)
    dims = np.unique(rows.scalars["dim_process"]) if "dim_process" in rows.scalars else np.array([])
    if len(dims) > 1:
        raise request.error(f"dim_process differs between sequences: {dims[:5].tolist()}; expected one number, K")
    given = request.schema.num_marks if request.schema else None
    if len(dims) or given:
        return {"mark": mark}, int(dims[0]) if len(dims) else None
    found = int(mark.max(initial=0)) + 1
    request.report.notes.append(f"no dim_process: K={found} is the largest type_event + 1")
    if len(mark) and mark.min() < 0 and not request.lenient:
        i = int(np.argmin(mark))
        raise request.error(f"type_event {mark[i]} in {_where(i, offsets)}; expected integers >= 0")
    return {"mark": mark}, found


def _integral(raw: Array, offsets: Array, request: Request) -> Array:
    bad = ~(np.isfinite(raw) & (raw == np.round(raw)))
    if bad.any() and request.lenient:
        request.report.notes.append(f"{int(bad.sum()):,} values of type_event are no integers (counted as mark -1)")
        return np.where(bad, -1, raw).astype(np.int64)
    if bad.any():
        i = int(np.argmax(bad))
        raise request.error(f"type_event {raw[i]} in {_where(i, offsets)}; expected integers in [0, K)")
    return raw.astype(np.int64)


def _check_declared(rows: Rows, request: Request) -> None:
    if START not in rows.lists and DELTA not in rows.lists:
        raise request.error(f"no time column; expected {DELTA!r} or {START!r}")
    for name in ("seq_len", "dim_process"):
        values = rows.scalars.get(name, np.array([1]))
        if values.dtype.kind not in "iuf" or not (np.isfinite(values).all() and (values >= 0).all()):
            raise request.error(f"{name} is {values[:3].tolist()}...; expected whole numbers")
    if "seq_len" in rows.scalars:
        wrong = rows.scalars["seq_len"] != rows.lengths
        if wrong.any():
            i = int(np.argmax(wrong))
            raise request.error(
                f"row {i}: seq_len is {rows.scalars['seq_len'][i]}, but its lists have {rows.lengths[i]} values"
            )


def _disagreement(rows: Rows, offsets: Array) -> dict[str, float]:
    inner = np.ones(offsets[-1], dtype=bool)
    inner[offsets[:-1][rows.lengths > 0]] = False
    differences = np.diff(rows.lists[START], prepend=0.0)
    off = np.abs(rows.lists[DELTA] - differences)[inner]
    longest = np.maximum(np.abs(differences[inner]), 1.0)
    return {"deltas": float(inner.sum()), "deltas_disagree": float((off > TOLERANCE * longest).sum())}


def _flatten(table: pa.Table, name: str, request: Request) -> tuple[Array, Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)) or not _is_number(column.type):
        raise request.error(f"column {name!r} is {column.type}; expected one list of numbers a sequence")
    if column.null_count:
        empty = int(np.argmax(column.is_null().to_numpy()))
        raise request.error(f"row {empty}: column {name!r} is empty; expected a list of numbers")
    lengths = pc.call_function("list_value_length", [column]).to_numpy().astype(np.int64)
    flat = pc.call_function("list_flatten", [column])
    if flat.type == pa.float32():
        request.report.facts[f"float32:{name}"] = 1.0
    return flat.to_numpy(), lengths


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)  # type: ignore[attr-defined]


def _as_list(record: dict[str, Any], name: str, i: int, request: Request) -> Array:
    if name not in record:
        raise request.error(f"row {i}: no {name!r}, which row 0 has")
    try:
        values = np.asarray(record[name])
        if values.ndim == 1 and (values.size == 0 or values.dtype.kind in "iuf"):
            return values if values.size else values.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        pass
    raise request.error(f"row {i}: {name!r} is {str(record[name])[:60]!r}; expected a list of numbers")


def _same_lengths(lengths: dict[str, Array], request: Request) -> Array:
    if not lengths:
        raise request.error(f"none of the columns {', '.join(LISTS)}")
    names = list(lengths)
    for name in names[1:]:
        wrong = lengths[name] != lengths[names[0]]
        if wrong.any():
            i = int(np.argmax(wrong))
            raise request.error(
                f"row {i}: {name!r} has {lengths[name][i]} values, {names[0]!r} has {lengths[names[0]][i]}"
            )
    return lengths[names[0]]


def _where(row: int, offsets: Array) -> str:
    sequence = int(np.searchsorted(offsets, row, side="right")) - 1
    return f"event {row - int(offsets[sequence])} of sequence {sequence}"
