"""Cells as a reader delivers them (lists, arrow or numpy arrays) as arrow strings, and words for error messages."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from eventflow.events._events import Array

#: Arrow's compute functions, which are made at import and so are unknown to type checkers.
pc: Any = importlib.import_module("pyarrow.compute")
#: A run of cells of one column.
Cells: TypeAlias = "list[Any] | Array | pa.Array | pa.ChunkedArray"


def as_strings(cells: Cells) -> pa.Array:
    """The cells as strings; missing ones (None, null, empty) become null."""
    column = flat(cells) if isinstance(cells, (pa.Array, pa.ChunkedArray)) else _from_python(cells)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    strings = column if column.type == pa.string() else column.cast(pa.string())
    return pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.string()), strings)


def flat(cells: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One arrow array."""
    whole = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def as_numbers(cells: Cells) -> tuple[Array | None, Array]:
    """Typed numbers as int64 or float64 and a mask of the missing ones; (None, ...) if they are no typed numbers."""
    nothing = np.zeros(len(cells), dtype=bool)
    if isinstance(cells, (pa.Array, pa.ChunkedArray)):
        column = flat(cells)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            return None, nothing
        missing = np.asarray(column.is_null())
        filled = column.fill_null(0) if column.null_count else column
        return _wide(filled.to_numpy(zero_copy_only=False)), missing
    if isinstance(cells, np.ndarray):
        return (_wide(cells), nothing) if cells.dtype.kind in "iuf" else (None, nothing)
    kinds = set(map(type, cells))
    if kinds <= {int, type(None)} and int in kinds:
        whole = [0 if c is None else c for c in cells]
        if max(map(abs, whole)) < 2**63:
            return np.array(whole, dtype=np.int64), np.array([c is None for c in cells])
    if kinds <= {int, float, type(None)} and kinds & {int, float}:
        missing = np.array([c is None for c in cells])
        return np.array([0.0 if c is None else c for c in cells], dtype=np.float64), missing
    return None, nothing


def parse_numbers(strings: pa.Array) -> tuple[Array, Array]:
    """Strings as int64 if all are integers within +-2^62, whose differences fit, else float64, and a mask of those that
    are no numbers (null included)."""
    trimmed = pc.utf8_trim_whitespace(strings)
    bad = np.asarray(pc.fill_null(pc.invert(pc.match_substring_regex(trimmed, _NUMBER)), True), dtype=bool)
    text = pc.if_else(pa.array(~bad), trimmed, "0") if bad.any() else trimmed
    whole = pc.all(pc.match_substring_regex(text, _INTEGER)).as_py() if len(text) else True
    plain = pc.replace_substring_regex(text, r"^\+", "")
    if whole:
        try:
            values = np.asarray(plain.cast(pa.int64()))
            if not len(values) or max(int(values.max()), -int(values.min())) <= 2**62:
                return values, bad
        except pa.ArrowInvalid:  # beyond 64 bits
            pass
    return np.asarray(plain.cast(pa.float64())), bad


_INTEGER = r"^[+-]?\d+$"
_NUMBER = r"(?i)^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity))$"


def first_true(mask: Array) -> int:
    """The index of the first True."""
    return int(np.argmax(mask))


def _wide(values: Array) -> Array:
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    if values.dtype == np.uint64 and len(values) and values.max() >= 2**63:
        return values.astype(np.float64)
    return values.astype(np.int64)


def _from_python(cells: Any) -> pa.Array:
    if isinstance(cells, np.ndarray):
        cells = cells.tolist()
    try:
        return pa.array(cells, pa.string())
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array([None if c is None else c if isinstance(c, str) else _text(c) for c in cells], pa.string())


def _text(cell: Any) -> str:
    return repr(cell).encode("utf-8", "replace").decode("utf-8")
