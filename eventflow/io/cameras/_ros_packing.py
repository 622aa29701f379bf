"""How bags are packed: chunk by chunk; in ROS 2 also message by message, or as whole files.

Of packed messages metadata.yaml alone speaks; but they tell it by how they begin.
"""

from __future__ import annotations

import bz2
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from eventflow.errors import require
from eventflow.io.cameras._source import BrokenError

#: How what is packed by Zstandard begins; no message in CDR does.
ZSTD = b"\x28\xb5\x2f\xfd"
_SUFFIX = ".zstd"
#: Bytes that are unpacked at a time; what they hold is lost if one of them is wrong.
_BLOCK = 1 << 12


class Plain(NamedTuple):
    """A bag's file: if it was ``packed`` as a whole, what came out of it before the ``fault`` of its packing."""

    file: IO[bytes]
    size: int
    packed: bool = False
    fault: str = ""


def bag_files(path: Path) -> list[Path]:
    """The file, or those of a folder, in the order of their names."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.name.removesuffix(_SUFFIX).endswith((".mcap", ".db3")))


def unpack(packing: str, data: bytes, what: str = "a chunk") -> bytes:
    """The bytes that were packed, or as many as come out of what is there."""
    if packing == "bz2":
        unpacker: Any = bz2.BZ2Decompressor()
    elif packing == "lz4":
        unpacker = require("lz4.frame", "ros").LZ4FrameDecompressor()
    elif packing == "zstd":
        unpacker = _zstd()
    else:
        raise BrokenError(f"{what} packed by {packing!r}; expected none, bz2, lz4 or zstd")
    try:
        return bytes(unpacker.decompress(data))
    except Exception as error:  # each library has its own
        raise BrokenError(f"{what} that cannot be unpacked ({error})") from None


def message(raw: Any) -> Any:
    """A message as it was before it was packed, if it was."""
    return unpack("zstd", bytes(raw), "a message") if bytes(raw[:4]) == ZSTD else raw


@contextmanager
def opened(path: Path) -> Iterator[Plain]:
    """The file, unpacked (on disk) if it is packed."""
    with path.open("rb") as file:
        packed = file.read(len(ZSTD)) == ZSTD
        file.seek(0)
        if not packed:
            yield Plain(file, path.stat().st_size)
            return
        with tempfile.TemporaryFile() as plain:
            fault = _copy(file, plain)
            size = plain.tell()
            plain.seek(0)
            yield Plain(plain, size, packed, fault)


def _copy(file: IO[bytes], plain: IO[bytes]) -> str:
    """All that can be unpacked; returns why not all could."""
    unpacker, at = _zstd(), 0
    while not unpacker.eof:
        data = file.read(_BLOCK)
        if not data:
            return f"byte {at:,}: the file is cut off within what Zstandard packed"
        try:
            plain.write(unpacker.decompress(data))
        except Exception as error:  # the library's own, by two names
            return f"byte {at:,}: what Zstandard packed cannot be unpacked from there on ({error})"
        at += len(data)
    return ""


def _zstd() -> Any:
    return require("rosbags.rosbag2.reader", "ros").zstd.ZstdDecompressor()  # type: ignore[attr-defined]
