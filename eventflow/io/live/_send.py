"""Sending events as a camera does: datagrams or a stream, in any of the formats that are received."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io.cameras._source import BrokenError, Columns, as_columns
from eventflow.io.live._lines import check_position
from eventflow.io.live._mmsg import Sender
from eventflow.io.live._ring import Array
from eventflow.io.live._uri import Position
from eventflow.ops.encode import EncoderState, encode_evt2, encode_evt3

#: Events of a datagram: as AEStream (whose receiver takes 512 bytes) and faery send them; words that fit a frame.
EVENTS = {"spif": 64, "t64": 100, "t32": 100, "evt2": 340, "evt3": 160}
_T64 = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
_T32 = np.dtype([("t", "<u4"), ("x", "<u2"), ("yp", "<u2")])


class CameraSink:
    """Sends events to host:port as a camera does, from :meth:`send` or, as a :class:`~eventflow.io.Sink`, from JSON
    lines ``{"t", "x", "y", "p"}`` (p may be called mark).

    Args:
        peer: (host, port).
        scheme: udp or tcp.
        format: spif, t64, t32, evt2 or evt3. Each datagram of words begins with what they count on.
        stamps: SPIF only: send times.
        events: of a datagram.
    """

    rewindable = False

    def __init__(
        self, peer: tuple[str, int], *, scheme: str, format: str, stamps: bool = True, events: int | None = None
    ) -> None:
        self.name = f"{scheme}://{peer[0]}:{peer[1]}"
        self._peer, self._scheme = peer, scheme
        self._size = events or EVENTS[format]
        self._encode: Callable[[Columns, int], tuple[Array, Array]] = (
            _Words(format) if format.startswith("evt") else _RECORDS[format, stamps]
        )
        self._socket: socket.socket | None = None
        self._sender: Sender | None = None
        self._sent = 0

    @property
    def position(self) -> Position:
        """{"events": sent}."""
        return {"events": self._sent}

    def truncate(self, position: Position | None) -> None:
        """Count from there on."""
        if position is not None:
            check_position(position, self.name, ("events",))
            self._sent = position["events"]
        self._connected()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            try:
                if self._scheme == "tcp":
                    self._socket = socket.create_connection(self._peer)
                else:
                    family, kind, protocol, _, address = socket.getaddrinfo(*self._peer, type=socket.SOCK_DGRAM)[0]
                    self._socket = socket.socket(family, kind, protocol)
                    self._socket.connect(address)
                    self._sender = Sender(self._socket)
            except OSError as error:
                raise InputError(f"nothing can be sent to {self.name}: {error.strerror or error}") from None
        return self._socket

    def send(self, events: Events | Columns) -> None:
        """Send events (one recording, times in us) at once.

        Raises:
            InputError: for what the format cannot hold; when a tcp peer has gone.
        """
        columns = events if isinstance(events, Columns) else _columns(events)
        if not len(columns.t):
            return
        out = self._connected()
        data, cuts = self._encode(columns, self._size)
        try:
            if self._sender is not None:
                self._sender.send(data, cuts)
            else:
                out.sendall(data.data)
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror or error}") from None
        self._sent += len(columns.t)

    def replay(self, chunks: Iterable[Events], *, speed: float = 1.0, every: float = 500e-6) -> None:
        """Send a recording at its own pace, ``speed`` times as fast (0: at once), in portions of ``every`` seconds."""
        begin, first = time.perf_counter(), None
        for events in chunks:
            columns = _columns(events)
            if not speed or not len(columns.t):
                self.send(columns)
                continue
            first = int(columns.t[0]) if first is None else first
            due = (columns.t - first) / (1e6 * speed)
            cuts = np.searchsorted(due, np.arange(np.floor(due[0] / every), np.ceil(due[-1] / every) + 1) * every)
            for lo, hi in zip(cuts, [*cuts[1:], len(due)], strict=True):
                if hi > lo:
                    time.sleep(max(0.0, begin + float(due[lo]) - time.perf_counter()))
                    self.send(columns.part(lo, hi))

    def write(self, lines: Sequence[str]) -> None:
        """See :class:`~eventflow.io.Sink`."""
        if lines:
            self.send(_parsed(lines, self.name))

    def sync(self) -> None:
        """Nothing lies on a disk."""

    def finish(self) -> None:
        """Nothing more is needed."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _columns(events: Events) -> Columns:
    if not {"x", "y", "p"} <= set(events.marks) or events.schema.unit != "us" or len(events) > 1:
        raise InputError(
            f"a camera's events are one sequence with x, y, p and times in us; these are {len(events)} with "
            f"{', '.join(events.marks) or 'no marks'}, in {events.schema.unit!r}"
        )
    return Columns(events.t, *(np.asarray(events.marks[name]) for name in "xyp"))


def _parsed(lines: Sequence[str], name: str) -> Columns:
    rows = []
    for line in lines:
        try:
            record = json.loads(line)
            rows.append((record["t"], record["x"], record["y"], record["p"] if "p" in record else record["mark"]))
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f'{name}: {line!r} is no event of a camera; expected {{"t": 12, "x": 3, "y": 4, "p": 1}}'
            ) from None
    try:
        return as_columns(*(np.array(column) for column in zip(*rows, strict=True)), first=0)
    except (BrokenError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name}: {error}") from None


def _every(count: int, size: int, width: int) -> Array:
    return np.append(np.arange(0, count, size), count) * width


def _check(columns: Columns, name: str, x: int, y: int) -> None:
    for label, column, most in (("x", columns.x, x), ("y", columns.y, y)):
        if len(column) and column.max() >= most:
            raise InputError(f"{name} holds {label} below {most}; here is {int(column.max())}")
    if len(columns.t) and columns.t[0] < 0:
        raise InputError(f"{name} holds no time before zero; here is {int(columns.t[0])} us")


def _spif(columns: Columns, size: int, *, stamps: bool) -> tuple[Array, Array]:
    _check(columns, "spif", 1 << 15, 1 << 15)
    table = np.empty((len(columns.t), 1 + stamps), "<u4")
    words = table[:, 0]
    words[:] = columns.x
    for column, bits in ((columns.p, 1), (columns.y, 15)):
        words <<= bits
        words |= column.astype(np.uint32, copy=False)
    if stamps:
        table[:, 1] = columns.t & 0xFFFFFFFF
    else:
        words |= 1 << 31
    return table.reshape(-1).view(np.uint8), _every(len(table), size, 8 if stamps else 4)


def _t64(columns: Columns, size: int) -> tuple[Array, Array]:
    _check(columns, "t64", 1 << 16, 1 << 16)
    records = np.empty(len(columns.t), _T64)
    for name, column in zip("txyp", columns, strict=True):
        records[name] = column
    return records.view(np.uint8), _every(len(records), size, 13)


def _t32(columns: Columns, size: int) -> tuple[Array, Array]:
    _check(columns, "t32", 1 << 16, 1 << 15)
    records = np.empty(len(columns.t), _T32)
    records["t"], records["x"] = columns.t & 0xFFFFFFFF, columns.x
    records["yp"] = columns.y.astype(np.uint16) << 1 | columns.p
    return records.view(np.uint8), _every(len(records), size, 8)


_RECORDS: dict[tuple[str, bool], Callable[[Columns, int], tuple[Array, Array]]] = {
    ("spif", True): lambda columns, size: _spif(columns, size, stamps=True),
    ("spif", False): lambda columns, size: _spif(columns, size, stamps=False),
    **{("t64", stamps): _t64 for stamps in (True, False)},
    **{("t32", stamps): _t32 for stamps in (True, False)},
}


class _Words:
    """EVT words: each datagram tells TIME_HIGH, time and row again, so that a lost one costs only itself."""

    def __init__(self, format: str) -> None:
        self._evt3 = format == "evt3"
        self._state: Any = None

    def __call__(self, columns: Columns, size: int) -> tuple[Array, Array]:
        encode, bits = (encode_evt3, 12) if self._evt3 else (encode_evt2, 28)
        parts, cuts = [], [0]
        for lo in range(0, len(columns.t), size):
            head = []
            if self._state is not None:
                high = self._state.high
                head = [8 << bits | high & (1 << bits) - 1]
                self._state = EncoderState(high=high, now=self._state.now)
            words, self._state = encode(*columns.part(lo, lo + size), state=self._state)
            parts.append(np.concatenate([np.array(head, words.dtype), words]))
            cuts.append(cuts[-1] + len(parts[-1]))
        data = np.concatenate(parts)
        data = data.astype(data.dtype.newbyteorder("<"), copy=False)
        return data.view(np.uint8), np.array(cuts) * data.itemsize
