"""Sixteen channels at a time, pair by pair, over all times (compiled)."""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, get, load, put, store, total
from eventflow.ops._vecmath import exp_decay, softplus_sigmoid


@nb.njit(cache=True, **JIT)
def forward(weight: Any, seen: Any, age: Any, ahead: Any, value: Any, slow: Any, fast: Any, out: Any) -> None:
    """Fill ``out`` (B, I, R, H); H is a multiple of sixteen."""
    batch, rows, slots = weight.shape
    times, width = out.shape[2], out.shape[3]
    for row in range(batch * rows):
        b = row // rows
        for h in range(0, width, LANES):
            quick, first = load(fast, row * width + h), row * times * width + h
            zero = quick * 0.0
            for r in range(times):
                store(out, first + r * width, zero)
            for j in range(slots):
                pair = row * slots + j
                if get(seen, pair) > 0:
                    at = (b * slots + j) * width + h
                    rate, _ = softplus_sigmoid(load(slow, at) + quick)
                    part, since = load(value, at) * get(weight, pair), get(age, pair)
                    for r in range(times):
                        left = exp_decay(rate * -(since + get(ahead, row * times + r)))
                        here = first + r * width
                        store(out, here, fma(part, left, load(out, here)))


@nb.njit(cache=True, **JIT)
def backward(given: Any, grad: Any, by_weight: Any, by_value: Any, by_slow: Any, by_fast: Any) -> None:
    """Add the gradients to arrays of zeros; ``given`` are the arguments of :func:`forward` before ``out``."""
    weight, seen, age, ahead, value, slow, fast = given
    batch, rows, slots = weight.shape
    times, width = grad.shape[2], grad.shape[3]
    for row in range(batch * rows):
        b = row // rows
        for h in range(0, width, LANES):
            quick, first = load(fast, row * width + h), row * times * width + h
            steep_row = quick * 0.0
            for j in range(slots):
                pair = row * slots + j
                if get(seen, pair) > 0:
                    at = (b * slots + j) * width + h
                    rate, steep = softplus_sigmoid(load(slow, at) + quick)
                    share, content, since = get(weight, pair), load(value, at), get(age, pair)
                    kept, aged = quick * 0.0, quick * 0.0
                    for r in range(times):
                        old = since + get(ahead, row * times + r)
                        left = load(grad, first + r * width) * exp_decay(rate * -old)
                        kept = kept + left
                        aged = fma(left, old, aged)
                    put(by_weight, pair, get(by_weight, pair) + total(content * kept))
                    store(by_value, at, fma(kept, share, load(by_value, at)))
                    turned = content * aged * steep * -share
                    store(by_slow, at, load(by_slow, at) + turned)
                    steep_row = steep_row + turned
            store(by_fast, row * width + h, steep_row)
