"""A value function that remembers: where the future depends on the past, and no single observation tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.nn import GRU, DiagSSM
from eventflow.ops.rtrl import RTRLStream
from eventflow.rl import GVF, GVFs, RecurrentTD, cell_features, with_bias


def remembered(length: int, seed: int = 0) -> tuple[RTRLStream, np.ndarray]:
    """A cue of +-1 every fourth event, and at the third event after it a reward of its sign, which ends the sum; gaps
    are uneven and always the same. Also the true value after each event."""
    draw = np.random.default_rng(seed)
    cue = np.where(draw.random(length // 4) < 0.5, -1.0, 1.0)
    place = np.arange(length) % 4
    x = np.stack([np.where(place == 0, np.repeat(cue, 4), 0.0), np.ones(length)], 1)
    cumulant = np.where(place == 3, np.repeat(cue, 4), 0.0)
    gaps = np.array([0.4, 1.6, 0.2, 0.8])[place]
    discount = np.where(place == 3, 0.0, np.exp(-0.2 * gaps))
    stream = RTRLStream(x, gaps, cumulant, discount, np.zeros(length, bool))
    after = np.array([np.exp(-0.2 * 1.8), np.exp(-0.2 * 0.2), 1.0, 0.0])[place]
    return stream, np.repeat(cue, 4) * after


@pytest.fixture(scope="module")
def learned() -> tuple[np.ndarray, np.ndarray, RecurrentTD, RTRLStream]:
    torch.manual_seed(0)
    stream, truth = remembered(24_000)
    learner = RecurrentTD(DiagSSM(2, 16, num_states=8, steps=(0.1, 1.0)))
    return learner.scan(stream).value, truth, learner, stream


def test_it_remembers_what_it_needs(learned: tuple[np.ndarray, np.ndarray, RecurrentTD, RTRLStream]) -> None:
    """Without memory no value but that of the cue itself can be right: the error would be 0.89 of the spread."""
    value, truth, _, _ = learned
    late = slice(-4000, None)
    waits = (np.arange(len(truth)) % 4)[late] != 3
    error = np.sqrt(np.mean((value[late] - truth[late])[waits] ** 2))
    spread = np.sqrt(np.mean(truth[late][waits] ** 2))
    assert error < 0.35 * spread
    assert np.mean(np.sign(value[late][waits]) == np.sign(truth[late][waits])) > 0.97


def test_the_recurrence_itself_is_learned(learned: tuple[np.ndarray, np.ndarray, RecurrentTD, RTRLStream]) -> None:
    value, _, learner, stream = learned
    short = RTRLStream(*(column[:8000] for column in stream))
    answer = learner.scan(short)
    np.testing.assert_array_equal(answer.value, value[:8000])
    cell, start = learner.cell(answer.state), learner.cell(learner.init())
    for name in ("log_rate", "frequency", "weight_in", "weight_out", "bias"):
        moved = (cell.get_parameter(name) - start.get_parameter(name)).abs().max()
        assert moved > 1e-3, name
    sizes = [part.nbytes for part in answer.state]
    assert sizes == [part.nbytes for part in learner.init()]


def test_any_cell_gives_features_in_any_chunks() -> None:
    torch.manual_seed(1)
    stream, truth = remembered(6000)
    cell = GRU(2, 12).double()
    reset = np.arange(6000) % 100 == 0
    whole, _ = cell_features(cell, stream.x, stream.dt, reset=reset)
    first, state = cell_features(cell, stream.x[:777], stream.dt[:777], reset=reset[:777])
    second, _ = cell_features(cell, stream.x[777:], stream.dt[777:], state, reset=reset[777:])
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12, atol=1e-12)
    asked = [GVF(0, kind="step", until=1, horizon=5.0, step_size=0.05, lambda_=0.5)]
    given = with_bias(whole, stream.dt, stream.cumulant[:, None])
    stops = np.stack([np.zeros(6000, bool), stream.discount == 0], 1)
    value = GVFs(asked, 13).scan(given._replace(stops=stops)).value[:, 0]
    assert np.corrcoef(value[-2000:], truth[-2000:])[0, 1] > 0.6  # 0.45 without memory


def test_other_cells_are_refused() -> None:
    with pytest.raises(InputError, match="need a diagonal recurrence; expected DiagSSM"):
        RecurrentTD(GRU(2, 3))
    with pytest.raises(InputError, match="learn_init=False"):
        RecurrentTD(DiagSSM(2, 3, learn_init=True))
