"""A preallocated ring of slots between the thread that receives and the one that decodes. Neither polls nor copies."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Bytes of a ring, whatever the size of its slots.
BYTES = 16 << 20
#: Most slots decoded at once: what comes meanwhile waits in the ring, and no answer waits for a full ring.
BATCH = 1024


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
    """

    def __init__(self, size: int, slots: int | None = None) -> None:
        count = slots or max(64, BYTES // size)
        self.rows = np.zeros((count, size), np.uint8)
        self.sizes = np.zeros(count, np.int64)
        self.arrivals = np.zeros(count, np.int64)
        self.drops = np.zeros(count, np.int64)
        self.full = 0  # how often the receiver had to wait
        self.error: BaseException | None = None
        self._written = self._taken = 0
        self._ended = False
        self._changed = threading.Condition()

    # -- the thread that receives -----------------------------------------------------------------------------------

    def room(self) -> tuple[int, int] | None:
        """Free slots [lo, hi) in a row; waits for one. None: nobody will read them any more."""
        with self._changed:
            if self._written - self._taken == len(self.rows):
                self.full += 1
                self._changed.wait_for(lambda: self._ended or self._written - self._taken < len(self.rows))
            if self._ended:
                return None
            lo = self._written % len(self.rows)
            return lo, lo + min(len(self.rows) - lo, len(self.rows) - (self._written - self._taken))

    def commit(self, count: int) -> None:
        """``count`` slots from the first free one on are filled."""
        with self._changed:
            self._written += count
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; or, from the reader's side, nothing more is wanted."""
        with self._changed:
            self._ended, self.error = True, self.error or error
            self._changed.notify_all()

    # -- the thread that decodes ------------------------------------------------------------------------------------

    def take(self, timeout: float | None) -> Batch | None:
        """What has come, as soon as there is anything; of no rows if nothing came in time; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._written > self._taken, timeout)
            ready = self._written - self._taken
            if not ready and self._ended:
                return None
            lo = self._taken % len(self.rows)
            hi = lo + min(ready, len(self.rows) - lo, BATCH)
        return Batch(self.rows[lo:hi], self.sizes[lo:hi], self.arrivals[lo:hi], self.drops[lo:hi])

    def release(self, count: int) -> None:
        """The rows of a batch are not needed any more."""
        with self._changed:
            self._taken += count
            self._changed.notify_all()
