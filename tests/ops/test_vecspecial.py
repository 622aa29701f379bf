"""Sine, cosine and the normal distribution of sixteen lanes, over their whole range."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest
from scipy.stats import norm

from eventflow.ops._lanes import LANES, load, store
from eventflow.ops._vecspecial import normal, sine_cosine


@nb.njit
def _circle(x: Any, one: Any, two: Any) -> None:
    for i in range(0, x.size, LANES):
        a, b = sine_cosine(load(x, i))
        store(one, i, a)
        store(two, i, b)


@nb.njit
def _normal(x: Any, one: Any, two: Any) -> None:
    for i in range(0, x.size, LANES):
        a, b = normal(load(x, i))
        store(one, i, a)
        store(two, i, b)


def evaluate(kernel: Any, x: Any) -> tuple[Any, Any]:
    padded = np.zeros(-(-len(x) // LANES) * LANES, x.dtype)
    padded[: len(x)] = x
    one, two = np.empty_like(padded), np.empty_like(padded)
    kernel(padded, one, two)
    return one[: len(x)], two[: len(x)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_circle(dtype: type) -> None:
    rng = np.random.default_rng(0)
    quarters = np.arange(-40, 41) * np.pi / 4
    parts = [rng.uniform(-wide, wide, 1 << 14) for wide in (1.0, 100.0, 2e6)]
    x = np.concatenate([*parts, quarters, [0.0]]).astype(dtype)
    s, c = evaluate(_circle, x)
    limit = 1.5e-7 if dtype is np.float32 else 5e-16
    exact = x.astype(np.longdouble)
    assert np.abs(s - np.sin(exact)).max() < limit
    assert np.abs(c - np.cos(exact)).max() < limit
    beyond = evaluate(_circle, np.array([1e30, -1e30, np.inf, np.nan], dtype))
    assert np.isfinite(np.array(beyond)[:, :3]).all() and np.isnan(np.array(beyond)[:, 3]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal(dtype: type) -> None:
    x = np.concatenate([np.linspace(-8, 8, 10_001), np.linspace(-0.01, 0.01, 101)]).astype(dtype)
    cdf, pdf = evaluate(_normal, x)
    wide = x.astype(np.float64)
    limit = (4e-7 if dtype is np.float32 else 1e-14) * (1 + wide**2 / 2)
    assert (np.abs(cdf / norm.cdf(wide) - 1) < limit).all()
    assert (np.abs(pdf / norm.pdf(wide) - 1) < limit).all()
    ends = evaluate(_normal, np.array([np.inf, -np.inf, 50.0, -50.0, np.nan, 0.0], dtype))
    np.testing.assert_allclose(ends[0], [1, 0, 1, 0, np.nan, 0.5], rtol=3e-7, atol=1e-38)
    np.testing.assert_allclose(ends[1], [0, 0, 0, 0, np.nan, norm.pdf(0)], rtol=3e-7, atol=1e-38)
