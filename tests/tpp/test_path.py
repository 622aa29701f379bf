"""The intensity along a sequence: the textbook sum, and the likelihood's own values at the events."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.tpp import NHP, Hawkes, intensity_path

ALPHA, BETA, MU = [[0.3, 0.1], [0.0, 0.4]], [[1.0, 2.0], [0.5, 1.5]], [0.2, 0.1]


def _events() -> Events:
    return Events.of([2.5, 2.5, 4.0, 7.0], mark=[0, 1, 1, 0], span=(2.0, 9.0), schema=Schema(num_marks=2))


def test_hawkes_path_is_the_textbook_sum():
    events = _events()
    t, intensity = intensity_path(Hawkes(2, mu=MU, alpha=ALPHA, beta=BETA).double(), events, points=40)
    assert len(t) == 48 and (np.diff(t) >= 0).all() and t[0] == 2.0 and t[-1] == 9.0
    seen = {}
    for at, row in zip(t, intensity, strict=True):
        past = [(s, k) for s, k in zip(events.t, events.marks["mark"], strict=True) if s < at]
        expected = [MU[i] + sum(ALPHA[i][k] * math.exp(-BETA[i][k] * (at - s)) for s, k in past) for i in range(2)]
        if at not in events.t:
            np.testing.assert_allclose(row, expected, rtol=1e-6)
        else:
            seen.setdefault(at, []).append((row, expected))
    for at, pairs in seen.items():
        np.testing.assert_allclose(*pairs[0], rtol=1e-6)  # the left limit comes first
        jump = sum(np.array(ALPHA)[:, k] for s, k in zip(events.t, events.marks["mark"], strict=True) if s == at)
        np.testing.assert_allclose(pairs[-1][0] - pairs[0][0], jump, rtol=1e-6, atol=1e-12)


def test_left_limits_are_those_of_the_likelihood():
    torch.manual_seed(0)
    process, events = NHP(2, hidden_size=5).double(), _events()
    batch = pad(events, dtype=torch.float64)
    left, _ = process.left_states(batch)
    expected = process.intensity(left, batch.dt)[0].detach().numpy()
    t, intensity = intensity_path(process, events, points=10)
    for i, at in ((2, 4.0), (3, 7.0)):
        np.testing.assert_allclose(intensity[np.searchsorted(t, at)], expected[i], rtol=1e-9)


def test_a_sequence_without_events_has_a_path_too():
    empty = Events.of([], mark=[], offsets=[0, 0], span=(0.0, 1.0), schema=Schema(num_marks=2))
    t, intensity = intensity_path(Hawkes(2, mu=MU), empty, points=5)
    assert len(t) == 5
    np.testing.assert_allclose(intensity, np.tile(MU, (5, 1)), rtol=1e-6)


def test_mistakes_are_refused():
    two = Events.of([1.0, 1.0], mark=[0, 0], offsets=[0, 1, 2], span=(0.0, 2.0))
    with pytest.raises(InputError, match="2 sequences"):
        intensity_path(Hawkes(1), two)
