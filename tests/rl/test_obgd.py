"""ObGD for any module, against the definition of the kernels; sparse starts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.ops.streamx import TD, Network, Options, Rule, new_learner, steps
from eventflow.ops.streamx.naive import matrices
from eventflow.rl import ObGD, layer_sparsities, sparse_init


def test_obgd_is_the_rule_of_the_kernels() -> None:
    """A module of torch with this optimizer and the fused step, the same weights after 100 steps with resets."""
    torch.manual_seed(0)
    net = Network(12, (16, 16), 1)
    made = new_learner((net,), (Rule(),), options=Options(normalise=False, scale=False), features=12, dtype=np.float64)
    linear = [torch.nn.Linear(i, o).double() for i, o in ((12, 16), (16, 16), (16, 1))]
    for (weight, bias), module in zip(matrices(net, torch.from_numpy(made.weights())), linear, strict=True):
        weight.copy_(module.weight.detach())
        bias.copy_(module.bias.detach())
    optimizer = ObGD([p for module in linear for p in module.parameters()])

    def value(x: torch.Tensor) -> torch.Tensor:
        for module in linear[:-1]:
            x = torch.nn.functional.leaky_relu(torch.nn.functional.layer_norm(module(x), (16,)))
        return linear[-1](x)[0]

    step, rng, x = steps(made), np.random.default_rng(0), np.ones(12)
    made.observation[:] = x
    step.begin(TD, 0.0, 0.0)
    for i in range(100):
        after, reward, ends = rng.normal(size=12), float(rng.normal()), i % 20 == 19
        made.observation[:] = after
        step.td(reward, 0.99, 0.99 * 0.8, ends, False)
        v, bootstrap = value(torch.from_numpy(x)), 0.0 if ends else 0.99 * value(torch.from_numpy(after)).item()
        optimizer.zero_grad()
        (-v).backward()
        optimizer.step(reward + bootstrap - v.item(), reset=ends)
        x = after
    for (weight, bias), module in zip(matrices(net, torch.from_numpy(made.weights())), linear, strict=True):
        torch.testing.assert_close(weight, module.weight.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(bias, module.bias.detach(), rtol=0, atol=1e-12)


def test_obgd_keeps_its_traces_in_the_state() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = ObGD([weight])
    weight.sum().neg().backward()
    optimizer.step(1.0)
    again = torch.nn.Parameter(weight.detach().clone())
    other = ObGD([again])
    other.load_state_dict(optimizer.state_dict())
    for w, o in ((weight, optimizer), (again, other)):
        w.grad = -torch.ones(3)
        o.step(-0.5, reset=True)
        assert not o.state[w]["eligibility_trace"].any()
    torch.testing.assert_close(weight, again)
    with pytest.raises(InputError, match="finite"):
        optimizer.step(math.nan)
    with pytest.raises(InputError, match="kappa=0"):
        ObGD([weight], kappa=0)


@pytest.mark.parametrize(("fan_in", "kept"), [(4, 0), (9, 0), (10, 1), (28, 2), (128, 12)])
def test_sparse_init_keeps_a_tenth(fan_in: int, kept: int) -> None:
    """Fewer than ten inputs: all zero, as the paper's rule has it."""
    weight = sparse_init(torch.empty(50, fan_in), generator=torch.Generator().manual_seed(0))
    assert ((weight != 0).sum(1) == kept).all()
    assert weight.abs().max() <= 1 / math.sqrt(fan_in)
    assert (sparse_init(torch.empty(8, 4, 3, 3)) != 0).flatten(1).sum(1).eq(3).all()


@pytest.mark.parametrize(("shape", "sparsity"), [((32, 4), 0.87), ((32, 32), 0.97), ((2, 32), 0.0), ((3, 5), 1.0)])
def test_sparse_init_of_a_whole_layer_keeps_its_share(shape: tuple[int, int], sparsity: float) -> None:
    """Row by row the first two would be cut to nothing, and a network with two such layers in a row is dead."""
    weight = sparse_init(torch.empty(shape), sparsity, whole=True, generator=torch.Generator().manual_seed(0))
    kept = (weight != 0).sum(1)
    assert kept.sum() == weight.numel() - round(sparsity * weight.numel())
    assert kept.max() - kept.min() <= 1


def test_layer_sparsities_keep_the_budget() -> None:
    shapes = [(128, 17), (128, 128), (12, 128), (128, 17), (128, 128), (1, 128)]
    shares = layer_sparsities(shapes)
    sizes = [math.prod(s) for s in shapes]
    kept = sum((1 - share) * n for share, n in zip(shares, sizes, strict=True))
    assert kept == pytest.approx(0.05 * sum(sizes))
    assert all(0 <= s < 1 for s in shares) and shares[1] == max(shares)
    assert shares[5] == 0 or shares[5] == min(shares)
