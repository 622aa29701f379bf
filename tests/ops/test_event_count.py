"""ops.event_count: its laws, its fast paths against the definition, gradients, chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops import event_count

H, W = 8, 11
SENSOR = {"height": H, "width": W}


def draw(n: int, seed: int = 0, *, sub_pixel: bool = False) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 500, n)) * 200
    x, y = (rng.uniform(-1.5, s + 0.5, n) if sub_pixel else rng.integers(0, s, n) for s in (W, H))
    return t, x, y, rng.integers(0, 2, n).astype(bool)


@pytest.mark.parametrize("span", [None, (20_000, 80_000)], ids=["closed", "given"])
@pytest.mark.parametrize("bins", [1, 2, 10])
@pytest.mark.parametrize("positions", ["pixels", "sub-pixel", "rectified"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_fast_paths_are_the_definition(backend, interpolation, positions, bins, span) -> None:
    events = draw(2500, sub_pixel=positions == "sub-pixel")
    rng = np.random.default_rng(4)
    table = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1) + rng.normal(size=(H, W, 2))
    how = {"bins": bins, "span": span, "interpolation": interpolation, **SENSOR}
    how["rectify"] = table if positions == "rectified" else None
    want = event_count(*events, backend="naive", **how)
    assert want.shape == (bins, 2, H, W) and want.sum() > 1000
    np.testing.assert_allclose(np.asarray(event_count(*events, backend=backend, **how)), want, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("backend", ["naive", "numba", "torch"])
def test_by_hand(backend) -> None:
    """Ten milliseconds a bin; the last instant of a closed window belongs to the last bin; channel 0 is positive."""
    got = np.asarray(
        event_count([0, 10, 19, 20], [1, 2, 3, 4], [0] * 4, [1, 0, 1, 1], bins=2, backend=backend, **SENSOR)
    )
    want = np.zeros((2, 2, H, W))
    want[0, 0, 0, 1] = want[1, 1, 0, 2] = want[1, 0, 0, 3] = want[1, 0, 0, 4] = 1
    np.testing.assert_array_equal(got, want)
    half = np.asarray(
        event_count([0], [-0.25], [2.5], [0], bins=1, interpolation="bilinear", backend=backend, **SENSOR)
    )
    assert half[0, 1, 2, 0] == half[0, 1, 3, 0] == 0.375 and half.sum() == 0.75


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@given(cuts=st.lists(st.integers(0, 2500), max_size=5))
def test_any_chunking_gives_the_same_bits(interpolation, cuts) -> None:
    events = draw(2500, 2, sub_pixel=True)
    how = {"bins": 4, "span": (10_000, 90_000), "interpolation": interpolation, **SENSOR}
    grid = np.zeros((4, 2, H, W), np.float32)
    edges = [0, *sorted(cuts), 2500]
    for lo, hi in zip(edges, edges[1:], strict=False):
        event_count(*(v[lo:hi] for v in events), out=grid, **how)
    np.testing.assert_array_equal(grid, event_count(*events, **how))


def test_order_threads_and_encodings() -> None:
    t, x, y, p = draw(4000)
    want = event_count(t, x, y, p, bins=3, **SENSOR)
    assert want.sum() == 4000 and want[:, 0].sum() == p.sum()
    order = np.random.default_rng(0).permutation(4000)
    np.testing.assert_array_equal(event_count(t[order], x[order], y[order], p[order], bins=3, **SENSOR), want)
    np.testing.assert_array_equal(event_count(t, x, y, p, bins=3, threads=2, **SENSOR), want)
    np.testing.assert_array_equal(event_count(t, x, y, 2 * p.astype(int) - 1, bins=3, **SENSOR), want)


def test_gradients_of_the_image_of_warped_events() -> None:
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(rng.uniform(-0.9, s - 0.2, 9), requires_grad=True) for s in (W, H))
    t, p = torch.arange(9), torch.tensor(rng.integers(0, 2, 9))

    def image(x, y):
        return event_count(t, x, y, p, bins=2, interpolation="bilinear", **SENSOR)

    assert torch.autograd.gradcheck(image, (x, y))


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="outside height=8, width=11"):
        event_count([0, 1], [0, 11], [0, 0], [1, 1], bins=1, **SENSOR)
    with pytest.raises(InputError, match=r"p\[1\] is 3"):
        event_count([0, 1], [0, 1], [0, 0], np.array([1, 3], np.uint8), bins=1, **SENSOR)
    with pytest.raises(InputError, match="known: bilinear, nearest|did you mean"):
        event_count([0, 1], [0, 1], [0, 0], [1, 1], bins=1, interpolation="time", **SENSOR)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_whole_pixel_off_the_sensor_is_a_fault(interpolation) -> None:
    with pytest.raises(InputError, match="outside height"):
        event_count([0, 1], [0, SENSOR["width"]], [0, 0], [1, 1], bins=1, interpolation=interpolation, **SENSOR)
