"""Events: boundaries, spans, windows, order, and errors that name the place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema, concatenate, first_to_last, merge, pad


def make(seed: int = 0, lengths: tuple[int, ...] = (4, 0, 7, 1), dtype: type = np.float64) -> Events:
    rng = np.random.default_rng(seed)
    parts = [{"t": np.sort(rng.integers(0, 90, n)).astype(dtype), "mark": rng.integers(0, 3, n)} for n in lengths]
    return Events.from_sequences(parts, span=(0, 100), schema=Schema(num_marks=3, unit="s"))


def test_gaps_start_at_the_span() -> None:
    events = Events.from_sequences(
        [{"t": [1.5, 2.0], "mark": [0, 1]}, {"t": [], "mark": []}, {"t": [0.25], "mark": [1]}], span=(0.0, 3.0)
    )
    np.testing.assert_array_equal(events.gaps, [1.5, 0.5, 0.25])
    np.testing.assert_array_equal(events.lengths, [2, 0, 1])
    np.testing.assert_array_equal(events.sequence, [0, 0, 2])
    assert events.num_scored == 3


def test_without_a_span_the_first_event_opens_it() -> None:
    events = Events.of([3.0, 4.5, 7.0], mark=[0, 1, 0])
    assert events.schema.given_first and events.num_scored == 2
    assert events.span[0, 0] == 3.0 and events.span[0, 1] == np.nextafter(7.0, np.inf)
    ticks = Events.of([3, 4, 7], mark=[0, 1, 0])
    np.testing.assert_array_equal(ticks.span, [[3, 8]])


def test_first_to_last_of_an_empty_sequence() -> None:
    np.testing.assert_array_equal(first_to_last(np.array([1.0, 2.0]), np.array([0, 0, 2]))[0], [0, 0])


@pytest.mark.parametrize(
    ("t", "extra", "message"),
    [
        ([1.0, np.nan], {}, "time is nan at event 1 of sequence 0"),
        ([1.0, np.inf], {}, "time is inf at event 1 of sequence 0"),
        ([1.0, 0.5], {}, "time goes back from 1.0 to 0.5 at event 1 of sequence 0"),
        ([1.0, 5.0], {}, "lies outside its half-open span"),
        ([1.0, 2.0], {"mark": [0, 3]}, "mark 3 at event 1 of sequence 0; expected 0 <= mark < K=3"),
        ([1.0, 2.0], {"mark": [-1, 0]}, "mark -1 at event 0 of sequence 0"),
        ([1.0, 2.0], {"mark": [0]}, r"marks\['mark'\] has 1 rows; t has 2"),
        ([1.0, 2.0], {"mark": [0.5, 1.0]}, "expected integers"),
    ],
)
def test_errors_name_the_place(t: list[float], extra: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Events.of(t, span=(0.0, 5.0), schema=Schema(num_marks=3), **extra)


def test_float32_times_are_refused() -> None:
    with pytest.raises(InputError, match="float32"):
        Events.of(np.array([1.0], dtype=np.float32))


def test_offsets_must_cover_the_rows() -> None:
    with pytest.raises(InputError, match="must rise from 0 to n=2"):
        Events(np.array([1.0, 2.0]), {}, np.array([0, 1]), np.array([[0.0, 3.0]]))


@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_indexing_and_concatenation_are_inverse(seed: int, lengths: list[int]) -> None:
    events = make(seed, tuple(lengths))
    again = concatenate(list(events))
    np.testing.assert_array_equal(again.t, events.t)
    np.testing.assert_array_equal(again.offsets, events.offsets)
    order = np.random.default_rng(seed).permutation(len(events))
    picked = events[order]
    for i, j in enumerate(order):
        np.testing.assert_array_equal(picked[i].t, events[int(j)].t)
        np.testing.assert_array_equal(picked[i].marks["mark"], events[int(j)].marks["mark"])


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([np.float64, np.int64]))
def test_windows_tile_the_span(seed: int, width: int, dtype: type) -> None:
    events = make(seed, (9,), dtype)
    windows = list(events.window(dt=width))
    assert windows[0].span[0, 0] == 0 and windows[-1].span[0, 1] == 100
    for a, b in zip(windows, windows[1:], strict=False):
        assert a.span[0, 1] == b.span[0, 0]
    for w in windows:
        w.validate()
    np.testing.assert_array_equal(np.concatenate([w.t for w in windows]), events.t)


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_windows_by_count(seed: int, n: int) -> None:
    events = make(seed, (9,))
    windows = list(events.window(n=n))
    assert [w.num_events for w in windows[:-1]] == [n] * (len(windows) - 1)
    np.testing.assert_array_equal(np.concatenate([w.t for w in windows]), events.t)
    assert windows[-1].span[0, 1] == 100


def test_slice_is_half_open_and_cuts_the_span() -> None:
    events = Events.of([1.0, 2.0, 3.0], mark=[0, 1, 2], span=(0.0, 10.0), schema=Schema(num_marks=3))
    cut = events.slice(1.0, 3.0)
    np.testing.assert_array_equal(cut.t, [1.0, 2.0])
    np.testing.assert_array_equal(cut.span, [[1.0, 3.0]])
    cut.validate()
    with pytest.raises(InputError, match="start <= end"):
        events.slice(3.0, 1.0)


def test_keys_go_along() -> None:
    events = Events.from_sequences([{"t": [1.0, 2.0]}, {"t": [3.0]}], span=(0.0, 4.0), keys=["a", "b"])
    assert events.slice(2.0, 4.0).keys is not None and list(events.slice(2.0, 4.0).keys) == ["a", "b"]  # type: ignore[arg-type]
    assert list(events[[1, 0]].keys) == ["b", "a"]  # type: ignore[arg-type]
    assert list(concatenate([events, events]).keys) == ["a", "b", "a", "b"]  # type: ignore[arg-type]


def test_slicing_past_the_first_event_makes_it_scored() -> None:
    events = Events.of([1.0, 2.0, 3.0], mark=[0, 1, 2])
    assert events.slice(0.0, 9.0).schema.given_first
    assert not events.slice(1.5, 9.0).schema.given_first


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_each_sequence_knows_whether_it_began_before_the_cut(dtype: type) -> None:
    """One began before 4 (at 4 it goes on), one at 4, one after it; one was over, one is yet to come."""
    rows = [[1, 4, 6], [4, 5], [5, 5, 8], [0, 2], [9, 10]]
    events = Events.from_sequences([{"t": np.array(row, dtype)} for row in rows], keys=list("abcde"))
    cut = events.slice(4, 9)
    assert cut.given_first.tolist() == [False, True, True, False, True] and cut.schema.given_first
    assert cut.scored.tolist() == [True, True, False, True, False, True, True]
    assert cut.num_scored == 5 == pad(cut).num_scored
    np.testing.assert_array_equal(cut.validate().span[:, 0], [4, 4, 5, cut.span[3, 1], 9])
    # what is made of it knows, too
    assert cut[[2, 0]].given_first.tolist() == [True, False] and cut[-1].given_first.tolist() == [True]
    assert cut[0].given is None and not cut[0].schema.given_first
    assert cut.sort().given_first.tolist() == cut.given_first.tolist()
    assert concatenate([cut, cut]).num_scored == 10 and concatenate([cut[1:3], cut]).num_scored == 8
    again = cut.slice(5, 9)
    assert again.given_first[2] and again.num_scored == 5 - 1  # the event at 4 is out
    assert [part.num_scored for part in cut[2].window(dt=2)] == [1, 1]
    assert merge(cut, cut).num_scored == 7 + 5


def test_a_flag_for_each_sequence_and_no_more() -> None:
    with pytest.raises(InputError, match=r"Events.given has shape \(2,\) for 1 sequence"):
        Events(np.array([1.0]), {}, np.array([0, 1]), np.array([[0.0, 2.0]]), given=np.array([True, False]))


@given(st.integers(0, 10_000))
def test_sort_is_stable_and_within_sequences(seed: int) -> None:
    events = make(seed)
    shuffled = np.concatenate([np.random.default_rng(seed).permutation(np.arange(a, b)) for a, b in
                               zip(events.offsets, events.offsets[1:], strict=False)]).astype(int)  # fmt: skip
    broken = Events(events.t[shuffled], {"mark": shuffled}, events.offsets, events.span, Schema(unit="s"))
    mended = broken.sort().validate()
    np.testing.assert_array_equal(mended.t, events.t)


def test_merge_keeps_order_and_ties() -> None:
    a = Events.of([1.0, 3.0], mark=[0, 0], span=(0.0, 4.0))
    b = Events.of([1.0, 2.0], mark=[1, 1], span=(0.5, 5.0))
    both = merge(a, b).validate()
    np.testing.assert_array_equal(both.t, [1.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(both.marks["mark"], [0, 1, 1, 0])
    np.testing.assert_array_equal(both.span, [[0.0, 5.0]])
    with pytest.raises(InputError, match="expected the same number"):
        merge(a, make())


def test_nothing_is_mutated() -> None:
    events = make()
    before = [events.t.copy(), events.marks["mark"].copy(), events.offsets.copy(), events.span.copy()]
    events.sort(), events.slice(10, 50), merge(events, events), list(events[0].window(dt=3)), events[[2, 0]]
    for x, y in zip(before, [events.t, events.marks["mark"], events.offsets, events.span], strict=True):
        np.testing.assert_array_equal(x, y)


def test_schema_round_trip_and_unknown_keys() -> None:
    schema = Schema(unit="h", vocabulary=("a", "b"), given_first=True)
    assert schema.num_marks == 2
    assert Schema.from_dict(schema.to_dict()) == schema
    with pytest.raises(InputError, match="did you mean 'num_marks'"):
        Schema.from_dict({"num_mark": 3})
    with pytest.raises(InputError, match="unit='hours'"):
        Schema(unit="hours")
    with pytest.raises(InputError, match="2 words"):
        Schema(num_marks=3, vocabulary=("a", "b"))
