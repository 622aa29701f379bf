"""Trivial baselines: the numbers on the real benchmark sets, loops, and processes whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import load_dataset
from eventflow.tpp import Poisson
from eventflow.tpp.baselines._mixture import SD_FLOOR, LognormalMixture, fit_lognormal_mixture
from eventflow.tpp.baselines._trivial import STRENGTH, Baselines, fit_baselines


def _log(seed: int = 0, sequences: int = 60, num_marks: int = 3, given_first: bool = False) -> Events:
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sequences):
        n = 0 if i == 3 else int(rng.integers(1, 12))
        t = np.cumsum(rng.exponential(1.0, n))
        if n > 2:
            t[1] = t[0]  # a tie: a gap of zero
        parts.append({"t": t, "mark": rng.integers(0, num_marks, n)})
    end = max(p["t"][-1] for p in parts if len(p["t"])) + 1.0
    return Events.from_sequences(parts, span=(0.0, end), schema=Schema(num_marks=num_marks, given_first=given_first))


PUBLISHED = {  # EasyTPP scoring (events 2..N); computed independently of this code
    "taxi": {
        "rmse": [0.3711, 0.2978, 0.2867], "accuracy": [0.444, 0.905, 0.911], "nll_per_event": [0.627, -0.415],
    },
    "taobao": {
        "rmse": [0.4757, 0.4408, 0.4406], "accuracy": [0.427, 0.591, 0.598], "nll_per_event": [1.484, -0.957],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_data_gives_the_known_numbers(name, data_root):
    data = load_dataset(name)
    rows = {row.name: row for row in fit_baselines(data["train"]).evaluate(data["test"])}
    expected = PUBLISHED[name]
    times = [rows[n].rmse for n in ("predict 0", "mean gap", "mean gap given previous mark")]
    np.testing.assert_allclose(times, expected["rmse"], atol=6e-5)  # the last printed digit
    marks = [rows[n].accuracy for n in ("majority mark", "Markov-1", "Markov-2")]
    np.testing.assert_allclose(marks, expected["accuracy"], atol=1e-3)  # backoff: 0.2 % of events break ties
    assert rows["Poisson"].nll_per_event == pytest.approx(expected["nll_per_event"][0], abs=6e-4)
    assert rows["renewal + Markov-2"].nll_per_event == pytest.approx(expected["nll_per_event"][1], abs=5e-3)


def test_poisson_row_is_the_poisson_process():
    """The count baseline is the maximum-likelihood Poisson process, and scores as it does, tails included."""
    train, test = _log(0), _log(1)
    baselines = fit_baselines(train)
    row = baselines.evaluate(test)[-2]
    process = Poisson(3, rate=(baselines.rate * baselines.majority).tolist()).double()
    expected = -process.log_prob(test).sum().item() / test.num_scored
    assert row.nll_per_event == pytest.approx(expected, rel=1e-6)
    compat = -process.log_prob(test, compat="easytpp").sum().item() / (test.num_events - (test.lengths > 0).sum())
    assert row.easytpp_nll_per_event == pytest.approx(compat, rel=1e-6)
    watched = (train.span[:, 1] - train.span[:, 0]).sum()
    assert baselines.rate == pytest.approx(train.num_events / watched, rel=1e-12)


@pytest.mark.parametrize("given_first", [False, True])
def test_rows_against_a_loop(given_first):
    """Every number once more, event by event."""
    train, test = _log(0, given_first=given_first), _log(1, given_first=given_first)
    b = fit_baselines(train)
    rows = {row.name: row for row in b.evaluate(test)}
    total, squares, hits, count = 0.0, {"mean": 0.0, "renewal": 0.0}, 0, 0
    compat, later = 0.0, 0
    for sequence in test:
        previous, before, now = 3, 3, float(sequence.span[0, 0])
        for i, (t, mark) in enumerate(zip(sequence.t, sequence.marks["mark"], strict=True)):
            gap, mixture = t - now, b.renewal[previous]
            nll = -mixture.log_prob(np.array([max(gap, b.resolution)]))[0] - math.log(b.markov2[before, previous, mark])
            compat, later = compat + nll * (i > 0), later + (i > 0)
            if i > 0 or not given_first:
                total += nll
                squares["mean"] += (b.mean_gap_given[previous] - gap) ** 2
                squares["renewal"] += (mixture.mean - gap) ** 2
                hits += int(b.markov2[before, previous].argmax() == mark)
                count += 1
            before, previous, now = previous, int(mark), t
        total -= b.renewal[previous].log_survival(np.array([sequence.span[0, 1] - now]))[0]
    assert count == test.num_scored
    assert rows["renewal + Markov-2"].nll_per_event == pytest.approx(total / count, rel=1e-9)
    assert rows["renewal + Markov-2"].easytpp_nll_per_event == pytest.approx(compat / later, rel=1e-9)
    assert rows["mean gap given previous mark"].rmse == pytest.approx(math.sqrt(squares["mean"] / count), rel=1e-9)
    assert rows["renewal + Markov-2"].rmse == pytest.approx(math.sqrt(squares["renewal"] / count), rel=1e-9)
    assert rows["Markov-2"].accuracy == pytest.approx(hits / count, rel=1e-12)


def test_counts_and_backoff_by_hand():
    schema = Schema(num_marks=2)
    events = Events.of([1.0, 2.0, 3.0, 4.0], mark=[0, 1, 0, 1], span=(0.0, 4.5), schema=schema)
    b = fit_baselines(events)
    np.testing.assert_allclose(b.majority, [0.5, 0.5])
    given0 = (np.array([0.0, 2.0]) + STRENGTH * 0.5) / (2 + STRENGTH)  # after 0 came 1, twice
    np.testing.assert_allclose(b.markov1[0], given0)
    np.testing.assert_allclose(b.markov2[1, 0], (np.array([0.0, 1.0]) + STRENGTH * given0) / (1 + STRENGTH))
    np.testing.assert_allclose(b.markov2[1, 1], b.markov1[1])  # 1, 1 never came: the shorter context speaks
    np.testing.assert_allclose([b.markov1.sum(-1), b.markov2.sum(-1).mean(0)], 1.0)
    assert b.rate == pytest.approx(4 / 4.5)


def test_a_mark_or_a_context_never_seen_in_training_has_a_finite_likelihood():
    train = Events.of([1.0, 2.0], mark=[0, 0], span=(0.0, 3.0), schema=Schema(num_marks=3))
    test = Events.of([1.0, 1.5], mark=[2, 1], span=(0.0, 3.0), schema=Schema(num_marks=3))
    assert all(math.isfinite(x) for row in fit_baselines(train).evaluate(test) for x in row[1:] if x is not None)


def test_test_data_never_moves_the_fit():
    baselines = fit_baselines(_log(0))
    before = baselines.markov2.copy()
    baselines.evaluate(_log(1))
    np.testing.assert_array_equal(baselines.markov2, before)
    again = fit_baselines(_log(0))
    assert again.renewal[0].mu.tolist() == baselines.renewal[0].mu.tolist()  # deterministic


def test_scaling_time_changes_the_nll_by_its_logarithm():
    train, test = _log(0), _log(1)
    scaled = [Events(e.t * 60, e.marks, e.offsets, e.span * 60, e.schema) for e in (train, test)]
    slow = fit_baselines(train).evaluate(test)[-1]
    fast = fit_baselines(scaled[0]).evaluate(scaled[1])[-1]
    assert fast.nll_per_event == pytest.approx(slow.nll_per_event + math.log(60), abs=1e-6)
    assert fast.rmse == pytest.approx(60 * slow.rmse, rel=1e-6)
    assert fast.accuracy == slow.accuracy


def test_mixture_is_a_distribution():
    mixture = LognormalMixture(np.array([0.3, 0.7]), np.array([-1.0, 0.5]), np.array([0.4, 0.9]))
    mass, _ = integrate.quad(lambda x: math.exp(mixture.log_prob(np.array([x]))[0]), 0, np.inf, limit=200)
    assert mass == pytest.approx(1.0, abs=1e-7)
    longer, _ = integrate.quad(lambda x: math.exp(mixture.log_prob(np.array([x]))[0]), 2.0, np.inf, limit=200)
    assert math.exp(mixture.log_survival(np.array([2.0]))[0]) == pytest.approx(longer, abs=1e-7)
    assert mixture.log_survival(np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-15)
    mean, _ = integrate.quad(lambda x: x * math.exp(mixture.log_prob(np.array([x]))[0]), 0, np.inf, limit=200)
    assert mixture.mean == pytest.approx(mean, rel=1e-6)
    assert mixture.log_survival(np.array([mixture.median]))[0] == pytest.approx(math.log(0.5), abs=1e-12)


def test_em_climbs_and_finds_the_truth():
    rng = np.random.default_rng(0)
    gap = np.exp(np.where(rng.random(20_000) < 0.4, rng.normal(-2, 0.3, 20_000), rng.normal(1, 0.5, 20_000)))
    scores = [fit_lognormal_mixture(gap, steps=n, tolerance=0).log_prob(gap).mean() for n in (1, 2, 4, 8, 30)]
    assert (np.diff(scores) > 0).all()
    found = fit_lognormal_mixture(gap, components=2)
    np.testing.assert_allclose(found.weight, [0.4, 0.6], atol=0.02)  # 5 sigma: sd 0.0035
    np.testing.assert_allclose(found.mu, [-2, 1], atol=0.03)
    np.testing.assert_allclose(found.sd, [0.3, 0.5], atol=0.03)
    law = stats.kstest(gap, lambda x: -np.expm1(found.log_survival(x)))
    assert law.pvalue > 1e-6


def test_ties_on_a_grid_make_no_spike():
    """All gaps equal: the floor keeps the density finite, and the component is where the gaps are."""
    mixture = fit_lognormal_mixture(np.full(500, 0.25))
    assert (mixture.sd == SD_FLOOR).all() and mixture.median == pytest.approx(0.25)
    assert mixture.log_prob(np.array([0.25]))[0] == pytest.approx(-math.log(SD_FLOOR * math.sqrt(2 * math.pi) * 0.25))


def test_data_without_marks_and_truth_beats_nothing():
    """On Poisson data no baseline can beat the truth by more than its degrees of freedom allow."""
    process = Poisson(1, rate=[2.0]).double()
    generator = torch.Generator().manual_seed(0)
    train, test = (process.simulate(span=(0.0, 20.0), num_sequences=100, generator=generator) for _ in range(2))
    bare = [Events(e.t, {}, e.offsets, e.span) for e in (train, test)]
    baselines = fit_baselines(bare[0])
    assert isinstance(baselines, Baselines) and baselines.num_marks == 1
    rows = {row.name: row for row in baselines.evaluate(bare[1])}
    truth = -process.log_prob(test).sum().item() / test.num_scored
    assert truth - 1e-3 < rows["Poisson"].nll_per_event < truth + 5e-3
    assert truth - 1e-3 < rows["renewal + Markov-2"].nll_per_event < truth + 0.02
    assert rows["Markov-2"].accuracy == 1.0


def test_mistakes_are_refused():
    with pytest.raises(InputError, match="no scored event"):
        fit_baselines(Events.of([1.0], mark=[0]))
    with pytest.raises(InputError, match="some time to pass"):
        fit_baselines(Events.of([1.0, 1.0], mark=[0, 0]))
    train = _log(0, num_marks=3)
    wider = _log(1, num_marks=5)
    with pytest.raises(InputError, match="K=3"):
        fit_baselines(train).evaluate(wider)
    with pytest.raises(InputError, match="all positive and finite"):
        fit_lognormal_mixture(np.array([0.0, 1.0]))
