"""Sixteen curves at a time, over all nodes (compiled)."""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, load, splat, store
from eventflow.ops._vecmath import exp_decay, softplus_sigmoid


@nb.njit(cache=True, **JIT)
def lines(a: Any, b: Any, nodes: Any, weights: Any, value: Any, slope_a: Any, slope_b: Any) -> None:
    """Fill value, and its derivatives by a and b; all flat, a multiple of sixteen long."""
    for i in range(0, len(a), LANES):
        start, rise = load(a, i), load(b, i)
        total = splat(weights[0]) * 0.0
        by_a, by_b = total, total
        for j in range(len(nodes)):
            soft, steep = softplus_sigmoid(fma(rise, nodes[j], start))
            total = fma(soft, weights[j], total)
            by_a = fma(steep, weights[j], by_a)
            by_b = fma(steep, weights[j] * nodes[j], by_b)
        store(value, i, total)
        store(slope_a, i, by_a)
        store(slope_b, i, by_b)


@nb.njit(cache=True, **JIT)
def decays(
    a: Any, b: Any, rate: Any, nodes: Any, weights: Any, value: Any, slope_a: Any, slope_b: Any, slope_rate: Any
) -> None:
    """As :func:`lines`, with the derivative by the rate too."""
    for i in range(0, len(a), LANES):
        end, jump, pace = load(a, i), load(b, i), load(rate, i)
        total = splat(weights[0]) * 0.0
        by_a, by_b, by_rate = total, total, total
        for j in range(len(nodes)):
            left = exp_decay(pace * -nodes[j])
            soft, steep = softplus_sigmoid(fma(jump, left, end))
            total = fma(soft, weights[j], total)
            by_a = fma(steep, weights[j], by_a)
            faded = steep * left
            by_b = fma(faded, weights[j], by_b)
            by_rate = fma(faded, weights[j] * nodes[j], by_rate)
        store(value, i, total)
        store(slope_a, i, by_a)
        store(slope_b, i, by_b)
        store(slope_rate, i, jump * by_rate * -1.0)
