"""The audit: density put on the grid is lost again; a Poisson process loses nothing."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.tpp import PointProcess, Poisson, dequantised_nll, time_grid
from eventflow.tpp.metrics._dequantise import dequantise


class Clock(NamedTuple):
    elapsed: Tensor


class Spikes(PointProcess):
    """Gaps are 1, 2, ..., 8, each with probability 1/8, give or take ``sd``: a density of spikes."""

    closed_form = True

    def __init__(self, sd: float) -> None:
        super().__init__(1)
        self.sd = sd
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def init(self, batch: int) -> Clock:
        return Clock(self.weight.new_zeros(batch))

    def _evolve(self, state: Clock, u: Tensor) -> Clock:
        return Clock(state.elapsed + u)

    def _update(self, state: Clock, mark: Tensor) -> Clock:
        return Clock(torch.zeros_like(state.elapsed))

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> Clock:
        return Clock(torch.zeros_like(u))

    def _z(self, age: Tensor) -> Tensor:
        return (age[..., None] - torch.arange(1, 9)) / self.sd

    def _log_survival(self, age: Tensor) -> Tensor:
        return torch.special.log_ndtr(-self._z(age)).logsumexp(-1) - math.log(8)

    def _intensity(self, state: Clock, u: Tensor) -> Tensor:
        age = state.elapsed + u
        logs = (-0.5 * self._z(age) ** 2).logsumexp(-1) - math.log(8 * self.sd * math.sqrt(2 * math.pi))
        return (logs - self._log_survival(age)).exp()[..., None]

    def _compensator(self, state: Clock, u: Tensor) -> Tensor:
        now = state.elapsed + torch.zeros_like(u)
        return self._log_survival(now) - self._log_survival(now + u)


def _whole_numbers(seed: int = 0, given_first: bool = False) -> Events:
    rng = np.random.default_rng(seed)
    t = [np.cumsum(rng.integers(1, 9, 30)).astype(np.float64) for _ in range(20)]
    schema = Schema(num_marks=1, given_first=given_first)
    start = np.array([x[0] if given_first else 0.0 for x in t])
    span = np.stack([start, np.array([x[-1] + 1.0 for x in t])], 1)
    parts = [{"t": x, "mark": np.zeros(len(x), int)} for x in t]
    return Events.from_sequences(parts, span=span, schema=schema)


def test_spikes_are_exposed_and_poisson_is_not():
    events = _whole_numbers()
    spiky = dequantised_nll(Spikes(0.1).double(), events)
    assert spiky.grid == 1.0
    assert spiky.recorded < 1  # as if it knew more than which of 8 gaps comes, log 8 = 2.08
    assert spiky.dequantised > 4 and spiky.inflation > 20 * spiky.sd > 0
    wide = dequantised_nll(Spikes(0.6).double(), events)
    assert wide.dequantised > math.log(8) - 0.05  # no density is better on cells than the law of the cells
    steady = dequantised_nll(Poisson(1, rate=[1 / 4.5]).double(), events)
    assert steady.inflation == pytest.approx(0.0, abs=1e-9)  # its likelihood knows counts and spans only
    assert steady.sd == pytest.approx(0.0, abs=1e-9)


def test_given_first_events_open_their_spans_still():
    events = _whole_numbers(given_first=True)
    moved = dequantise(events, grid=1.0, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(moved.span[:, 0], moved.t[moved.offsets[:-1]])
    steady = dequantised_nll(Poisson(1, rate=[1 / 4.5]).double(), events, draws=20)
    assert steady.inflation == pytest.approx(0, abs=0.02)


def test_noise_stays_in_the_cell_and_ties_fall_in_any_order():
    t = np.array([1.0, 1.0, 1.0, 4.0])
    events = Events.of(t, mark=[0, 1, 2, 3], span=(0.0, 4.5), schema=Schema(num_marks=4))
    first = set()
    for seed in range(20):
        moved = dequantise(events, grid=0.5, rng=np.random.default_rng(seed))
        assert (np.diff(moved.t) >= 0).all() and ((moved.t >= t) & (moved.t < t + 0.5)).all()
        assert moved.span[0].tolist() == [0.0, 4.5]
        first.add(int(moved.marks["mark"][0]))
    assert first == {0, 1, 2}
    assert events.t is not moved.t and events.t.tolist() == t.tolist()


@pytest.mark.parametrize(
    ("t", "grid"),
    [
        (np.array([0, 4, 10, 16]), 2.0),
        (np.array([0.0, 3.0, 5.0, 9.0, 9.0]), 1.0),
        (np.round(np.cumsum([0, 7, 3, 811, 4, 6000]) / 3600, 9), 1 / 3600),
        (np.cumsum(np.random.default_rng(0).exponential(1.0, 200)), None),
        (np.array([1.0, 1.0]), None),
    ],
)
def test_grids_are_found(t, grid):
    events = Events.of(t, mark=np.zeros(len(t), int), schema=Schema(num_marks=1))
    seen = time_grid(events)
    assert seen is None if grid is None else seen == pytest.approx(grid, rel=1e-6)


def test_taxi_is_recorded_in_seconds(data_root):
    from eventflow.io import load_dataset

    test = load_dataset("taxi", splits=["test"])["test"]
    assert time_grid(test) == pytest.approx(1 / 3600, rel=1e-5)


def test_no_grid_is_said():
    t = np.cumsum(np.random.default_rng(0).exponential(1.0, 50))
    events = Events.of(t, mark=np.zeros(50, int), span=(0.0, 99.0), schema=Schema(num_marks=1))
    with pytest.raises(InputError, match="give one: grid=1.0"):
        dequantised_nll(Poisson(1), events)
    with pytest.raises(InputError, match="width > 0"):
        dequantised_nll(Poisson(1), events, grid=-1.0)
