"""DiagSSM: the exponential Hawkes process as its exact special case, its continuous-time truth, stability."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eventflow.nn import DiagSSM, LinearCell
from eventflow.nn._ssm import DiagState


def hawkes(seed: int, marks: int, shape: str) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    base, jump, pairs = (
        torch.rand(s, generator=g, dtype=torch.float64) for s in ((marks,), (marks, marks), (marks, marks))
    )
    rate = {"pairs": pairs, "marks": pairs[0], "one": pairs[0, 0]}[shape] * 3 + 0.2
    return base + 0.1, jump, rate


def stream(seed: int, marks: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Times, some of them ties, marks, and the end of the span."""
    g = torch.Generator().manual_seed(seed + 1)
    gaps = torch.rand(length, generator=g, dtype=torch.float64) * (torch.rand(length, generator=g) > 0.2)
    t = gaps.cumsum(0)
    return t, torch.randint(0, marks, (length,), generator=g), t[-1] + 0.7


def quadratic(base: Tensor, jump: Tensor, rate: Tensor, events: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The log-likelihood by its definition: O(n^2) intensities (events before, in order), closed-form compensator."""
    t, mark, end = events
    rate = rate.expand(len(base), len(base))
    total = -(base.sum() * end)
    for i in range(len(t)):
        k, past = mark[i], mark[:i]
        total = total + torch.log(base[k] + (jump[k, past] * torch.exp(-rate[k, past] * (t[i] - t[:i]))).sum())
        total = total - (jump[:, k] / rate[:, k] * -torch.expm1(-rate[:, k] * (end - t[i]))).sum()
    return total


def scanned(cell: DiagSSM, jump: Tensor, rate: Tensor, events: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The same from the states of one scan: left limits, and each gap's integral from the state that opened it."""
    t, mark, end = events
    marks = len(cell.bias)
    dt = torch.diff(t, prepend=torch.zeros_like(t[:1]), append=end[None])
    x = torch.nn.functional.one_hot(mark, marks).to(t.dtype)
    states, _ = cell.scan(x[None], dt[None, :-1])
    opened = DiagState(torch.cat([cell.init(1).x[:, None], states.x], 1))
    left = cell.read(cell.evolve(opened, dt[None]))[0, :-1]
    faded = -torch.expm1(-cell.log_rate.exp() * dt[None, :, None]) / cell.log_rate.exp()
    integral = cell.bias.sum() * end + torch.nn.functional.linear(opened.x * faded, cell.weight_out).sum()
    return left.gather(1, mark[:, None]).log().sum() - integral


@pytest.mark.parametrize("shape", ["one", "marks", "pairs"])
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 60))
def test_the_exponential_hawkes_process_exactly(shape: str, seed: int, marks: int, length: int) -> None:
    base, jump, rate = hawkes(seed, marks, shape)
    cell = DiagSSM.hawkes(base, jump, rate)
    assert cell.num_states == (marks**2 if shape == "pairs" else marks)
    events = stream(seed, marks, length)
    with torch.no_grad():
        got = scanned(cell, jump, rate, events)
    torch.testing.assert_close(got, quadratic(base, jump, rate, events), rtol=1e-10, atol=1e-10)


def test_gradients_of_the_hawkes_likelihood() -> None:
    """With respect to base, jump and rate, through the scan, against the definition."""
    base, jump, rate = (p.requires_grad_() for p in hawkes(4, 3, "marks"))
    events = stream(4, 3, 50)
    want = torch.autograd.grad(quadratic(base, jump, rate, events), (base, jump, rate))
    cell = DiagSSM.hawkes(base.detach(), jump.detach(), rate.detach())
    got = torch.autograd.grad(scanned(cell, jump, rate, events), (cell.bias, cell.weight_out, cell.log_rate))
    torch.testing.assert_close((got[0], got[1], got[2] / rate), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("real", [True, False])
def test_the_compiled_scan_is_the_generic_prefix_scan(real: bool) -> None:
    torch.manual_seed(0)
    cell = DiagSSM(3, 4, real=real, learn_init=True, steps=(0.1, 1.0)).double()
    x, dt = torch.randn(2, 70, 3, dtype=torch.float64), torch.rand(2, 70, dtype=torch.float64)
    m, start = cell.lift(x, dt), cell.init(2)
    mask = torch.rand(2, 70) < 0.8
    reset = (torch.rand(2, 70) < 0.1) & mask
    ours = cell.scan_transitions(m, start, start, reset=reset, mask=mask)
    generic = LinearCell.scan_transitions(cell, m, start, start, reset=reset, mask=mask)
    torch.testing.assert_close(ours.x, generic.x, rtol=1e-12, atol=1e-12)


def test_complex_read_is_twice_the_real_part() -> None:
    torch.manual_seed(0)
    cell = DiagSSM(3, 4, num_states=5).double()
    x = torch.randn(2, 5, dtype=torch.complex128)
    out, into = (
        torch.view_as_complex(cell.weight_out),
        torch.view_as_complex(cell.weight_in.transpose(1, 2).contiguous()),
    )
    torch.testing.assert_close(cell.read(DiagState(x)), 2 * (x @ out.T).real + cell.bias)
    u = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(cell.update(DiagState(x), u).x, x + u.to(x.dtype) @ into.T)


def test_evolution_solves_the_differential_equation() -> None:
    """x(t) = expm(Lambda t) x(0), with Lambda written out as a matrix."""
    torch.manual_seed(0)
    cell = DiagSSM(3, 4, steps=(0.1, 1.0)).double()
    assert cell.frequency is not None
    x = torch.randn(6, 4, dtype=torch.complex128)
    dt = torch.rand(6, dtype=torch.float64) * 5
    generator = torch.diag(torch.complex(-cell.log_rate.exp(), cell.frequency))
    want = (torch.linalg.matrix_exp(generator * dt[:, None, None]) @ x[..., None])[..., 0]
    torch.testing.assert_close(cell.evolve(DiagState(x), dt).x, want)


def test_a_silence_beyond_all_measure_ends_in_zero_with_finite_gradients() -> None:
    cell = DiagSSM(2, 3, steps=(0.5, 2.0))
    with torch.no_grad():
        assert cell.frequency is not None
        cell.frequency.fill_(50.0)
    x, dt = torch.randn(2, 4, 2), torch.tensor([[1.0, 3e38, 1.0, 1.0], [0.0, 1e30, 3e38, 0.5]])
    states, last = cell.scan(x, dt)
    assert torch.isfinite(torch.view_as_real(states.x)).all()
    cell.read(states).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in cell.parameters() if p.grad is not None)
    end = cell.evolve(last, torch.full((2,), 3e38)).x
    assert (end == 0).all()


def test_coordinates_start_with_unit_variance() -> None:
    """Driven by white features once a unit of time, from a long past: 5 sigma of 150 coordinates' variances."""
    torch.manual_seed(0)
    cell = DiagSSM(4, 4, num_states=150, steps=(0.1, 0.5))
    with torch.no_grad():
        states, _ = cell.scan(torch.randn(300, 100, 4), torch.ones(300, 100))
    variance = states.x[:, -1].abs().square().mean(0)
    assert abs(variance.mean() - 1) < 5 * variance.std() / 150**0.5
