"""Continuations against the laws they are drawn from, in closed form where there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import GRU, SoftplusNetwork, WeibullMixture, map_state
from eventflow.tpp import (
    IFTPP,
    NHP,
    RMTPP,
    SAHP,
    THP,
    AttNHP,
    Hawkes,
    NeuralPointProcess,
    Poisson,
    ks_exponential,
    qq_exponential,
    time_rescaling_residuals,
)

RARE = 1e-6  # false alarms of each statistical test


def _hawkes() -> Hawkes:
    return Hawkes(2, mu=[0.3, 0.2], alpha=[[0.4, 0.3], [0.1, 0.5]], beta=1.3)


MODELS = {
    "poisson": lambda: Poisson(2, rate=[[0.5, 1.0], [2.0, 0.2]], edges=[6.0]),
    "hawkes": _hawkes,
    "rmtpp": lambda: RMTPP(2, hidden_size=8, embedding_size=4),
    "nhp": lambda: NHP(2, hidden_size=8),
    "iftpp": lambda: IFTPP(2, hidden_size=8, embedding_size=4, components=3),
    "sahp": lambda: SAHP(2, hidden_size=8, window=5),
    "thp": lambda: THP(2, hidden_size=8, window=5),
    "attnhp": lambda: AttNHP(2, hidden_size=8, window=5),
    "network": lambda: NeuralPointProcess(2, GRU(5, 8), SoftplusNetwork(8, 2)),
    "weibull": lambda: NeuralPointProcess(2, GRU(5, 8), WeibullMixture(8, 2, components=2)),
}


def _model(name: str):
    torch.manual_seed(3)
    model = MODELS[name]().double()
    with torch.no_grad():
        for parameter in model.parameters() if name not in ("poisson", "hawkes") else ():
            parameter.mul_(2.0 if name == "weibull" else 3.0)
    return model


def _prefixes(lengths=(6, 3, 6), seed=0) -> Events:
    rng = np.random.default_rng(seed)
    parts = [{"t": np.cumsum(rng.exponential(0.8, n)), "mark": rng.integers(0, 2, n)} for n in lengths]
    return Events.from_sequences(parts, span=(0.0, 30.0), schema=Schema(num_marks=2))


#: Thinning of attention is a minute of work: the others are tried by default.
HEAVY = ("sahp", "thp", "attnhp", "network")
LAWS = [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in MODELS]


@pytest.mark.parametrize("name", LAWS)
@torch.no_grad()
def test_continuations_have_the_model_s_own_law(name):
    """Continued from every event of every sequence at once; then the whole sequences, past and continuation, are
    encoded afresh: by time rescaling the gaps drawn are independent draws of Exp(1), and the marks have their
    probabilities. A state carried wrongly, or a past of another row, breaks it."""
    model, samples, steps = _model(name), 80, 4
    events = _prefixes()
    batch = pad(events, dtype=torch.float64)
    states = model.encode(batch)
    drawn = model.continue_from(states, steps=steps, num_samples=samples, generator=torch.Generator().manual_seed(1))
    assert drawn.t.shape == drawn.mark.shape == (3, 6, samples, steps) and (drawn.counts == steps).all()
    parts, keep = [], []
    for i, j in batch.mask.nonzero().tolist():
        past = batch.t[i, : j + 1], batch.mark[i, : j + 1]
        for m in range(samples):
            t = torch.cat([past[0], past[0][-1] + drawn.t[i, j, m]])
            parts.append({"t": t.numpy(), "mark": torch.cat([past[1], drawn.mark[i, j, m]]).numpy()})
            keep.append(j + 1)
    whole = pad(Events.from_sequences(parts, span=(0.0, 1e6), schema=Schema(num_marks=2)), dtype=torch.float64)
    new = (torch.arange(whole.mask.shape[1]) >= torch.tensor(keep)[:, None]) & whole.mask
    left, _ = model.left_states(whole)
    state, dt, mark = map_state(lambda leaf: leaf[new], left), whole.dt[new], whole.mark[new]
    residuals = model.compensator(state, dt).numpy()
    assert stats.kstest(residuals, "expon").pvalue > RARE
    followed = residuals.reshape(-1, steps)  # and independent: of one another, and of the draw beside them
    for a, b in ((followed[:, 0], followed[:, 1]), (followed[::2, 0], followed[1::2, 0])):
        assert abs(stats.spearmanr(a, b).statistic) < 5 / math.sqrt(len(a))
    lam = model.intensity(state, dt)
    probs = (lam / lam.sum(-1, keepdim=True))[:, 1].numpy()
    error = (mark.numpy() - probs).sum() / math.sqrt((probs * (1 - probs)).sum())
    assert abs(error) < 5


def _excited() -> Hawkes:
    """Four of five events come of others, and a gap takes most of what they left: elapsed time is what matters."""
    return Hawkes(1, mu=[0.2], alpha=[[1.6]], beta=2.0).double()


def _continued(model, *, samples: int = 400, **far) -> Events:
    """Continuations of one event, as sequences that it opened (steps), or as watched from it for the horizon."""
    start = pad(Events.of([0.0], mark=[0], schema=Schema(num_marks=model.num_marks)), dtype=torch.float64)
    state = map_state(lambda leaf: leaf[0, 0], model.encode(start))
    drawn = model.continue_from(state, num_samples=samples, generator=torch.Generator().manual_seed(7), **far)
    rows = [(t[k >= 0].numpy(), k[k >= 0].numpy()) for t, k in zip(drawn.t, drawn.mark, strict=True)]
    parts = [{"t": np.append(0.0, t), "mark": np.append(0, k)} for t, k in rows]
    span = (0.0, far["horizon"]) if "horizon" in far else None
    return Events.from_sequences(parts, span=span, schema=Schema(num_marks=model.num_marks, given_first=True))


@pytest.mark.parametrize("far", [{"steps": 6}, {"horizon": 8.0}], ids=["steps", "horizon"])
@pytest.mark.parametrize("name", ["excited", "nhp", "weibull"])
@torch.no_grad()
def test_continuations_pass_the_tests_of_calibration(name, far):
    """KS and QQ of their time-rescaling residuals, last silences before the horizon included."""
    model = _excited() if name == "excited" else _model(name)
    residuals = time_rescaling_residuals(model, _continued(model, **far))
    assert ks_exponential(residuals).p_value > RARE and len(residuals.values) > 300
    points = qq_exponential(residuals)
    inside = (points.observed >= points.low) & (points.observed <= points.high)
    assert inside.mean() > 0.5  # neighbours go astray together


@pytest.mark.parametrize("fault", ["no silence", "twice the silence", "no reset"])
@torch.no_grad()
def test_those_tests_see_elapsed_time_that_is_applied_wrongly(fault, monkeypatch):
    model, name = (_model("weibull"), "_update") if fault == "no reset" else (_excited(), "_evolve")
    right = getattr(model, name)
    wrong = {
        "no silence": lambda state, u: state,
        "twice the silence": lambda state, u: right(state, 2 * u),
        "no reset": lambda state, mark: right(state, mark)._replace(elapsed=state.elapsed),
    }
    monkeypatch.setattr(model, name, wrong[fault])
    drawn = _continued(model, samples=1200, steps=6)
    monkeypatch.setattr(model, name, right)
    assert ks_exponential(time_rescaling_residuals(model, drawn)).p_value < RARE


@pytest.mark.parametrize("name", [name for name in MODELS if name != "poisson"])
@torch.no_grad()
def test_the_state_from_which_each_event_is_drawn_is_that_of_the_whole_sequence(name, monkeypatch):
    """Exactly, not in law: what the sampler is given at each round has the intensities of the past and the draws so
    far, encoded afresh, now and later; a silence that is not applied, or not reset, shows at once."""
    model, events = _model(name), _prefixes(lengths=(6,))
    batch, given, sample = pad(events, dtype=torch.float64), [], model._sample
    monkeypatch.setattr(model, "_sample", lambda state, *rest: (given.append(state), sample(state, *rest))[1])
    last = model.evolve(map_state(lambda leaf: leaf[:, -1], model.encode(batch)), torch.tensor([0.7]).double())
    drawn = model.continue_from(last, steps=4, generator=torch.Generator().manual_seed(2))
    t = torch.cat([batch.t[0], batch.t[0, -1] + 0.7 + drawn.t[0, 0]]).numpy()
    parts = [{"t": t, "mark": torch.cat([batch.mark[0], drawn.mark[0, 0]]).numpy()}]
    whole = pad(Events.from_sequences(parts, span=(0.0, 1e6), schema=Schema(num_marks=2)), dtype=torch.float64)
    states = model.encode(whole)
    for j, state in enumerate(given):
        afresh = map_state(lambda leaf, j=j: leaf[:, 5 + j], states)
        for ahead in (0.0, 0.3, 1.9):
            u = torch.tensor([ahead], dtype=torch.float64)
            expected = model.intensity(afresh, u + (0.7 if j == 0 else 0.0))
            torch.testing.assert_close(model.intensity(state, u), expected, rtol=1e-6, atol=1e-9)
    assert len(given) == 4


@torch.no_grad()
def test_poisson_counts_within_a_horizon():
    model = Poisson(2, rate=[1.5, 0.5]).double()
    state = model.init(3)
    drawn = model.continue_from(state, horizon=2.0, num_samples=4000, generator=torch.Generator().manual_seed(0))
    count = drawn.counts.flatten().numpy()
    assert (drawn.t[drawn.mark >= 0] < 2.0).all() and drawn.t[drawn.mark < 0].isinf().all()
    seen = np.bincount(count, minlength=16)[:16]
    expected = stats.poisson(4.0).pmf(np.arange(16)) * len(count)
    seen, expected = np.append(seen[:12], seen[12:].sum()), np.append(expected[:12], len(count) - expected[:12].sum())
    assert stats.chisquare(seen, expected).pvalue > RARE
    ones = int((drawn.mark == 1).sum())
    assert abs(ones - 0.25 * count.sum()) < 5 * math.sqrt(count.sum() * 0.25 * 0.75)


@torch.no_grad()
def test_hawkes_expected_counts_in_closed_form():
    """E lambda' = beta (mu - E lambda) + alpha E lambda: from two pasts, one excited, one not."""
    model = _hawkes().double()
    events = Events.from_sequences(
        [{"t": [0.5, 0.9, 1.0, 1.0], "mark": [1, 1, 0, 1]}, {"t": [1.0], "mark": [0]}], span=(0.0, 2.0),
        schema=Schema(num_marks=2),
    )  # fmt: skip
    batch = pad(events, dtype=torch.float64)
    states = model.encode(batch)
    last = map_state(lambda leaf: leaf[:, -1], states)
    horizon, samples = 3.0, 20_000
    drawn = model.continue_from(last, horizon=horizon, num_samples=samples, generator=torch.Generator().manual_seed(4))
    mu, alpha = np.array([0.3, 0.2]), np.array([[0.4, 0.3], [0.1, 0.5]])
    drift = alpha - 1.3 * np.eye(2)
    rest = np.linalg.solve(drift, -1.3 * mu)  # the stationary intensity
    for i, start in enumerate(model.intensity(last, torch.zeros(2, dtype=torch.float64)).numpy()):
        grown = np.linalg.solve(drift, expm(drift * horizon) - np.eye(2))
        expected = rest * horizon + grown @ (start - rest)
        for k in range(2):
            counts = (drawn.mark[i] == k).sum(-1).double()
            assert abs(float(counts.mean()) - expected[k]) < 5 * float(counts.std()) / math.sqrt(samples)


@torch.no_grad()
def test_one_row_has_the_same_law_alone_as_among_others():
    model = _model("nhp")
    states = model.encode(pad(_prefixes(), dtype=torch.float64))
    row = map_state(lambda leaf: leaf[1, 2], states)
    alone = model.continue_from(row, horizon=4.0, num_samples=1500, generator=torch.Generator().manual_seed(0))
    among = model.continue_from(states, horizon=4.0, num_samples=1500, generator=torch.Generator().manual_seed(1))
    assert alone.t.dim() == 2
    assert stats.ks_2samp(alone.t[:, 0].numpy(), among.t[1, 2, :, 0].numpy()).pvalue > RARE
    a, b = alone.counts.double(), among.counts[1, 2].double()
    assert abs(float(a.mean() - b.mean())) < 5 * math.sqrt(float(a.var() + b.var()) / 1500)


@torch.no_grad()
def test_parts_that_fit_the_budget_are_one_answer(monkeypatch):
    """Whatever is held at once: shapes, order and law of the rows stay (rates differ by row, so that a swap shows)."""
    import sys

    model = Hawkes(1, mu=[0.01], alpha=[[0.0]], beta=1.0).double()
    state = model.init(4)._replace(excitation=torch.tensor([1.0, 10.0, 100.0, 1000.0])[:, None, None].double())
    monkeypatch.setattr(sys.modules["eventflow.tpp._continue"], "BUDGET", 1000)
    drawn = model.continue_from(state, steps=1, num_samples=300, generator=torch.Generator().manual_seed(0))
    assert drawn.t.shape == (4, 300, 1)
    for row, rate in zip(drawn.t[1:, :, 0], (10.0, 100.0, 1000.0), strict=True):
        silence = rate * (1 - torch.exp(-row)) + 0.01 * row
        assert stats.kstest(silence.numpy(), "expon").pvalue > RARE


@torch.no_grad()
def test_steps_and_horizon_whichever_ends_first():
    model = Poisson(1, rate=[1.0]).double()
    drawn = model.continue_from(
        model.init(500), steps=3, horizon=2.0, num_samples=2, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.t.shape == (500, 2, 3) and int(drawn.counts.min()) == 0 and int(drawn.counts.max()) == 3
    share = float((drawn.counts == 3).double().mean())
    assert abs(share - stats.poisson(2.0).sf(2)) < 5 * math.sqrt(0.25 / 1000)
    nothing = model.continue_from(model.init(2), horizon=0.0)
    assert nothing.t.shape == (2, 1, 0) and nothing.counts.tolist() == [[0], [0]]


def test_impossible_questions_are_refused():
    model = Poisson(1)
    with pytest.raises(InputError, match="how far"):
        model.continue_from(model.init(1))
    for wrong in ({"steps": 0}, {"horizon": -1.0}, {"steps": 1, "num_samples": 0}, {"horizon": math.nan}):
        with pytest.raises(InputError, match="expected at least 1 step"):
            model.continue_from(model.init(1), **wrong)
