"""Sixteen numbers of a channel at a time, over all times (compiled); N is a multiple of sixteen."""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, get, load, put, store, total
from eventflow.ops._vecmath import exp_decay


@nb.njit(cache=True, **JIT)
def forward(weight: Any, rate: Any, pace: Any, ahead: Any, out: Any) -> None:
    """Fill ``out`` (M, J, H)."""
    rows, channels, width = weight.shape
    times = ahead.shape[1]
    for m in range(rows):
        for h in range(channels):
            first, slow = (m * channels + h) * width, -get(pace, m * channels + h)
            for j in range(times):
                since = slow * get(ahead, m * times + j)
                sums = load(weight, first) * exp_decay(load(rate, h * width) * since)
                for n in range(LANES, width, LANES):
                    sums = fma(load(weight, first + n), exp_decay(load(rate, h * width + n) * since), sums)
                put(out, (m * times + j) * channels + h, total(sums))


@nb.njit(cache=True, **JIT)
def backward(given: Any, grad: Any, by_weight: Any, by_rate: Any, by_pace: Any) -> None:
    """Fill the gradients of weight and pace, add to that of rate; ``given`` are the arguments of :func:`forward`."""
    weight, rate, pace, ahead = given
    rows, channels, width = weight.shape
    times = ahead.shape[1]
    for m in range(rows):
        for h in range(channels):
            first, here = (m * channels + h) * width, get(pace, m * channels + h)
            turned = here * 0.0
            for n in range(0, width, LANES):
                fading = load(rate, h * width + n) * -here
                left, aged = fading * 0.0, fading * 0.0
                for j in range(times):
                    since = get(ahead, m * times + j)
                    part = exp_decay(fading * since) * get(grad, (m * times + j) * channels + h)
                    left = left + part
                    aged = fma(part, since, aged)
                store(by_weight, first + n, left)
                aged = load(weight, first + n) * aged * -1.0
                turned += total(load(rate, h * width + n) * aged)
                store(by_rate, h * width + n, fma(aged, here, load(by_rate, h * width + n)))
            put(by_pace, m * channels + h, turned)
