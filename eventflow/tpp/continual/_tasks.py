"""A stream cut into tasks that follow one another, and the exact likelihood of each.

A task is a half-open window [a, b) of absolute time. Every event belongs to the window that holds its time, and to that
one only; a sequence belongs to each window that it was watched in. Its *history*, what happened to it before ``a``, is
either carried (the state knows it, nothing of it is scored) or left out (the state starts empty at ``a``).

With the history carried, the likelihood of a window is conditional on what came before it, so that the chain rule
holds: over the tasks of a cut, log-likelihoods sum to the log-likelihood of the whole. The gap that straddles ``a`` is
charged to both sides of it, each for its own part of the silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events, PaddedBatch, concatenate, pad
from eventflow.events._events import Array
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess

#: What a task knows of the time before it.
HISTORIES = ("carried", "none")
#: Events a batch of :meth:`Task.batches` may hold by default, padding included.
CHUNK = 1 << 15


@dataclass(frozen=True, slots=True)
class Task:
    """Sequences, and from when on each of them counts.

    Args:
        events: the sequences up to the end of the task, history included where it is carried.
        since: (s,) in t's dtype; what happened before is history: known, not scored.
        given: (s,) True where the first event opened the sequence (``schema.given_first``), so that it is not scored.
        span: [start, end) of the task.
        name: of the task.
    """

    events: Events
    since: Array
    given: Array
    span: tuple[float, float]
    name: str = ""

    def __len__(self) -> int:
        return len(self.events)

    @property
    def scored(self) -> Array:
        """(n,) True for the events of the task that have a likelihood of their own."""
        opening = np.zeros(self.events.num_events, dtype=bool)
        opening[self.events.offsets[:-1][self.given & (self.events.lengths > 0)]] = True
        return (self.events.t >= self.since[self.events.sequence]) & ~opening

    @property
    def num_scored(self) -> int:
        """Events with a likelihood of their own."""
        return int(self.scored.sum())

    def take(self, index: Sequence[int] | Array) -> Task:
        """The chosen sequences."""
        chosen = np.asarray(index, dtype=np.int64)
        return replace(self, events=self.events[chosen], since=self.since[chosen], given=self.given[chosen])

    def batch(self, *, dtype: torch.dtype | None = None) -> TaskBatch:
        """All sequences as one padded batch, gaps in ``dtype`` (torch's default)."""
        events = self.events
        padded = pad(events, dtype=dtype)
        scored = torch.zeros_like(padded.mask)
        scored[padded.mask] = torch.from_numpy(self.scored)
        past = np.bincount(events.sequence[events.t < self.since[events.sequence]], minlength=len(events))
        since_last = self.since - events.span[:, 0]
        rows = np.flatnonzero(past)
        since_last[rows] = self.since[rows] - events.t[events.offsets[:-1][rows] + past[rows] - 1]
        since_last[self.given & (events.lengths > 0) & (past == 0)] = 0  # nothing was watched before a given event
        silence = torch.from_numpy(since_last.astype(np.float64)).to(padded.dt.dtype)
        return TaskBatch(replace(padded, scored=scored), torch.from_numpy(past), silence)

    def batches(self, *, size: int | None = None, dtype: torch.dtype | None = None) -> Iterator[TaskBatch]:
        """Padded batches in order: ``size`` sequences each, or as many as bound the memory."""
        start = 0
        while start < len(self):
            stop, width = start + 1, max(int(self.events.lengths[start]), 1)
            while stop < len(self) and (size is None or stop - start < size):
                width = max(width, int(self.events.lengths[stop]))
                if size is None and width * (stop + 1 - start) > CHUNK:
                    break
                stop += 1
            yield self.take(np.arange(start, stop)).batch(dtype=dtype)
            start = stop


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """B sequences of a task.

    Args:
        padded: with ``scored`` as the task has it.
        past: (B,) int64, how many events came before the task.
        silence: (B,) time from the last of them (or the span's start) to where scoring starts.
    """

    padded: PaddedBatch
    past: Tensor
    silence: Tensor

    def __len__(self) -> int:
        return len(self.padded)


class Told(NamedTuple):
    """What a model says of a batch: ``left``, states before each event (B, T, ...); ``last``, after the last one;
    ``terms`` (B, T), log-density of each scored event; ``log_prob`` (B,), of the sequences over their task."""

    left: Any
    last: Any
    terms: Tensor
    log_prob: Tensor


def told(model: PointProcess, batch: TaskBatch) -> Told:
    """States and likelihood of a batch."""
    padded = batch.padded
    left, last = model.left_states(padded)
    terms = model._event_terms(left, padded)
    every = map_state(lambda a, b: torch.cat([a, b[:, None]], 1), left, last)
    row = torch.arange(len(batch))
    opening = map_state(lambda leaf: leaf[row, batch.past], every)
    before = model._compensator(opening, model._gaps(batch.silence))
    tail = model._compensator(last, model._gaps(padded.tail))
    return Told(left, last, terms, terms.sum(1) - tail + before)


def task_log_prob(model: PointProcess, task: Task) -> Tensor:
    """(s,) exact log-likelihood of each sequence over its part of the task, given its history."""
    parts = [told(model, batch).log_prob for batch in task.batches(dtype=model.dtype)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=model.dtype)


def cut_by_time(events: Events, tasks: int = 10, *, history: str = "carried") -> list[Task]:
    """``tasks`` consecutive windows of equal length, from the first span's start to the last one's end.

    Raises:
        InputError: fewer than one task; spans too short for so many.
    """
    if tasks < 1:
        raise InputError(f"cut_by_time(tasks={tasks}): expected at least 1")
    start, end = _ends(events)
    inner = start + (end - start) * (np.arange(1, tasks) / tasks)
    return cut_at(events, inner.astype(events.t.dtype), history=history)


def cut_at(events: Events, times: ArrayLike, *, history: str = "carried") -> list[Task]:
    """One task more than there are ``times``, which part them.

    Args:
        events: sequences in absolute time (not each from 0 on: then "later" means nothing).
        times: rising, strictly between the first span's start and the last one's end.
        history: "carried" or "none"; see the module.

    Raises:
        InputError: times that do not rise or lie outside, so that a task would be empty; an unknown history; sequences
            whose times are not of one clock.
    """
    if history not in HISTORIES:
        raise InputError(f"history={history!r}; {did_you_mean(history, HISTORIES)}")
    _check_clock(events)
    start, end = _ends(events)
    edges = np.concatenate([[start], np.asarray(times, dtype=events.t.dtype).reshape(-1), [end]])
    if not (np.diff(edges) > 0).all():  # nor NaN
        raise InputError(
            f"cut at {edges[1:-1].tolist()}: expected rising times, strictly between {start} and {end}, "
            "where the events were watched"
        )
    return [_window(events, a, b, i, history) for i, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True))]


def cut_by_source(sources: Mapping[str, Events]) -> list[Task]:
    """One task a source (a city, a shop, a machine), in the order given; every sequence whole, in its own time.

    Raises:
        InputError: no source; schemas or columns that differ, so that no model could learn them all.
    """
    if not sources:
        raise InputError("cut_by_source: no source given. Write: cut_by_source({'north': events, 'south': others})")
    concatenate(list(sources.values()))  # refuses what does not go together
    return [whole(events, name=name) for name, events in sources.items()]


def whole(events: Events, *, name: str = "") -> Task:
    """All of ``events`` as one task: its likelihood is ``model.log_prob(events)``."""
    start, end = _ends(events)
    given = events.given_first.copy()
    return Task(events, events.span[:, 0].copy(), given, (float(start), float(end)), name)


def _ends(events: Events) -> tuple[Any, Any]:
    if not len(events):
        raise InputError("no sequences to cut into tasks")
    return events.span[:, 0].min(), events.span[:, 1].max()


def _check_clock(events: Events) -> None:
    """Refuse sessions that all begin with an event at one and the same time: each has a clock of its own."""
    first = events.t[events.offsets[:-1][events.given_first & (events.lengths > 0)]]
    if len(first) > 1 and (first == first[0]).all():
        raise InputError(
            f"each of the {len(first)} sequences begins with an event at t={first[0]}: they count from their own first "
            "events, and nothing says which came earlier. Load them with their absolute times (columns: {time: ...} of "
            "the card), or cut by source: cut_by_source({'north': events, 'south': others})"
        )


def _window(events: Events, start: Any, end: Any, number: int, history: str) -> Task:
    begin = events.span[:, 0].copy()
    given = events.given_first.copy()
    opened = given & (events.lengths > 0)
    begin[opened] = events.t[events.offsets[:-1][opened]]  # before its first event a session does not exist
    here = np.flatnonzero(np.maximum(begin, start) < np.minimum(events.span[:, 1], end))
    since = np.maximum(begin, start)[here]
    known = events[here]
    low = since if history == "none" else known.span[:, 0]
    if history == "none":
        given = given & (begin >= start)
    cut = _between(known, low, np.minimum(known.span[:, 1], end))
    return Task(cut, since, given[here], (float(start), float(end)), str(number))


def _between(events: Events, low: Array, high: Array) -> Events:
    """Each sequence over its own [low, high)."""
    owner = events.sequence
    keep = (events.t >= low[owner]) & (events.t < high[owner])
    counts = np.bincount(owner[keep], minlength=len(events))
    marks = {name: column[keep] for name, column in events.marks.items()}
    return replace(
        events, t=events.t[keep], marks=marks, offsets=np.concatenate([[0], np.cumsum(counts)]),
        span=np.stack([low, high], 1),
    )  # fmt: skip


def together(tasks: Sequence[Task]) -> Task:
    """The sequences of all tasks as one; each keeps its own history and its own beginning."""
    joint = concatenate([replace(task.events, keys=None) for task in tasks])
    span = min(task.span[0] for task in tasks), max(task.span[1] for task in tasks)
    since = np.concatenate([task.since for task in tasks])
    return Task(joint, since, np.concatenate([task.given for task in tasks]), span, "+".join(t.name for t in tasks))
