"""Packed and padded are the same events; absolute time becomes differences before it is rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, PaddedBatch, Schema, pad, unpad


@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=0, max_size=5))
def test_pad_then_unpad(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    t = np.concatenate([np.sort(rng.uniform(0, 9, n)) for n in lengths]) if lengths else np.zeros(0)
    events = Events.of(t, offsets=offsets, span=(0.0, 10.0), mark=rng.integers(0, 4, len(t)))
    batch = pad(events, dtype=torch.float64)
    np.testing.assert_array_equal(unpad(batch.t, batch.mask), events.t)
    np.testing.assert_allclose(unpad(batch.dt, batch.mask), events.gaps)
    np.testing.assert_array_equal(unpad(batch.mark, batch.mask), events.marks["mark"])
    np.testing.assert_array_equal(batch.lengths, events.lengths)
    np.testing.assert_allclose(batch.dt.sum(1) + batch.tail, 10.0)
    assert (batch.dt[~batch.mask] == 0).all() and batch.num_scored == events.num_scored


def test_differences_keep_their_precision_in_float32() -> None:
    events = Events.of([151155.0, 151155.0001, 151155.0003], mark=[0, 0, 0])
    batch = pad(events, dtype=torch.float32)
    np.testing.assert_allclose(batch.dt[0], [0.0, 1e-4, 2e-4], atol=2e-11)
    ticks = Events.of(np.array([2**62, 2**62 + 1, 2**62 + 3]), mark=[0, 0, 0])
    np.testing.assert_array_equal(pad(ticks).dt[0], [0, 1, 2])


def test_given_first_events_are_not_scored() -> None:
    events = Events.from_sequences([{"t": [1.0, 2.0], "mark": [0, 0]}, {"t": [], "mark": []}])
    batch = pad(events)
    np.testing.assert_array_equal(batch.scored, [[False, True], [False, False]])
    assert batch.num_scored == events.num_scored == 1


def test_the_chosen_rows_and_other_columns() -> None:
    events = Events.from_sequences(
        [{"t": [1.0], "mark": [0], "amount": [2.5]}, {"t": [1.0, 2.0], "mark": [1, 1], "amount": [3.5, 4.5]}],
        span=(0, 3),
    )
    batch = pad(events, [1])
    assert len(batch) == 1 and batch.mask.shape == (1, 2)
    np.testing.assert_array_equal(batch.marks["amount"], [[3.5, 4.5]])


def test_dtype_and_device_moves_keep_the_rest() -> None:
    batch = pad(Events.of([1.0, 2.0], mark=[0, 1], span=(0, 3), schema=Schema(num_marks=2)))
    moved = batch.to("cpu").to(torch.float64)
    assert isinstance(moved, PaddedBatch)
    assert moved.dt.dtype == moved.tail.dtype == torch.float64 and moved.mark.dtype == torch.int64
    np.testing.assert_array_equal(moved.dt, batch.dt)


def test_unpad_names_the_shapes() -> None:
    with pytest.raises(InputError, match=r"values are \(2, 3\), mask \(2, 2\)"):
        unpad(torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool))
