"""What an event stream looks like, in numbers: the data behind the info page, and what looks wrong in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eventflow.events import UNITS, Events, Schema
from eventflow.events._events import Array
from eventflow.io._report import ReadReport

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Bins of the rate over time and of the histogram of gaps.
BINS = 60
#: Marks told one by one.
SHOWN_MARKS = 20


@dataclass(frozen=True, slots=True)
class Info:
    """Facts about Events (pure data; :func:`eventflow.io.render` draws them).

    Args:
        title: what it is: a path, or a dataset and its split.
        format: how it was read.
        schema: unit, marks and vocabulary.
        time_dtype: of ``t``.
        sequences: s. events: n. scored: events with a likelihood of their own.
        empty: sequences without events. singles: sequences of one event.
        first, last: earliest and latest time (finite ones). spans: (min, max) of the lengths of the spans.
        length_quantiles: of events a sequence, at ``QUANTILES``. gap_quantiles: of the scored gaps (the
            first one of a sequence counts, from the span's start, unless its first event is given).
        mean_gap: of the scored gaps, NaN if there are none. gap_mode: (value, share) of the commonest gap.
        ties: events at the very time of the event before them. duplicates: rows with the time and the marks of another
            row of their sequence.
        backwards: events before the event before them. not_finite: times that are NaN or infinite.
        marks: (mark, count) of the most frequent, in falling order. never_seen: marks of [0, K) without an event.
        outside: events whose mark is not in [0, K). columns: name -> dtype of the other mark columns.
        rate: (BINS,) events in equal parts of [first, last]. gap_histogram: (BINS,) gaps > 0 in equal parts of their
            logarithm between gap_range.
        aligned: whether all sequences begin at the same time (so that time is time since the sequence's beginning).
        grid: the step of which all gaps are multiples, where there is one.
        facts: what the reader noticed (see ReadReport). notes: its sentences. report: what it left out.
        warnings: what looks wrong, in plain words.
    """

    title: str
    format: str
    schema: Schema
    time_dtype: str
    sequences: int
    events: int
    scored: int
    empty: int
    singles: int
    first: float
    last: float
    spans: tuple[float, float]
    length_quantiles: tuple[float, ...]
    gap_quantiles: tuple[float, ...]
    mean_gap: float
    gap_mode: tuple[float, float]
    ties: int
    duplicates: int
    backwards: int
    not_finite: int
    marks: tuple[tuple[int, int], ...]
    never_seen: tuple[int, ...]
    outside: int
    columns: dict[str, str]
    rate: tuple[int, ...]
    gap_histogram: tuple[int, ...]
    gap_range: tuple[float, float]
    aligned: bool
    grid: float | None
    facts: dict[str, float]
    notes: tuple[str, ...]
    left_out: str
    warnings: tuple[str, ...] = ()


def describe(events: Events, *, title: str = "", report: ReadReport | None = None) -> Info:
    """The facts about ``events``, valid or not: unsorted and NaN times and odd marks are counted, not refused."""
    from eventflow.io.info._suspicions import suspicions

    finite = np.isfinite(events.t) if events.t.dtype == np.float64 else np.ones(len(events.t), dtype=bool)
    gaps, tied, back = _gaps(events)
    known = events.t[finite]
    ends = (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))
    lengths = events.lengths
    widths = (events.span[:, 1] - events.span[:, 0]).astype(np.float64)
    positive = gaps[gaps > 0]
    edges, histogram = _log_histogram(positive)
    counts, never_seen, outside = _marks(events)
    begins = events.span[lengths > 0, 0]
    info = Info(
        title=title, format=report.format if report else "", schema=events.schema, time_dtype=str(events.t.dtype),
        sequences=len(events), events=events.num_events, scored=events.num_scored,
        empty=int((lengths == 0).sum()), singles=int((lengths == 1).sum()), first=ends[0], last=ends[1],
        spans=(float(widths.min()), float(widths.max())) if len(widths) else (0.0, 0.0),
        length_quantiles=_quantiles(lengths), gap_quantiles=_quantiles(gaps),
        mean_gap=float(gaps.mean()) if len(gaps) else float("nan"), gap_mode=_mode(gaps), ties=tied,
        duplicates=_duplicates(events), backwards=back, not_finite=int((~finite).sum()), marks=counts,
        never_seen=never_seen, outside=outside,
        columns={name: str(column.dtype) for name, column in events.marks.items() if name != "mark"},
        rate=_rate(known, ends), gap_histogram=histogram, gap_range=edges,
        aligned=bool(len(begins) > 1 and (begins == begins[0]).all()), grid=_grid(events, positive),
        facts=dict(report.facts) if report else {}, notes=tuple(report.notes) if report else (),
        left_out=_left_out(report),
    )  # fmt: skip
    return replace(info, warnings=tuple(suspicions(info, events)))


def _left_out(report: ReadReport | None) -> str:
    return "" if report is None or not report.skipped else report.text().split("\n" + str(report.path), 1)[0]


def _gaps(events: Events) -> tuple[Array, int, int]:
    """(finite scored gaps, ties and steps back between neighbours within a sequence)."""
    inner = np.ones(events.num_events, dtype=bool)
    inner[events.offsets[:-1][events.lengths > 0]] = False
    with np.errstate(invalid="ignore"):
        gaps = events.gaps.astype(np.float64)
    tied, back = int((inner & (gaps == 0)).sum()), int((inner & (gaps < 0)).sum())
    scored = gaps[events.scored]
    return scored[np.isfinite(scored)], tied, back


def _duplicates(events: Events) -> int:
    """Rows with the time and the marks of another row of the same sequence."""
    columns = [column.reshape(len(column), -1).T for column in events.marks.values() if len(column)]
    rows = [*(part for column in columns for part in column), events.t, events.sequence]
    if events.num_events < 2:
        return 0
    order = np.lexsort(rows)
    same = np.ones(events.num_events - 1, dtype=bool)
    for part in rows:
        ordered = part[order]
        same &= ordered[1:] == ordered[:-1]
    return int(same.sum())


def _quantiles(values: Array) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, QUANTILES)) if len(values) else ()


def _mode(gaps: Array) -> tuple[float, float]:
    if not len(gaps):
        return float("nan"), 0.0
    scale = float(np.abs(gaps).max()) or 1.0  # differences of equal steps differ in their last digits
    values, counts = np.unique(np.round(gaps / scale, 9), return_counts=True)
    top = int(np.argmax(counts))
    return float(values[top] * scale), float(counts[top] / len(gaps))


def _log_histogram(positive: Array) -> tuple[tuple[float, float], tuple[int, ...]]:
    if not len(positive):
        return (0.0, 0.0), ()
    low, high = float(positive.min()), float(positive.max())
    if low == high:
        return (low, high), (len(positive),)
    counts, _ = np.histogram(np.log(positive), bins=BINS, range=(np.log(low), np.log(high)))
    return (low, high), tuple(counts.tolist())


def _rate(times: Array, ends: tuple[float, float]) -> tuple[int, ...]:
    if not len(times) or not ends[1] > ends[0]:
        return ()
    return tuple(np.histogram(times, bins=BINS, range=ends)[0].tolist())


def _marks(events: Events) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...], int]:
    mark = events.marks.get("mark")
    if mark is None:
        return (), (), 0
    values, counts = np.unique(mark, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    size = events.schema.num_marks
    outside = int(counts[(values < 0) | (values >= size)].sum()) if size else int(counts[values < 0].sum())
    never = tuple(np.setdiff1d(np.arange(size), values)[: 10 * SHOWN_MARKS].tolist()) if size else ()
    return tuple((int(values[i]), int(counts[i])) for i in order), never, outside


def _grid(events: Events, positive: Array) -> float | None:
    """The step of which all gaps are multiples: in ticks, or days, hours, minutes, seconds; None if there is none."""
    if not len(positive):
        return None
    if events.t.dtype == np.int64:
        step = int(np.gcd.reduce(positive.astype(np.int64)))
        return float(step)
    per_second = UNITS[events.schema.unit]
    candidates = [1.0] if np.isnan(per_second) else [seconds / per_second for seconds in (86400, 3600, 60, 1)]
    for step in candidates:
        multiples = positive / step
        slack = 4 * np.spacing(np.abs(events.t[np.isfinite(events.t)]).max()) / step + 1e-9 * multiples
        if (np.abs(multiples - np.round(multiples)) <= np.maximum(slack, 1e-7)).all() and multiples.max() >= 1:
            return step
    return None
