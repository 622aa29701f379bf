"""Event cameras' files: every format opened as a :class:`Recording`, read whole, by window or in chunks.

(0, 0) is the top left pixel, p is 1 where it became brighter, t is in microseconds as the file counts them. The span
is what the file states, else from the first event to just past the last. One private file here for each family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io._packed import packed_advice, packing
from eventflow.io._request import Request
from eventflow.io.cameras._recording import Recording as Recording
from eventflow.io.cameras._source import BrokenError, Columns, Opening, Source, as_columns


class _Camera(NamedTuple):
    suffixes: tuple[str, ...]
    what: str
    module: str
    opener: str
    variant: str = ""


_CAMERAS = {
    "evt2": _Camera((), "Prophesee RAW, EVT 2.0", "_prophesee", "open_raw", "evt2"),
    "evt21": _Camera((), "Prophesee RAW, EVT 2.1", "_prophesee", "open_raw", "evt21"),
    "evt3": _Camera((".raw",), "Prophesee RAW, EVT 3.0", "_prophesee", "open_raw", "evt3"),
    "dat": _Camera((".dat",), "Prophesee DAT", "_prophesee", "open_dat"),
    "aedat1": _Camera((), "jAER's AEDAT 1 (DVS128)", "_aer", "open_aedat1"),
    "aedat2": _Camera((), "jAER's AEDAT 2 (DVS128, DAVIS240, DAVIS346)", "_aer", "open_aedat2"),
    "aedat31": _Camera((), "cAER's AEDAT 3.1", "_aer", "open_aedat31"),
    "nmnist": _Camera((".bin",), "N-MNIST and N-Caltech101, five bytes an event", "_aer", "open_nmnist"),
    "text": _Camera((), "text, one event a line: t x y p", "_lines", "open_text"),
    "npy": _Camera((".npy",), "numpy's records t, x, y, p (tonic's dtype), or n x 4 numbers", "_arrays", "open_npy"),
    "npz": _Camera((".npz",), "numpy's archive of t, x, y, p, or of one such array", "_arrays", "open_npz"),
    "dsec": _Camera((), "HDF5 in DSEC's layout: events/{t,x,y,p}", "_hdf5_columns", "open_dsec"),
    "m3ed": _Camera((), "HDF5 in M3ED's layout, left camera", "_hdf5_columns", "open_m3ed", "left"),
    "m3ed-right": _Camera((), "HDF5 in M3ED's layout, right camera", "_hdf5_columns", "open_m3ed", "right"),
    "columns": _Camera((), "HDF5 with t, x, y, p in one group: event_utils, ...", "_hdf5_columns", "open_columns"),
    "table": _Camera((), "HDF5 with one table of t, x, y, p: v2e, ...", "_hdf5_table", "open_table"),
    "mvsec": _Camera((), "HDF5 in MVSEC's layout, left camera", "_hdf5", "open_mvsec", "left"),
    "mvsec-right": _Camera((), "HDF5 in MVSEC's layout, right camera", "_hdf5", "open_mvsec", "right"),
    "metavision": _Camera((), "HDF5 in Metavision's layout: CD/events (ECF or not)", "_hdf5", "open_metavision"),
    "aedat4": _Camera((".aedat4",), "iniVation's AEDAT 4 (extra aedat)", "_libraries", "open_aedat4"),
    "rosbag": _Camera((".bag",), "ROS 1 bag, dvs or event_camera_msgs (extra ros)", "_rosbag", "open_bag", "1"),
    "rosbag2": _Camera((".db3", ".mcap"), "ROS 2 bag, the same messages (extra ros)", "_rosbag", "open_bag", "2"),
    "es": _Camera((".es",), "Event Stream, dvs or atis (extra es)", "_libraries", "open_es"),
}
#: Formats in which the order of columns may have to be said.
TABLES = ("text", "npy", "npz", "table")
_MAGIC = {
    b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"Event Stream": "es", b"#ROSBAG": "rosbag",
    b"SQLite format 3\0": "rosbag2", b"\x89MCAP0\r\n": "rosbag2",
}  # fmt: skip
#: format -> (suffixes, what it is): joins ``eventflow.io.FORMATS``.
CAMERA_FORMATS = {name: (camera.suffixes, camera.what) for name, camera in _CAMERAS.items()}
#: format that can be written -> suffixes that choose it: joins ``eventflow.io.WRITERS``.
CAMERA_WRITERS = {
    "evt3": (".raw", ".evt3"), "evt2": (".evt2",), "dat": (".dat",), "nmnist": (".bin",), "text": (".txt",),
    "npz": (".npz",), "dsec": (".h5", ".hdf5"),
}  # fmt: skip


def open_camera(
    path: Path, name: str, *, schema: Schema | None = None, recover: bool = False, columns: str = ""
) -> Recording:
    """The recording in a file of a known camera format (see :func:`eventflow.io.open_recording`)."""
    camera = _CAMERAS[name]
    given = schema or Schema()
    unit = given.unit if given.unit != "1" else None
    opening = Opening(path, given.height, given.width, camera.variant, unit, columns, recover)
    if columns and name not in TABLES:
        raise opening.error(f"columns={columns!r} is for {', '.join(TABLES)}; {name} says itself what is where")
    if path.is_file():
        _refuse_packed(opening, name)
    opener: Callable[[Opening], Source] = getattr(import_module(f"{__name__}.{camera.module}"), camera.opener)
    try:
        source = opener(opening)
    except (OSError, RuntimeError, KeyError) as error:  # of a library, about a damaged file
        if isinstance(error, InputError):
            raise
        raise opening.error(f"a damaged file ({error}); what it holds as {name} cannot be found") from None
    return Recording(source, format=name, schema=schema, recover=recover)


def _refuse_packed(opening: Opening, name: str) -> None:
    with opening.path.open("rb") as file:
        head = file.read(8)
    if packing(head) is not None and name != "npz":
        raise opening.error(packed_advice(head, opening.path))


def read(request: Request) -> Events:
    """Events for ``read_events``; what was noticed goes into the request's report."""
    recording = open_camera(
        request.path, request.report.format, schema=request.schema, recover=request.recover or request.lenient,
        columns=request.order,
    )  # fmt: skip
    events = recording.read(request.window)
    request.report.rows = events.num_events
    request.report.facts |= recording.report.facts
    request.report.notes += recording.report.notes
    return events


def write_recording(chunks: Iterable[Events], path: Path, name: str, *, span: tuple[int, int] | None = None) -> None:
    """Write chunks of one recording, in order, to a file of a format in ``CAMERA_WRITERS``.

    Args:
        chunks: at least one, perhaps of no events; the first one's schema tells the sensor.
        path: the file, which is overwritten.
        name: the format.
        span: the half-open interval in which the camera watched, where that is not from the first to the last event.

    Raises:
        InputError: for what the format cannot hold.
    """
    from eventflow.io.cameras import _writers

    parts = iter(chunks)
    first = next(parts, None)
    schema = first.schema if first is not None else Schema(unit="us")
    facts = _writers.Facts(schema.height, schema.width, span)
    version = (name[3:],) if name in ("evt2", "evt3") else ()
    writer = _writers.raw if version else getattr(_writers, name)
    with writer(path, facts, *version) as write:
        for events in chain([first] if first is not None else [], parts):
            write(_columns(events, name))


def _columns(events: Events, name: str) -> Columns:
    marks = events.marks
    if len(events) != 1 or set(marks) != {"x", "y", "p"} or events.schema.unit != "us" or events.t.dtype != np.int64:
        raise InputError(
            f"{name} holds one recording with x, y, p and integer times in us; this is {len(events)} sequences with "
            f"{', '.join(marks) or 'no marks'}, {events.t.dtype} times in {events.schema.unit!r}. Write parquet"
        )
    try:
        return as_columns(events.t, marks["x"], marks["y"], marks["p"], first=0)
    except BrokenError as error:
        raise InputError(f"{name}: {error}") from None


def sniff_camera(head: bytes, path: Path, *, packed: bool = False) -> str | None:
    """The camera format of a file that begins so, or None; ``packed``: it is what ``path`` holds, unpacked."""
    if head[:2] == b"% ":
        from eventflow.io.cameras._prophesee import parse_header

        encoding = parse_header(head).encoding
        if encoding is not None:
            return encoding if encoding in _CAMERAS else None
    if head[:10] in (b"#!AER-DAT1", b"#!AER-DAT2"):
        return f"aedat{head[9:10].decode()}"
    if head[:12] == b"#!AER-DAT3.1":
        return "aedat31"
    if head[:12] == b"#!AER-DAT4.0":
        return "aedat4"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        from eventflow.io.cameras import _hdf5

        if packed:
            return "dsec"  # or another of HDF5
        return _hdf5.sniffed(Opening(path))
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    from eventflow.io.cameras._lines import looks_like_events

    return "text" if looks_like_events(head) else None
