"""Parquet: our own files, the EasyTPP layout, or a generic log with declared columns; told apart by their columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eventflow.events import Events
from eventflow.io import _easytpp
from eventflow.io._request import Request


def read(request: Request) -> Events:
    """Events from a parquet file."""
    file = open_parquet(request)
    names = file.schema_arrow.names
    if _easytpp.is_easytpp(names):
        request.report.format = "easytpp (parquet)"
        wanted = [name for name in (*_easytpp.LISTS, *_easytpp.SCALARS) if name in names]
        return _easytpp.from_table(read_table(file, wanted, request), request)
    raise request.error("not yet")


def open_parquet(request: Request) -> pq.ParquetFile:
    """The file's footer, or an error that says whether the file is cut off."""
    size = request.path.stat().st_size
    try:
        return pq.ParquetFile(request.path)
    except (pa.ArrowException, OSError) as error:
        raise request.error(
            f"a parquet file that cannot be opened ({_first_line(error)}); it has {size:,} bytes and is probably cut "
            "off: copy or download it again"
        ) from None


def read_table(file: pq.ParquetFile, names: list[str], request: Request) -> pa.Table:
    """The named columns, or an error for a damaged file."""
    try:
        return file.read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise request.error(f"a damaged parquet file ({_first_line(error)}): copy or download it again") from None


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
