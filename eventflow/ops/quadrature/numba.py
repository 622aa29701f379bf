"""``next_event`` compiled: row after row, each by the same sequence of operations whatever the batch."""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from eventflow.ops.quadrature import gauss_legendre, highest_coefficients, power_coefficients, refinement
from eventflow.ops.quadrature.naive import EXTINCT

Array = NDArray[Any]


def next_event(intensity: Array, width: Array) -> tuple[Array, Array, Array, Array]:
    """See :func:`eventflow.ops.quadrature.next_event`."""
    rows, _, n, marks = intensity.shape
    mean, median, never = np.empty(rows), np.empty(rows), np.empty(rows)
    probs = np.empty((rows, marks))
    rule = (gauss_legendre(n)[1], *gauss_legendre(2 * n), *refinement(n), power_coefficients(n))
    _rows(np.ascontiguousarray(intensity), np.ascontiguousarray(width), rule, (mean, median, probs, never))
    return mean, median, probs, never


@nb.njit(cache=True, error_model="numpy")
def _rows(lam: Array, width: Array, rule: Any, out: Any) -> None:
    rows, panels, n, marks = lam.shape
    mean, median, probs, never = out
    total = np.empty((panels, n))
    hazard = np.empty(panels + 1)
    mass = np.empty(marks)
    for i in range(rows):
        mean[i], used = _moments(lam[i], width[i], rule, total, hazard, mass)
        survival = math.exp(-hazard[used])
        never[i] = survival if survival >= EXTINCT else 0.0
        whole = 0.0
        for k in range(marks):
            whole += mass[k]
        if whole > 0:
            mean[i] /= whole
            median[i] = _quantile(total, hazard, width[i], used, -math.log1p(-0.5 * (1 - never[i])), rule[5])
            for k in range(marks):
                probs[i, k] = mass[k] / whole
        else:
            mean[i] = median[i] = np.inf
            probs[i] = 1 / marks


@nb.njit(cache=True, error_model="numpy")
def _moments(lam: Array, width: Array, rule: Any, total: Array, hazard: Array, mass: Array) -> Any:
    """Fills total and hazard (at the panel edges), the mass per mark; returns (sum of t f(t), panels used)."""
    weights, fine, fine_weights, values, integrals, _ = rule
    panels, n, marks = lam.shape
    share = np.empty(n)  # of each node in the mass of a mark
    mass[:] = 0.0
    hazard[0] = 0.0
    mean = start = 0.0
    for p in range(panels):
        w, rise = width[p], 0.0
        for j in range(n):
            s = 0.0
            for k in range(marks):
                s += lam[p, j, k]
            total[p, j] = s
            share[j] = 0.0
            rise += weights[j] * s
        for i in range(len(fine)):
            here = before = 0.0
            for j in range(n):
                here += values[i, j] * total[p, j]
                before += integrals[i, j] * total[p, j]
            density = w * fine_weights[i] * math.exp(-(hazard[p] + w * before))
            mean += density * here * (start + w * fine[i])
            for j in range(n):
                share[j] += density * values[i, j]
        for j in range(n):
            for k in range(marks):
                mass[k] += share[j] * lam[p, j, k]
        hazard[p + 1] = hazard[p] + w * rise
        start += w
        if math.exp(-hazard[p + 1]) < EXTINCT:
            return mean, p + 1
    return mean, panels


@nb.njit(cache=True, error_model="numpy")
def _quantile(total: Array, hazard: Array, width: Array, used: int, target: float, powers: Array) -> float:
    """Newton, kept inside a bracket, on the integral of the polynomial through the nodes of the crossing panel."""
    p, start = 0, 0.0
    while p + 1 < used and hazard[p + 1] < target:
        start += width[p]
        p += 1
    n, w = total.shape[1], width[p]
    c = np.zeros(n)
    for i in range(n):
        for j in range(n):
            c[i] += powers[i, j] * total[p, j]
    low, high, x = 0.0, 1.0, 0.5
    for _ in range(80):
        value = slope = 0.0
        for i in range(n - 1, -1, -1):
            value = value * x + c[i] / (i + 1)
            slope = slope * x + c[i]
        excess = hazard[p] + w * value * x - target
        if excess < 0:
            low = x
        else:
            high = x
        x_next = x - excess / (w * slope) if slope > 0 else -1.0
        if not low < x_next < high:
            x_next = (low + high) / 2
        if abs(x_next - x) < 1e-15:
            break
        x = x_next
    return start + w * x


def unresolved(intensity: Array, width: Array, now: Array) -> Array:
    """See :func:`eventflow.ops.quadrature.unresolved`."""
    n = intensity.shape[2]
    nodes, weights = gauss_legendre(n)
    out = np.empty(len(intensity))
    rule = (nodes[0], weights, highest_coefficients(n), power_coefficients(n)[0].copy())
    _unresolved(np.ascontiguousarray(intensity), np.ascontiguousarray(width), now, rule, out)
    return out


@nb.njit(cache=True, error_model="numpy")
def _unresolved(lam: Array, width: Array, now: Array, rule: Any, out: Array) -> None:
    rows, panels, n, marks = lam.shape
    nearest, weights, highest, at_zero = rule
    for i in range(rows):
        start = 0.0
        for j in range(n):
            for k in range(marks):
                start += at_zero[j] * lam[i, 0, j, k]
        worst, hazard = abs(start - now[i]) * width[i, 0] * nearest, 0.0
        for p in range(panels):
            rest, rise = 0.0, 0.0
            for k in range(marks):
                a = b = 0.0
                for j in range(n):
                    value = lam[i, p, j, k]
                    a += highest[0, j] * value
                    b += highest[1, j] * value
                    rise += weights[j] * value
                rest += abs(a) + abs(b)
            here = math.exp(-hazard) * width[i, p] * rest
            if not here <= worst:  # nan counts
                worst = here
            hazard += width[i, p] * rise
            if math.exp(-hazard) < EXTINCT:
                break
        out[i] = worst
