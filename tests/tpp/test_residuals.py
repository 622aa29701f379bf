"""Time-rescaling residuals and their statistics: against scipy, and against processes whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.tpp import Poisson
from eventflow.tpp.metrics._kolmogorov import beta_cdf, beta_quantile, kolmogorov_sf
from eventflow.tpp.metrics._residuals import ks_exponential, lay_end_to_end, qq_exponential, time_rescaling_residuals

SURE = 1e-6  # false alarm of a statistical test, seeds being fixed


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 50, 140, 500, 1000])
def test_kolmogorov_law_is_scipys_where_exact(n):
    d = np.linspace(0.02, 4, 60) / math.sqrt(n)
    d = d[d <= 1]
    ours = np.array([kolmogorov_sf(x, n) for x in d])
    np.testing.assert_allclose(ours, stats.kstwo.sf(d, n), rtol=3e-5, atol=1e-300)


@pytest.mark.parametrize("n", [1001, 10_000, 100_000])
def test_kolmogorov_law_of_many_is_scipys(n):
    d = np.linspace(0.1, 4, 40) / math.sqrt(n)
    ours, theirs = np.array([kolmogorov_sf(x, n) for x in d]), stats.kstwo.sf(d, n)
    np.testing.assert_allclose(ours, theirs, atol=3e-5, rtol=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_kolmogorov_law_at_its_ends():
    assert kolmogorov_sf(0.05, 10) == 1.0 and kolmogorov_sf(1.0, 10) == 0.0
    with pytest.raises(InputError, match="distance in"):
        kolmogorov_sf(1.5, 10)


def test_beta_functions_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 300, 50), rng.uniform(0.5, 300, 50)
    x = rng.uniform(0, 1, 50)
    np.testing.assert_allclose(beta_cdf(x, a, b), stats.beta.cdf(x, a, b), rtol=1e-10, atol=1e-14)
    assert beta_cdf([0.0, 1.0], 2.0, 3.0).tolist() == [0.0, 1.0]
    for n in (1, 10, 1000, 100_000):
        rank = np.unique([1, n // 2 + 1, n])
        for p in (0.025, 0.5, 0.975):
            np.testing.assert_allclose(
                beta_quantile(p, rank, n + 1 - rank), stats.beta.ppf(p, rank, n + 1 - rank), rtol=1e-9
            )


@pytest.mark.parametrize("n", [1, 7, 300, 5000])
def test_ks_exponential_is_scipys_kstest(n):
    values = np.random.default_rng(n).exponential(1.03, n)
    ours, theirs = ks_exponential(values), stats.kstest(values, "expon", method="exact")
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-12)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=3e-5)
    assert ours.n == n


def test_clocks_are_laid_end_to_end():
    gaps = [np.array([1.0, 2.0]), np.array([]), np.array([0.5]), np.array([])]
    got = lay_end_to_end(gaps, np.array([0.25, 4.0, 8.0, 16.0]))
    assert got.values.tolist() == [1.0, 2.0, 4.75]  # 0.25 + the silent second sequence + 0.5
    assert got.censored == 24.0


def test_residuals_of_a_poisson_process_by_hand():
    process = Poisson(2, rate=[1.5, 0.5]).double()
    events = Events.of([0.5, 1.0, 3.0], mark=[0, 1, 0], offsets=[0, 2, 3], span=(0.0, 4.0), schema=Schema(num_marks=2))
    got = time_rescaling_residuals(process, events)
    np.testing.assert_allclose(got.values, [1.0, 1.0, 2 * 3.0 + 2 * 3.0])
    assert got.censored == pytest.approx(2.0)


def test_given_first_events_open_the_clock_unscored():
    process = Poisson(1, rate=[2.0]).double()
    events = Events.of([10.0, 10.5, 12.0], mark=[0, 0, 0], schema=Schema(num_marks=1))
    assert events.schema.given_first
    np.testing.assert_allclose(time_rescaling_residuals(process, events).values, [1.0, 3.0])


def _short_spans(rate: float, sequences: int, seed: int) -> Events:
    generator = torch.Generator().manual_seed(seed)
    return Poisson(1, rate=[rate]).double().simulate(span=(0.0, 2.0), num_sequences=sequences, generator=generator)


def test_truth_passes_and_a_wrong_rate_fails():
    events = _short_spans(1.0, 2000, seed=0)
    assert ks_exponential(time_rescaling_residuals(Poisson(1, rate=[1.0]), events)).p_value > SURE
    assert ks_exponential(time_rescaling_residuals(Poisson(1, rate=[1.15]), events)).p_value < SURE


def test_censored_silences_matter():
    """Dropping the last silence of each short span rejects the truth; laying clocks end to end accepts it."""
    events = _short_spans(1.0, 2000, seed=1)
    assert ks_exponential(events.gaps).p_value < SURE
    assert ks_exponential(time_rescaling_residuals(Poisson(1, rate=[1.0]), events)).p_value > 1e-3


def test_qq_band_holds_the_truth_at_its_level():
    """Each point lies in its own 90 % band in 90 % of repetitions: 4000 repetitions, bound of 5 sigma."""
    draws = np.sort(np.random.default_rng(0).exponential(size=(4000, 200)), axis=1)
    qq = qq_exponential(draws[0], level=0.9, points=12)
    order = draws[:, np.searchsorted(draws[0], qq.observed)]
    np.testing.assert_allclose(((qq.low <= order) & (order <= qq.high)).mean(0), 0.9, atol=5 * math.sqrt(0.09 / 4000))
    np.testing.assert_allclose((order <= qq.expected).mean(0), 0.5, atol=5 * math.sqrt(0.25 / 4000))


def test_qq_points_are_order_statistics():
    values = np.random.default_rng(2).exponential(size=50)
    qq = qq_exponential(values, points=1000)
    np.testing.assert_array_equal(qq.observed, np.sort(values)[np.searchsorted(np.sort(values), qq.observed)])
    assert qq.observed[-1] == values.max() and len(qq.observed) <= 50
    assert (np.diff(qq.expected) > 0).all() and (qq.low < qq.expected).all() and (qq.expected < qq.high).all()
    few = qq_exponential(np.random.default_rng(3).exponential(size=10_000), points=100)
    assert 50 < len(few.expected) <= 100


def test_mistakes_are_refused():
    with pytest.raises(InputError, match="n >= 1"):
        ks_exponential([])
    with pytest.raises(InputError, match="residual 1 is -1.0"):
        ks_exponential([1.0, -1.0])
    with pytest.raises(InputError, match="residual 0 is nan"):
        qq_exponential([math.nan])
    with pytest.raises(InputError, match="level=95"):
        qq_exponential([1.0], level=95)
    with pytest.raises(InputError, match="one tail each"):
        lay_end_to_end([np.ones(2)], np.zeros(2))
