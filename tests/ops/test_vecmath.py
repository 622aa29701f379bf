"""The functions of sixteen lanes over their whole range, infinities and NaN included; and that they are vectorised."""

from __future__ import annotations

import re
from typing import Any

import numba as nb
import numpy as np
import pytest

from eventflow.ops import _vecmath
from eventflow.ops._lanes import LANES, at_least, at_most, fma, from_rows, load, splat, store, to_rows, total, where

LIMITS = {np.float32: 3.5e-7, np.float64: 6e-16}  # relative
TRUTH = {
    "exp": np.exp,
    "exp_decay": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus_sigmoid": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}


def compiled(name: str) -> Any:
    function = getattr(_vecmath, name)
    if name == "softplus_sigmoid":

        @nb.njit
        def both(x: Any, out: Any, slope: Any) -> None:
            for i in range(0, x.size, LANES):
                value, derivative = function(load(x, i))
                store(out, i, value)
                store(slope, i, derivative)

        return both

    @nb.njit
    def one(x: Any, out: Any, slope: Any) -> None:
        for i in range(0, x.size, LANES):
            store(out, i, function(load(x, i)))

    return one


KERNELS = {name: compiled(name) for name in TRUTH}


def evaluate(name: str, x: Any) -> tuple[Any, Any]:
    padded = np.zeros(-(-len(x) // LANES) * LANES, x.dtype)
    padded[: len(x)] = x
    out, slope = np.empty_like(padded), np.empty_like(padded)
    KERNELS[name](padded, out, slope)
    return out[: len(x)], slope[: len(x)]


def sample(name: str, dtype: type) -> Any:
    rng = np.random.default_rng(0)
    wide = 87 if dtype is np.float32 else 700
    small = np.logspace(-37 if dtype is np.float32 else -300, 0, 1 << 15)
    x = np.concatenate([rng.uniform(-wide, wide, 1 << 17), rng.uniform(-10, 10, 1 << 17), small, -small, [0.0]])
    return (-np.abs(x) if name == "exp_decay" else x).astype(dtype)


def relative_error(value: Any, truth: Any, dtype: type) -> float:
    normal = np.abs(truth) > np.finfo(dtype).tiny
    return float(np.max(np.abs(value[normal] - truth[normal]) / np.abs(truth[normal])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(TRUTH))
def test_relative_error_over_the_whole_range(name: str, dtype: type) -> None:
    x = sample(name, dtype)
    value, slope = evaluate(name, x)
    exact = x.astype(np.longdouble)
    assert relative_error(value, TRUTH[name](exact), dtype) < LIMITS[dtype]
    if name == "softplus_sigmoid":
        assert relative_error(slope, TRUTH["sigmoid"](exact), dtype) < LIMITS[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_of_the_range_and_nan(dtype: type) -> None:
    inf, nan, big = np.inf, np.nan, np.finfo(dtype).max
    x = np.array([inf, -inf, nan, 0.0, big, -big, 1e4, -1e4], dtype)
    np.testing.assert_array_equal(evaluate("exp", x)[0], np.array([inf, 0, nan, 1, inf, 0, inf, 0], dtype))
    np.testing.assert_array_equal(evaluate("tanh", x)[0], np.array([1, -1, nan, 0, 1, -1, 1, -1], dtype))
    np.testing.assert_array_equal(evaluate("sigmoid", x)[0], np.array([1, 0, nan, 0.5, 1, 0, 1, 0], dtype))
    value, slope = evaluate("softplus_sigmoid", x)
    np.testing.assert_allclose(value, np.array([inf, 0, nan, np.log(2), big, 0, 1e4, 0], dtype), rtol=LIMITS[dtype])
    np.testing.assert_allclose(slope, np.array([1, 0, nan, 0.5, 1, 0, 1, 0], dtype), rtol=LIMITS[dtype])
    floor = np.exp(dtype(-87 if dtype is np.float32 else -708))
    below = np.array([-inf, -1e4, nan, 0.0], dtype)
    np.testing.assert_allclose(evaluate("exp_decay", below)[0], np.array([floor, floor, nan, 1], dtype), rtol=1e-6)


@pytest.mark.parametrize("name", list(TRUTH))
def test_no_call_and_no_branch_per_element(name: str) -> None:
    """The assembly works on vectors of numbers and calls no scalar math function."""
    evaluate(name, np.ones(LANES, np.float32))
    assembly = next(text for kinds, text in KERNELS[name].inspect_asm().items() if "float32" in str(kinds[0]))
    packed, scalar = len(re.findall(r"\b\w+ps\b", assembly)), len(re.findall(r"\bv?(?:mul|add|sub|div)ss\b", assembly))
    if not re.search(r"[xyz]mm\d", assembly):
        pytest.skip("not an x86 machine")
    assert packed > 10 * scalar
    assert not re.search(r"\b(?:expf?|tanhf?|log1pf?)\b", assembly)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 40])
def test_rows_to_lanes_and_back(width: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((30, 3, width)).astype(dtype)
    starts = (rng.permutation(30)[:LANES] * 3 + 1) * width
    lanes, back = np.zeros((2, width * LANES), dtype), np.zeros_like(rows)
    from_rows(rows, starts, width, lanes, width * LANES, LANES)
    chosen = rows.reshape(-1, width)[starts // width]
    np.testing.assert_array_equal(lanes[1].reshape(width, LANES), chosen.T)
    assert not lanes[0].any()
    to_rows(back, starts, width, lanes, width * LANES, LANES)
    np.testing.assert_array_equal(back.reshape(-1, width)[starts // width], chosen)
    back.reshape(-1, width)[starts // width] = 0
    assert not back.any()


@nb.njit
def _arithmetic(x: Any, out: Any) -> Any:
    v = load(x, 0)
    store(out, 0, fma(v, 2.0, 1.0) - v / 4 + 3 * v)
    store(out, 16, at_most(at_least(v, 4.0), 9.5))
    store(out, 32, where(v - 7.5, splat(x[1]), 0.0))
    return total(v)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanewise_arithmetic(dtype: type) -> None:
    x, out = np.arange(16, dtype=dtype), np.zeros((3, 16), dtype)
    assert _arithmetic(x, out) == 120
    np.testing.assert_allclose(out[0], 2 * x + 1 - x / 4 + 3 * x)
    np.testing.assert_array_equal(out[1], np.clip(x, 4, 9.5))
    np.testing.assert_array_equal(out[2], (x > 7.5).astype(dtype))
