"""Threads that fill a ring: from a socket of datagrams, from a connection."""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any, Protocol

from eventflow.errors import InputError
from eventflow.io.live._mmsg import Receiver, dropped, enlarge
from eventflow.io.live._ring import Ring

#: Bytes of a slot for a connection.
_BLOCK = 1 << 16


class Link(Protocol):
    """A thread, and the ring that it fills."""

    name: str
    ring: Ring

    def lost(self) -> dict[str, int]:
        """What was lost on this side, in datagrams, by cause."""
        ...

    def notes(self) -> list[str]:
        """Sentences for the report."""
        ...

    def close(self) -> None:
        """End the thread and give everything back."""
        ...


class _SocketLink:
    """A thread that waits for a socket, or for the word to stop."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self._wake, self._stop = socket.socketpair()
        self._watched: socket.socket | None = None
        self._poll: Any = None
        self._thread = threading.Thread(target=self._run, name="eventflow receiver", daemon=True)

    def _run(self) -> None:
        try:
            while (room := self.ring.room()) is not None and self._receive(*room):
                pass
            self.ring.end()
        except OSError as error:  # told to whoever reads
            self.ring.end(error)

    def _receive(self, lo: int, hi: int) -> bool:
        """Wait for something and put it into the ring; False at the end."""
        raise NotImplementedError

    def _wait(self, source: socket.socket) -> bool:
        """True when there is something to read; False when we are to stop."""
        if not hasattr(select, "poll"):
            return self._wake not in select.select([source, self._wake], [], [])[0]
        if self._watched is not source:
            self._watched, self._poll = source, select.poll()
            for one in (source, self._wake):
                self._poll.register(one, select.POLLIN)
        return all(fd != self._wake.fileno() for fd, _ in self._poll.poll())

    def _end(self) -> None:
        self.ring.end()
        self._stop.send(b"x")
        if self._thread.is_alive():
            self._thread.join()
        self._stop.close()
        self._wake.close()


class UdpLink(_SocketLink):
    """Datagrams at host:port (port 0 picks a free one, see ``address``).

    Args:
        host: of an interface of this machine; a group's address (224.0.0.0 to 239.255.255.255) is joined.
        buffer: bytes asked of the kernel, where datagrams wait while the thread does not run.
        size: the longest datagram.
    """

    def __init__(self, host: str, port: int, *, buffer: int, size: int) -> None:
        self._socket = _bound(host, port)
        self.address = self._socket.getsockname()
        self.name = f"udp://{_shown(self.address)}"
        self._given, self._asked, self._size = enlarge(self._socket, buffer), buffer, size
        self._socket.setblocking(False)
        super().__init__(Ring(size))
        self._receiver = Receiver(self._socket, self.ring, self._wake.fileno())
        self._closed: dict[str, int] | None = None
        self._thread.start()

    def _receive(self, lo: int, hi: int) -> bool:
        if self._receiver.together:
            return self._receiver.pump()
        if not self._wait(self._socket):
            return False
        self.ring.commit(self._receiver.receive(lo, hi))
        return True

    def lost(self) -> dict[str, int]:
        """See :class:`Link`."""
        if self._closed is not None:
            return self._closed
        return {"dropped": dropped(self._socket), "truncated": self._receiver.truncated}

    def notes(self) -> list[str]:
        """See :class:`Link`."""
        found, lost = [], self.lost()
        if self._given < self._asked:
            found.append(
                f"the system gives a receive buffer of {self._given:,} bytes instead of {self._asked:,}: bursts may be "
                f"lost. Write, as root: sysctl -w net.core.rmem_max={self._asked}"
            )
        if lost["dropped"]:
            found.append(f"{lost['dropped']:,} datagrams were lost: nobody took them out of the receive buffer in time")
        if lost["truncated"]:
            found.append(
                f"{lost['truncated']:,} datagrams were longer than {self._size:,} bytes and were left out. Write: "
                f"{self.name}?datagram=65507&..."
            )
        return found

    def close(self) -> None:
        """See :class:`Link`."""
        if self._closed is None:
            self._closed = self.lost()
            self._end()
            self._socket.close()


class TcpLink(_SocketLink):
    """Listens at host:port for one producer, and ends when it closes."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port), backlog=1)
        except OSError as error:
            raise _cannot(f"tcp://{host}:{port}", error) from None
        self.address = self._listener.getsockname()
        self.name = f"tcp://{_shown(self.address)}"
        self._connection: socket.socket | None = None
        super().__init__(Ring(_BLOCK))
        self._thread.start()

    def _receive(self, lo: int, hi: int) -> bool:
        if self._connection is None:
            if not self._wait(self._listener):
                return False
            self._connection = self._listener.accept()[0]
        if not self._wait(self._connection):
            return False
        try:
            count = self._connection.recv_into(self.ring.rows[lo])
        except ConnectionError:  # the producer vanished: what it sent is what there is
            count = 0
        self.ring.sizes[lo], self.ring.arrivals[lo] = count, time.time_ns() // 1000
        self.ring.commit(count > 0)
        return count > 0

    def lost(self) -> dict[str, int]:
        """See :class:`Link`: nothing."""
        return {}

    def notes(self) -> list[str]:
        """See :class:`Link`."""
        return []

    def close(self) -> None:
        """See :class:`Link`."""
        if self._listener.fileno() >= 0:
            self._end()
            if self._connection is not None:
                self._connection.close()
            self._listener.close()


def _bound(host: str, port: int) -> socket.socket:
    uri = f"udp://{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        udp = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(uri, error) from None
    try:
        first = str(address[0]).partition(".")[0]
        if family == socket.AF_INET and first.isdigit() and 224 <= int(first) <= 239:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            group = socket.inet_aton(str(address[0])) + socket.inet_aton("0.0.0.0")
            udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        udp.bind(address)
    except OSError as error:
        udp.close()
        raise _cannot(uri, error) from None
    return udp


def _cannot(uri: str, error: OSError) -> InputError:
    return InputError(
        f"cannot listen at {uri}: {error.strerror or error}. The host is one of this machine's addresses (0.0.0.0: all "
        "of them). Is another process there?"
    )


def _shown(address: tuple[object, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
