"""StreamTD in irregular time: a discount for each gap, the trace's one step behind the bootstrap's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eventflow.rl import Settings, StreamTD, gamma_laplace, renewal_value


def learner(lambda_: float = 0.9) -> StreamTD:
    return StreamTD(1, hidden=(16,), settings=Settings(scale=False, lambda_=lambda_, dtype="float64"))


def test_a_renewal_process_has_its_closed_form() -> None:
    """An observation that is always the same, 0.1 at each event, gamma-distributed gaps: V = 0.1 L / (1 - L)."""
    rate, shape = 0.5, 0.3
    discount = np.exp(-rate * np.random.default_rng(0).gamma(shape, 1 / shape, 24_000))
    td = learner()
    said = [td.begin([1.0]), *(td.step(0.1 * gamma, [1.0], discount=gamma) for gamma in discount)]
    blocks = np.array(said[-20_000:]).reshape(40, -1).mean(1)
    error = blocks.std() / np.sqrt(40)
    truth = 0.1 * renewal_value(gamma_laplace(rate, shape=shape, mean=1.0))
    assert abs(blocks.mean() - truth) < 5 * error < 0.1 * truth


def test_the_trace_decays_by_the_gap_before(tmp_path: Path) -> None:
    """The default is lambda times the discount of the step before, over a save and a load too."""
    draw = np.random.default_rng(1)
    discount, obs, reward = draw.uniform(0.2, 1, 60), draw.normal(size=(61, 1)), draw.normal(size=60)
    ours, told, mixed = learner(), learner(), learner()
    for td in (ours, told, mixed):
        td.begin(obs[0])
    for i in range(60):
        if i == 30:
            ours.save(tmp_path / "td.npz")
            ours = StreamTD.load(tmp_path / "td.npz")
        mine = ours.step(reward[i], obs[i + 1], discount=discount[i])
        before = discount[i - 1] if i else 0.99
        assert mine == told.step(reward[i], obs[i + 1], discount=discount[i], decay=0.9 * before)
        other = mixed.step(reward[i], obs[i + 1], discount=discount[i], decay=0.9 * discount[i])
    assert mine != pytest.approx(other, rel=1e-6)
