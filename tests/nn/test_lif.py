"""LIF: snntorch's neuron where gaps are one, the exponential of its equation elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch
import torch
from snntorch import surrogate

from eventflow.errors import InputError
from eventflow.nn import LIF, LIFState


def neurons() -> LIF:
    torch.manual_seed(0)
    cell = LIF(3, 5, time_constant=2.0, threshold=0.5).double()
    with torch.no_grad():
        cell.weight.mul_(3)
        cell.log_rate.uniform_(-1.5, 0.5)
        cell.threshold.uniform_(0.3, 0.8)
    return cell


def test_gaps_of_one_are_snntorch() -> None:
    cell, x = neurons(), torch.randn(2, 40, 3, dtype=torch.float64, requires_grad=True)
    kind: Any = snntorch.Leaky
    beta = torch.exp(-cell.log_rate.exp())
    leaky = kind(beta, cell.threshold, spike_grad=surrogate.atan(alpha=2.0), reset_mechanism="zero")
    leaky.beta, leaky.threshold = beta, cell.threshold  # buffers are copies: these carry gradients
    mem, spikes = torch.zeros(2, 5, dtype=torch.float64), []
    for i in range(40):
        spike, mem = leaky(cell.project(x[:, i]), mem)
        spikes.append(spike)
    theirs = torch.stack(spikes, 1)
    ours = cell.scan(x, torch.ones(2, 40, dtype=torch.float64))[0].spikes
    assert 0.1 < ours.mean() < 0.9 and torch.equal(ours, theirs.double())
    weight = torch.randn_like(ours)
    leaves = [x, cell.weight, cell.bias, cell.log_rate, cell.threshold]
    got, want = (torch.autograd.grad((s * weight).sum(), leaves, retain_graph=True) for s in (ours, theirs))  # type: ignore[arg-type]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_silent_neuron_is_its_equation() -> None:
    """v(t) = sum_i exp(-rate (t - t_i)) (w x_i + b) while it does not fire."""
    cell = neurons()
    with torch.no_grad():
        cell.threshold.fill_(1e9)
    x, dt = torch.randn(1, 20, 3, dtype=torch.float64), torch.rand(1, 20, dtype=torch.float64)
    last = cell.evolve(cell.scan(x, dt)[1], torch.tensor([0.7], dtype=torch.float64))
    ago = 0.7 + dt.sum() - dt.cumsum(1)
    expected = (torch.exp(-cell.log_rate.exp() * ago[0, :, None]) * cell.project(x[0])).sum(0)
    torch.testing.assert_close(last.v[0], expected)
    assert not cell.read(last).any()


def test_who_fires_starts_from_zero() -> None:
    cell = neurons()
    state = cell.advance(cell.init(1), torch.full((1, 5), 1.0, dtype=torch.float64))
    assert isinstance(state, LIFState) and state.spikes.all() and not state.v.any()


def test_mistakes_are_told() -> None:
    with pytest.raises(InputError, match="positive time constant"):
        LIF(3, 4, time_constant=0.0)
    with pytest.raises(InputError, match="at least 0.01"):
        LIF(3, 4, threshold=0.0)
