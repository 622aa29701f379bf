"""Distributions of order statistics, with numpy and torch only: the Kolmogorov-Smirnov law and beta quantiles.

D = sup |F_n - F| of n independent draws from a continuous F has one law whatever F is. Its tail probability is exact
where that is cheap, and elsewhere a series whose error is below what a p-value is read for:

=================  ==================================================================  =======================
n d^2 > 2.2        twice the exact one-sided law (Smirnov 1944; Birnbaum, Tingey 1951)  relative error < 1e-5
else, n <= 1000    exact (Marsaglia, Tsang, Wang, J. Stat. Software 8(18), 2003)        1e-10
else               Kolmogorov's series at a shifted argument (Vrbik 2018)               absolute error < 3e-5
=================  ==================================================================  =======================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[np.float64]


def kolmogorov_sf(distance: float, n: int) -> float:
    """P(D > ``distance``) for the two-sided statistic of ``n`` draws."""
    if n < 1 or not 0 <= distance <= 1:
        raise InputError(f"kolmogorov_sf({distance}, {n}): expected a distance in [0, 1] and n >= 1")
    if distance <= 0.5 / n:
        return 1.0
    if distance == 1.0:
        return 0.0
    if n * distance**2 > 2.2 or n == 1:
        return min(1.0, 2 * _smirnov_sf(distance, n))
    if n <= 1000:
        return 1.0 - _exact_cdf(distance, n)
    z = math.sqrt(n) * distance
    return _limit_sf(z + 1 / (6 * math.sqrt(n)) + (z - 1) / (4 * n))


def _smirnov_sf(d: float, n: int) -> float:
    """One-sided P(D+ >= d) = d sum_j C(n, j) (d + j/n)^(j-1) (1 - d - j/n)^(n-j), j <= n (1 - d), summed as logs."""
    j = torch.arange(math.floor(n * (1 - d)) + 1, dtype=torch.float64)
    j = j[1 - d - j / n > 0]
    log_choose = math.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma(n - j + 1)
    terms = log_choose + (j - 1) * torch.log(d + j / n) + (n - j) * torch.log1p(-d - j / n)
    return d * float(torch.logsumexp(terms, 0).exp())


def _exact_cdf(d: float, n: int) -> float:
    """P(D < d): n!/n^n times the middle element of H^n, where H is (2k-1) x (2k-1), k = ceil(n d)."""
    k = math.floor(n * d) + 1
    h = k - n * d
    size = 2 * k - 1
    row, column = np.indices((size, size))
    matrix = np.where(row - column + 1 >= 0, 1.0, 0.0)
    powers = h ** np.arange(1, size + 1)
    matrix[:, 0] -= powers
    matrix[-1, :] -= powers[::-1]
    if 2 * h > 1:
        matrix[-1, 0] += (2 * h - 1) ** size
    factorial = np.array([math.factorial(max(int(i), 0)) for i in (row - column + 1).ravel()], dtype=np.float64)
    result, exponent = np.eye(size), 0
    power, power_exponent = matrix / factorial.reshape(size, size), 0
    for bit in bin(n)[:1:-1]:  # from the lowest bit; powers of ten are kept apart, against overflow
        if bit == "1":
            result, exponent = result @ power, exponent + power_exponent
        power, power_exponent = power @ power, 2 * power_exponent
        if power[k - 1, k - 1] > 1e140:
            power, power_exponent = power * 1e-140, power_exponent + 140
    log_scale = math.lgamma(n + 1) - n * math.log(n) + exponent * math.log(10)
    return float(result[k - 1, k - 1]) * math.exp(log_scale)


def _limit_sf(z: float) -> float:
    """Kolmogorov's limit law, by whichever of its two series converges at once."""
    k = np.arange(1, 40)
    if z < 1:
        terms = np.exp(-(((2 * k - 1) * math.pi / z) ** 2) / 8)
        return 1.0 - math.sqrt(2 * math.pi) / z * math.fsum(terms)
    return 2 * math.fsum((-1.0) ** (k - 1) * np.exp(-2 * (k * z) ** 2))


def beta_cdf(x: Any, a: Any, b: Any) -> Array:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz, Stegun 26.5.8)."""
    x, a, b = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (x, a, b)))
    swap = x > (a + 1) / (a + b + 2)  # I_x(a, b) = 1 - I_{1-x}(b, a): use the side where the fraction converges fast
    p, q, y = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, 1 - x, x)
    gammas = [torch.lgamma(torch.from_numpy(v)).numpy() for v in (p + q, p, q)]
    with np.errstate(divide="ignore"):  # log 0 at the ends of the interval: the front factor is then exactly 0
        front = np.exp(gammas[0] - gammas[1] - gammas[2] + p * np.log(y) + q * np.log1p(-y)) / p
    value = front * _beta_fraction(p, q, y)
    return np.where(swap, 1 - value, value)


def _beta_fraction(p: Array, q: Array, y: Array, tolerance: float = 1e-14) -> Array:
    """Lentz's evaluation of 1 / (1 + d1 / (1 + d2 / (1 + ...)))."""
    c, d = np.ones_like(y), 1 / (1 - (p + q) * y / (p + 1))
    value = d
    steps = int(50 + 10 * math.sqrt(float(np.max(p + q, initial=1.0))))
    for m in range(1, steps):
        even = m * (q - m) * y / ((p + 2 * m - 1) * (p + 2 * m))
        odd = -(p + m) * (p + q + m) * y / ((p + 2 * m) * (p + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value = value * c * d
        if np.all(np.abs(value - before) <= tolerance * np.abs(value)):
            return value
    raise ArithmeticError(f"the beta fraction did not settle in {steps} steps")


def beta_quantile(probability: Any, a: Any, b: Any) -> Array:
    """x with I_x(a, b) = ``probability``, by bisection to the last bit of float64."""
    target, a, b = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (probability, a, b)))
    low, high = np.zeros(target.shape), np.ones(target.shape)
    for _ in range(60):
        middle = (low + high) / 2
        below = beta_cdf(middle, a, b) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
