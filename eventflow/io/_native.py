"""Our own parquet: one row a sequence, and everything that Events hold, without loss.

Columns ``key`` (where there are keys), ``start``, ``end`` (the span), ``given`` (where sequences differ in whether
their first events opened them), ``t`` and one list for each mark column; the
schema and the dtypes are JSON under the file's metadata key ``eventflow``. Other tools read it as an ordinary table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.events._events import Array
from eventflow.io._columns import LogColumns
from eventflow.io._request import Request

META = b"eventflow"
#: 2 has a column ``given``, where sequences differ in whether their first events opened them; 1 has not.
VERSION = 2
_RESERVED = ("key", "start", "end", "given", "t")


def write(events: Events, path: Path) -> None:
    """Write ``events``; every dtype, span, key and word comes back from :func:`read`."""
    for name, column in events.marks.items():
        if name in _RESERVED:
            raise InputError(f"a mark column is called {name!r}, as one of ours: {', '.join(_RESERVED)}; rename it")
        if column.dtype.kind not in "iufbU" or column.dtype == np.float16:
            raise InputError(f"mark column {name!r} is {column.dtype}; parquet takes numbers, booleans and strings")
    arrays: dict[str, Any] = {} if events.keys is None else {"key": pa.array(events.keys)}
    arrays |= {"start": pa.array(events.span[:, 0]), "end": pa.array(events.span[:, 1])}
    arrays |= {} if events.given is None else {"given": pa.array(events.given)}
    arrays |= {name: _pack(column, events.offsets) for name, column in {"t": events.t, **events.marks}.items()}
    about = {
        "version": 1 if events.given is None else VERSION,
        "schema": events.schema.to_dict(),
        "marks": {name: [column.dtype.str, list(column.shape[1:])] for name, column in events.marks.items()},
        "keys": None if events.keys is None else events.keys.dtype.str,
    }
    table = pa.table(arrays).replace_schema_metadata({META: json.dumps(about).encode()})
    repeated: Any = [
        "key",
        *(f"{name}.list.element" for name in events.marks),
    ]  # times hardly ever repeat: no dictionary
    pq.write_table(table, path, compression="zstd", use_dictionary=repeated)


def read(table: pa.Table, request: Request) -> Events:
    """Events from a table with our metadata."""
    about = json.loads((table.schema.metadata or {})[META])
    if about["version"] not in (1, VERSION):
        raise request.error(f"written in version {about['version']} of this format; this eventflow reads 1, {VERSION}")
    if request.columns != LogColumns():
        raise request.error("a file of ours says itself what its columns mean; read it without columns=")
    stored = Schema.from_dict(about["schema"])
    if request.unit not in (None, stored.unit):
        raise request.error(f"its unit is {stored.unit!r}, but the schema given says {request.unit!r}")
    given = request.schema.vocabulary if request.schema else None
    if given is not None and stored.vocabulary not in (None, given):
        raise request.error(f"its vocabulary {stored.vocabulary} is not the one given, {given}")
    t, offsets = _unpack(table["t"])
    marks = {}
    for name, (dtype, shape) in about["marks"].items():
        values, _ = _unpack(table[name])
        marks[name] = values.reshape(len(t), *shape).astype(np.dtype(dtype))
    span = np.stack([table["start"].to_numpy(), table["end"].to_numpy()], 1)
    keys = None if about["keys"] is None else np.array(table["key"].to_pylist(), dtype=np.dtype(about["keys"]))
    schema = request.resolve_schema(num_marks=stored.num_marks, unit=stored.unit, given_first=stored.given_first)
    request.report.rows = len(t)
    request.report.format = "eventflow (parquet)"
    merged = Schema.from_dict({**stored.to_dict(), **schema.to_dict()})
    given = table["given"].to_numpy() if about["version"] > 1 else None
    return request.finish(Events(t, marks, offsets, span, merged, keys, given))


def is_native(schema: pa.Schema) -> bool:
    """Whether a file was written by :func:`write`."""
    return META in (schema.metadata or {})


def _pack(column: Array, offsets: Array) -> pa.Array:
    values = pa.array(np.ascontiguousarray(column).reshape(-1))
    width = int(np.prod(column.shape[1:], dtype=np.int64))
    if column.ndim > 1:
        values = pa.FixedSizeListArray.from_arrays(values, width)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def _unpack(column: pa.ChunkedArray) -> tuple[Array, Array]:
    """(flat values, offsets)."""
    parts = [chunk.flatten() for chunk in column.chunks]
    lengths = [np.diff(np.asarray(chunk.offsets)) for chunk in column.chunks]
    values = pa.concat_arrays(parts) if parts else pa.array([], column.type.value_type)
    while pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]) if lengths else np.array([0])
    return values.to_numpy(zero_copy_only=False), offsets.astype(np.int64)
