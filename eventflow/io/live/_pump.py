"""The loop that takes datagrams out of a socket, compiled: it holds no lock of Python's, and wakes nobody who is awake.

``marks`` (see :class:`~eventflow.io.live._ring.Ring`) is shared by two threads without a lock. Each of them writes its
own numbers; a full fence lies between saying "I shall sleep" and looking once more, as between "there is more" and
looking whether somebody sleeps, so that one of them always sees the other.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core import types
from numba.extending import intrinsic

from eventflow.io.live._ring import ASLEEP, TAKEN, WRITTEN

#: Why the loop ended: the ring is full, we are to stop, the socket reports an error.
FULL, STOPPED, FAILED = range(3)
_DONTWAIT = 0x40
#: Datagrams of one call.
_MOST = 128
_CONTROL = 64
#: Level and type of the control messages SO_TIMESTAMPNS and SO_RXQ_OVFL, as one number each; a flag.
_STAMP, _DROPS, _TRUNC = 35 << 32 | 1, 40 << 32 | 1, 0x20

_recvmmsg: Any = types.ExternalFunction(
    "recvmmsg", types.int32(types.int32, types.intp, types.uint32, types.int32, types.intp)
)
_poll: Any = types.ExternalFunction("poll", types.int32(types.intp, types.uint64, types.int32))
_write: Any = types.ExternalFunction("write", types.intp(types.int32, types.intp, types.uintp))


def _full_fence(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


_fence: Any = intrinsic(_full_fence)


@njit(cache=True, nogil=True)
def publish(marks, count):  # pragma: no cover - compiled
    """``count`` more slots are filled; whether the reader must be woken."""
    marks[WRITTEN] += count
    _fence()
    asleep = marks[ASLEEP] != 0
    if asleep:
        marks[ASLEEP] = 0
    return asleep


@njit(cache=True, nogil=True)
def may_sleep(marks):  # pragma: no cover - compiled
    """Tell that the reader is about to sleep; False if there is something to read after all."""
    marks[ASLEEP] = 1
    _fence()
    if marks[WRITTEN] == marks[TAKEN]:
        return True
    marks[ASLEEP] = 0
    return False


@njit(cache=True, nogil=True)
def pump(marks, places, lengths, watched):  # pragma: no cover - compiled
    """Fill slots with datagrams as they come, until one of ``FULL``, ``STOPPED`` or ``FAILED``.

    Args:
        marks: see above.
        places: addresses and numbers: the headers' (an array of ``struct mmsghdr``) and the size of one, that of
            ``watched``, that of eight bytes to ring the bell with, and the bell's descriptor.
        lengths: (slots,) the headers' ``controllen``, which the kernel changes.
        watched: (2, 2) int32: an array of two ``struct pollfd``, the socket's and the one that tells us to stop.
    """
    slots = len(lengths)
    headers, size, polled, word, bell = places[0], places[1], places[2], places[3], places[4]
    while True:
        free = slots - (marks[WRITTEN] - marks[TAKEN])
        if free <= 0:
            return FULL
        lo = marks[WRITTEN] % slots
        count = min(free, slots - lo, _MOST)
        for i in range(lo, lo + count):
            lengths[i] = _CONTROL
        got = _recvmmsg(watched[0, 0], headers + lo * size, count, _DONTWAIT, 0)
        if got > 0:
            if publish(marks, got):
                _write(bell, word, 8)
            continue
        _poll(polled, 2, -1)
        if watched[1, 1] >> 16:
            return STOPPED
        if (watched[0, 1] >> 16) & ~1:
            return FAILED


@njit(cache=True, nogil=True)
def describe(headers, control, into, drops):  # pragma: no cover - compiled
    """Sizes, arrivals (us) and drops so far of datagrams that have come, from what the kernel wrote about them.

    Args:
        headers: (lengths, flags, controllen), each (d,), of ``struct mmsghdr``.
        control: (d, 8) int64: two control messages, the stamp of arrival and (only if there are any) drops.
        into: (sizes, arrivals, drops), each (d,) int64; written.
        drops: (now us, drops before).

    Returns:
        (datagrams that were longer than a slot, drops after).
    """
    lengths, flags, room = headers
    sizes, arrivals, lost = into
    now, so_far, cut = drops[0], drops[1], 0
    for i in range(len(sizes)):
        long = (flags[i] & _TRUNC) != 0
        cut += long
        sizes[i] = 0 if long else lengths[i]
        stamped = control[i, 1] == _STAMP
        arrivals[i] = control[i, 2] * 1_000_000 + control[i, 3] // 1000 if stamped else now
        if room[i] > 40 and control[i, 5] == _DROPS:
            so_far = max(so_far, control[i, 6] & 0xFFFFFFFF)
        lost[i] = so_far
    return cut, so_far
