"""Snapshots: everything the next answers depend on, in one file that is either whole or not there.

A file is a magic line, the length of a JSON header, the header, the bytes of the arrays, and the sha256 of all that.
It is written under another name, synced, renamed, and the folder synced; the last ``KEEP`` are kept, so that a damaged
newest one costs only the work since the one before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eventflow.errors import InputError

MAGIC = b"eventflow snapshot 1\n"
KEEP = 2
_NAME = re.compile(r"snapshot-(\d{12})\.efs")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a stream.

    Args:
        identity: what the numbers depend on besides the events: model, schema, options. A run resumes only its own.
        source: position behind the last line read.
        sink: position behind the last line written.
        dead_letters: the same of the dead letters.
        engine: counters, keys, reorder buffer: plain data.
        arrays: the states of all keys.
        environment: versions and machine, on which last bits may depend.
    """

    identity: dict[str, Any]
    source: dict[str, Any]
    sink: dict[str, Any]
    dead_letters: dict[str, Any]
    engine: dict[str, Any]
    arrays: list[Any]
    environment: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the file, durably and whole or not at all."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with scratch.open("wb") as file:
            self._write(_Hashing(file))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, out: _Hashing) -> None:
        arrays = [np.ascontiguousarray(array) for array in self.arrays]
        header = {
            **{name: getattr(self, name) for name in _PLAIN},
            "arrays": [[str(array.dtype), list(array.shape)] for array in arrays],
        }
        text = json.dumps(header, allow_nan=False).encode()
        out.write(MAGIC + struct.pack("<Q", len(text)) + text)
        for array in arrays:
            out.write(array.reshape(-1).view(np.uint8).data)
        out.file.write(out.digest.digest())

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """Read one; :class:`InputError` if it is damaged or of another version."""
        try:
            data = memoryview(path.read_bytes())
        except OSError as error:
            raise InputError(f"snapshot {path} cannot be read: {error.strerror}") from None
        start = len(MAGIC) + 8
        if bytes(data[: len(MAGIC)]) != MAGIC:
            raise InputError(f"snapshot {path} begins with {bytes(data[:24])!r}; expected {MAGIC!r}")
        if len(data) < start + 32 or hashlib.sha256(data[:-32]).digest() != bytes(data[-32:]):
            raise InputError(f"snapshot {path} is damaged: its checksum does not match its {len(data)} bytes")
        (length,) = struct.unpack("<Q", data[start - 8 : start])
        header = json.loads(bytes(data[start : start + length]))
        arrays, at = [], start + length
        for dtype, shape in header.pop("arrays"):
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            arrays.append(np.frombuffer(data[at : at + size], dtype=dtype).reshape(shape).copy())
            at += size
        return cls(**header, arrays=arrays)


_PLAIN = ("identity", "source", "sink", "dead_letters", "engine", "environment")


class _Hashing:
    """A file, and the checksum of what is written into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        self.file.write(data)


class SnapshotFolder:
    """The snapshots of one stream, newest last, held by one process at a time (use :meth:`locked`)."""

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise InputError(f"--snapshot {path} is a file; expected a folder for snapshots")
        if not path.parent.is_dir():
            raise InputError(f"--snapshot {path}: there is no folder {path.parent}. Write: mkdir -p {path.parent}")
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[SnapshotFolder]:
        """Refuse a second process; the lock goes with the process, however that ends."""
        self.path.mkdir(exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"--snapshot {self.path} is in use by another process: one folder per stream"
                ) from None
            for leftover in self.path.glob(".snapshot-*.tmp"):  # of a process that was killed while it wrote
                leftover.unlink()
            yield self

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.path.iterdir() if _NAME.fullmatch(path.name))

    def latest(self) -> tuple[Snapshot | None, list[str]]:
        """(the newest whole snapshot, what is to be said of damaged ones); None if there are no files at all."""
        notes: list[str] = []
        files = self.files()
        for path in reversed(files):
            try:
                return Snapshot.load(path), notes
            except InputError as error:
                notes.append(f"{error}; going back to the one before it")
        if files:
            raise InputError(
                f"no snapshot in {self.path} is whole ({notes[0].split(';')[0]}). To begin the stream anew, write: "
                f"rm -r {self.path}"
            )
        return None, notes

    def save(self, snapshot: Snapshot) -> None:
        """Add one, and drop those older than the last ``KEEP``."""
        files = self.files()
        number = int(_NAME.fullmatch(files[-1].name)[1]) + 1 if files else 0  # type: ignore[index]
        snapshot.save(self.path / f"snapshot-{number:012d}.efs")
        for old in files[: max(0, len(files) + 1 - KEEP)]:
            old.unlink()
