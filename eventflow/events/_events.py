"""The one container that flows: events packed end to end, with the span in which each sequence was watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.events._schema import Schema

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Events:
    """Sequences of events packed end to end (a frozen value; nothing here changes its input).

    Args:
        t: (n,) int64 ticks or float64, in ``schema.unit``; nondecreasing within a sequence; never float32.
        marks: name -> (n, ...) columns: ``{"mark"}``, ``{"x", "y", "p"}``, ``{"obs", "action", "reward", ...}``.
        offsets: (s+1,) int64; sequence i is rows ``offsets[i]:offsets[i+1]``.
        span: (s, 2) in t's dtype; the half-open [start, end) in which each sequence was watched.
        schema: units and vocabularies.
        keys: (s,) names of the sequences, where they have names.
        given: (s,) whether each sequence's first event opened its span, where sequences differ in that, as they do
            where a cut finds some of them under way; None: as ``schema.given_first`` says of all.

    Build one with :meth:`of` or :meth:`from_sequences`; the bare constructor checks shapes and dtypes only.
    ``len(events)`` and ``events[i]`` speak of sequences; ``events.num_events`` counts rows.
    """

    t: Array
    marks: Mapping[str, Array]
    offsets: Array
    span: Array
    schema: Schema = field(default_factory=Schema)
    keys: Array | None = None
    given: Array | None = None

    def __post_init__(self) -> None:
        for name, value in (("t", self.t), ("offsets", self.offsets), ("span", self.span)):
            object.__setattr__(self, name, np.asarray(value))
        object.__setattr__(self, "marks", {name: np.asarray(column) for name, column in self.marks.items()})
        n, s = self.t.shape[0], self.offsets.shape[0] - 1
        if self.t.ndim != 1 or self.t.dtype not in (np.int64, np.float64):
            raise InputError(
                f"Events.t is {self.t.dtype}{self.t.shape}; expected (n,) int64 or float64 (float32 cannot hold "
                "absolute times). Write: t.astype(np.float64)"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != n or np.any(np.diff(self.offsets) < 0):
            raise InputError(f"Events.offsets must rise from 0 to n={n}; seen {_brief(self.offsets)}")
        if self.span.shape != (s, 2):
            raise InputError(f"Events.span has shape {self.span.shape}; expected ({s}, 2), one [start, end) a sequence")
        if self.span.dtype != self.t.dtype:
            object.__setattr__(self, "span", self.span.astype(self.t.dtype))
        for name, column in self.marks.items():
            if len(column) != n:
                raise InputError(f"Events.marks[{name!r}] has {len(column)} rows; t has {n}")
        if self.keys is not None and len(self.keys) != s:
            raise InputError(f"Events.keys has {len(self.keys)} names for {s} sequences")
        if self.given is not None:
            object.__setattr__(self, "given", np.asarray(self.given, dtype=bool))
            if self.given.shape != (s,):
                raise InputError(f"Events.given has shape {self.given.shape} for {s} sequence{'s' * (s != 1)}")

    # -- construction ---------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        t: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        span: ArrayLike | None = None,
        schema: Schema | None = None,
        keys: Sequence[str] | Array | None = None,
        **marks: ArrayLike,
    ) -> Events:
        """Events from arrays, checked by :meth:`validate`.

        ``span`` is (2,) for all sequences or (s, 2); None watches each sequence from its first to just past its last
        event, and then the first event is given (``schema.given_first``), since it opened the span.
        ``Events.of([0.5, 1.2], mark=[0, 1], span=(0., 2.))``
        """
        times = _as_times(t)
        cuts = np.asarray([0, len(times)] if offsets is None else offsets, dtype=np.int64)
        schema = schema or Schema()
        if span is None:
            spans = first_to_last(times, cuts)
            schema = replace(schema, given_first=True)
        else:
            spans = np.broadcast_to(np.asarray(span, dtype=times.dtype), (len(cuts) - 1, 2)).copy()
        columns = {name: _as_column(name, column) for name, column in marks.items()}
        names = None if keys is None else np.asarray(keys)
        return cls(times, columns, cuts, spans, schema, names).validate()

    @classmethod
    def from_sequences(
        cls, sequences: Sequence[Mapping[str, ArrayLike]], *, span: ArrayLike | None = None,
        schema: Schema | None = None, keys: Sequence[str] | None = None,
    ) -> Events:  # fmt: skip
        """Events from one mapping a sequence, each with ``t`` and the same mark columns."""
        if not sequences:
            raise InputError("Events.from_sequences: no sequence given; an empty one is {'t': [], 'mark': []}")
        names = [name for name in sequences[0] if name != "t"]
        for i, sequence in enumerate(sequences):
            if set(sequence) != {"t", *names}:
                raise InputError(f"sequence {i} has columns {sorted(sequence)}; sequence 0 has {sorted(sequences[0])}")
        times = [_as_times(sequence["t"]) for sequence in sequences]
        offsets = np.cumsum([0] + [len(x) for x in times])
        columns = {name: np.concatenate([_as_column(name, s[name]) for s in sequences]) for name in names}
        return cls.of(np.concatenate(times), offsets=offsets, span=span, schema=schema, keys=keys, **columns)

    # -- reading --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Events]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Array) -> Events:
        """The chosen sequence(s), as Events."""
        if isinstance(index, (int, np.integer)):
            i = int(index) + (len(self) if index < 0 else 0)
            if not 0 <= i < len(self):
                raise IndexError(f"sequence {index} of {len(self)}")
            lo, hi = self.offsets[i], self.offsets[i + 1]
            cut = {name: column[lo:hi] for name, column in self.marks.items()}
            keys = None if self.keys is None else self.keys[i : i + 1]
            schema = self.schema
            if self.given is not None:
                schema = replace(schema, given_first=bool(self.given[i]))
            return Events(self.t[lo:hi], cut, np.array([0, hi - lo]), self.span[i : i + 1], schema, keys)
        chosen = np.arange(len(self))[index]
        rows = rows_of(self.offsets, chosen)
        return replace(
            self._take(rows), offsets=np.concatenate([[0], np.cumsum(self.lengths[chosen])]), span=self.span[chosen],
            keys=None if self.keys is None else self.keys[chosen],
            given=None if self.given is None else self.given[chosen],
        )  # fmt: skip

    @property
    def num_events(self) -> int:
        """n, the number of events in all sequences."""
        return len(self.t)

    @property
    def lengths(self) -> Array:
        """(s,) events in each sequence."""
        return np.diff(self.offsets)

    @property
    def sequence(self) -> Array:
        """(n,) the index of each event's sequence."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def gaps(self) -> Array:
        """(n,) time since the previous event of the sequence; for its first event, since the span's start."""
        previous = np.empty_like(self.t)
        previous[1:] = self.t[:-1]
        filled = self.lengths > 0
        previous[self.offsets[:-1][filled]] = self.span[filled, 0]
        return self.t - previous

    @property
    def given_first(self) -> Array:
        """(s,) whether the first event of each sequence is given."""
        return np.full(len(self), self.schema.given_first) if self.given is None else self.given

    @property
    def scored(self) -> Array:
        """(n,) True for events with a likelihood of their own: all but the given first ones."""
        scored = np.ones(self.num_events, dtype=bool)
        scored[self.offsets[:-1][self.given_first & (self.lengths > 0)]] = False
        return scored

    @property
    def num_scored(self) -> int:
        """Events with a likelihood of their own."""
        return self.num_events - int((self.given_first & (self.lengths > 0)).sum())

    # -- checking -------------------------------------------------------------------------------------------------

    def validate(self) -> Events:
        """Return self, or raise :class:`InputError` naming the first fault: NaN, order, span, marks out of [0, K)."""
        if self.t.dtype == np.float64 and not np.isfinite(self.t).all():
            raise InputError(f"time is {self.t[i := int(np.argmin(np.isfinite(self.t)))]} at {self._where(i)}")
        steps = np.diff(self.t) < 0
        steps[self.offsets[1:-1][(self.offsets[1:-1] > 0) & (self.offsets[1:-1] < self.num_events)] - 1] = False
        if steps.any():
            i = int(np.argmax(steps)) + 1
            raise InputError(
                f"time goes back from {self.t[i - 1]} to {self.t[i]} at {self._where(i)}. Write: events.sort()"
            )
        self._validate_span()
        mark = self.marks.get("mark")
        if mark is not None and self.schema.num_marks is not None and len(mark):
            bad = (mark < 0) | (mark >= self.schema.num_marks)
            if bad.any():
                i = int(np.argmax(bad))
                raise InputError(f"mark {mark[i]} at {self._where(i)}; expected 0 <= mark < K={self.schema.num_marks}")
        return self

    def _validate_span(self) -> None:
        bad = ~(self.span[:, 0] <= self.span[:, 1])
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"span of sequence {i} is {self.span[i].tolist()}; expected start <= end, both finite")
        start, end = self.span[self.sequence].T
        outside = (self.t < start) | (self.t >= end)
        if outside.any():
            i = int(np.argmax(outside))
            raise InputError(
                f"time {self.t[i]} at {self._where(i)} lies outside its half-open span [{start[i]}, {end[i]}). "
                "Widen the span, or cut with events.slice(start, end)"
            )

    def _where(self, row: int) -> str:
        s = int(np.searchsorted(self.offsets, row, side="right")) - 1
        name = "" if self.keys is None else f" ({str(self.keys[s])!r})"
        return f"event {row - int(self.offsets[s])} of sequence {s}{name}"

    # -- shaping --------------------------------------------------------------------------------------------------

    def sort(self) -> Events:
        """Each sequence in time order; equal times keep their order."""
        order = np.lexsort((self.t, self.sequence))
        return self._take(order)

    def slice(self, start: float, end: float) -> Events:
        """Events of the half-open [start, end), in absolute time; the spans are cut to it.

        A given first event that lies before ``start`` stays behind: the first one here is then scored like any other.
        """
        if not start <= end:
            raise InputError(f"slice({start}, {end}): expected start <= end")
        keep = (self.t >= start) & (self.t < end)
        counts = np.bincount(self.sequence[keep], minlength=len(self))
        span = np.clip(self.span, np.asarray(start, self.t.dtype), np.asarray(end, self.t.dtype))
        given, filled = self.given_first.copy(), self.lengths > 0
        given[filled] &= self.t[self.offsets[:-1][filled]] >= start
        schema, given = _told(self.schema, given, counts > 0)
        return replace(
            self._take(np.flatnonzero(keep)), offsets=np.concatenate([[0], np.cumsum(counts)]), span=span,
            keys=self.keys, schema=schema, given=given,
        )  # fmt: skip

    def window(self, *, dt: float | None = None, n: int | None = None) -> Iterator[Events]:
        """Consecutive half-open windows of a single sequence: ``dt`` long, or ``n`` events each (the last: fewer)."""
        if len(self) != 1 or (dt is None) == (n is None):
            raise InputError("window(dt=...) or window(n=...), of one sequence: events[i].window(dt=0.1)")
        start, end = self.span[0]
        if dt is not None:
            if not dt > 0:
                raise InputError(f"window(dt={dt}): expected dt > 0")
            count = int(np.ceil((end - start) / dt))
            for i in range(count):
                lo = np.asarray(start + i * dt, self.t.dtype)
                hi = end if i == count - 1 else np.asarray(start + (i + 1) * dt, self.t.dtype)
                first, last = np.searchsorted(self.t, [lo, hi])
                yield self._between(int(first), int(last), lo, hi)
            return
        assert n is not None
        if n < 1:
            raise InputError(f"window(n={n}): expected n >= 1")
        for lo_row in range(0, self.num_events, n):
            hi_row = min(lo_row + n, self.num_events)
            lo = start if lo_row == 0 else self.t[lo_row]
            hi = end if hi_row == self.num_events else self.t[hi_row]
            yield self._between(lo_row, hi_row, lo, hi)

    def _between(self, lo: int, hi: int, start: Any, end: Any) -> Events:
        cut = {name: column[lo:hi] for name, column in self.marks.items()}
        span = np.array([[start, end]], dtype=self.t.dtype)
        schema = replace(self.schema, given_first=bool(self.given_first[0]) and lo == 0)
        return replace(
            self, t=self.t[lo:hi], marks=cut, offsets=np.array([0, hi - lo]), span=span, schema=schema, given=None
        )

    def _take(self, rows: Array) -> Events:
        """Rows in a new order or number; the caller replaces offsets and span where the counts change."""
        cut = {name: column[rows] for name, column in self.marks.items()}
        if len(rows) == self.num_events:
            return Events(self.t[rows], cut, self.offsets, self.span, self.schema, self.keys, self.given)
        return Events(self.t[rows], cut, np.array([0, len(rows)]), self.span[:1], self.schema)


def merge(first: Events, second: Events) -> Events:
    """Sequence by sequence, the events of both in time order (ties: ``first`` before ``second``), over the joint span.

    Both must have the same number of sequences, columns, unit and time dtype.
    """
    if len(first) != len(second) or set(first.marks) != set(second.marks) or first.schema.unit != second.schema.unit:
        raise InputError(
            f"merge: {len(first)} sequences with {sorted(first.marks)} in {first.schema.unit!r}, and "
            f"{len(second)} with {sorted(second.marks)} in {second.schema.unit!r}; expected the same number, columns "
            "and unit"
        )
    both = concatenate([first, second])
    owner = np.concatenate([first.sequence, second.sequence])
    order = np.lexsort((both.t, owner))
    span = np.stack(
        [np.minimum(first.span[:, 0], second.span[:, 0]), np.maximum(first.span[:, 1], second.span[:, 1])], 1
    )
    marks = {name: column[order] for name, column in both.marks.items()}
    offsets = np.concatenate([[0], np.cumsum(first.lengths + second.lengths)])
    given, filled = first.given_first.copy(), np.diff(offsets) > 0
    given[filled] = both.given_first[both.sequence[order[offsets[:-1][filled]]]]  # as where the earliest event was
    schema, given = _told(both.schema, given, filled)
    return Events(both.t[order], marks, offsets, span, schema, first.keys, given)


def concatenate(parts: Sequence[Events]) -> Events:
    """The sequences of all parts, one after another; the schemas must agree (but in ``given_first``, which is kept
    for each sequence)."""
    if not parts:
        raise InputError("concatenate: no events given")
    head = parts[0]
    for i, part in enumerate(parts):
        schema = replace(part.schema, given_first=head.schema.given_first)
        if schema != head.schema or set(part.marks) != set(head.marks) or part.t.dtype != head.t.dtype:
            raise InputError(f"concatenate: part {i} has {part.schema} and {sorted(part.marks)}; part 0 {head.schema}")
    shifts = np.cumsum([0] + [p.num_events for p in parts])
    offsets = np.concatenate([[0]] + [p.offsets[1:] + shift for p, shift in zip(parts, shifts, strict=False)])
    keys = None
    if all(p.keys is not None for p in parts):
        keys = np.concatenate([p.keys for p in parts if p.keys is not None])
    marks = {name: np.concatenate([p.marks[name] for p in parts]) for name in head.marks}
    schema, given = _told(head.schema, np.concatenate([p.given_first for p in parts]), np.diff(offsets) > 0)
    t, span = np.concatenate([p.t for p in parts]), np.concatenate([p.span for p in parts])
    return Events(t, marks, offsets, span, schema, keys, given)


def first_to_last(t: Array, offsets: Array) -> Array:
    """(s, 2) spans from each first event to just past each last one; empty sequences get [0, 0)."""
    span = np.zeros((len(offsets) - 1, 2), dtype=t.dtype)
    filled = np.diff(offsets) > 0
    span[filled, 0] = t[offsets[:-1][filled]]
    last = t[offsets[1:][filled] - 1]
    span[filled, 1] = last + 1 if t.dtype == np.int64 else np.nextafter(last, np.inf)
    return span


def _told(schema: Schema, given: Array, filled: Array) -> tuple[Schema, Array | None]:
    """The schema and ``Events.given`` that say which sequences' first events are given, as briefly as can be."""
    said = given[filled]
    if not len(said):
        return schema, None
    return replace(schema, given_first=bool(said.any())), None if said.all() or not said.any() else given


def rows_of(offsets: Array, chosen: Array) -> Array:
    """Row indices of the chosen sequences, in their order."""
    counts = (offsets[1:] - offsets[:-1])[chosen]
    starts = np.repeat(offsets[:-1][chosen] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return starts + np.arange(counts.sum())


def select(events: Events, name: str) -> Array:
    """A mark column by name, or an error that names the nearest."""
    if name not in events.marks:
        raise InputError(f"no column {name!r}; {did_you_mean(name, events.marks)}")
    return events.marks[name]


def _as_times(t: ArrayLike) -> Array:
    times = np.asarray(t)
    if times.dtype == np.float32:
        raise InputError("times are float32, which cannot hold absolute times. Write: t.astype(np.float64)")
    if times.dtype.kind not in "iuf" and times.size:
        raise InputError(f"times are {times.dtype}; expected numbers (read dates with eventflow.io)")
    return times.astype(np.int64 if times.dtype.kind in "iu" else np.float64)


def _as_column(name: str, values: ArrayLike) -> Array:
    column = np.asarray(values)
    if column.size == 0:
        return column.astype(np.int64)
    if name == "mark" and column.dtype.kind not in "iub":
        raise InputError(f"column 'mark' is {column.dtype}, e.g. {column.flat[0]!r}; expected integers in [0, K)")
    return column.astype(np.int64) if name == "mark" else column


def _brief(x: Array) -> str:
    return np.array2string(x, threshold=6, edgeitems=3)
