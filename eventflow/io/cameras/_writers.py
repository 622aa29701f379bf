"""Writing recordings, chunk by chunk: RAW (EVT 2 and 3), DAT, N-MNIST, text, npz, DSEC's HDF5."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventflow.errors import InputError, require
from eventflow.io.cameras._source import Columns
from eventflow.ops.encode import EncoderState, encode_evt2, encode_evt3
from eventflow.ops.parse_events import format_events

#: Rows of a chunk of HDF5: a window of 100 ms unpacks little that it does not need.
_CHUNK = 1 << 16
_ANY_TIMES = (
    "Formats that hold any times: .h5, .npz, .txt and .parquet. To let them count from the beginning: eventflow data "
    "convert SOURCE TARGET --from_zero"
)
#: What takes the chunks, in order.
Write = Callable[[Columns], None]


class Facts(NamedTuple):
    """What a file is told beside its events: the sensor, and the span if it is not from the first to the last event."""

    height: int | None
    width: int | None
    span: tuple[int, int] | None


@contextmanager
def raw(path: Path, facts: Facts, version: str) -> Iterator[Write]:
    """Prophesee RAW."""
    encode = encode_evt3 if version == "3" else encode_evt2
    size = f";height={facts.height};width={facts.width}" if facts.height and facts.width else ""
    lines = [f"evt {version}.0", f"format EVT{version}{size}"]
    lines += [f"geometry {facts.width}x{facts.height}"] if size else []
    state: EncoderState | None = None
    with path.open("wb") as file:
        file.write(_percent([*lines, *_span_line(facts), "end"]))

        def write(columns: Columns) -> None:
            nonlocal state
            try:
                words, state = encode(*columns, state=state)
            except InputError as error:
                raise InputError(f"{error}. {_ANY_TIMES}") from None
            file.write(words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes())

        yield write


@contextmanager
def dat(path: Path, facts: Facts) -> Iterator[Write]:
    """Prophesee DAT, version 2: times below 2^32 us at the beginning, silences below 2^31 us."""
    size = [f"Height {facts.height}", f"Width {facts.width}"] if facts.height and facts.width else []
    check = _Counter("dat", bits=32, x=1 << 14, y=1 << 14)
    with path.open("wb") as file:
        lines = ["Data file containing CD events.", "Version 2", *size, *_span_line(facts)]
        file.write(_percent(lines) + b"\x0c\x08")

        def write(columns: Columns) -> None:
            check(columns)
            t, x, y, p = (column.astype(np.int64) for column in columns)
            file.write(np.stack([t & 0xFFFFFFFF, p << 28 | y << 14 | x], 1).astype("<u4").tobytes())

        yield write


@contextmanager
def nmnist(path: Path, facts: Facts) -> Iterator[Write]:
    """Five bytes an event: times below 2^23 us at the beginning, silences below 2^22 us, x < 256, y < 240."""
    check = _Counter("nmnist", bits=23, x=256, y=240)
    if facts.span is not None:
        raise InputError("an N-MNIST file cannot hold a span that is not from its first to its last event; write npz")
    with path.open("wb") as file:

        def write(columns: Columns) -> None:
            check(columns)
            t, x, y, p = (column.astype(np.int64) for column in columns)
            rows = np.stack([x, y, p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF], 1)
            file.write(rows.astype(np.uint8).tobytes())

        yield write


@contextmanager
def text(path: Path, facts: Facts) -> Iterator[Write]:
    """``t x y p``, t in seconds with six decimals, after a comment that tells the sensor and the span."""
    size = f" width {facts.width} height {facts.height}" if facts.height and facts.width else ""
    span = f" span {facts.span[0]} {facts.span[1]}" if facts.span else ""
    with path.open("wb") as file:
        file.write(f"#{size}{span}\n".encode() if size or span else b"# t x y p\n")
        yield lambda columns: _put(file, format_events(*columns))


@contextmanager
def npz(path: Path, facts: Facts) -> Iterator[Write]:
    """Arrays t, x, y, p, and height, width, span where they are known. The columns wait in temporary files."""
    kinds = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "|u1"}
    rows = 0
    with ExitStack() as stack:
        parts = {name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in kinds}

        def write(columns: Columns) -> None:
            nonlocal rows
            rows += len(columns.t)
            for (name, kind), column in zip(kinds.items(), columns, strict=True):
                parts[name].write(column.astype(kind, copy=False).tobytes())

        yield write
        with zipfile.ZipFile(path, "w") as archive:
            for name, kind in kinds.items():
                parts[name].seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    about = {"descr": kind, "fortran_order": False, "shape": (rows,)}
                    np.lib.format.write_array_header_1_0(member, about)
                    shutil.copyfileobj(parts[name], member, 1 << 20)
            for name, value in facts._asdict().items():
                if value is not None:
                    with archive.open(f"{name}.npy", "w") as member:
                        np.lib.format.write_array(member, np.atleast_1d(np.array(value, np.int64)))


@contextmanager
def dsec(path: Path, facts: Facts) -> Iterator[Write]:
    """DSEC's events.h5: t from ``t_offset`` on, ms_to_idx, Blosc with Zstandard (extra ``vision``)."""
    import h5py

    plugin = require("hdf5plugin", "vision")
    with h5py.File(path, "w") as file:
        options = plugin.Blosc(cname="zstd", clevel=3, shuffle=plugin.Blosc.BITSHUFFLE)
        sets = {
            name: file.create_dataset(
                f"events/{name}", (0,), kind, maxshape=(None,), chunks=(_CHUNK,), compression=options
            )
            for name, kind in (("t", "<u4"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"))
        }
        index = _MillisecondIndex()
        yield lambda columns: _append(sets, columns, index)
        file["t_offset"] = np.int64(index.offset or 0)
        file["ms_to_idx"] = np.concatenate(index.parts or [np.zeros(1, np.uint64)]).astype(np.uint64)
        for name, value in facts._asdict().items():
            if value is not None:
                file.attrs[name] = value


class _MillisecondIndex:
    """``ms_to_idx``: the first event at or after each millisecond, up to that of the last event."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.rows = 0
        self.done = 0
        self.parts: list[Any] = []

    def add(self, t: Any) -> Any:
        """t relative to the first event, which is what the file holds."""
        if self.offset is None:
            self.offset = int(t[0])
        relative = t - self.offset
        if relative[-1] >= 1 << 32:
            raise InputError("DSEC's layout holds times of 32 bits: at most 71 minutes. Write evt2 or npz, or cut it")
        steps = np.arange(self.done, int(relative[-1]) // 1000 + 1)
        self.parts.append(self.rows + np.searchsorted(relative, steps * 1000))
        self.done = max(self.done, int(relative[-1]) // 1000 + 1)
        self.rows += len(t)
        return relative


def _append(sets: dict[str, Any], columns: Columns, index: _MillisecondIndex) -> None:
    if not len(columns.t):
        return
    first = index.rows
    relative = index.add(columns.t)
    for name, column in zip("txyp", (relative, *columns[1:]), strict=True):
        sets[name].resize((first + len(column),))
        sets[name][first:] = column


class _Counter:
    """Checks that a counter of so many bits tells every time, and that x and y fit."""

    def __init__(self, name: str, *, bits: int, x: int, y: int) -> None:
        self.name, self.bits, self.x, self.y = name, bits, x, y
        self.last: int | None = None

    def __call__(self, columns: Columns) -> None:
        t = columns.t
        if not len(t):
            return
        gaps = np.diff(t, prepend=t[0] if self.last is None else self.last)
        if t[0] < 0 or (self.last is None and t[0] >= 1 << self.bits) or gaps.max() >= 1 << (self.bits - 1):
            raise InputError(
                f"a {self.name} file counts time in {self.bits} bits: it can hold neither a beginning after "
                f"{1 << self.bits:,} us nor a silence of {1 << (self.bits - 1):,} us; here it begins at {t[0]:,} us. "
                f"{_ANY_TIMES}"
            )
        for name, column, most in (("x", columns.x, self.x), ("y", columns.y, self.y)):
            if column.max() >= most:
                raise InputError(
                    f"a {self.name} file holds {name} below {most}; here is {int(column.max())}. Write npz"
                )
        self.last = int(t[-1])


def _put(file: Any, data: bytes) -> None:
    file.write(data)


def _percent(lines: list[str]) -> bytes:
    return "".join(f"% {line}\n" for line in lines).encode()


def _span_line(facts: Facts) -> list[str]:
    return [f"span {facts.span[0]} {facts.span[1]}"] if facts.span else []
