"""The flow networks: as large as the paper's, right as streams, trainable, and with no memory but their state."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import snntorch
import torch
from as_trained import as_trained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.nn import map_state, state_leaves
from eventflow.nn._recorded import rebuild
from eventflow.vision import (
    CompactFlowNet,
    EfficientSpikeFlowNet,
    EventCount,
    EVFlowNet,
    EVFlowNetState,
    FlowNetwork,
    LSTMFlowNet,
    RandomFlipLR,
    RandomFlipUD,
    Sample,
)
from eventflow.vision.models._layers import LSTMLayer, LSTMState, Neurons

H, W = 8, 16
SMALL = {
    "ev": lambda: EVFlowNet(3, 2, residual_blocks=1, bins=3),
    "lstm": lambda: LSTMFlowNet(3, 2, residual_blocks=1),
    "lstm-plain": lambda: LSTMFlowNet(3, 2, residual_blocks=0),
    "spike": lambda: EfficientSpikeFlowNet(3, 2, threshold=0.3),
    "spike-res": lambda: EfficientSpikeFlowNet(3, 2, residual_blocks=1, threshold=0.3),
    "compact": lambda: CompactFlowNet(3, 3),
    "compact-one": lambda: CompactFlowNet(3, 2),
}
every_network = pytest.mark.parametrize("name", SMALL)


def small(name: str) -> FlowNetwork:
    """In float64 and eval, its batch-norms as if trained: other statistics and weights than at the start."""
    torch.manual_seed(3)
    return as_trained(SMALL[name]().double())


def counts(batch: int, length: int, seed: int = 0) -> Tensor:
    """Event counts (B, T, 2, H, W)."""
    return torch.poisson(
        torch.full((batch, length, 2, H, W), 0.8, dtype=torch.float64), torch.Generator().manual_seed(seed)
    )


def assert_same_state(a: object, b: object) -> None:
    assert type(a) is type(b) and len(state_leaves(a)) == len(state_leaves(b))
    for one, other in zip(state_leaves(a), state_leaves(b), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "residual_blocks", "published"),
    [
        (EVFlowNet, 2, 16_582_656),
        (LSTMFlowNet, 2, 53_629_632),
        (LSTMFlowNet, 0, 35_799_744),
        (EfficientSpikeFlowNet, 0, 5_036_736),
        (EfficientSpikeFlowNet, 2, 16_579_264),
    ],
)
def test_they_have_the_parameters_of_the_paper(kind: type[FlowNetwork], residual_blocks: int, published: int) -> None:
    with torch.device("meta" if kind is LSTMFlowNet else "cpu"):  # its orthogonal start takes seconds
        network = kind(residual_blocks=residual_blocks)  # type: ignore[call-arg]
    assert sum(p.numel() for p in network.parameters()) == published


def test_the_defaults_are_the_paper_s() -> None:
    blocks = [len(kind(width=2).unet.residuals) for kind in (EVFlowNet, LSTMFlowNet, EfficientSpikeFlowNet)]
    with torch.device("meta"):
        network = EVFlowNet()
    shape = network.unet.encoders[0].convolution.weight.shape  # type: ignore[union-attr]
    assert blocks == [2, 2, 0] and shape == (64, 20, 3, 3)


@every_network
def test_scan_is_the_folded_step_with_gradients(name: str) -> None:
    network, x = small(name).train(), counts(2, 4)
    reset = torch.tensor([[False, False, True, False], [False, False, False, True]])
    twin = copy.deepcopy(network)
    flows, last = network.scan(x, reset=reset)
    state = twin.init(2, H, W)
    folded = []
    for i in range(4):
        fresh = twin.init(2, H, W)
        state = map_state(lambda a, b, i=i: torch.where(reset[:, i, None, None, None], a, b), fresh, state)
        flow, state = twin.step(state, x[:, i])
        folded.append(flow)
    torch.testing.assert_close(flows, torch.stack(folded, 1), rtol=1e-12, atol=1e-12)
    assert_same_state(last, state)
    flows.square().sum().backward()
    torch.stack(folded, 1).square().sum().backward()
    for (key, a), (_, b) in zip(network.named_parameters(), twin.named_parameters(), strict=True):
        assert a.grad is not None and b.grad is not None, key
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-9)
        assert a.grad.abs().sum() > 0, f"nothing reaches {key}"


@every_network
@settings(max_examples=5)
@given(cuts=st.lists(st.integers(0, 7), max_size=3))
def test_any_chunking_gives_the_same(name: str, cuts: list[int]) -> None:
    network, x = small(name), counts(1, 7)
    with torch.no_grad():
        whole, last = network.scan(x)
        state, parts = None, []
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 7], strict=True):
            flows, state = network.scan(x[:, a:b], state)
            parts.append(flows)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    assert_same_state(state, last)


@every_network
def test_a_stream_gives_the_numbers_of_a_batch(name: str) -> None:
    """Batch-norm in eval: neither the batch's other rows nor the future matter; and in training they do."""
    network, x = small(name), counts(3, 4)
    with torch.no_grad():
        whole = network.scan(x)[0]
        for row in range(3):
            torch.testing.assert_close(network.scan(x[row : row + 1])[0][0], whole[row], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(network.scan(x[:, :2])[0], whole[:, :2], rtol=1e-12, atol=1e-12)
        network.train()
        assert (network.scan(x)[0][:1] - network.scan(x[:1])[0]).abs().max() > 1e-3


@every_network
def test_flows_at_every_scale_and_the_last_is_read_from_the_state(name: str) -> None:
    network, x = small(name), counts(2, 3)
    flows: tuple[Tensor, ...] = ()
    with torch.no_grad():
        state = network.init(2, H, W)
        if name not in ("ev", "compact", "compact-one"):  # nothing was seen: no flow; those three may have a constant
            assert not network.read(state).any()
        for counts_now in x.unbind(1):
            updated = network.update(state, counts_now)
            flows, state = network.step_scales(state, counts_now)
            assert_same_state(updated, state)
    scales = {"compact": (8, 4, 1), "compact-one": (4, 1)}.get(name, (2, 1))
    assert [tuple(flow.shape) for flow in flows] == [(2, 2, H // k, W // k) for k in scales]
    assert all(flow.abs().max() > 0 for flow in flows)
    torch.testing.assert_close(network.read(state), flows[-1], rtol=0, atol=0)


@every_network
def test_the_state_is_a_value_and_stays_as_large(name: str) -> None:
    network, x = small(name), counts(1, 30)
    before = copy.deepcopy(network.state_dict())
    state = network.init(1, H, W)
    sizes = [leaf.shape for leaf in state_leaves(state)]
    held = {key for key, value in vars(network).items() if not key.startswith("_")}
    with torch.no_grad():
        for counts_now in x.unbind(1):
            kept, given_counts = map_state(Tensor.clone, state), counts_now.clone()
            old = state
            _, state = network.step(state, counts_now)
            assert_same_state(old, kept)
            assert torch.equal(counts_now, given_counts)
        assert [leaf.shape for leaf in state_leaves(state)] == sizes
    assert {key for key, value in vars(network).items() if not key.startswith("_")} == held
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
    network.train().step(network.init(1, H, W), x[:, 0])[0].sum().backward()
    copy.deepcopy(network)  # a module that held a graph could not be copied


@every_network
def test_a_stream_goes_on_after_its_state_was_saved(name: str) -> None:
    network, x = small(name), counts(1, 4)
    with torch.no_grad():
        whole, _ = network.scan(x)
        _, state = network.scan(x[:, :2])
        file = io.BytesIO()
        torch.save([leaf.clone() for leaf in state_leaves(state)], file)
        file.seek(0)
        leaves = iter(torch.load(file, weights_only=True))
        again = rebuild({"class_path": network.class_path, "init_args": network.init_args}, FlowNetwork).double().eval()
        again.load_state_dict(network.state_dict())
        resumed = map_state(lambda _: next(leaves), again.init(1, H, W))
        torch.testing.assert_close(again.scan(x[:, 2:], resumed)[0], whole[:, 2:], rtol=0, atol=0)


def test_an_lstm_layer_is_an_lstm_at_every_pixel() -> None:
    """With kernels of which only the centre is not 0, and no batch-norm, it is torch's LSTM cell."""
    torch.manual_seed(0)
    layer = LSTMLayer(3, 4).double().eval()
    for module in (layer.input, layer.memory):
        centre = torch.zeros_like(module.weight)
        centre[:, :, 1, 1] = module.weight[:, :, 1, 1]
        module.weight.data = centre
    cell = nn.LSTMCell(3, 4, bias=False).double()
    order = [1, 0, 3, 2]  # torch: input, forget, cell, output; here: forget, input, output, cell

    def gates(weight: Tensor) -> Tensor:
        return torch.cat([weight.chunk(4)[i] for i in order])[:, :, 1, 1]

    scale = 1 / math.sqrt(1 + layer.norm.eps)
    cell.weight_ih.data, cell.weight_hh.data = gates(layer.input.weight) * scale, gates(layer.memory.weight)
    x = torch.randn(1, 3, 6, 4, dtype=torch.float64)
    h, c = (torch.randn(1, 4, 3, 2, dtype=torch.float64) for _ in range(2))
    seen, state = layer(x, LSTMState(h, c))

    def rows(image: Tensor) -> Tensor:
        return image.movedim(1, -1).reshape(-1, image.shape[1])

    want_h, want_c = cell(rows(x[:, :, ::2, ::2]), (rows(h), rows(c)))
    torch.testing.assert_close(rows(seen), want_h)
    torch.testing.assert_close(rows(state.c), want_c)


def test_neurons_leak_fire_and_reset() -> None:
    """Against the textbook's line, one neuron at a time, and the surrogate's slope."""
    torch.manual_seed(1)
    neurons = Neurons(3, threshold=0.6).double()
    leaky = neurons.leaky
    leaks = torch.tensor([-1.0, 0.3, 2.0]).reshape(3, 1, 1).double()
    leaky.parametrizations.beta.original.data = leaks  # type: ignore[union-attr]
    leaky.parametrizations.threshold.original.data[1] = -5.0  # type: ignore[union-attr]
    threshold = [0.6, 0.01, 0.6]
    currents = torch.randn(20, 1, 3, 1, 2, dtype=torch.float64)
    v = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    want = np.zeros((3, 2))
    fired = 0
    for current in currents:
        spikes, v = (part.detach() for part in neurons(current, v))
        assert torch.equal(neurons.fire(v), spikes)
        for c in range(3):
            for k in range(2):
                rest = 0.0 if want[c, k] > threshold[c] else want[c, k]
                want[c, k] = rest / (1 + math.exp(-float(leaks[c, 0, 0]))) + float(current[0, c, 0, k])
                assert float(spikes[0, c, 0, k]) == (want[c, k] > threshold[c])
                fired += int(spikes[0, c, 0, k])
        np.testing.assert_allclose(v[0, :, 0].detach().numpy(), want, rtol=1e-6)
    assert 10 < fired < 110
    current = torch.tensor([0.1, 0.6, 2.0]).double().reshape(3, 1, 1).requires_grad_()
    neurons(current, torch.zeros_like(current))[0].sum().backward()
    distance = np.array([0.1 - 0.6, 0.6 - 0.01, 2.0 - 0.6])
    assert current.grad is not None
    np.testing.assert_allclose(current.grad.flatten().numpy(), 1 / (1 + (np.pi * distance) ** 2), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neurons_are_snntorch_s(dtype: torch.dtype) -> None:
    """Values, state and all gradients over six steps, with a different leak and threshold in each channel."""
    torch.manual_seed(4)
    results = []
    currents, first = torch.randn(6, 2, 5, 3, 4, dtype=dtype), torch.randn(2, 5, 3, 4, dtype=dtype)
    weights = torch.randn(2, 6, 2, 5, 3, 4, dtype=dtype)
    leaks, thresholds = torch.randn(5, 1, 1), torch.linspace(-0.2, 1, 5).reshape(5, 1, 1)
    for kind in ("forward", "definition"):
        neurons = Neurons(5, threshold=1.0).to(dtype)
        neurons.leaky.parametrizations.beta.original.data.copy_(leaks)  # type: ignore[union-attr]
        neurons.leaky.parametrizations.threshold.original.data.copy_(thresholds)  # type: ignore[union-attr]
        x, start = currents.clone().requires_grad_(), first.clone().requires_grad_()
        v, spikes, potentials = start, [], []
        for current in x:
            sent, v = getattr(neurons, kind)(current, v)
            spikes.append(sent)
            potentials.append(v)
        outcome = torch.stack([torch.stack(spikes), torch.stack(potentials)])
        (outcome * weights).sum().backward()
        results.append([outcome.detach(), x.grad, start.grad, *(p.grad for p in neurons.parameters())])
        with torch.no_grad():
            assert torch.equal(getattr(neurons, kind)(currents[0], first)[0], outcome[0, 0])
    assert len(results[0]) == 5 and 0.1 < results[0][0][0].mean() < 0.9
    for ours, theirs in zip(*results, strict=True):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_neurons_are_not_kept_alive() -> None:
    before = len(snntorch.SpikingNeuron.instances)
    EfficientSpikeFlowNet(2, 1, residual_blocks=1)
    assert len(snntorch.SpikingNeuron.instances) == before


def test_firing_rates_are_those_of_the_spikes_that_were_sent() -> None:
    network = small("spike-res")
    assert isinstance(network, EfficientSpikeFlowNet)
    sent: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Neurons):
            module.register_forward_hook(lambda m, args, out: sent.append(out[0].detach().mean((1, 2, 3))))
    state = network.init(2, H, W)
    assert not any(rate.any() for rate in network.firing_rates(state).values())
    _, state = network.scan(counts(2, 3), state)
    rates = network.firing_rates(state)
    last = sorted(float(rate[1]) for rate in sent[-6:])
    assert len(rates) == 6 and sorted(float(rate[1]) for rate in rates.values()) == last
    assert not any(rate.requires_grad for rate in rates.values()) and 0 < sum(last) < 6


def test_the_memoryless_network_sees_its_window_only() -> None:
    network = small("ev")
    assert isinstance(network, EVFlowNet)
    x = counts(1, 6)
    with torch.no_grad():
        flows, state = network.scan(x)
        other = network.scan(torch.cat([counts(1, 3, seed=9), x[:, 3:]], 1))[0]
        torch.testing.assert_close(network(x[:, 3:].flatten(1, 2))[-1], flows[:, -1], rtol=0, atol=0)
    assert torch.equal(other[:, -1], flows[:, -1]) and not torch.equal(other[:, -2], flows[:, -2])
    assert isinstance(state, EVFlowNetState) and torch.equal(state.window, x[:, 3:].flatten(1, 2))


@pytest.mark.parametrize(("flip", "axis", "sign"), [(RandomFlipLR(1.0), -1, (-1, 1)), (RandomFlipUD(1.0), -2, (1, -1))])
def test_flipped_events_are_flipped_counts_and_flow(flip: object, axis: int, sign: tuple[int, int]) -> None:
    """What a network learns from stays consistent: counts and flow of the flipped events are the flipped ones."""
    draw = np.random.default_rng(5)
    columns = {"x": draw.integers(0, W, 60), "y": draw.integers(0, H, 60), "p": draw.integers(0, 2, 60)}
    t = np.sort(draw.integers(0, 1000, 60))
    schema = Schema(unit="us", height=H, width=W)
    events = Events.from_sequences([{"t": t, **columns}], span=(0, 1000), schema=schema)
    flow = draw.normal(size=(H, W, 2))
    before = Sample(events, flow)
    after = flip(before, draw)  # type: ignore[operator]
    represent = EventCount(bins=4, height=H, width=W)
    np.testing.assert_array_equal(represent(after.events), np.flip(represent(events), axis))
    channels_first = np.moveaxis(flow, -1, 0)
    want = np.flip(channels_first, axis) * np.array(sign)[:, None, None]
    np.testing.assert_array_equal(np.moveaxis(after.flow, -1, 0), want)
    again = flip(after, draw)  # type: ignore[operator]
    np.testing.assert_array_equal(again.flow, flow)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTMFlowNet(0), r"LSTMFlowNet: width=0; expected a whole number of 1 or more"),
        (lambda: EVFlowNet(2, bins=0), r"EVFlowNet: bins=0"),
        (lambda: EfficientSpikeFlowNet(2, residual_blocks=-1), r"residual_blocks=-1; expected a whole number of 0"),
        (lambda: EfficientSpikeFlowNet(2, threshold=0.0), r"threshold=0.0; expected 0.01 or more"),
        (lambda: LSTMFlowNet(2, 3).init(1, 8, 12), r"images of 8x12; expected multiples of 8 .*CenterCrop\(\(8, 8\)\)"),
        (lambda: CompactFlowNet(2, 1), r"CompactFlowNet: depth=1; expected a whole number of 2 or more"),
        (lambda: CompactFlowNet(2, kernel=4), r"CompactFlowNet: kernel=4; expected an odd number"),
        (lambda: small("compact").update(small("compact").init(1, H, W), counts(2, 1)[:, 0]), r"\(1, 2, 8, 16\)"),
        (
            lambda: small("ev")(counts(1, 2).flatten(1, 2)),
            r"EVFlowNet: window is \(1, 4, 8, 16\); expected .*=6, H, W\)",
        ),
        (lambda: small("ev")(counts(1, 3).flatten(1, 2)[..., :6]), r"EVFlowNet: images of 8x6"),
        (lambda: small("ev").scan(torch.zeros(1, 2, 3, H, W)), r"EVFlowNet.scan: x is .*channels=2"),
        (lambda: small("lstm").scan(counts(1, 2), reset=torch.zeros(2, 1)), r"reset is \(2, 1\); expected \(B, T\)"),
        (
            lambda: small("spike").step(small("spike").init(2, H, W), counts(1, 1)[:, 0]),
            r"the state is for .*\(2, 2, 8",
        ),
        (lambda: small("ev").update(small("ev").init(1, H, W), counts(1, 1)[:, 0, :, :4]), r"x is \(1, 2, 4, 16\)"),
    ],
)
def test_what_does_not_fit_is_told(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
