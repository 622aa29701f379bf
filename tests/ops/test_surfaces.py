"""Time surface, timestamp image, event frame, event spike tensor: fast paths against definitions, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.ops import event_frame, spike_tensor, time_surface, timestamp_image, voxel_grid

H, W = 7, 10
SENSOR = {"height": H, "width": W}
SPANS = [None, (20_000, 80_000)]


def draw(n: int = 1500, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 500, n)) * 200
    return t, rng.integers(0, W, n), rng.integers(0, H, n), rng.integers(0, 2, n)


@pytest.mark.parametrize("at", [None, 50_000, 200_000])
@pytest.mark.parametrize("decay", ["exponential", "linear"])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_time_surface(backend, decay, at) -> None:
    events = draw(300)
    how = {"tau": 3e4, "decay": decay, "at": at, **SENSOR}
    want = time_surface(*events, backend="naive", **how)
    assert want.max() > (0.02 if decay == "exponential" else -1) and (want == 0).any()
    np.testing.assert_allclose(np.asarray(time_surface(*events, backend=backend, **how)), want, atol=1e-6)
    shuffled = np.random.default_rng(1).permutation(300)
    np.testing.assert_allclose(time_surface(*(v[shuffled] for v in events), **how), want, atol=1e-6)


def test_time_surface_by_hand_and_its_gradients() -> None:
    got = time_surface([0, 10, 30], [1, 1, 2], [0, 0, 0], [1, 1, 0], tau=20.0, at=30, **SENSOR)
    assert (
        got[0, 0, 1] == pytest.approx(np.exp(-1)) and got[1, 0, 2] == 1 and got.sum() == pytest.approx(1 + np.exp(-1))
    )
    t = torch.tensor([0.0, 1.0, 1.5, 2.5], dtype=torch.float64, requires_grad=True)
    tau = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    x, y, p = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 1])

    def run(t, tau):
        return time_surface(t, x, y, p, tau=tau, at=3.0, **SENSOR)

    assert torch.autograd.gradcheck(run, (t, tau))


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("reduce", ["last", "mean"])
def test_timestamp_image(reduce, span) -> None:
    events = draw()
    want = timestamp_image(*events, span=span, reduce=reduce, backend="naive", **SENSOR)
    got = timestamp_image(*events, span=span, reduce=reduce, **SENSOR)
    assert 0.2 < want.mean() <= 1 and got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("reduce", ["sum", "last"])
def test_event_frame(reduce, span) -> None:
    events = draw()
    want = event_frame(*events, span=span, reduce=reduce, backend="naive", **SENSOR)
    np.testing.assert_array_equal(event_frame(*events, span=span, reduce=reduce, **SENSOR), want)
    assert np.abs(want).sum() > 30
    if reduce == "sum":
        grid = voxel_grid(*events, bins=1, span=span, **SENSOR)
        np.testing.assert_array_equal(grid[0], want)
    if span is not None:
        frame = np.zeros((H, W), np.float32)
        for lo in range(0, 1500, 400):
            event_frame(*(v[lo : lo + 400] for v in events), span=span, reduce=reduce, out=frame, **SENSOR)
        np.testing.assert_array_equal(frame, want)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("measure", ["time", "count"])
@pytest.mark.parametrize("kernel", ["triangle", "exponential"])
@pytest.mark.parametrize("bins", [1, 2, 6])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_spike_tensor(backend, bins, kernel, measure, span) -> None:
    events = draw()
    how = {"bins": bins, "kernel": kernel, "measure": measure, "span": span, **SENSOR}
    want = spike_tensor(*events, backend="naive", **how)
    assert want.shape == (bins, 2, H, W) and want.sum() > 10
    np.testing.assert_allclose(np.asarray(spike_tensor(*events, backend=backend, **how)), want, rtol=1e-4, atol=1e-5)


def test_spike_tensor_holds_the_voxel_grid_and_learns_its_kernel() -> None:
    events = draw()
    apart = spike_tensor(*events, bins=5, measure="count", **SENSOR)
    np.testing.assert_allclose(apart[:, 0] - apart[:, 1], voxel_grid(*events, bins=5, **SENSOR), atol=1e-4)
    torch.manual_seed(0)  # a kernel that starts below zero everywhere has no gradient
    layer = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(layer.bias, 1.0)
    out = spike_tensor(*events, bins=3, kernel=lambda d: layer(d[..., None])[..., 0].relu(), **SENSOR)
    out.square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs() > 0
    t = torch.tensor([0.1, 0.35, 0.8], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(
        lambda t: spike_tensor(t, x, x, torch.ones(3), bins=4, span=(0.0, 1.0), **SENSOR), (t,)
    )


@pytest.mark.parametrize("op", [event_frame, timestamp_image, spike_tensor, time_surface])
def test_empty_single_and_wrong(op) -> None:
    extra = {spike_tensor: {"bins": 3}, time_surface: {"tau": 1.0}}.get(op, {})
    assert np.abs(op([], [], [], [], **extra, **SENSOR)).sum() == 0
    assert np.isfinite(op([5], [1], [2], [0], **extra, **SENSOR)).all()
    with pytest.raises(InputError, match="outside height=7, width=10"):
        op([5, 6], [1, 10], [2, 2], [0, 1], **extra, **SENSOR)
    with pytest.raises(InputError, match="sub-pixel"):
        op([5, 6], [1.5, 1], [2.0, 2], [0, 1], **extra, **SENSOR)
    with pytest.raises(InputError, match=r"p\[1\] is 2"):
        op([5, 6], [1, 1], [2, 2], np.array([0, 2], np.uint8), **extra, **SENSOR)
