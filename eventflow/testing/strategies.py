"""Hypothesis strategies that draw event streams, awkward ones first: empty, a single event, ties, huge gaps.

Needs hypothesis: ``pip install 'eventflow[dev]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from eventflow.errors import InputError, require
from eventflow.events import Events, Schema

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

st: Any = require("hypothesis.strategies", "dev")

#: The longest gap, silence or start that is drawn: 32 years in seconds, and far from overflow in int64 ticks.
HUGE = 1e9


def gaps(*, dtype: str = "float64") -> SearchStrategy[float]:
    """A gap between events: 0 (a tie), around 1, tiny, or huge; whole numbers where ``dtype`` is "int64"."""
    if dtype == "int64":
        return st.one_of(st.just(0), st.integers(1, 5), st.integers(10**6, int(HUGE)))
    if dtype != "float64":
        raise InputError(f"gaps(dtype={dtype!r}): expected 'float64' or 'int64'")
    return st.one_of(st.just(0.0), st.floats(0.01, 10.0), st.floats(1e-9, 1e-6), st.floats(1e6, HUGE))


def events(
    *, num_marks: int | None = 3, min_sequences: int = 1, max_sequences: int = 4, max_events: int = 12,
    dtype: str = "float64", given_first: bool | None = None,
) -> SearchStrategy[Events]:  # fmt: skip
    """Valid :class:`Events`: sorted, with ties, empty sequences, single events, huge gaps, starts before and after 0.

    Args:
        num_marks: K of the column ``mark``; None draws events without marks.
        min_sequences: at least so many.
        max_sequences: at most so many.
        max_events: in one sequence.
        dtype: of the times, "float64" or "int64".
        given_first: whether each first event opened its span (and is given, not scored); None draws it.
    """
    steps = gaps(dtype=dtype)
    start = st.integers(-(10**9), 10**9) if dtype == "int64" else st.floats(-HUGE, HUGE)

    @st.composite
    def drawn(draw: Callable[[Any], Any]) -> Events:
        count = draw(st.integers(min_sequences, max_sequences))
        opened = draw(st.booleans()) if given_first is None else given_first
        parts = [_sequence(draw, (start, steps), max_events, num_marks, opened) for _ in range(count)]
        offsets = np.cumsum([0] + [len(t) for t, _, _ in parts])
        t = np.concatenate([np.asarray(t, dtype) for t, _, _ in parts] or [np.zeros(0, dtype)])
        mark = np.concatenate([np.asarray(mark, np.int64) for _, mark, _ in parts] or [np.zeros(0, np.int64)])
        span = np.array([span for _, _, span in parts], dtype=dtype).reshape(count, 2)
        schema = Schema(num_marks=num_marks, given_first=opened)
        return Events(t, {} if num_marks is None else {"mark": mark}, offsets, span, schema).validate()

    return drawn()


def _sequence(
    draw: Callable[[Any], Any], times: tuple[Any, Any], longest: int, num_marks: int | None, opened: bool
) -> tuple[list[Any], list[int], tuple[Any, Any]]:  # fmt: skip
    """(times, marks, half-open span) of one sequence; where ``opened``, the span starts at its first event."""
    start, steps = times
    length = draw(st.one_of(st.sampled_from([0, 1]), st.integers(0, longest)))
    now = begin = draw(start)
    t = []
    for i in range(length):
        now = now if opened and i == 0 else now + draw(steps)
        t.append(now)
    after = now + draw(steps)
    end = after + 1 if isinstance(after, int) else float(np.nextafter(after, np.inf))
    mark = [draw(st.integers(0, (num_marks or 1) - 1)) for _ in t]
    return t, mark, (begin, end)
