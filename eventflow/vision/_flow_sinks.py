"""Where flow fields go: an archive of numpy's, a film, or a line of numbers each; and pictures to look at meanwhile."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.io import Sink, open_sink
from eventflow.vision._film import Film, check_film, open_film
from eventflow.vision._flow_checkpoint import INTERVAL
from eventflow.vision._flow_picture import Scale, side_by_side

Array = NDArray[Any]
FILMS = (".mp4", ".gif")


class Field(NamedTuple):
    """The flow at ``t`` (us), the end of a step, (2, H, W) in pixels per 100 ms; the step's image and its events."""

    t: int
    flow: Array
    image: Array
    events: int


class FieldSink(Protocol):
    """Where fields go, in order. ``position``, ``truncate``, ``sync``, ``finish`` as of :class:`eventflow.io.Sink`."""

    name: str

    @property
    def position(self) -> dict[str, Any]:
        """Behind the last field."""
        ...

    def truncate(self, position: dict[str, Any] | None) -> None:
        """Before the first field: go on behind ``position``; None begins anew."""
        ...

    def write(self, field: Field) -> None:
        """Add one."""
        ...

    def sync(self) -> None:
        """Return when everything is on disk."""
        ...

    def finish(self) -> None:
        """No field will follow."""
        ...

    def close(self) -> None:
        """Release files; what is not finished stays to be gone on with."""
        ...


def open_fields(uri: str, *, rate: float, resumable: bool) -> FieldSink:
    """The sink behind ``--sink``; ``rate``: fields a second; ``resumable``: with ``--snapshot``.

    Raises:
        InputError: an unknown kind; a folder that is not there; a film that is to be gone on with.
    """
    path = Path(uri)
    if uri == "-" or "://" in uri or path.suffix.lower() not in (".npz", *FILMS):
        if uri != "-" and "://" not in uri and path.suffix.lower() not in (".jsonl", ".ndjson", ".txt"):
            raise InputError(
                f"sink {uri}: a flow network writes fields (.npz), a film (.mp4, .gif) or numbers of each field "
                "(.jsonl, -, tcp://host:port). Write: --sink flow.npz"
            )
        return LineFields(open_sink(uri))
    if not path.parent.is_dir():
        raise InputError(f"sink {path}: the folder {path.parent} does not exist. Write: mkdir -p {path.parent}")
    if path.suffix.lower() == ".npz":
        return ArchiveFields(path, resumable=resumable)
    if resumable:
        raise InputError(f"sink {path}: a film cannot be gone on with after a stop. Write: --sink flow.npz, or leave "
                         "out --snapshot")  # fmt: skip
    return FilmFields(path, rate)


class LineFields:
    """A JSON line a field: ``{"t", "events", "flow": [x, y], "speed", "top"}``.

    t in us; flow and speed are means over the pixels with events in the step (null without any); top: the 99th
    percentile of the speed over all pixels. Pixels per 100 ms.
    """

    def __init__(self, sink: Sink) -> None:
        self.name, self._sink = sink.name, sink

    @property
    def position(self) -> dict[str, Any]:
        """As of the lines."""
        return self._sink.position

    def truncate(self, position: dict[str, Any] | None) -> None:
        """As of the lines."""
        self._sink.truncate(position)

    def write(self, field: Field) -> None:
        """One line."""
        self._sink.write([json.dumps(summary(field))])

    def sync(self) -> None:
        """As of the lines."""
        self._sink.sync()

    def finish(self) -> None:
        """As of the lines."""
        self._sink.finish()

    def close(self) -> None:
        """As of the lines."""
        self._sink.close()


def summary(field: Field) -> dict[str, Any]:
    """What a line says; see :class:`LineFields`."""
    seen = (field.image != 0).any(0)
    flow = field.flow[:, seen].astype(np.float64)
    mean = [round(float(v), 4) for v in flow.mean(1)] if flow.size else None
    speed = round(float(np.hypot(*flow).mean()), 4) if flow.size else None
    fastest = np.hypot(*field.flow)
    place = int(0.99 * (fastest.size - 1))
    top = round(float(np.partition(fastest, place, axis=None)[place]), 4)
    return {"t": field.t, "events": field.events, "flow": mean, "speed": speed, "top": top}


class ArchiveFields:
    """``.npz``: ``t`` (T,) us, ``events`` (T,), ``flow`` (T, 2, H, W) float32 in pixels per ``interval`` us.

    Fields lie in ``<name>.part`` until the stream has ended; then the archive is written, whole or not at all.
    ``resumable``: what a stream leaves that did not end stays, to be gone on with.
    """

    def __init__(self, path: Path, *, resumable: bool = False) -> None:
        self.name, self._path, self._resumable = str(path), path, resumable
        self._part = path.with_name(path.name + ".part")
        self._file: Any = None
        self._fields = 0
        self._shape: tuple[int, ...] | None = None

    @property
    def position(self) -> dict[str, Any]:
        """{"fields": how many there are, "shape": of one}."""
        return {"fields": self._fields, "shape": list(self._shape) if self._shape else None}

    def truncate(self, position: dict[str, Any] | None) -> None:
        """See :class:`FieldSink`."""
        if position is None or not position["fields"]:
            self._file = self._part.open("wb")
            return
        self._fields, self._shape = position["fields"], tuple(position["shape"])
        size = self._fields * self._record().itemsize
        there = self._part.stat().st_size if self._part.is_file() else -1
        if there < size:
            raise InputError(
                f"sink {self.name}: {self._part} has {max(there, 0)} bytes, but {size} had been written when the "
                "snapshot was taken. Give the sink of the snapshot, or begin anew with another --snapshot folder"
            )
        self._file = self._part.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)

    def _record(self) -> np.dtype[Any]:
        assert self._shape is not None
        return np.dtype([("t", "<i8"), ("events", "<i8"), ("flow", "<f4", self._shape)])

    def write(self, field: Field) -> None:
        """Append the field."""
        self._shape = field.flow.shape
        self._file.write(np.array([field.t, field.events], "<i8").tobytes())
        self._file.write(np.ascontiguousarray(field.flow, "<f4").data)
        self._fields += 1

    def sync(self) -> None:
        """fsync."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the archive, field by field."""
        self._file.close()
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        rows: Any = np.memmap(self._part, self._record(), "r") if self._fields else np.empty(0, _NONE)
        try:
            with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
                for name in ("t", "events", "flow"):
                    _append(archive, name, rows[name])
                _append(archive, "interval", np.array(INTERVAL))
            os.replace(scratch, self._path)
        finally:
            scratch.unlink(missing_ok=True)
        del rows
        self._part.unlink()

    def close(self) -> None:
        """Close the part; and remove it, if nothing will go on with it."""
        if self._file is not None:
            self._file.close()
            if not self._resumable:
                self._part.unlink(missing_ok=True)


_NONE = np.dtype([("t", "<i8"), ("events", "<i8"), ("flow", "<f4", (2, 0, 0))])


def _append(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    """A member in constant memory."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_2_0(member, header)  # type: ignore[arg-type]
        if array.ndim == 0:
            member.write(array.tobytes())
            return
        for first in range(0, len(array), 64):
            member.write(np.ascontiguousarray(array[first : first + 64]).tobytes())


class FilmFields:
    """``.mp4``: events and flow side by side, 25 pictures a second of the stream's time; ``.gif``: 10."""

    def __init__(self, path: Path, rate: float) -> None:
        check_film(path)
        self.name, self._path = str(path), path
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._stride = max(1, round(rate / (10 if path.suffix.lower() == ".gif" else 25)))
        self._rate = rate
        self._film: Film | None = None
        self._fields, self._scale = 0, Scale()

    @property
    def position(self) -> dict[str, Any]:
        """{"fields": how many there are}."""
        return {"fields": self._fields}

    def truncate(self, position: dict[str, Any] | None) -> None:
        """A new film."""

    def write(self, field: Field) -> None:
        """Every few fields become a picture."""
        self._fields += 1
        if (self._fields - 1) % self._stride:
            return
        if self._film is None:
            self._film = open_film(self._part, fps=self._rate / self._stride)
        self._film.append_data(side_by_side(field.image, field.flow, largest=self._scale.follow(field.flow)))

    def sync(self) -> None:
        """Nothing: a film is whole when it is finished."""

    def finish(self) -> None:
        """Close the film and put it in its place.

        Raises:
            InputError: not one field.
        """
        if self._film is None:
            raise InputError(f"sink {self.name}: the stream ended before its first whole step: no film")
        self._film.close()
        self._film = None
        os.replace(self._part, self._path)

    def close(self) -> None:
        """Remove what is not finished."""
        if self._film is not None:
            self._film.close()
            self._part.unlink(missing_ok=True)
