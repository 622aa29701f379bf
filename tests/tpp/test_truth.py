"""Processes with known laws: likelihood, density, samples and forecasts against analytic truth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.ops.quadrature import gauss_legendre_graded, linspace_mean, next_event, unresolved
from eventflow.testing import check_point_process
from eventflow.tpp import Hawkes, PointProcess, Poisson, naive


class Clock(NamedTuple):
    elapsed: Tensor


class Renewal(PointProcess):
    """A renewal process given by its hazard: no closed form, so quadrature, thinning and forecasts are put to work."""

    def __init__(self, *, num_marks: int = 1, time_scale: float = 1.0) -> None:
        super().__init__(num_marks, time_scale=time_scale)
        self.log_rate = torch.nn.Parameter(torch.zeros(()))

    def hazard(self, age: Tensor) -> Tensor:
        raise NotImplementedError

    def init(self, batch: int) -> Clock:
        return Clock(self.log_rate.new_zeros(batch))

    def _evolve(self, state: Clock, u: Tensor) -> Clock:
        return Clock(state.elapsed + u)

    def _update(self, state: Clock, mark: Tensor) -> Clock:
        return Clock(torch.zeros_like(state.elapsed))

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> Clock:
        return Clock(torch.zeros_like(u))

    def _intensity(self, state: Clock, u: Tensor) -> Tensor:
        return (self.hazard(state.elapsed + u) * self.log_rate.exp())[..., None]


class Weibull(Renewal):
    def hazard(self, age: Tensor) -> Tensor:
        return 3 * age.clamp_min(1e-12) ** 2


class DeadTime(Renewal):
    def hazard(self, age: Tensor) -> Tensor:
        return torch.where(age < 0.5, 0.0, 2.0)


class SelfCorrecting(PointProcess):
    """lambda = exp(t - N(t)) (Isham & Westcott 1979): the compensator from age a over u is exp(level)(e^u - 1)."""

    def __init__(self, num_marks: int = 1, *, time_scale: float = 1.0) -> None:
        super().__init__(num_marks, time_scale=time_scale)
        self.shift = torch.nn.Parameter(torch.zeros(()))

    class State(NamedTuple):
        level: Tensor
        elapsed: Tensor

    def init(self, batch: int) -> State:
        return self.State(self.shift.expand(batch), self.shift.new_zeros(batch))

    def _evolve(self, state: State, u: Tensor) -> State:
        return self.State(state.level, state.elapsed + u)

    def _update(self, state: State, mark: Tensor) -> State:
        return self.State(state.level + state.elapsed - 1, torch.zeros_like(state.elapsed))

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> State:
        moves = torch.where(mask, u - 1, 0).cumsum(1)
        return self.State(self.shift + moves, torch.zeros_like(u))

    def _intensity(self, state: State, u: Tensor) -> Tensor:
        return (state.level + state.elapsed + u).exp()[..., None]


@pytest.mark.parametrize(
    "process",
    [
        Poisson(3),
        Poisson(2, rate=[[1.0, 2.0], [0.5, 0.1], [3.0, 0.2]], edges=[0.5, 3.0], time_scale=2.0),
        Hawkes(2, mu=[0.2, 0.3], alpha=[[0.5, 0.1], [0.3, 0.4]], beta=[[1.0, 2.0], [1.5, 0.8]], time_scale=0.3),
        Weibull(),
        SelfCorrecting(),
    ],
    ids=lambda p: type(p).__name__,
)
def test_laws(process: PointProcess) -> None:
    check_point_process(process)


def test_poisson_likelihood_counts_the_whole_span() -> None:
    events = Events.of([0.5, 1.2, 7.0], mark=[0, 1, 1], span=(0.0, 10.0), schema=Schema(num_marks=2))
    seen = Poisson(2, rate=[0.3, 0.7]).double().log_prob(events)
    assert seen.item() == pytest.approx(math.log(0.3) + 2 * math.log(0.7) - 10, rel=1e-6)


def test_maximum_likelihood_of_a_poisson_rate_is_unbiased() -> None:
    """EasyTPP's (no first event, no tail) is 1.31 at T = 5: here the exact likelihood gives N / T."""
    truth = Poisson(1, rate=[1.0]).double()
    events = truth.simulate(span=(0.0, 5.0), num_sequences=4000, generator=torch.Generator().manual_seed(3))
    model = Poisson(1).double()
    optimiser = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=50)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -model.log_prob(events).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    rate = model.rate.item()
    assert rate == pytest.approx(events.num_events / (5.0 * len(events)), rel=1e-6)
    assert abs(rate - 1) < 5 * math.sqrt(1 / (5 * 4000))


def test_weibull_renewal_density_forecast_and_samples() -> None:
    process = Weibull().double()
    state = process.init(1)
    after = process.predict_next(state)
    assert after.mean.item() == pytest.approx(math.gamma(4 / 3), rel=1e-8)
    assert after.median.item() == pytest.approx(math.log(2) ** (1 / 3), rel=1e-8)
    assert after.never.item() == 0
    t = torch.tensor([0.3, 0.9, 1.6], dtype=torch.float64)
    logs = torch.stack([process.step(state, torch.tensor([0]), x[None])[0][0] for x in t])
    torch.testing.assert_close(logs, torch.log(3 * t**2) - t**3)
    gaps, _ = process.sample_next(process.init(20_000), generator=torch.Generator().manual_seed(0))
    deviation = math.sqrt(math.gamma(5 / 3) - math.gamma(4 / 3) ** 2)
    assert abs(gaps.mean().item() - math.gamma(4 / 3)) < 5 * deviation / math.sqrt(20_000)


def test_dead_time_is_never_violated() -> None:
    """The bound starts at zero intensity: a sampler that does not verify its bound never ends, or ends too late."""
    process = DeadTime().double()
    gaps, _ = process.sample_next(process.init(20_000), generator=torch.Generator().manual_seed(0))
    assert gaps.min() >= 0.5
    assert abs(gaps.mean().item() - 1.0) < 5 * 0.5 / math.sqrt(20_000)
    assert process.predict_next(process.init(1)).mean.item() == pytest.approx(1.0, rel=2e-2)


def test_a_broken_bound_is_found_and_enlarged() -> None:
    class Liar(Weibull):
        def _bound(self, state: Clock, now: Tensor) -> tuple[Tensor, Tensor]:
            return torch.full_like(now, 0.5), torch.full_like(now, torch.inf)

    gaps, _ = Liar().double().sample_next(Liar().double().init(5000), generator=torch.Generator().manual_seed(0))
    honest, _ = (
        Weibull().double().sample_next(Weibull().double().init(5000), generator=torch.Generator().manual_seed(1))
    )
    assert gaps.isfinite().all() and gaps.max() < 4
    assert abs(gaps.mean() - honest.mean()) < 0.1  # accepted under 0.5 for ever, the mean would be about 2


@pytest.mark.parametrize(
    ("mu", "a", "b", "easytpp"), [(0.5, 0.5, 1.0, -0.0083), (0.2, 4.0, 5.0, -0.176), (0.2, 16.0, 20.0, -0.97)]
)
def test_hawkes_likelihood_is_exact_and_easytpp_reads_low(mu: float, a: float, b: float, easytpp: float) -> None:
    """The facts file's table: exact intensities, and what EasyTPP's 20 points make of them (LL per event)."""
    process = Hawkes(1, mu=[mu], alpha=[[a]], beta=b).double()
    events = process.simulate(span=(0.0, 100.0), num_sequences=200, generator=torch.Generator().manual_seed(7))
    exact = naive.exponential_hawkes_log_prob(process.mu, process.alpha, process.beta, events)
    torch.testing.assert_close(process.log_prob(events), exact)
    given = Events(events.t, events.marks, events.offsets, events.span, Schema(num_marks=1, given_first=True))
    scored = given.num_scored
    tail_free = process.log_prob(given).sum() - _tails(process, given)
    bias = (process.log_prob(events, compat="easytpp").sum() - tail_free).item() / scored
    assert bias == pytest.approx(easytpp, rel=0.15)


def _tails(process: PointProcess, events: Events) -> Tensor:
    from eventflow.events import pad

    return process.tail_log_prob(pad(events, dtype=torch.float64)).sum()


def test_sessions_cut_anywhere_have_the_likelihood_of_the_whole() -> None:
    """Of a process without memory; sessions that begin before, at and after the cuts, whose first events are given."""
    process = Poisson(2, rate=[0.3, 0.9]).double()
    rows = [[0.5, 2.0, 5.0], [2.0, 2.5, 6.0], [3.5], [4.0, 6.5], [0.0, 0.7]]
    events = Events.from_sequences(
        [{"t": row, "mark": [i % 2 for i in range(len(row))]} for row in rows], schema=Schema(num_marks=2)
    )
    parts = [events.slice(*cut) for cut in ((0.0, 2.0), (2.0, 4.0), (4.0, 9.0))]
    assert sum(part.num_scored for part in parts) == events.num_scored == 6
    whole = process.log_prob(events)
    torch.testing.assert_close(sum(process.log_prob(part) for part in parts), whole)
    torch.testing.assert_close(sum(naive.log_prob(process, part) for part in parts), whole, rtol=1e-6, atol=0)


def test_easytpp_compat_by_hand() -> None:
    process = Hawkes(1, mu=[0.5], alpha=[[0.5]], beta=1.0).double()
    t = np.array([0.7, 1.0, 2.5])
    events = Events.of(t, mark=[0, 0, 0], span=(0.0, 9.0))
    expected, lam = 0.0, lambda s, n: 0.5 + sum(0.5 * math.exp(-(s - t[j])) for j in range(n))
    for i in (1, 2):
        grid = np.linspace(t[i - 1], t[i], 20)
        expected += math.log(lam(t[i], i)) - (t[i] - t[i - 1]) * np.mean([lam(s, i) for s in grid])
    assert process.log_prob(events, compat="easytpp").item() == pytest.approx(expected, rel=1e-9)


def test_hawkes_parameters_are_recovered() -> None:
    truth = Hawkes(2, mu=[0.4, 0.2], alpha=[[0.6, 0.1], [0.5, 0.3]], beta=[[2.0, 2.0], [2.0, 2.0]]).double()
    events = truth.simulate(span=(0.0, 200.0), num_sequences=40, generator=torch.Generator().manual_seed(5))
    model = Hawkes(2).double()
    optimiser = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -model.log_prob(events).sum() / events.num_events
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(model.mu, truth.mu, rtol=0.15, atol=0.02)
    torch.testing.assert_close(model.branching, truth.branching, rtol=0.15, atol=0.04)
    assert model.log_prob(events).sum() >= truth.log_prob(events).sum()


def test_hawkes_mean_rate() -> None:
    truth = Hawkes(1, mu=[0.5], alpha=[[1.2]], beta=2.0).double()
    events = truth.simulate(span=(0.0, 400.0), num_sequences=50, generator=torch.Generator().manual_seed(1))
    rate = events.num_events / (400 * 50)
    assert rate == pytest.approx(0.5 / (1 - 0.6), rel=0.05)


@pytest.mark.parametrize(("b", "error"), [(5, 1e-12), (20, 1e-12), (100, 1e-7), (1000, 1e-3)])
def test_the_stated_error_of_the_compensator(b: float, error: float) -> None:
    nodes, weights = gauss_legendre_graded(20)
    exact = -math.expm1(-b) / b
    assert abs((weights * np.exp(-b * nodes)).sum() / exact - 1) < error
    grid, mean = linspace_mean(20)
    assert abs((mean * np.exp(-b * grid)).sum() / exact - 1) > 0.08  # EasyTPP's rule, for the record


def test_next_event_backends_agree() -> None:
    rng = np.random.default_rng(0)
    lam = rng.uniform(0.1, 4.0, (5, 9, 8, 3))
    width = np.tile(2.0 ** np.arange(9) / 8, (5, 1))
    for fast, slow in zip(next_event(lam, width), next_event(lam, width, backend="naive"), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-9)
    alone = next_event(lam[2:3], width[2:3])
    for one, many in zip(alone, next_event(lam, width), strict=True):
        assert (one[0] == many[2]).all()
    empty = next_event(lam[:0], width[:0])
    assert empty[0].shape == (0,) and empty[2].shape == (0, 3)


def test_what_panels_do_not_resolve_is_found() -> None:
    nodes = np.polynomial.legendre.leggauss(8)[0] / 2 + 0.5
    width = np.array([[1.0, 2.0, 4.0]])
    t = np.concatenate([start + w * nodes for start, w in zip((0.0, 1.0, 3.0), width[0], strict=True)])

    def found(total: object, now: float, backend: str = "auto") -> float:
        return float(unresolved(np.asarray(total).reshape(1, 3, 8, 1), width, np.array([now]), backend=backend)[0])

    smooth, spike, wave = 1 + t - 0.1 * t**3 + 0.01 * t**5, 1 + np.exp(-2000 * t), 1 + 0.5 * np.sin(9 * t)
    assert found(smooth, 1.0) < 1e-12  # a polynomial
    assert found(1 + 0.2 * np.exp(-t), 1.2) < 1e-3 < found(wave, 1.0)
    assert found(spike, 2.0) > 1e-2 > 1e-9 > found(spike, 1.0)  # seen by where it starts alone
    assert found(np.where(t < 5, 1.0, 2.0), 1.0) > 1e-3  # a jump
    lam = np.random.default_rng(0).uniform(0.1, 4.0, (5, 9, 8, 3))
    widths, now = np.tile(2.0 ** np.arange(9) / 8, (5, 1)), np.linspace(1.0, 9.0, 5)
    slow = unresolved(lam, widths, now, backend="naive")
    np.testing.assert_allclose(unresolved(lam, widths, now), slow, rtol=1e-9)
    with pytest.raises(InputError, match="numbaa"):
        unresolved(lam, widths, now, backend="numbaa")


class Swinging(Weibull):
    """Intensities that swing, or burst and die down at once: few wide panels do not do."""

    def _intensity(self, state: Clock, u: Tensor) -> Tensor:
        age = state.elapsed + u
        return torch.stack([1 + torch.sin(4 * age), 40 * torch.exp(-60 * age) + 0.2], -1)


@torch.no_grad()
def test_rough_intensities_are_forecast_as_exactly_as_smooth_ones() -> None:
    process = Swinging().double()
    process.num_marks = 2
    state = process.init(3)._replace(elapsed=torch.tensor([0.0, 0.01, 2.0], dtype=torch.float64))
    fast = process.predict_next(state)
    slow = naive.predict_next(process, state, horizon=torch.full((3,), 40.0).double())
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=3e-5)  # steps of the dense grid
    assert len({round(float(x), 6) for x in fast.mean}) == 3


def test_a_process_that_may_die_out_says_so() -> None:
    process = Poisson(1, rate=[[1.0], [0.0]], edges=[0.5]).double()
    after = process.predict_next(process.init(1))
    assert after.never.item() == pytest.approx(math.exp(-0.5))
    gaps, marks = process.sample_next(process.init(4000), generator=torch.Generator().manual_seed(0))
    assert abs(gaps.isinf().double().mean().item() - math.exp(-0.5)) < 5 * 0.49 / math.sqrt(4000)
    assert (marks[gaps.isinf()] == -1).all() and gaps[gaps.isfinite()].max() < 0.5
