"""Parquet: our own files, the EasyTPP layout, or a generic log with declared columns; told apart by what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eventflow.events import Events
from eventflow.io import _native
from eventflow.io._request import Request
from eventflow.io._text import Progress
from eventflow.io.easytpp import _easytpp
from eventflow.io.logs._log import LogCollector
from eventflow.io.logs._names import make_chunk, resolve, wanted

_CHUNK = 1 << 16


def read(request: Request) -> Events:
    """Events from a parquet file."""
    file = _open(request)
    schema = file.schema_arrow
    if _native.is_native(schema):
        return _native.read(_table(file, None, request), request)
    if _easytpp.is_easytpp(schema.names) and request.columns.key is None:
        request.report.format = "easytpp (parquet)"
        names = [name for name in (*_easytpp.LISTS, *_easytpp.SCALARS) if name in schema.names]
        return _easytpp.from_table(_table(file, names, request), request)
    return _log(file, request)


def _log(file: pq.ParquetFile, request: Request) -> Events:
    simple = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
    sample = next(_batches(file, simple, 100, request), None)
    if sample is None:
        raise request.error("no rows in it")
    request = resolve(request, {name: sample[name] for name in simple})
    collector = LogCollector(request, noun="row")
    names = wanted(request.columns, simple)
    begin, progress = 1, Progress(request.path)
    time = request.columns.time
    if time is not None and time in simple and file.schema_arrow.field(time).type == pa.float32():
        request.report.facts["float32:" + time] = 1.0
    try:
        for batch in _batches(file, names, _CHUNK, request):
            rows = np.arange(begin, begin + batch.num_rows)
            begin += batch.num_rows
            collector.add(make_chunk(request.columns, rows, {name: batch[name] for name in names}))
            progress.at(progress.total * (begin - 1) // max(file.metadata.num_rows, 1))
    finally:
        progress.stop()
    return collector.events()


def _open(request: Request) -> pq.ParquetFile:
    """The file's footer, or an error that says whether the file is cut off."""
    try:
        return pq.ParquetFile(request.path)
    except (pa.ArrowException, OSError) as error:
        raise request.error(
            f"a parquet file that cannot be opened ({_first_line(error)}); it has {request.path.stat().st_size:,} "
            "bytes and is probably cut off: copy or download it again"
        ) from None


def _table(file: pq.ParquetFile, names: list[str] | None, request: Request) -> pa.Table:
    try:
        return file.read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(request, error) from None


def _batches(file: pq.ParquetFile, names: list[str], size: int, request: Request) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=size, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(request, error) from None


def _damaged(request: Request, error: Any) -> Exception:
    return request.error(f"a damaged parquet file ({_first_line(error)}): copy or download it again")


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
