"""Losses of flow networks: masks, scales, warped events; what a step costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops import event_count
from eventflow.vision import EfficientSpikeFlowNet, EVFlowNet, LSTMFlowNet, epe
from eventflow.vision._flow_losses import contrast_loss, supervised_loss, warped_events
from eventflow.vision._flow_work import AC_JOULE, MAC_JOULE, work_of


def some(seed: int = 0, size: tuple[int, int] = (8, 12)) -> tuple[list[Tensor], Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    flows = [torch.randn(2, 2, size[0] >> k, size[1] >> k, generator=g, dtype=torch.float64) for k in (2, 1, 0)]
    truth = torch.randn(2, 2, *size, generator=g, dtype=torch.float64)
    return [f.requires_grad_() for f in flows], truth, torch.rand(2, *size, generator=g) > 0.3


def test_the_loss_is_the_end_point_error_of_the_known_pixels() -> None:
    flows, truth, valid = some()
    loss = supervised_loss(flows, truth, valid)
    assert loss.weight == valid.sum()
    torch.testing.assert_close(loss.total / loss.weight, epe(flows[-1], truth, valid), rtol=1e-5, atol=0)
    square = supervised_loss(flows, truth, valid, measure="mse")
    difference = (flows[-1] - truth).movedim(1, -1)[valid]
    torch.testing.assert_close(square.total / square.weight, (difference**2).mean())


def test_what_is_unknown_matters_to_neither_value_nor_gradient() -> None:
    flows, truth, valid = some()
    grads = []
    for filling in (0.0, float("nan")):
        given = torch.where(valid[:, None], truth, filling)
        loss = supervised_loss(flows, given, valid, scales=(1.0, 0.5, 0.25))
        grads.append([*torch.autograd.grad(loss.total, flows), loss.total.detach()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b) and a.isfinite().all()
    assert not grads[0][2].movedim(1, -1)[~valid].any() and grads[0][2].movedim(1, -1)[valid].any()


def test_a_coarse_scale_is_judged_by_the_mean_of_its_block() -> None:
    truth = torch.arange(32.0).reshape(1, 2, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, 0, :2] = False  # half of the first block
    mean = torch.stack([truth[0, :, r : r + 2, c : c + 2].flatten(1).mean(1) for r in (0, 2) for c in (0, 2)], 1)
    mean = mean.reshape(1, 2, 2, 2)
    mean[0, :, 0, 0] = truth[0, :, 1, :2].mean(1)
    good = supervised_loss([mean, truth], truth, valid, scales=(1.0, 1.0))
    assert float(good.total / good.weight) == pytest.approx(1e-3, rel=1e-3)
    off = mean.clone()
    off[0, 0, 0, 0] += 3
    worse = supervised_loss([off, truth], truth, valid, scales=(1.0, 1.0))
    assert float(worse.total - good.total) == pytest.approx((3 - 1e-3) * 2 / 2, rel=1e-3)  # 2 known pixels, half weight


def test_wrong_settings_are_told() -> None:
    flows, truth, valid = some()
    with pytest.raises(InputError, match="did you mean 'epe'"):
        supervised_loss(flows, truth, valid, measure="eppe")
    with pytest.raises(InputError, match="the network has 3 scales"):
        supervised_loss(flows, truth, valid, scales=(1, 1, 1, 1))


def test_warped_events_are_those_of_the_definition() -> None:
    """Each event moved by itself, and counted by the operation that counts events."""
    g = torch.Generator().manual_seed(4)
    counts = torch.poisson(torch.full((1, 5, 2, 9, 11), 0.4), generator=g).double()
    flow = 4 * torch.randn(1, 2, 9, 11, generator=g, dtype=torch.float64)
    for reference in (0.0, 1.0):
        _, step, channel, y, x = torch.repeat_interleave(counts.nonzero(), counts[counts > 0].long(), 0).unbind(1)
        move = (reference - (step + 0.5) / 5)[None] * flow[0, :, y, x]
        want = event_count(
            torch.zeros(len(x), dtype=torch.int64), x + move[0], y + move[1], 1 - channel, bins=1, height=9, width=11,
            span=(0, 1), interpolation="bilinear", backend="naive",
        )  # fmt: skip
        got = warped_events(counts, flow, reference=reference)
        torch.testing.assert_close(got, want.to(got.dtype), rtol=1e-5, atol=1e-5)


def test_warped_events_have_gradients() -> None:
    g = torch.Generator().manual_seed(5)
    counts = torch.poisson(torch.full((1, 3, 1, 5, 6), 0.6), generator=g).double()
    flow = (0.3 + 0.2 * torch.rand(1, 2, 5, 6, generator=g, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: warped_events(counts, f, reference=1.0), (flow,))


def edge(speed: float, steps: int = 10) -> Tensor:
    """Events of points that travel ``speed`` pixels to the right in all steps, two pixels to the right at most."""
    counts = torch.zeros(1, steps, 1, 20, 40)
    for k in range(12):
        for i in range(steps):
            counts[0, i, 0, (5 * k) % 20, round(6 + 2 * k + speed * (i + 0.5) / steps)] += 1
    return counts


def test_the_true_flow_is_the_sharpest() -> None:
    counts = edge(8.0)
    losses = {}
    for u in (-8.0, 0.0, 4.0, 7.0, 8.0, 9.0, 12.0):
        flow = torch.zeros(1, 2, 20, 40)
        flow[:, 0] = u
        losses[u] = float(contrast_loss(counts, flow, smoothness=0.0).total)
    assert min(losses, key=lambda u: losses[u]) == 8.0 and losses[0.0] == pytest.approx(1.0, rel=1e-3)
    assert losses[8.0] < 0.2 and losses[-8.0] > 4 * losses[8.0]


def test_descending_the_contrast_finds_the_flow() -> None:
    counts, motion = edge(6.0), torch.tensor([3.0, 0.5], requires_grad=True)
    optimizer = torch.optim.Adam([motion], lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        flow = motion[None, :, None, None].expand(1, 2, 20, 40)
        contrast_loss(counts, flow).total.backward()
        optimizer.step()
    assert motion.detach().tolist() == pytest.approx([6.0, 0.0], abs=0.5)


def test_images_without_events_count_for_nothing() -> None:
    counts = torch.cat([edge(8.0), torch.zeros(1, 10, 1, 20, 40)])
    flow = torch.randn(2, 2, 20, 40, requires_grad=True)
    loss = contrast_loss(counts, flow)
    loss.total.backward()
    assert loss.weight == 1 and loss.total.isfinite() and flow.grad is not None and not flow.grad[1].any()


@pytest.mark.parametrize(
    ("make", "giga"),
    [(EVFlowNet, 13.23), (LSTMFlowNet, 72.14), (EfficientSpikeFlowNet, 7.97)],
)
def test_work_is_the_paper_s(make, giga: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """GMAC of a step at 288 x 384, as counted on the authors' networks; here at 16 x 16: work grows with the area."""
    monkeypatch.setattr(torch.nn.init, "orthogonal_", lambda weight, gain: weight)  # which takes seconds
    network = make()
    work, _ = work_of(network, torch.zeros(1, 1, 2, 16, 16), network.init(1, 16, 16))
    assert work.dense * (288 * 384) / (16 * 16) / 1e9 == pytest.approx(giga, rel=0.01)


def test_spikes_are_accumulates_and_the_rest_are_not() -> None:
    torch.manual_seed(0)
    network = EfficientSpikeFlowNet(2, 2, threshold=0.05).eval()
    counts = torch.poisson(torch.full((2, 4, 2, 8, 8), 0.5))
    state = network.init(2, 8, 8)
    work, after = work_of(network, counts, state)
    layers = {layer.name: layer for layer in work.layers}
    first = layers["unet.encoders.0.convolution"]
    assert first.acs == 0 and first.macs == first.dense == 16 * 9 * 2 * 4
    second, total = layers["unet.encoders.1.convolution"], 0.0
    with torch.no_grad():
        for x in counts.unbind(1):
            _, state = network.step(state, x)
            total += float(network.firing_rates(state)["encoders.0"].mean())
    assert second.macs == 0 and second.acs == pytest.approx(second.dense * total / 4, rel=1e-6)
    assert 0 < work.acs < work.dense and work.joules == pytest.approx(work.macs * MAC_JOULE + work.acs * AC_JOULE)
    last = layers["unet.decoders.1.convolution"]
    assert last.macs / last.dense == pytest.approx(2 / 10), "the coarser flow is no spikes: 2 of 4 + 4 + 2 channels"
    for a, b in zip(after.encoders, state.encoders, strict=True):
        torch.testing.assert_close(a, b)


def test_a_network_of_real_numbers_has_no_accumulates() -> None:
    network = LSTMFlowNet(2, 2, residual_blocks=0)
    work, _ = work_of(network, torch.zeros(1, 2, 2, 8, 8), network.init(1, 8, 8))
    assert work.acs == 0 and work.macs == work.dense
