"""Sine and cosine, and the normal distribution, of sixteen lanes: the second shelf of ``_vecmath``.

Errors (tested): float32 at most 4e-7, float64 at most 1e-14; absolute for sine and cosine, relative for the normal
distribution and its density (there grown by x^2 / 2, which is what rounding x^2 does to e^(-x^2 / 2)).
For use inside ``numba.njit``, on :class:`~eventflow.ops._lanes.Lanes`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba.core import types
from numba.extending import overload

from eventflow.ops._lanes import JIT, Lanes, absolute, at_least, at_most, fma, where
from eventflow.ops._vecmath import _horner, exp

_PI = 3.141592653589793
# sin(r) = r + r z p(z), cos(r) = 1 - z / 2 + z^2 q(z), z = r^2 <= (pi / 4)^2; highest power first
_SIN_32 = (-0.00019582917213113342, 0.0083327251188110124, -0.16666664543029139)
_COS_32 = (2.4542947136228908e-5, -0.0013888279768696784, 0.041666664539431626)
_SIN_64 = (
    1.5915330117225544e-10, -2.5051092615678759e-8, 2.755731591250917e-6, -0.00019841269836388690,
    0.0083333333333307017, -0.16666666666666664,
)  # fmt: skip
_COS_64 = (
    -1.1380879362791804e-11, 2.0876121694614177e-9, -2.7557317152644451e-7, 2.4801587298533775e-5,
    -0.0013888888888887242, 0.041666666666666665,
)  # fmt: skip
# pi / 2 in three parts, so that x - k pi / 2 keeps its digits
_HALF_PI_32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
_HALF_PI_64 = (1.5707963267948966, 6.123233995736766e-17, -1.497384905065873e-33)
# P(X > x) = e^(-x^2 / 2) t g(2 t - 1), t = 1 / (1 + 0.3 x), x >= 0; fitted for the relative error
_TAIL = 0.3
_TAIL_32 = (
    -1.0803006775032315e-5, -2.9305615945607373e-5, 9.2009136227929144e-5, 0.00026622941852266749,
    -0.00057817558116542833, -0.0024170682797204092, 0.0018181938710783488, 0.027759262434349132,
    0.086549496257529884, 0.16457953321291075, 0.22197061669240637,
)  # fmt: skip
_TAIL_64 = (
    -8.6730586062805026e-11, 1.8017745826772613e-10, 6.2156577781155903e-10, -1.8752815570755085e-9,
    -1.0730215472516809e-9, 9.0053017294446971e-9, -7.1157199458287023e-9, -2.2601223051404045e-8,
    5.8834923360674530e-8, -3.0095188370671058e-9, -2.3093426437334775e-7, 3.4986931652453374e-7,
    5.1835613438853289e-7, -2.2480942537535830e-6, 2.4458220656836746e-7, 1.0730809209875162e-5,
    -1.1125577682848900e-5, -4.9746262853775025e-5, 9.0139920705241316e-5, 0.00028363690641361669,
    -0.00057564251629790698, -0.0024238965473687961, 0.0018171357955022611, 0.027760365473702696,
    0.086549637418461715, 0.16457948408616297, 0.22197061383443280,
)  # fmt: skip


def sine_cosine(x: Any) -> Any:
    """(sin x, cos x); beyond the range (3e6, float64: 1e15) x is taken for its end."""
    raise NotImplementedError("compiled code only")


def normal(x: Any) -> Any:
    """(P(X <= x), its density at x) of a standard normal variable."""
    raise NotImplementedError("compiled code only")


def _circle(dtype: type, half_pi: tuple[float, ...], sines: Any, cosines: Any) -> Any:
    shift = dtype(1.5 * 2.0 ** (23 if dtype is np.float32 else 52))
    limit, inverse = dtype(3e6 if dtype is np.float32 else 1e15), dtype(2 / _PI)
    part1, part2, part3 = (dtype(-p) for p in half_pi)
    sine, cosine = _horner(sines, dtype), _horner(cosines, dtype)

    @nb.njit(**JIT)
    def sine_cosine_(x: Any) -> Any:
        x = at_most(at_least(x, -limit), limit)
        k = fma(x, inverse, shift) - shift
        r = fma(k, part3, fma(k, part2, fma(k, part1, x)))
        z = r * r
        s, c = fma(r * z, sine(z), r), fma(z * z, cosine(z), fma(z, -0.5, 1.0))
        odd = absolute(k - 2.0 * (fma(k, 0.5, shift) - shift))  # 1.0 in odd quarters of the circle
        below, above = (k - odd) * 0.5, (k + odd) * 0.5
        sign_s = 1.0 - 2.0 * absolute(below - 2.0 * (fma(below, 0.5, shift) - shift))
        sign_c = 1.0 - 2.0 * absolute(above - 2.0 * (fma(above, 0.5, shift) - shift))
        return where(odd, c, s) * sign_s, where(odd, s, c) * sign_c

    return sine_cosine_


def _distribution(dtype: type, tail: Any) -> Any:
    beyond, scale = _horner(tail, dtype), dtype(_TAIL)
    density = dtype(1 / np.sqrt(2 * _PI))

    @nb.njit(**JIT)
    def normal_(x: Any) -> Any:
        bell = exp(x * x * -0.5)
        t = 1.0 / fma(absolute(x), scale, 1.0)
        q = bell * t * beyond(fma(t, 2.0, -1.0))
        return where(x, 1.0 - q, q), bell * density

    return normal_


_CIRCLE = {
    types.float32: _circle(np.float32, _HALF_PI_32, _SIN_32, _COS_32),
    types.float64: _circle(np.float64, _HALF_PI_64, _SIN_64, _COS_64),
}
_NORMAL = {types.float32: _distribution(np.float32, _TAIL_32), types.float64: _distribution(np.float64, _TAIL_64)}


@overload(sine_cosine)
def _typed_sine_cosine(x):  # type: ignore[no-untyped-def]  # numba wants the annotations of both to agree
    if not isinstance(x, Lanes):
        return None
    chosen = _CIRCLE[x.dtype]
    return lambda x: chosen(x)


@overload(normal)
def _typed_normal(x):  # type: ignore[no-untyped-def]
    if not isinstance(x, Lanes):
        return None
    chosen = _NORMAL[x.dtype]
    return lambda x: chosen(x)
