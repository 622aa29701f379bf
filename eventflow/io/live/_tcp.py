"""JSON lines over tcp: a source that listens for one producer, a sink that connects to one consumer."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

from eventflow.errors import InputError
from eventflow.io.live._lines import LineSource, check_position
from eventflow.io.live._sinks import PipeSink
from eventflow.io.live._uri import Position

_START: Position = {"offset": 0, "line": 0, "last": [0, 0]}


class TcpSource:
    """Listens at host:port (port 0 picks a free one, see ``address``), takes one producer, ends when it closes.

    Args:
        resume: send the producer the position, as one JSON line, and let it continue there; otherwise it must send the
            stream from its beginning, and what lies before the position is skipped and checked.
    """

    def __init__(self, host: str, port: int, *, resume: bool = False) -> None:
        try:
            self._listener = socket.create_server((host, port), backlog=1)
        except OSError as error:
            raise InputError(
                f"cannot listen at tcp://{host}:{port}: {error.strerror or error}. Is another process there?"
            ) from None
        self.address: tuple[Any, ...] = self._listener.getsockname()
        self.name = f"tcp://{self.address[0]}:{self.address[1]}"
        self._resume = resume
        self._lines: LineSource | None = None
        self._connection: socket.socket | None = None
        self._sought: Position | None = None

    @property
    def position(self) -> Position:
        """That of :class:`LineSource`."""
        return self._lines.position if self._lines is not None else dict(self._sought or _START)

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        """See :class:`~eventflow.io.Source`; waits for the producer first."""
        if self._lines is None:
            if not select.select([self._listener], [], [], timeout)[0]:
                return []
            self._lines = self._accept()
        return self._lines.read(limit, timeout)

    def _accept(self) -> LineSource:
        self._connection, peer = self._listener.accept()
        lines = LineSource(self._connection.fileno(), f"{self.name} from {peer[0]}:{peer[1]}")
        if self._resume:
            self._connection.sendall(json.dumps(self.position).encode() + b"\n")
            lines.assume(self.position)
        elif self._sought is not None:
            lines.seek(self._sought)
        return lines

    def seek(self, position: Position) -> None:
        """Remembered until the producer comes."""
        check_position(position, self.name, ("offset", "line", "last"))
        self._sought = position

    def close(self) -> None:
        """Close the connection and stop listening."""
        if self._connection is not None:
            self._connection.close()
        self._listener.close()


class TcpSink(PipeSink):
    """Connects to the consumer that listens at host:port, when the first line is to be written."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(self._connect, f"tcp://{host}:{port}")
        self._peer = (host, port)
        self._socket: socket.socket | None = None

    def _connect(self) -> int:
        try:
            self._socket = socket.create_connection(self._peer)
        except OSError as error:
            raise InputError(
                f"no consumer at {self.name}: {error.strerror or error}. Start it first, for example: "
                f"nc -lk {self._peer[1]}"
            ) from None
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
