"""Many datagrams a call: Linux's recvmmsg and sendmmsg, straight into and out of numpy's memory, without the GIL.

Python's socket module has neither. Elsewhere :class:`Receiver` and :class:`Sender` go datagram by datagram.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import time
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
_DONTWAIT, _TRUNC = 0x40, 0x20
_SO_TIMESTAMPNS, _SO_RXQ_OVFL, _SO_RCVBUFFORCE = 35, 40, 33
#: Datagrams of one call.
_MOST = 256


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

    Attributes:
        truncated: datagrams longer than a slot, which were left out.
    """

    def __init__(self, udp: socket.socket, ring: Ring, *, plainly: bool = False) -> None:
        self._socket, self._ring = udp, ring
        self.truncated = 0
        self._drops = 0
        self._headers: Array | None = None
        if _LIBC is not None and not plainly:
            self._prepare()

    def _prepare(self) -> None:
        """A header for each slot, once and for all."""
        for option in (_SO_TIMESTAMPNS, _SO_RXQ_OVFL):
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

    def receive(self, lo: int, hi: int) -> int:
        """Fill slots from ``lo`` on, at most to ``hi``, with what is there; how many datagrams."""
        return self._one_by_one(lo, hi) if self._headers is None else self._together(lo, hi)

    def _together(self, lo: int, hi: int) -> int:
        assert self._headers is not None
        hi = min(hi, lo + _MOST)
        headers = self._headers[lo:hi]
        headers["controllen"] = _CONTROL
        count = _LIBC.recvmmsg(
            self._socket.fileno(), ctypes.c_void_p(headers.ctypes.data), ctypes.c_uint(hi - lo),
            ctypes.c_int(_DONTWAIT), None,
        )  # fmt: skip
        if count < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
                return 0
            raise OSError(number, os.strerror(number))
        sizes = self._ring.sizes[lo : lo + count]
        sizes[:] = headers["len"][:count]
        cut = (headers["flags"][:count] & _TRUNC) != 0
        if cut.any():
            self.truncated += int(cut.sum())
            sizes[cut] = 0
        self._read_control(lo, lo + count)
        return count

    def _read_control(self, lo: int, hi: int) -> None:
        """The kernel's stamp of each arrival, and how many datagrams it had dropped by then (only told if any)."""
        words = self._control[lo:hi].view(np.int64)
        stamped = words[:, 1] == (_SO_TIMESTAMPNS << 32 | socket.SOL_SOCKET)
        arrivals = words[:, 2] * 1_000_000 + words[:, 3] // 1000
        self._ring.arrivals[lo:hi] = np.where(stamped, arrivals, time.time_ns() // 1000)
        assert self._headers is not None
        told = (self._headers["controllen"][lo:hi] > 40) & (words[:, 5] == (_SO_RXQ_OVFL << 32 | socket.SOL_SOCKET))
        drops = np.where(told, words[:, 6] & 0xFFFFFFFF, self._drops)
        self._ring.drops[lo:hi] = np.maximum.accumulate(drops) if len(drops) else drops
        self._drops = int(self._ring.drops[hi - 1]) if hi > lo else self._drops

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
        if _LIBC is not None and not plainly:
            self._iovecs = np.zeros(_MOST, _IOVEC)
            self._headers = np.zeros(_MOST, _HEADER)
            self._headers["iov"] = self._iovecs.ctypes.data + np.arange(_MOST) * _IOVEC.itemsize
            self._headers["iovlen"] = 1

    def send(self, data: Array, cuts: Array) -> None:
        """Datagrams data[cuts[i]:cuts[i + 1]] of contiguous uint8. Nobody listening is no error: it is a datagram."""
        for lo in range(0, len(cuts) - 1, _MOST):
            part = cuts[lo : lo + _MOST + 1]
            if self._headers is None:
                self._one_by_one(data, part)
            else:
                self._together(data, part)

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
