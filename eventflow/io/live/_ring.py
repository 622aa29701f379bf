"""A preallocated ring of slots between the thread that receives and the one that decodes. Neither polls nor copies."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Bytes of a ring, whatever the size of its slots.
BYTES = 16 << 20
#: Most slots decoded at once: what comes meanwhile waits in the ring, and no answer waits for a full ring.
BATCH = 1024
#: Places in ``marks``: how many slots were filled and emptied in all, and whether the reader sleeps.
WRITTEN, TAKEN, ASLEEP = range(3)
#: What the bell is rung with: one, in the machine's own order of bytes.
_WORD = np.ones(1, np.uint64).tobytes()


class Batch(NamedTuple):
    """rows (d, size) uint8, views into the ring; sizes, arrivals (us), drops (d,) int64: what the kernel had dropped
    before each, in all."""

    rows: Array
    sizes: Array
    arrivals: Array
    drops: Array


class Ring:
    """Slots that one thread fills and another empties, in order.

    Args:
        size: bytes of a slot.
        slots: how many; by default as many as make ``BYTES``.

    Attributes:
        marks: how many slots were filled and emptied in all, and whether the reader sleeps; see :mod:`._pump`.
        describe: a weak reference to what is called with (lo, hi) before those slots are handed out, and writes their
            sizes, arrivals and drops.
        full: how often the receiver had to wait.
    """

    def __init__(self, size: int, slots: int | None = None) -> None:
        from eventflow.io.live._pump import may_sleep, publish  # compiled: not before a camera is opened

        self._publish, self._may_sleep = publish, may_sleep
        count = slots or max(64, BYTES // size)
        self.rows = np.zeros((count, size), np.uint8)
        self.sizes = np.zeros(count, np.int64)
        self.arrivals = np.zeros(count, np.int64)
        self.drops = np.zeros(count, np.int64)
        self.marks = np.zeros(3, np.int64)
        self.describe: Callable[[], Callable[[int, int], None] | None] | None = None
        self.full = 0
        self.error: BaseException | None = None
        self.bell, self._ringer = _bell()
        self._ended = self._blocked = False
        self._changed = threading.Condition()
        weakref.finalize(self, _close, self.bell, self._ringer)

    @property
    def ringer(self) -> int:
        """The descriptor into which eight bytes are written to wake the reader."""
        return self._ringer

    def _waiting(self) -> int:
        return int(self.marks[WRITTEN] - self.marks[TAKEN])

    # -- the thread that receives -----------------------------------------------------------------------------------

    def room(self) -> tuple[int, int] | None:
        """Free slots [lo, hi) in a row; waits for one. None: nobody will read them any more."""
        slots = len(self.rows)
        with self._changed:
            if self._waiting() == slots:
                self.full += 1
                self._blocked = True
                self._changed.wait_for(lambda: self._ended or self._waiting() < slots)
                self._blocked = False
            if self._ended:
                return None
            lo = int(self.marks[WRITTEN]) % slots
            return lo, lo + min(slots - lo, slots - self._waiting())

    def commit(self, count: int) -> None:
        """``count`` slots from the first free one on are filled."""
        if self._publish(self.marks, count):
            self._ring()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; or, from the reader's side, nothing more is wanted."""
        with self._changed:
            self._ended, self.error = True, self.error or error
            self._changed.notify_all()
        self._ring()

    def _ring(self) -> None:
        try:
            os.write(self._ringer, _WORD)
        except BlockingIOError:  # it rings already
            pass

    # -- the thread that decodes ------------------------------------------------------------------------------------

    def take(self, timeout: float | None) -> Batch | None:
        """What has come, as soon as there is anything; of no rows if nothing came in time; None at the end."""
        limit = None if timeout is None else time.monotonic() + timeout
        while not self._waiting() and not self._ended and self._may_sleep(self.marks):
            left = None if limit is None else limit - time.monotonic()
            if self._ended or (left is not None and left <= 0):
                break
            self._sleep(left)
        ready, slots = self._waiting(), len(self.rows)
        if not ready and self._ended:
            return None
        lo = int(self.marks[TAKEN]) % slots
        hi = lo + min(ready, slots - lo, BATCH)
        describe = self.describe() if self.describe is not None else None
        if describe is not None and hi > lo:
            describe(lo, hi)
        return Batch(self.rows[lo:hi], self.sizes[lo:hi], self.arrivals[lo:hi], self.drops[lo:hi])

    def _sleep(self, timeout: float | None) -> None:
        if select.select([self.bell], [], [], timeout)[0]:
            os.read(self.bell, 4096)

    def release(self, count: int) -> None:
        """The rows of a batch are not needed any more."""
        self.marks[TAKEN] += count
        if self._blocked:
            with self._changed:
                self._changed.notify_all()


def _bell() -> tuple[int, int]:
    """Descriptors: one that can be waited for, and one that rings it."""
    if hasattr(os, "eventfd"):
        both = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return both, both
    bell, ringer = os.pipe()
    os.set_blocking(bell, False)
    os.set_blocking(ringer, False)
    return bell, ringer


def _close(*descriptors: int) -> None:
    for descriptor in set(descriptors):
        os.close(descriptor)
