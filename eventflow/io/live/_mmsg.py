"""Many datagrams a call: Linux's recvmmsg and sendmmsg, straight into and out of numpy's memory, without the GIL.

Python's socket module has neither. Elsewhere :class:`Receiver` and :class:`Sender` go datagram by datagram.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
import weakref
from typing import Any

import numpy as np

from eventflow.io.live._ring import Array, Ring

#: struct mmsghdr of 64-bit Linux.
_HEADER = np.dtype([
    ("name", "u8"), ("namelen", "u4"), ("_", "u4"), ("iov", "u8"), ("iovlen", "u8"), ("control", "u8"),
    ("controllen", "u8"), ("flags", "i4"), ("__", "u4"), ("len", "u4"), ("___", "u4"),
])  # fmt: skip
_IOVEC = np.dtype([("base", "u8"), ("len", "u8")])
_CONTROL = 64
_SO_TIMESTAMPNS, _SO_RXQ_OVFL, _SO_RCVBUFFORCE = 35, 40, 33
#: Datagrams of one call.
_MOST = 256
#: Linux cuts what is sent at once into datagrams: at most so many, of so many bytes in all.
_SOL_UDP, _UDP_SEGMENT, _SEGMENTS, _LONGEST = 17, 103, 64, 65_000


def _find() -> Any:
    usual = sys.platform == "linux" and sys.byteorder == "little" and struct.calcsize("P") == 8
    libc = ctypes.CDLL(None, use_errno=True) if usual else None
    return libc if libc is not None and hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg") else None


_LIBC = _find()


def enlarge(udp: socket.socket, wanted: int) -> int:
    """Ask for a receive buffer of ``wanted`` bytes, past the system's limit where this user may; what is given."""
    try:
        if sys.platform == "linux":
            udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
    except PermissionError:
        pass
    half = 2 if sys.platform == "linux" else 1  # Linux doubles what is asked for, and says the double
    if udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // half < wanted:
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        except OSError:  # more than the system gives
            pass
    return udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // half


class Receiver:
    """Fills slots of a ring with what waits in a socket.

    Args:
        wake: a descriptor that becomes readable when :meth:`pump` is to end.

    Attributes:
        truncated: datagrams longer than a slot, which were left out.
    """

    def __init__(self, udp: socket.socket, ring: Ring, wake: int, *, plainly: bool = False) -> None:
        self._socket, self._ring = udp, ring
        self.truncated = 0
        self._drops = 0
        self.together = _LIBC is not None and not plainly
        if self.together:
            self._prepare(wake)
            ring.describe = weakref.WeakMethod(self._describe)  # a ring goes, and its descriptors, with its owner

    def _prepare(self, wake: int) -> None:
        """A header for each slot, once and for all."""
        from eventflow.io.live import _pump  # compiled: not before a camera is opened

        self._compiled = _pump
        for option in (_SO_TIMESTAMPNS, _SO_RXQ_OVFL):  # what `describe` reads
            self._socket.setsockopt(socket.SOL_SOCKET, option, 1)
        slots, size = self._ring.rows.shape
        self._control = np.zeros((slots, _CONTROL), np.uint8)
        self._iovecs = np.zeros(slots, _IOVEC)
        self._iovecs["base"] = self._ring.rows.ctypes.data + np.arange(slots) * size
        self._iovecs["len"] = size
        self._headers = np.zeros(slots, _HEADER)
        self._headers["iov"] = self._iovecs.ctypes.data + np.arange(slots) * _IOVEC.itemsize
        self._headers["iovlen"] = 1
        self._headers["control"] = self._control.ctypes.data + np.arange(slots) * _CONTROL
        self._told = tuple(self._headers[name] for name in ("len", "flags", "controllen"))
        self._words = self._control.view(np.int64)
        self._word = np.ones(1, np.uint64)
        self._watched = np.array([[self._socket.fileno(), select.POLLIN], [wake, select.POLLIN]], np.int32)
        addresses = [self._headers.ctypes.data, _HEADER.itemsize, self._watched.ctypes.data, self._word.ctypes.data]
        self._places = np.array([*addresses, self._ring.ringer], np.int64)

    def pump(self) -> bool:
        """Fill slots until the ring is full (True) or we are to stop (False)."""
        loop = self._compiled
        why = loop.pump(self._ring.marks, self._places, self._headers["controllen"], self._watched)
        if why == loop.FAILED and (number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            raise OSError(number, os.strerror(number))
        return why != loop.STOPPED

    def receive(self, lo: int, hi: int) -> int:
        """Fill slots from ``lo`` on, at most to ``hi``, with what is there, one by one; how many datagrams."""
        return self._one_by_one(lo, hi)

    def _describe(self, lo: int, hi: int) -> None:
        """Sizes, the kernel's stamp of each arrival, and how many datagrams it had dropped by then."""
        ring, told = self._ring, slice(lo, hi)
        headers = tuple(column[told] for column in self._told)
        into = ring.sizes[told], ring.arrivals[told], ring.drops[told]
        cut, self._drops = self._compiled.describe(
            headers, self._words[told], into, (time.time_ns() // 1000, self._drops)
        )
        self.truncated += cut

    def _one_by_one(self, lo: int, hi: int) -> int:
        ring, at = self._ring, lo
        size = ring.rows.shape[1]
        while at < min(hi, lo + _MOST):
            try:
                length, _, flags, _ = self._socket.recvmsg_into([ring.rows[at]])
            except (BlockingIOError, InterruptedError, ConnectionRefusedError):
                break
            cut = bool(flags & socket.MSG_TRUNC)
            self.truncated += cut
            ring.sizes[at], ring.arrivals[at], ring.drops[at] = 0 if cut else min(length, size), _now(), 0
            at += 1
        return at - lo


def _now() -> int:
    return time.time_ns() // 1000


def dropped(udp: socket.socket) -> int:
    """Datagrams that the kernel has dropped for want of room in this socket's buffer; 0 where it does not tell."""
    inode = str(os.fstat(udp.fileno()).st_ino)
    table = "/proc/net/udp6" if udp.family == socket.AF_INET6 else "/proc/net/udp"
    try:
        with open(table, encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return 0
    return next((int(row[12]) for row in rows if len(row) > 12 and row[9] == inode), 0)


class Sender:
    """Sends pieces of one array as datagrams through a connected socket."""

    def __init__(self, udp: socket.socket, *, plainly: bool = False) -> None:
        self._socket = udp
        self._headers: Array | None = None
        self._segment: int | None = None  # bytes of a datagram, as the kernel was told
        if _LIBC is not None and not plainly:
            self._segment = 0
            self._iovecs = np.zeros(_MOST, _IOVEC)
            self._headers = np.zeros(_MOST, _HEADER)
            self._headers["iov"] = self._iovecs.ctypes.data + np.arange(_MOST) * _IOVEC.itemsize
            self._headers["iovlen"] = 1

    def send(self, data: Array, cuts: Array) -> None:
        """Datagrams data[cuts[i]:cuts[i + 1]] of contiguous uint8. Nobody listening is no error: it is a datagram."""
        if len(cuts) > 2 and self._cut_by_kernel(data, cuts):
            return
        for lo in range(0, len(cuts) - 1, _MOST):
            part = cuts[lo : lo + _MOST + 1]
            if self._headers is None:
                self._one_by_one(data, part)
            else:
                self._together(data, part)

    def _cut_by_kernel(self, data: Array, cuts: Array) -> bool:
        """Hand over many datagrams of one size as one piece, which the kernel cuts; False if it cannot."""
        size, sizes = int(cuts[1] - cuts[0]), np.diff(cuts)
        if self._segment is None or (sizes[:-1] != size).any() or sizes[-1] > size:
            return False
        try:
            if self._segment != size:
                self._socket.setsockopt(_SOL_UDP, _UDP_SEGMENT, size)
                self._segment = size
            step = min(_SEGMENTS, _LONGEST // size) * size
            for lo in range(0, int(cuts[-1]), step):
                self._refused_or_sent(data[lo : min(lo + step, int(cuts[-1]))])
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP):
                raise
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
            self._segment = None
            return False
        return True

    def _refused_or_sent(self, piece: Array) -> None:
        """Send; that nobody took what was sent before is told once, and then it is sent."""
        try:
            self._socket.send(piece.data)
        except ConnectionRefusedError:
            self._socket.send(piece.data)

    def _together(self, data: Array, cuts: Array) -> None:
        assert self._headers is not None
        count, at = len(cuts) - 1, 0
        self._iovecs["base"][:count] = data.ctypes.data + cuts[:-1]
        self._iovecs["len"][:count] = np.diff(cuts)
        while at < count:
            done = _LIBC.sendmmsg(
                self._socket.fileno(), ctypes.c_void_p(self._headers[at:].ctypes.data), ctypes.c_uint(count - at),
                ctypes.c_int(0),
            )  # fmt: skip
            if done < 0 and (number := ctypes.get_errno()) not in (errno.EINTR, errno.ECONNREFUSED):
                raise OSError(number, os.strerror(number))
            at += max(done, 0)

    def _one_by_one(self, data: Array, cuts: Array) -> None:
        view = memoryview(data.data)
        for lo, hi in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            try:
                self._socket.send(view[lo:hi])
            except ConnectionRefusedError:
                self._socket.send(view[lo:hi])
