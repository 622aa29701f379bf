"""Packed text: gzip, bzip2, xz, Zstandard, or a zip archive of one file; told by its first bytes, not by its name.

Line ends of a lone carriage return (old Macs) become line feeds, and UTF-16 with its mark becomes UTF-8.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: Bytes of the beginning by which files are told apart.
HEAD = 1 << 16
#: What a packed file begins with -> (what it is called, the command that unpacks it).
_KINDS = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"), b"BZh": ("bzip2", "bunzip2 --keep"), b"\xfd7zXZ\0": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"), b"PK\x03\x04": ("zip", "unzip"),
}  # fmt: skip
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: What unpackers raise for a damaged file.
FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


class PackedError(ValueError):
    """A packed file that cannot be opened; the message says why and what to write."""


def packing(head: bytes) -> tuple[str, str] | None:
    """What a file that begins so is packed with, and the command that unpacks it; None: it is not packed."""
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)


def packed_advice(head: bytes, path: Path) -> str:
    """What to write for a packed file of a format that is read as it is."""
    name, command = packing(head) or ("", "")
    return f"compressed by {name}; files of its kind are read unpacked. Write: {command} {path.name}"


def head_of(path: Path) -> bytes:
    """The first bytes of a file; of what is in it, if it is packed.

    Raises:
        PackedError: if it is packed and cannot be unpacked.
    """
    with path.open("rb") as raw, unpacked(raw) as file:
        return file.read(HEAD)


@contextmanager
def unpacked(raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """What is in an open file, whether it is packed or not.

    Raises:
        PackedError: if it cannot be unpacked, here or where it is read further.
    """
    begin = raw.read(8)
    raw.seek(0)
    kind = packing(begin)
    if kind is None:
        yield raw
        return
    try:
        with _opened(raw, kind[0]) as file:
            yield file
    except FAULTS as error:
        raise PackedError(f"a damaged {kind[0]} file ({error}); copy or download it again") from None
    except OSError as error:  # bz2's and arrow's complaints about the data have no number
        if error.errno is not None:
            raise
        raise PackedError(f"a damaged {kind[0]} file ({error}); copy or download it again") from None


def _opened(raw: IO[bytes], kind: str) -> Any:
    if kind == "gzip":
        return gzip.open(raw)
    if kind == "bzip2":
        return bz2.open(raw)
    if kind == "xz":
        return lzma.open(raw)
    if kind == "zip":
        archive = zipfile.ZipFile(raw)
        return archive.open(only_member(archive))
    import pyarrow as pa

    stream: Any = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
    return io.BufferedReader(stream)


def only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one file in an archive; what Macs add to it does not count."""
    members = [
        info for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/") and not info.filename.endswith(".DS_Store")
    ]  # fmt: skip
    if len(members) != 1:
        held = ", ".join(info.filename for info in members[:4]) + (", ..." if len(members) > 4 else "")
        raise PackedError(f"a zip archive of {len(members):,} files ({held or 'none'}); unpack it and read one of them")
    if members[0].flag_bits & 1:
        raise PackedError(f"a zip archive with a password; unpack it, and read {members[0].filename}")
    return members[0]


def plain_text(file: IO[bytes], head: bytes) -> IO[bytes]:
    """The same text with line feeds, in UTF-8; ``head`` is how it begins."""
    if head.startswith(_UTF16):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        file = io.BufferedReader(_Translated(file, lambda data: decoder.decode(data, not data).encode()))
        head = head.decode("utf-16", "ignore").encode()
    if b"\r" in head and b"\n" not in head:
        file = io.BufferedReader(_Translated(file, lambda data: data.replace(b"\r", b"\n")))
    return file


class _Translated(io.RawIOBase):
    """The bytes of a file as a function of its blocks; the last block is empty."""

    def __init__(self, file: IO[bytes], translate: Callable[[bytes], bytes]) -> None:
        self._file, self._translate = file, translate
        self._held, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held and not self._ended:
            data = self._file.read(HEAD)
            self._held, self._ended = self._translate(data), not data
        data, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
