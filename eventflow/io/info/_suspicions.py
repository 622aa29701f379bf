"""What looks wrong in an event stream, each in one sentence with the number that raised it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from eventflow.events import Events

if TYPE_CHECKING:
    from eventflow.io.info._info import Info

#: A mark with more than this share of the events is said to dominate.
DOMINANT = 0.8
#: A gap this many times the 95 % quantile is said to be an outlier.
OUTLIER = 1000.0
#: A grid is told when a quarter of the gaps have fewer steps than this.
COARSE = 50.0
#: Plain numbers in these ranges look like an epoch: 1990 to 2100.
_EPOCH = (631_152_000.0, 4_102_444_800.0)


def suspicions(info: Info, events: Events) -> Iterator[str]:
    """The sentences, the gravest first."""
    yield from _broken(info)
    yield from _times(info, events)
    yield from _gaps(info)
    yield from _marks(info)
    yield from _sequences(info)


def _broken(info: Info) -> Iterator[str]:
    if info.not_finite:
        yield f"{_count(info.not_finite, 'time')} {_is(info.not_finite)} NaN or infinite."
    if info.backwards:
        yield (
            f"{_count(info.backwards, 'row')} {_go(info.backwards)} back in time within their sequence. To put them in "
            "order: LogColumns(..., sort=True) or events.sort()."
        )
    if info.outside:
        yield f"{_count(info.outside, 'mark')} {_is(info.outside)} outside [0, K={info.schema.num_marks})."
    if info.duplicates:
        yield (
            f"{_count(info.duplicates, 'row')} ({info.duplicates / info.events:.1%}) repeat another row of their "
            "sequence, time and mark alike: recorded twice, or a clock too coarse to tell them apart."
        )


def _times(info: Info, events: Events) -> Iterator[str]:
    for name in info.facts:
        if name.startswith("float32:"):
            yield f"{name.removeprefix('float32:')} is stored in float32: its times were rounded to 24 bits."
    t = events.t[np.isfinite(events.t)] if events.t.dtype == np.float64 else events.t
    if not len(t):
        return
    largest = float(np.abs(t).max())
    if events.t.dtype == np.float64 and not (t == np.round(t)).all() and (t == t.astype(np.float32)).all():
        yield (
            "All times are exact in float32, so they were probably rounded to it once; its step near "
            f"{largest:g} is {float(np.spacing(np.float32(largest))):.3g}."
        )
    median = info.gap_quantiles[3] if info.gap_quantiles else 0.0
    step = float(np.spacing(np.float32(largest)))
    if 0 < median < 4 * step:
        yield (
            f"As float32 these times would have a step of {step:.3g}, while the median gap is {median:.3g}: keep them "
            "in float64 or int64 and take differences first, as eventflow does (other tools may not)."
        )
    if info.schema.unit == "1":
        yield from _epoch(float(np.median(t)))


def _epoch(middle: float) -> Iterator[str]:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if _EPOCH[0] * factor <= middle <= _EPOCH[1] * factor:
            day = np.datetime64(int(middle / factor), "s").astype("datetime64[D]")
            yield f"Times without a unit that look like {unit} since 1970 ({day}): LogColumns(time_format={unit!r})."
            return


def _gaps(info: Info) -> Iterator[str]:
    cut, all_gaps = info.facts.get("deltas_disagree", 0), info.facts.get("deltas", 0)
    if cut:
        yield (
            f"{_count(int(cut), 'gap')} of {all_gaps:,.0f} ({cut / all_gaps:.1%}) disagree with the differences of "
            "time_since_start; long gaps were probably cut. The times shown are the sums of the gaps, as benchmarks "
            "take them; LogColumns(time='time_since_start') takes the others."
        )
    if not info.gap_quantiles:
        return
    value, share = info.gap_mode
    if share > 0.5 and value > 0:
        yield f"{share:.0%} of the gaps are exactly {value:g}: clocked or filled in, rather than events of their own."
    camera = info.schema.height is not None  # many pixels fire within one tick
    if info.ties and not camera:
        yield (
            f"{_count(info.ties, 'gap')} ({info.ties / max(info.events - info.sequences, 1):.2%}) {_is(info.ties)} "
            "zero; a point process has none, and a density can be made arbitrarily high there."
        )
    low, high, longest = info.gap_quantiles[2], info.gap_quantiles[5], info.gap_quantiles[6]
    if info.grid and not camera and low < COARSE * info.grid:
        unit = info.schema.unit if info.schema.unit != "1" else "units"
        yield (
            f"The times lie on a grid of {info.grid:g} {unit}, and a quarter of the gaps are only a few steps long: a "
            "model can gain likelihood by spikes on the grid. Compare models with the grid in mind."
        )
    if high > 0 and longest > OUTLIER * high:
        yield (
            f"The longest gap, {longest:.4g}, is {longest / high:,.0f} times the 95 % quantile: a pause, or an error. "
            "LogColumns(session=...) cuts sequences at long silences."
        )


def _marks(info: Info) -> Iterator[str]:
    total = sum(count for _, count in info.marks)
    if not total:
        return
    size = info.schema.num_marks or len(info.marks)
    top, count = info.marks[0]
    if size > 1 and count > DOMINANT * total:
        yield f"Mark {name_of(info, top)} is {count / total:.1%} of all events: always guessing it is right that often."
    if info.never_seen:
        some = ", ".join(name_of(info, mark) for mark in info.never_seen[:5])
        more = ", ..." if len(info.never_seen) > 5 else ""
        number = len(info.never_seen)
        yield f"{_count(number, 'mark')} of K={size} never {_occur(number)} here ({some}{more})."
    rare = sum(1 for _, n in info.marks if n < 5)
    if rare > 20 and rare > 0.3 * len(info.marks):
        yield (
            f"{rare:,} of {len(info.marks):,} kinds of mark have fewer than 5 events: too many kinds to learn. Take a "
            "coarser column, or LogColumns(mark_pattern=...)."
        )


def _sequences(info: Info) -> Iterator[str]:
    if info.empty:
        yield f"{_count(info.empty, 'sequence')} {_has(info.empty)} no event."
    if info.singles and info.schema.given_first:
        yield f"{_count(info.singles, 'sequence')} {_has(info.singles)} only one event: given, not scored."


def name_of(info: Info, mark: int) -> str:
    """A mark's word, where there is a vocabulary, else its number."""
    words = info.schema.vocabulary
    return repr(words[mark]) if words is not None and 0 <= mark < len(words) else str(mark)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def _go(number: int) -> str:
    return "goes" if number == 1 else "go"


def _occur(number: int) -> str:
    return "occurs" if number == 1 else "occur"
