"""The arrays in an ``.npz`` archive (zip), also of one that is cut off: the directory at its end is then not there, and
its members are found by the heads in front of them (APPNOTE 4.3.7)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

#: What reading a damaged archive raises.
FAULTS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
    RuntimeError,
)  # fmt: skip
_HEAD = struct.Struct("<4s5H3I2H")
_MAGIC, _STORED, _DEFLATED, _LARGE = b"PK\x03\x04", 0, 8, 0xFFFFFFFF
#: The extra field that holds sizes of 64 bits, and the bit that says that sizes stand behind the data.
_ZIP64, _LATER = 1, 8
_PIECE = 1 << 16


class _Found(NamedTuple):
    """Where a member's bytes begin and end, and how they are packed."""

    begin: int
    end: int
    method: int


class CutArchive:
    """An archive without its directory, as ``zipfile.ZipFile`` is used here: the members whose heads are there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, _Found] = {}
        size = path.stat().st_size
        with path.open("rb") as file:
            while head := file.read(_HEAD.size):
                if len(head) < _HEAD.size or head[:4] != _MAGIC:
                    break
                letters, extra = _HEAD.unpack(head)[-2:]
                if file.tell() + letters + extra > size:
                    break
                name, found = self._member(file, head, size)
                self._members[name] = found
                file.seek(found.end)

    @staticmethod
    def _member(file: IO[bytes], head: bytes, size: int) -> tuple[str, _Found]:
        _, _, flags, method, _, _, _, packed, whole, letters, extra = _HEAD.unpack(head)
        name = file.read(letters).decode("utf-8", "replace")
        field, at = file.read(extra), 0
        while _LARGE in (packed, whole) and at + 4 <= len(field):
            kind, length = struct.unpack_from("<2H", field, at)
            if kind == _ZIP64 and length >= 16 and at + 20 <= len(field):
                packed = struct.unpack_from("<Q", field, at + 12)[0]
                break
            at += 4 + length
        begin = file.tell()
        unknown = flags & _LATER and not packed or packed == _LARGE
        return name, _Found(begin, size if unknown else min(begin + packed, size), method)

    def __enter__(self) -> CutArchive:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def namelist(self) -> list[str]:
        """The members, in the order of the file."""
        return list(self._members)

    def open(self, name: str) -> Any:
        """The bytes of a member, as far as they are there."""
        return _Part(self.path, self._members[name])


class _Part:
    """A file of one member."""

    def __init__(self, path: Path, found: _Found) -> None:
        if found.method not in (_STORED, _DEFLATED):
            raise NotImplementedError(f"packed by method {found.method}")
        self._file = path.open("rb")
        self._file.seek(found.begin)
        self._end = found.end
        self._unpacker: Any = zlib.decompressobj(-15) if found.method == _DEFLATED else None
        self._held = b""

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def read(self, count: int) -> bytes:
        """The next bytes, or as many as there are."""
        if self._unpacker is None:
            return self._file.read(min(count, self._end - self._file.tell()))
        parts, left = [self._held[:count]], count - len(self._held)
        self._held = self._held[count:]
        while left > 0 and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(min(_PIECE, self._end - self._file.tell()))
            if not packed:
                break
            parts.append(self._unpacker.decompress(packed, left))
            left -= len(parts[-1])
        return b"".join(parts)

    def seek(self, count: int, whence: int = 1) -> None:
        """Pass over bytes; only forwards (``whence`` 1)."""
        while count > 0 and (passed := len(self.read(min(count, _PIECE)))):
            count -= passed


def archive(path: Path, *, cut: bool = False) -> Any:
    """The archive; ``cut``: read without its directory."""
    return CutArchive(path) if cut else zipfile.ZipFile(path)


def member_place(path: Path, name: str | None) -> str:
    """Where a member that is damaged begins, or, for ``None``, where the file ends: "byte N, "."""
    if name is not None:
        try:
            with zipfile.ZipFile(path) as whole:
                return f"byte {whole.getinfo(name).header_offset:,}, "
        except (*FAULTS, KeyError):
            pass  # it is cut off
    return f"byte {path.stat().st_size:,}, "
