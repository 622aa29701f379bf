"""testing.strategies draws valid events, and the awkward ones do come up."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from eventflow.errors import InputError
from eventflow.events import Events, pad, unpad
from eventflow.testing import strategies


@given(strategies.events())
def test_valid_by_construction(events: Events) -> None:
    assert events.validate() is events
    assert 1 <= len(events) <= 4 and (events.lengths <= 12).all()
    assert events.t.dtype == np.float64 and events.schema.num_marks == 3
    if events.schema.given_first:
        first = events.offsets[:-1][events.lengths > 0]
        assert (events.t[first] == events.span[events.lengths > 0, 0]).all()


@given(strategies.events(dtype="int64", num_marks=None, min_sequences=0, max_sequences=2, given_first=False))
def test_options(events: Events) -> None:
    assert events.t.dtype == np.int64 and not events.marks and len(events) <= 2 and not events.schema.given_first


@given(strategies.events(max_sequences=3))
def test_padding_and_back(events: Events) -> None:
    """What the strategy is for: packed -> padded -> packed."""
    batch = pad(events)
    assert np.array_equal(unpad(batch.mark, batch.mask).numpy(), events.marks["mark"])
    assert batch.num_scored == events.num_scored


AWKWARD = {
    "empty sequence": lambda e: (e.lengths == 0).any(),
    "single event": lambda e: (e.lengths == 1).any(),
    "tie": lambda e: any((np.diff(one.t) == 0).any() for one in e),
    "huge gap": lambda e: any((np.diff(one.t) > 1e5).any() for one in e),
    "tiny gap": lambda e: any(((np.diff(one.t) > 0) & (np.diff(one.t) < 1e-5)).any() for one in e),
    "before zero": lambda e: (e.span[:, 0] < 0).any(),
    "silence before the first event": lambda e: any(one.num_events and one.t[0] > one.span[0, 0] for one in e),
    "first event opens the span": lambda e: e.schema.given_first and e.num_events > 0,
    "several sequences": lambda e: len(e) > 2,
}


@pytest.mark.parametrize("what", AWKWARD)
def test_awkward_streams_come_up(what: str) -> None:
    find(
        strategies.events(), AWKWARD[what], settings=settings(max_examples=2000, deadline=None, phases=[Phase.generate])
    )


def test_errors_and_lazy_import() -> None:
    with pytest.raises(InputError, match="expected 'float64' or 'int64'"):
        strategies.events(dtype="float32")
    code = "import sys, eventflow.testing; sys.exit('hypothesis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
