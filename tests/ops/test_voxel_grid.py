"""ops.voxel_grid: its laws, its fast paths against the definition, gradients, chunks, errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops import voxel_grid

H, W = 9, 13
SENSOR = {"height": H, "width": W}
FAST = ["numba", "torch"]
INTERPOLATIONS = ["time", "trilinear", "nearest"]


def draw(n: int, seed: int = 0, *, sub_pixel: bool = False) -> tuple[np.ndarray, ...]:
    """Events with ties, near 2^35 microseconds; sub-pixel ones reach over all four edges."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300, n)) * 333 + 49_599_300_523
    if sub_pixel:
        x, y = rng.uniform(-2, W + 1, n), rng.uniform(-2, H + 1, n)
    else:
        x, y = rng.integers(0, W, n).astype(np.uint16), rng.integers(0, H, n).astype(np.uint16)
    return t, x, y, rng.integers(0, 2, n).astype(np.uint8)


def bent(seed: int = 1) -> np.ndarray:
    """A rectification map that throws some pixels off the sensor."""
    rng = np.random.default_rng(seed)
    return np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1) + rng.normal(scale=1.3, size=(H, W, 2))


@pytest.mark.parametrize("span", [None, (49_599_310_000, 49_599_380_000)], ids=["closed", "given"])
@pytest.mark.parametrize("bins", [1, 2, 5, 15])
@pytest.mark.parametrize("positions", ["pixels", "sub-pixel", "rectified"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("backend", FAST)
def test_fast_paths_are_the_definition(backend, interpolation, positions, bins, span) -> None:
    events = draw(2500, sub_pixel=positions == "sub-pixel")
    how = {"bins": bins, "span": span, "interpolation": interpolation, **SENSOR}
    how["rectify"] = bent() if positions == "rectified" else None
    want = voxel_grid(*events, backend="naive", **how)
    assert np.abs(want).sum() > 100
    got = voxel_grid(*events, backend=backend, **how)
    assert got.dtype == (np.float32 if backend == "numba" else torch.float32)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=3e-6)


def test_the_definition_by_hand() -> None:
    grid = voxel_grid([0, 25, 100], [1, 2, 3], [0, 0, 1], [1, 0, 1], bins=3, backend="naive", **SENSOR)
    want = np.zeros((3, H, W))
    want[0, 0, 1], want[2, 1, 3] = 1, 1
    want[0, 0, 2], want[1, 0, 2] = -0.5, -0.5
    np.testing.assert_array_equal(grid, want)
    eight = voxel_grid([0, 3, 4], [0, 4.25, 0], [0, 2.5, 0], [1, 1, 1], bins=3, interpolation="trilinear", **SENSOR)
    for b, row, column, value in (
        (1, 2, 4, 0.5 * 0.5 * 0.75),
        (1, 3, 5, 0.5 * 0.5 * 0.25),
        (2, 2, 4, 0.5 * 0.5 * 0.75),
    ):
        assert eight[b, row, column] == pytest.approx(value)
    nearest = voxel_grid([0, 26, 100], [0.4, 1.5, 2], [0, 0, 0], [1, 1, 1], bins=3, interpolation="nearest", **SENSOR)
    assert nearest[0, 0, 0] == nearest[1, 0, 2] == nearest[2, 0, 2] == 1 and nearest.sum() == 3


@pytest.mark.parametrize("backend", ["naive", *FAST])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_mass_is_conserved(backend, interpolation) -> None:
    t, x, y, p = draw(700)
    grid = voxel_grid(t, x, y, p, bins=7, interpolation=interpolation, backend=backend, **SENSOR)
    assert float(grid.sum()) == pytest.approx(2.0 * p.sum() - len(p), abs=1e-3)
    within = (t >= t[100]) & (t < t[600])
    part = voxel_grid(t, x, y, p, bins=7, span=(t[100], t[600]), interpolation=interpolation, backend=backend, **SENSOR)
    assert float(part.sum()) == pytest.approx(2.0 * p[within].sum() - within.sum(), abs=1e-3)


@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_negative_positions_are_floored(backend) -> None:
    """x = -0.5 shares half with pixel 0, positively; truncation would write -0.5 into pixel 1."""
    grid = np.asarray(
        voxel_grid([0, 1], [-0.5, 5], [0, 5], [1, 1], bins=2, interpolation="trilinear", backend=backend, **SENSOR)
    )
    assert grid[0, 0, 0] == 0.5 and grid[0].sum() == 0.5
    for interpolation, pixel in (("time", None), ("nearest", 0)):
        grid = np.asarray(
            voxel_grid(
                [0, 1], [-0.5, 5], [0, 5], [1, 1], bins=2, interpolation=interpolation, backend=backend, **SENSOR
            )
        )
        assert grid[0].sum() == (0 if pixel is None else 1)


@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_polarity_encodings_agree_and_nothing_is_changed(backend) -> None:
    t, x, y, p = draw(300)
    want = voxel_grid(t, x, y, p, bins=5, backend=backend, **SENSOR)
    for same in (p.astype(bool), p.astype(np.int64), 2 * p.astype(np.int8) - 1, p.astype(float), 2.0 * p - 1):
        before = [v.copy() for v in (t, x, y, same)]
        got = voxel_grid(t, x, y, same, bins=5, backend=backend, **SENSOR)
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
        for given_, kept in zip((t, x, y, same), before, strict=True):
            np.testing.assert_array_equal(given_, kept)


@pytest.mark.parametrize("backend", ["naive", *FAST])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_empty_single_and_simultaneous_events_are_finite(backend, interpolation) -> None:
    how = {"bins": 5, "interpolation": interpolation, "backend": backend, **SENSOR}
    assert float(np.abs(np.asarray(voxel_grid([], [], [], [], **how))).sum()) == 0
    assert float(np.abs(np.asarray(voxel_grid([], [], [], [], span=(0, 9), **how))).sum()) == 0
    one = np.asarray(voxel_grid([7], [3], [4], [0], **how))
    assert one[0, 4, 3] == -1 and np.abs(one).sum() == 1
    many = np.asarray(voxel_grid([7] * 6, [3] * 6, [4] * 6, [1] * 6, **how))
    assert many[0, 4, 3] == 6 and many.sum() == 6


@pytest.mark.parametrize("span", [None, (49_599_310_000, 49_599_380_000)], ids=["closed", "given"])
@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_order_does_not_matter(backend, span) -> None:
    events = draw(900)
    order = np.random.default_rng(3).permutation(900)
    a, b = (
        np.asarray(voxel_grid(*e, bins=6, span=span, backend=backend, **SENSOR))
        for e in (events, tuple(v[order] for v in events))
    )
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@given(cuts=st.lists(st.integers(0, 3000), max_size=6), seed=st.integers(0, 5))
def test_any_chunking_gives_the_same_bits(interpolation, cuts, seed) -> None:
    events = draw(3000, seed, sub_pixel=interpolation == "trilinear")
    how = {"bins": 5, "span": (49_599_310_000, 49_599_380_000), "interpolation": interpolation, **SENSOR}
    whole = voxel_grid(*events, **how)
    grid = np.zeros((5, H, W), np.float32)
    edges = [0, *sorted(cuts), 3000]
    for lo, hi in zip(edges, edges[1:], strict=False):
        assert voxel_grid(*(v[lo:hi] for v in events), out=grid, **how) is grid
    np.testing.assert_array_equal(grid, whole)


@pytest.mark.parametrize("kind", [np.uint32, np.int32, np.uint64, np.float64])
def test_dtypes_of_time(kind) -> None:
    t, x, y, p = draw(400)
    small = (t - t[0]).astype(kind)
    want = voxel_grid(t, x, y, p, bins=4, **SENSOR)
    np.testing.assert_allclose(voxel_grid(small, x, y, p, bins=4, **SENSOR), want, atol=1e-5)
    later = voxel_grid(small, x, y, p, bins=4, span=(50_000, 90_000), **SENSOR)
    np.testing.assert_allclose(
        later, voxel_grid(t, x, y, p, bins=4, span=(t[0] + 50_000, t[0] + 90_000), **SENSOR), atol=1e-5
    )


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing_but_rounding(interpolation, threads) -> None:
    t, x, y, p = draw(5000)
    how = {"bins": 9, "interpolation": interpolation, **SENSOR}
    np.testing.assert_allclose(voxel_grid(t, x, y, p, threads=threads, **how), voxel_grid(t, x, y, p, **how), atol=1e-5)
    grid = np.ones((9, H, W), np.float32)
    voxel_grid(t, x, y, p, span=(t[0], t[-1] + 1), out=grid, threads=threads, **how)
    np.testing.assert_allclose(grid - 1, voxel_grid(t, x, y, p, span=(t[0], t[-1] + 1), **how), atol=1e-5)


@pytest.mark.parametrize("kind", ["outside the window", "silent in between", "out of order", "two bins", "all at once"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_threads_whatever_the_times(interpolation, kind) -> None:
    t, x, y, p = draw(4000)
    span, bins = (int(t[0]), int(t[-1]) + 1), 9
    if kind == "outside the window":
        span = (int(t[900]), int(t[3100]))
    elif kind == "silent in between":
        t = np.where(t > t[1000], t[-1] - 5, t)
    elif kind == "out of order":
        t = np.random.default_rng(0).permutation(t)
    elif kind == "two bins":
        bins = 2
    else:
        t = np.full_like(t, t[0])
    how = {"bins": bins, "interpolation": interpolation, "span": span, **SENSOR}
    want = voxel_grid(t, x, y, p, backend="naive", **how)
    for threads in (2, 3, 7):
        np.testing.assert_allclose(voxel_grid(t, x, y, p, threads=threads, **how), want, rtol=1e-5, atol=2e-5)
    with pytest.raises(InputError, match="outside height"):
        voxel_grid(t, np.append(x[:-1], W), y, p, threads=2, **how)


@pytest.mark.parametrize("interpolation", ["time", "trilinear"])
def test_a_block_after_the_other_like_all_at_once(interpolation) -> None:
    """Many events between two planes, then few, then many again, some off the sensor, some going back in time."""
    rng = np.random.default_rng(5)
    t = np.concatenate([np.sort(rng.integers(0, 250, 5000)), rng.integers(250, 500, 90), np.arange(500, 1000)])
    t[-40:] = rng.integers(0, 1000, 40)
    x, y = (rng.uniform(-1, side + 1, len(t)) for side in (W, H))
    p = rng.integers(0, 2, len(t)).astype(np.uint8)
    how = {"bins": 5, "span": (0, 1000), "interpolation": interpolation, **SENSOR}
    whole = voxel_grid(t, x, y, p, **how)
    np.testing.assert_allclose(whole, voxel_grid(t, x, y, p, backend="naive", **how), rtol=1e-5, atol=2e-4)
    grid = np.zeros_like(whole)
    for i in range(len(t)):
        voxel_grid(*(v[i : i + 1] for v in (t, x, y, p)), out=grid, **how)
    np.testing.assert_array_equal(grid, whole)


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    t, x, y = (
        torch.tensor(v, requires_grad=True)
        for v in (np.sort(rng.uniform(0, 1, 8)), rng.uniform(-0.9, W - 0.2, 8), rng.uniform(-0.9, H - 0.2, 8))
    )
    p = torch.tensor(rng.integers(0, 2, 8))

    def run(t, x, y):
        return voxel_grid(t, x, y, p, bins=4, interpolation="trilinear", span=(-0.1, 1.1), **SENSOR)

    assert run(t, x, y).dtype == torch.float64
    assert torch.autograd.gradcheck(run, (t, x, y))
    closed = torch.autograd.gradcheck(lambda t: voxel_grid(t, x.detach(), y.detach(), p, bins=4, **SENSOR), (t,))
    assert closed


def test_tensors_in_tensor_out() -> None:
    t, x, y, p = draw(200)
    want = voxel_grid(t, x, y, p, bins=3, **SENSOR)
    got = voxel_grid(*(torch.tensor(v.astype(np.int64)) for v in (t, x, y, p)), bins=3, **SENSOR)
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), want)


BAD = {
    "outside height": ({"x": [1, W]}, {}),
    "negative": ({"x": np.array([1, -1])}, {}),
    "p[1] is 2": ({"p": [0, 2]}, {}),
    "both 0 and -1": ({"p": [0, -1]}, {}),
    "shapes": ({"p": [0]}, {}),
    "finite": ({"t": [0.0, np.nan]}, {}),
    "did you mean 'trilinear'": ({}, {"interpolation": "trilinar"}),
    "start < end": ({}, {"span": (5, 5)}),
    "whole ticks": ({}, {"span": (0.5, 9)}),
    "positive integer": ({}, {"bins": 0}),
    "rectify has shape": ({}, {"rectify": np.zeros((W, H, 2))}),
    "needs a fixed window": ({}, {"out": np.zeros((3, H, W), np.float32)}),
    "out is float64": ({}, {"out": np.zeros((3, H, W)), "span": (0, 9)}),
    "did you mean 'numba'": ({}, {"backend": "numbar"}),
}


@pytest.mark.parametrize("message", BAD)
def test_mistakes_are_named(message) -> None:
    columns, options = BAD[message]
    good = {"t": [0, 5], "x": [1, 2], "y": [3, 4], "p": [0, 1]}
    with pytest.raises(InputError, match="expected|outside" if message == "negative" else message.replace("[", r"\[")):
        voxel_grid(**{**good, **columns}, **{"bins": 3, **SENSOR, **options})


def test_a_fault_leaves_the_grid_so_far_alone() -> None:
    grid = np.ones((3, H, W), np.float32)
    with pytest.raises(InputError):
        voxel_grid([0] * 3000, [1] * 2999 + [W], [0] * 3000, [1] * 3000, bins=3, span=(0, 9), out=grid, **SENSOR)
    assert (grid == 1).all()


def test_importing_ops_imports_neither_torch_nor_numba() -> None:
    code = "import sys, eventflow.ops; assert not {'torch', 'numba'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
