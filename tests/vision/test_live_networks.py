"""Networks for running only give the numbers of those they were made of, and forget how to train."""

from __future__ import annotations

import pytest
import torch
from as_trained import as_trained
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import state_leaves
from eventflow.vision import CompactFlowNet, EfficientSpikeFlowNet, EVFlowNet, FlowNetwork, LSTMFlowNet, live
from eventflow.vision.models import _folded

H, W = 16, 24
NETWORKS = {
    "ev": lambda: EVFlowNet(4, 3, residual_blocks=1, bins=3),
    "lstm": lambda: LSTMFlowNet(4, 3, residual_blocks=1),
    "spike": lambda: EfficientSpikeFlowNet(4, 3, residual_blocks=1, threshold=0.3),
    "compact": lambda: CompactFlowNet(5, 3),
}


def trained(name: str, dtype: torch.dtype) -> FlowNetwork:
    torch.manual_seed(2)
    return as_trained(NETWORKS[name]()).to(dtype)


def counts(batch: int, length: int, dtype: torch.dtype) -> Tensor:
    return torch.poisson(torch.full((batch, length, 2, H, W), 0.8), torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_are_those_of_the_network(name: str, dtype: torch.dtype) -> None:
    network, x = trained(name, dtype), counts(2, 6, dtype)
    running = live(network)
    before = [leaf.clone() for leaf in network.state_dict().values()]
    with torch.no_grad():
        want, last = network.scan(x)
        got, end = running.scan(x)
        read = running.read(end)
    rtol, atol = (1e-9, 1e-11) if dtype == torch.float64 else (1e-4, 2e-5)
    torch.testing.assert_close(got, want, rtol=rtol, atol=atol)
    for a, b in zip(state_leaves(end), state_leaves(last), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
    torch.testing.assert_close(read, got[:, -1], rtol=0, atol=0)
    assert want.abs().max() > 0.05 and (want[:, -1] - want[:, 0]).abs().max() > 0.01
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert not any(parameter.requires_grad for parameter in running.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_changes_neither_its_state_nor_its_counts(name: str) -> None:
    running, x = live(trained(name, torch.float32)), counts(1, 3, torch.float32)
    with torch.no_grad():
        _, state = running.scan(x[:, :2])
        kept, given = [leaf.clone() for leaf in state_leaves(state)], x.clone()
        first, _ = running.step(state, x[:, 2])
        held = first.clone()
        again, _ = running.step(state, x[:, 2])
    assert torch.equal(first, again) and torch.equal(first, held) and torch.equal(x, given)
    assert all(torch.equal(a, b) for a, b in zip(kept, state_leaves(state), strict=True))


@pytest.mark.parametrize("name", ["ev", "lstm", "compact"])
def test_bfloat16_gives_three_digits(name: str) -> None:
    network, x = trained(name, torch.float32), counts(1, 8, torch.float32)
    with torch.no_grad():
        want, got = network.scan(x)[0], live(network, precision="bfloat16").scan(x)[0]
    assert got.dtype == torch.float32
    error = float((got - want).square().mean().sqrt() / want.square().mean().sqrt())
    assert 1e-5 < error < 2e-2


def test_precisions_that_are_not_there_are_told() -> None:
    with pytest.raises(InputError, match="precision='float16'.*did you mean 'bfloat16'"):
        live(trained("compact", torch.float32), precision="float16")
    with pytest.raises(InputError, match="weights of torch.float64; expected float32"):
        live(trained("compact", torch.float64), precision="bfloat16")


def test_large_convolutions_take_fewer_products_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    network = LSTMFlowNet(16, 2, residual_blocks=1).eval()
    x = torch.poisson(torch.full((1, 2, 2, 96, 96), 0.5))
    seen: list[int] = []
    tiled = _folded.winograd
    monkeypatch.setattr(_folded, "winograd", lambda *a, **k: seen.append(k["kernel"]) or tiled(*a, **k))
    with torch.no_grad():
        got, want = live(network).scan(x)[0], network.scan(x)[0]
    assert {2, 3} == set(seen)
    assert (got - want).abs().max() < 1e-4 * want.abs().max()


@pytest.mark.parametrize(("threshold", "skips"), [(1.0, True), (0.01, False)], ids=["few spikes", "many spikes"])
def test_silent_neurons_are_passed_over_and_the_numbers_are_the_same(
    threshold: float, skips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(6)
    network = EfficientSpikeFlowNet(32, 2, residual_blocks=1, threshold=threshold).eval()
    x = torch.poisson(torch.full((1, 3, 2, 24, 32), 0.5))
    seen: list[bool] = []
    skipping = _folded.sparse_convolution
    monkeypatch.setattr(_folded, "sparse_convolution", lambda *a, **k: _noted(seen, skipping(*a, **k)))
    with torch.no_grad():
        got, want = live(network).scan(x)[0], network.scan(x)[0]
    assert any(seen) if skips else not all(seen)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def _noted(seen: list[bool], y: Tensor | None) -> Tensor | None:
    seen.append(y is not None)
    return y
