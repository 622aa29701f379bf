"""A value function that remembers: where the future depends on the past, and no single observation tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.nn import GRU, DiagSSM
from eventflow.ops.rtrl import RTRLStream
from eventflow.rl import GVF, GVFs, Observed, RecurrentTD, Settings, StreamTD, cell_features, with_bias


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


def as_observed(stream: RTRLStream) -> list[Observed]:
    """The same events for StreamTD: where the sum ends a stretch does, and its last event starts the next one."""
    rows = zip(stream.x[:-1], stream.cumulant[1:], stream.x[1:], stream.discount[1:], stream.dt[1:], strict=True)
    return [Observed(x, float(c), after, discount=float(g), dt=float(gap)) for x, c, after, g, gap in rows]


def test_the_cell_is_the_memory_of_stream_td() -> None:
    """Any cell between the observations and the network: what no observation tells is predicted from its state."""
    torch.manual_seed(1)
    stream, truth = remembered(12_000)
    seen, cell = as_observed(stream), GRU(2, 12).double()
    errors = {}
    for name, features in (("memory", cell), ("none", None)):
        td = StreamTD(2, settings=Settings(dtype="float64", lambda_=0.5), features=features)
        td.learn(seen[:-2000])
        said = [td.partial_fit(one).value for one in seen[-2000:]]
        waits = np.arange(12_000)[-2000:] % 4 != 3
        errors[name] = np.sqrt(
            np.mean((np.array(said) - truth[-2000:])[waits] ** 2) / np.mean(truth[-2000:][waits] ** 2)
        )
    assert errors["memory"] < 0.5 and errors["none"] > 0.75, errors


def test_stream_td_with_a_cell_step_by_step_in_chunks_and_resumed(tmp_path: Path) -> None:
    """`learn` scans with resets, `step` folds: the same; a saved one goes on exactly, in the middle of a stretch."""
    torch.manual_seed(2)
    stream, _ = remembered(600)
    seen = [one._replace(truncated=i % 50 == 49, obs=one.obs) for i, one in enumerate(as_observed(stream))]
    cell, settings = DiagSSM(2, 12, num_states=4).double(), Settings(dtype="float64")
    whole, single, first = (StreamTD(2, settings=settings, features=cell) for _ in range(3))
    whole.learn(seen)
    for one in seen:
        single.partial_fit(one)
    np.testing.assert_allclose(single.learner.params[0], whole.learner.params[0], rtol=0, atol=1e-10)
    for one in seen[:120]:
        first.partial_fit(one)
    first.save(tmp_path / "td.npz")
    again = StreamTD.load(tmp_path / "td.npz", features=DiagSSM(2, 12, num_states=4).double())
    for one in seen[120:]:
        again.partial_fit(one)
    np.testing.assert_array_equal(again.learner.params, single.learner.params)
    assert again.value == single.value and again.predict(seen[0].obs, dt=0.3) == single.predict(seen[0].obs, dt=0.3)
    with pytest.raises(InputError, match=r"Write: StreamTD.load\(path, features=DiagSSM\(...\)\)"):
        StreamTD.load(tmp_path / "td.npz")
    with pytest.raises(InputError, match="another cell"):
        StreamTD.load(tmp_path / "td.npz", features=DiagSSM(2, 12, num_states=8))


def test_what_is_not_finite_does_not_spoil_the_cell() -> None:
    td = StreamTD(2, features=GRU(2, 12))
    td.begin([0.0, 1.0])
    td.step(1.0, [1.0, 1.0], dt=0.5)
    before = td.predict([0.5, 0.5])
    for reward, obs, gap in ((1.0, [np.nan, 0.0], 1.0), (np.inf, [0.0, 0.0], 1.0), (1.0, [0.0, 0.0], -1.0)):
        with pytest.raises(InputError, match="step 1"):
            td.step(reward, obs, dt=gap)
        with pytest.raises(InputError, match="step 1"):
            td.learn([Observed(None, reward, obs, dt=gap)])
    assert td.predict([0.5, 0.5]) == before and td.num_steps == 1
    with pytest.raises(InputError, match="the cell takes 3 inputs"):
        StreamTD(2, features=GRU(3, 12))


def test_other_cells_are_refused() -> None:
    with pytest.raises(InputError, match="need a diagonal recurrence; expected DiagSSM"):
        RecurrentTD(GRU(2, 3))
    with pytest.raises(InputError, match="learn_init=False"):
        RecurrentTD(DiagSSM(2, 3, learn_init=True))
