"""Lines of a file descriptor: a file, stdin, a pipe or a socket."""

from __future__ import annotations

import os
import select
import stat
import time
import zlib
from collections import deque
from itertools import islice
from typing import Any

from eventflow.errors import InputError
from eventflow.io.live._uri import Position

BLOCK = 1 << 20
#: A line longer than this is no event.
MAX_LINE = 1 << 24


def mark_of(raw: bytes) -> list[int]:
    """[length, crc32] of the last line handed out or written: enough to see that this is another file."""
    return [len(raw), zlib.crc32(raw)]


def check_position(position: Any, name: str, keys: tuple[str, ...]) -> None:
    """Raise :class:`InputError` if ``position`` is not one of a source or sink of this kind."""
    if not isinstance(position, dict) or set(position) != set(keys):
        raise InputError(f"{name}: position {position!r} is of another kind; expected {', '.join(keys)}")


class LineSource:
    """A :class:`~eventflow.io.Source` over an open file descriptor, closed with it if ``owned``."""

    def __init__(self, fd: int, name: str, *, owned: bool = False) -> None:
        self.name = name
        self._fd = fd
        self._owned = owned
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._offset = os.lseek(fd, 0, os.SEEK_CUR) if self._regular else 0
        self._line = 0
        self._last = b""
        self._pending: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._cut = False  # the last pending line had no newline

    @property
    def position(self) -> Position:
        """{"offset": bytes, "line": lines, "last": [length, crc32] of the last line}."""
        return {"offset": self._offset, "line": self._line, "last": mark_of(self._last)}

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """See :class:`~eventflow.io.Source`."""
        if not self._pending and not self._ended or len(self._pending) < limit and self._regular:
            self._fill(limit, timeout)
        if not self._pending:
            return None if self._ended else []
        lines = list(islice(self._pending, limit))
        for _ in lines:
            self._pending.popleft()
        cut = self._cut and not self._pending
        self._offset += sum(map(len, lines)) + len(lines) - cut
        self._line += len(lines)
        self._last = lines[-1] if cut else lines[-1] + b"\n"
        return lines

    def _fill(self, limit: int, timeout: float | None) -> None:
        """Read until there are ``limit`` lines, or at least one and nothing more at once, or the time is up."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while len(self._pending) < limit and not self._ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._regular and not select.select([self._fd], [], [], 0.0 if self._pending else left)[0]:
                return
            self._take(self._block(BLOCK))

    def _block(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except ConnectionError:  # the producer vanished: what it sent is what there is
            return b""

    def _take(self, block: bytes) -> None:
        if not block:
            self._ended = True
            if self._rest:
                self._pending.append(self._rest)
                self._rest, self._cut = b"", True
            return
        *lines, self._rest = (self._rest + block).split(b"\n")
        self._pending.extend(lines)
        if len(self._rest) > MAX_LINE:
            raise InputError(f"{self.name}: line {self._line + len(self._pending) + 1} is longer than {MAX_LINE} bytes")

    def seek(self, position: Position) -> None:
        """See :class:`~eventflow.io.Source`. A pipe is read up to there; a file jumps."""
        check_position(position, self.name, ("offset", "line", "last"))
        if self._regular:
            self._jump(position)
        else:
            self._skip(position)
        self._offset, self._line = position["offset"], position["line"]

    def assume(self, position: Position) -> None:
        """Count from ``position`` on: the producer has been told and continues there."""
        check_position(position, self.name, ("offset", "line", "last"))
        self._offset, self._line = position["offset"], position["line"]

    def _jump(self, position: Position) -> None:
        offset, (length, _) = position["offset"], position["last"]
        size = os.fstat(self._fd).st_size
        if size < offset:
            raise InputError(
                f"{self.name} has {size} bytes, but {offset} had been read when the snapshot was taken: it is not the "
                "same file"
            )
        os.lseek(self._fd, offset - length, os.SEEK_SET)
        self._compare(os.read(self._fd, length), position)

    def _skip(self, position: Position) -> None:
        """Read the stream up to the position, keeping as much of it as is to be checked."""
        length, tail, left = position["last"][0], b"", position["offset"]
        while left:
            block = self._block(min(BLOCK, left))
            if not block:
                raise InputError(
                    f"{self.name} ended {left} bytes before the snapshot's position ({position['offset']} bytes, "
                    f"{position['line']} lines). Send the same stream from its beginning: cat FILE | eventflow stream"
                )
            left -= len(block)
            tail = (tail + block)[-length:] if length else b""
        self._compare(tail, position)

    def _compare(self, raw: bytes, position: Position) -> None:
        if mark_of(raw) != list(position["last"]):
            raise InputError(
                f"{self.name}: line {position['line']} is not the one that had been read when the snapshot was taken: "
                "this is another stream, or it was changed. Give the snapshot's stream, or another --snapshot folder"
            )
        self._last = raw

    def close(self) -> None:
        """Close the descriptor, if it is ours."""
        if self._owned:
            os.close(self._fd)
            self._owned = False
