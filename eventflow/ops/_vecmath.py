"""exp, tanh, sigmoid and softplus of sixteen lanes: branch-free, without a vector math library.

Relative errors (tested): float32 at most 2.5e-7, float64 at most 5e-16, over the whole range; infinities and NaN as in
libm; subnormal results may be flushed. All rest on one reduction: x = k log 2 + r with whole k and |r| <= log(2) / 2,
and expm1(r) = r + r^2 q(r) with a minimax polynomial q (fitted by Remez exchange for the relative error).
For use inside ``numba.njit``, on :class:`~eventflow.ops._lanes.Lanes`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba.core import types
from numba.extending import overload

from eventflow.ops._lanes import JIT, Lanes, absolute, at_least, at_most, fma, power_of_two, splat, where

_LOG2_E = 1.4426950408889634
_EXPM1_32 = (
    0.0013946553928778319,
    0.0083666439062791791,
    0.041666280640578119,
    0.16666542546084521,
    0.50000000622711271,
)
_EXPM1_64 = (
    2.5114578760541515e-8, 2.7626451117553425e-7, 2.7557227645024451e-6, 2.4801504146574455e-5, 1.9841269903343637e-4,
    1.3888888932614716e-3, 8.3333333333144653e-3, 4.1666666666572951e-2, 0.16666666666666686, 0.50000000000000056,
)  # fmt: skip
# atanh(s) = s + s z p(z), z = s^2 <= 1/9
_ATANH_32 = (0.14006313742218463, 0.1400084357211029, 0.20010766813475586, 0.3333320809598938)
_ATANH_64 = (
    0.085053574504175783, 0.04172235985766991, 0.060525274796433336, 0.066505540238899241, 0.076932746798852185,
    0.090908722180959749, 0.11111111977391349, 0.14285714274050620, 0.20000000000077617, 0.33333333333333155,
)  # fmt: skip


def exp(x: Any) -> Any:
    """e^x; 0 and inf beyond the range."""
    raise NotImplementedError("compiled code only")


def exp_decay(x: Any) -> Any:
    """e^x for x <= 0, a little faster; below -87 (float64: -708) it stays at e^-87 (e^-708), a normal number."""
    raise NotImplementedError("compiled code only")


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, relatively accurate at 0 too."""
    raise NotImplementedError("compiled code only")


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    raise NotImplementedError("compiled code only")


def softplus_sigmoid(x: Any) -> Any:
    """(log(1 + e^x), its derivative), relatively accurate on both sides."""
    raise NotImplementedError("compiled code only")


def _horner(coefficients: tuple[float, ...], dtype: type) -> Any:
    """A polynomial, highest power first."""
    rounded = tuple(dtype(c) for c in coefficients)
    first, rest = rounded[0], rounded[1:]

    @nb.njit(**JIT)
    def polynomial(x: Any) -> Any:
        value = splat(first)
        for c in nb.literal_unroll(rest):
            value = fma(value, x, c)
        return value

    return polynomial


def _reduction(dtype: type, coefficients: tuple[float, ...]) -> Any:
    """x -> (k, expm1(r)) with x = k log 2 + r, and the shift that rounds to whole numbers."""
    single = dtype is np.float32
    shift, log2_e = dtype(1.5 * 2.0 ** (23 if single else 52)), dtype(_LOG2_E)
    # log 2 in two parts; k times the first is exact
    head, tail = (0.693359375, -2.1219444005469058e-4) if single else (0.6931471803691238, 1.9082149292705877e-10)
    part1, part2, polynomial = dtype(-head), dtype(-tail), _horner(coefficients, dtype)

    @nb.njit(**JIT)
    def reduced(x: Any) -> Any:
        k = fma(x, log2_e, shift) - shift
        r = fma(k, part2, fma(k, part1, x))
        return k, fma(r * r, polynomial(r), r)

    return reduced, shift


def _functions(dtype: type, limits: tuple[float, float, float, float], polynomials: Any) -> dict[str, Any]:
    """The five functions in one precision; limits: overflow, underflow to 0, smallest normal, saturation of tanh."""
    high, low, normal, saturated = limits
    (reduced, shift), atanh_poly = _reduction(dtype, polynomials[0]), _horner(polynomials[1], dtype)

    @nb.njit(**JIT)
    def exp_(x: Any) -> Any:
        k, p = reduced(at_most(at_least(x, low), high))
        half = fma(k, 0.5, shift) - shift  # in two factors, for the ends of the range
        return (p + 1.0) * power_of_two(half) * power_of_two(k - half)

    @nb.njit(**JIT)
    def exp_decay_(x: Any) -> Any:
        k, p = reduced(at_least(x, normal))
        return (p + 1.0) * power_of_two(k)

    @nb.njit(**JIT)
    def tanh_(x: Any) -> Any:
        k, p = reduced(at_most(at_least(x + x, -saturated), saturated))
        power = power_of_two(k)
        expm1 = fma(power, p, power - 1.0)
        return expm1 / (expm1 + 2.0)

    @nb.njit(**JIT)
    def sigmoid_(x: Any) -> Any:
        return 1.0 / (exp_(0.0 - x) + 1.0)

    @nb.njit(**JIT)
    def softplus_sigmoid_(x: Any) -> Any:
        y = exp_(0.0 - absolute(x))
        inverse = 1.0 / ((y + 1.0) * (y + 2.0))  # one division for both
        s = y * (y + 1.0) * inverse
        log1p = 2.0 * fma(s * s * s, atanh_poly(s * s), s)
        above = (y + 2.0) * inverse
        return at_least(x, 0.0) + log1p, where(x, above, y * above)

    return {"exp": exp_, "exp_decay": exp_decay_, "tanh": tanh_, "sigmoid": sigmoid_, "softplus": softplus_sigmoid_}


_SINGLE = _functions(np.float32, (89.0, -104.0, -87.0, 20.0), (_EXPM1_32, _ATANH_32))
_DOUBLE = _functions(np.float64, (710.0, -746.0, -708.0, 40.0), (_EXPM1_64, _ATANH_64))


def _register(function: Any, name: str) -> None:
    @overload(function)
    def typed(x):  # type: ignore[no-untyped-def]  # numba wants the annotations of both to agree
        if not isinstance(x, Lanes):
            return None
        chosen = (_SINGLE if x.dtype is types.float32 else _DOUBLE)[name]
        return lambda x: chosen(x)


for _function, _name in (
    (exp, "exp"), (exp_decay, "exp_decay"), (tanh, "tanh"), (sigmoid, "sigmoid"), (softplus_sigmoid, "softplus"),
):  # fmt: skip
    _register(_function, _name)
