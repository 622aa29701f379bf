"""Camera ops in several threads: events in time order, each thread with bins of its own, and no memory of its own."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np

from eventflow.ops._columns import Array, Columns, Window

#: Adds columns to the bins [ready, stop) that are yet to be cleared, and to others -> pixels off, polarities, outside.
Part = Callable[..., tuple[int, int, int]]
Faults = tuple[int, int, int]


def in_threads(
    c: Columns, w: Window, grid: Array, add: Part, *, threads: int, cleared: bool, shared: bool
) -> Faults | None:
    """Add the events to ``grid``; None where they cannot be divided: out of order, or in too few bins.

    Args:
        c: the columns.
        w: the window.
        grid: (bins, ...).
        add: ``add(columns, k, ready=, stop=)``, in thread k.
        threads: at most so many.
        cleared: the grid holds numbers already.
        shared: an event between bins b and b + 1 adds to both. A thread then begins with the first stretch between two
            bins that it has, and ends with the last one as soon as the next thread is past that.
    """
    from eventflow.ops._blocks import is_sorted

    steps = len(grid) - shared
    threads = min(threads, steps // 2 if shared else steps)
    if threads < 2 or not w.length or not is_sorted(c.t):
        return None
    edges, place = _edges(c.t, w, steps, threads, least=1 + shared), _Places(c.t, w, steps)
    division = _Division(c, add, edges, place, whole=len(grid), cleared=cleared)
    work = division.overlapping if shared else division.apart
    with ThreadPoolExecutor(threads) as pool:
        results = [faults for part in pool.map(work, range(threads)) for faults in part]
    for i, j in ((0, place(0)), (place(steps), len(c.t))):  # outside the window: only their faults count
        if i < j:
            results.append(division.add_rows(0, i, j))
    off, seen, outside = zip(*results, strict=True)
    return sum(off), int(np.bitwise_or.reduce(seen)), sum(outside)


class _Division:
    """Who adds which events: thread k those of stretches ``edges[k]`` to ``edges[k + 1]``."""

    def __init__(self, c: Columns, add: Part, edges: list[int], place: _Places, *, whole: int, cleared: bool) -> None:
        self._columns, self._add, self._edges, self._place = c, add, edges, place
        self._whole, self._cleared = whole, cleared
        self._past = [Event() for _ in edges]

    def add_rows(self, k: int, i: int, j: int, *, ready: int | None = None, stop: int | None = None) -> Faults:
        """Events i to j, in thread k; bins [ready, stop) are yet to be cleared, by default none."""
        ready, stop = (self._whole if v is None or self._cleared else v for v in (ready, stop))
        return self._add(Columns(*(v[i:j] for v in self._columns)), k, ready=ready, stop=stop)

    def apart(self, k: int) -> list[Faults]:
        """Every stretch has a bin of its own."""
        lo, hi = self._edges[k], self._edges[k + 1]
        return [self.add_rows(k, self._place(lo), self._place(hi), ready=lo, stop=hi)]

    def overlapping(self, k: int) -> list[Faults]:
        """A stretch adds to the bins at both its ends: the first one of a thread before the last one of the other."""
        lo, hi = self._edges[k], self._edges[k + 1]
        first, last = k == 0, k == len(self._edges) - 2
        begin, end = self._place(lo + (not first)), self._place(hi - (not last))
        done = []
        try:
            if not first:
                done.append(self.add_rows(k, self._place(lo), begin, ready=lo, stop=lo + 2))
        finally:
            self._past[k].set()
        done.append(self.add_rows(k, begin, end, ready=lo + 2 * (not first), stop=None if last else hi))
        if not last:
            self._past[k + 1].wait()
            done.append(self.add_rows(k, end, self._place(hi)))
        return done


class _Places:
    """The first event at or after a stretch between two bins; after the last one, the first behind the window."""

    def __init__(self, t: Array, w: Window, steps: int) -> None:
        self._t, self._w, self._steps = t, w, steps
        self._scale = steps / w.length

    def position(self, i: int) -> int:
        """The stretch of event i."""
        dt = float(self._t[i] - self._w.start)
        inside = dt < self._w.length or (self._w.closed and dt == self._w.length)
        return min(math.floor(dt * self._scale), self._steps - 1) if inside else self._steps

    def __call__(self, step: int) -> int:
        return bisect_left(range(len(self._t)), step, key=self.position)


def _edges(t: Array, w: Window, steps: int, threads: int, *, least: int) -> list[int]:
    """Stretches at which the threads begin, and the end: as many events for each as may be, ``least`` stretches."""
    place, edges = _Places(t, w, steps), [0]
    lo, hi = place(0), place(steps)
    for k in range(1, threads):
        at = place.position(lo + (hi - lo) * k // threads) if hi > lo else 0
        edges.append(min(max(at, edges[-1] + least), steps - least * (threads - k)))
    return [*edges, steps]
