"""The definition of ``next_event``: density f = lambda * S, S = exp(-integral of lambda).

lambda is the polynomial through the nodes of a panel; moments are taken by the Gauss rule of twice as many nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.ops.quadrature import gauss_legendre, highest_coefficients, refinement

Array = NDArray[Any]
EXTINCT = 1e-12  # a survival below this is zero


def next_event(intensity: Array, width: Array) -> tuple[Array, Array, Array, Array]:
    """See :func:`eventflow.ops.quadrature.next_event`."""
    rows = [_row(lam.astype(np.float64), w) for lam, w in zip(intensity, width, strict=True)]
    if not rows:
        empty = np.zeros(0)
        return empty, empty, np.zeros((0, intensity.shape[-1])), empty
    mean, median, probs, never = zip(*rows, strict=True)
    return np.array(mean), np.array(median), np.array(probs), np.array(never)


def _row(lam: Array, width: Array) -> tuple[float, float, Array, float]:
    _, weights = gauss_legendre(lam.shape[1])
    fine, fine_weights = gauss_legendre(2 * lam.shape[1])
    values, integrals = refinement(lam.shape[1])
    hazard, start, mean, mass, panels = 0.0, 0.0, 0.0, np.zeros(lam.shape[-1]), []
    for panel, w in zip(lam, width, strict=True):
        total = panel.sum(-1)
        survival = np.exp(-(hazard + w * integrals @ total))
        mean += w * np.sum(fine_weights * (start + w * fine) * (values @ total) * survival)
        mass += w * (fine_weights * survival) @ (values @ panel)
        panels.append((start, hazard, w, total))
        hazard, start = hazard + w * weights @ total, start + w
        if np.exp(-hazard) < EXTINCT:
            break
    never = np.exp(-hazard) if np.exp(-hazard) >= EXTINCT else 0.0
    if not mass.sum() > 0:
        return np.inf, np.inf, np.full(lam.shape[-1], 1 / lam.shape[-1]), never
    return mean / mass.sum(), _quantile(panels, -np.log1p(-0.5 * (1 - never))), mass / mass.sum(), never


def _quantile(panels: list[tuple[float, float, float, Array]], target: float) -> float:
    """Where the integrated intensity reaches ``target``: bisection on the integral of the interpolating polynomial."""
    start, hazard, w, total = [p for p in panels if p[1] < target][-1]
    nodes, _ = gauss_legendre(len(total))
    polynomial = np.polynomial.Polynomial.fit(nodes, total, len(total) - 1).integ()
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if hazard + w * (polynomial(middle) - polynomial(0)) < target else (low, middle)
    return start + w * (low + high) / 2


def unresolved(intensity: Array, width: Array, now: Array) -> Array:
    """See :func:`eventflow.ops.quadrature.unresolved`."""
    rows = zip(intensity.astype(np.float64), width, now, strict=True)
    return np.array([_row_unresolved(*row) for row in rows], dtype=np.float64)


def _row_unresolved(lam: Array, width: Array, now: float) -> float:
    nodes, weights = gauss_legendre(lam.shape[1])
    start = np.polynomial.Polynomial.fit(nodes, lam[0].sum(-1), len(nodes) - 1)(0.0)
    worst, hazard = abs(start - now) * width[0] * nodes[0], 0.0
    for panel, w in zip(lam, width, strict=True):
        worst = max(worst, np.exp(-hazard) * w * np.abs(highest_coefficients(len(nodes)) @ panel).sum())
        hazard += w * weights @ panel.sum(-1)
        if np.exp(-hazard) < EXTINCT:
            break
    return worst
