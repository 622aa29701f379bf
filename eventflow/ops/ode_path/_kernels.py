"""The path of one sequence after another, sixteen channels at a time, and the way back through it (compiled).

``model``: W' (H, M), b (M,), V' (M, H), c (H,), U' (H, H), then W (M, H), V (H, M), U (H, H) for the way back, rows
padded to lanes. ``work``: per knot the states and slopes (N, H), the four stages' inputs (N, 4, H) and tanh units
(N, 4, M); then what is scratch within a step.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, fma, get, load, store
from eventflow.ops._vecmath import tanh


@nb.njit(**JIT)
def product(x: Any, i: int, matrix: Any, start: Any, out: Any, o: int) -> None:
    """out[o:] = start + x[i:] @ matrix."""
    rows, width = matrix.shape
    for c in range(0, width, LANES):
        acc = load(start, c)
        for r in range(rows):
            acc = fma(load(matrix, r * width + c), get(x, i + r), acc)
        store(out, o + c, acc)


@nb.njit(**JIT)
def outer(x: Any, i: int, y: Any, j: int, out: Any) -> None:
    """out += x[i:] (as a column) times y[j:]."""
    rows, width = out.shape
    for c in range(0, width, LANES):
        part = load(y, j + c)
        for r in range(rows):
            at = r * width + c
            store(out, at, fma(part, get(x, i + r), load(out, at)))


@nb.njit(**JIT)
def added(a: Any, i: int, factor: Any, b: Any, j: int, out: Any, o: int, width: int) -> None:
    """out[o:] = a[i:] + factor b[j:]."""
    for c in range(0, width, LANES):
        store(out, o + c, fma(load(b, j + c), factor, load(a, i + c)))


@nb.njit(**JIT)
def slope(model: Any, y: Any, i: int, z: Any, j: int, out: Any, o: int) -> None:
    """out[o:] = f(y[i:]); its tanh units go to z[j:]."""
    product(y, i, model[0], model[1], z, j)
    for c in range(0, model[0].shape[1], LANES):
        store(z, j + c, tanh(load(z, j + c)))
    product(z, j, model[2], model[3], out, o)


@nb.njit(**JIT)
def knots(model: Any, count: int, step: Any, work: Any) -> None:
    """Fill states and slopes from the first state on, and what the way back needs."""
    states, slopes, inputs, units, k = work[:5]
    width, size = model[2].shape[1], model[0].shape[1]
    for n in range(count + 1):
        here = n * width
        slope(model, states, here, units, 4 * n * size, slopes, here)
        if n < count:
            for stage in range(1, 4):
                far = step if stage == 3 else step * 0.5
                y, z = (4 * n + stage) * width, (4 * n + stage) * size
                if stage == 1:
                    added(states, here, far, slopes, here, inputs, y, width)
                else:
                    added(states, here, far, k, (stage - 1) * width, inputs, y, width)
                slope(model, inputs, y, units, z, k, stage * width)
            for c in range(0, width, LANES):
                middle = load(k, width + c) + load(k, 2 * width + c)
                ends = load(slopes, here + c) + load(k, 3 * width + c)
                total = fma(middle, 2.0, ends)
                store(states, here + width + c, fma(total, step / 6.0, load(states, here + c)))


@nb.njit(**JIT)
def cubic(time: Any, step: Any, count: int) -> Any:
    """The knot before a time, and the weights of its state, the next one's, and their slopes."""
    n = min(int(time / step), max(count - 1, 0))
    x = time / step - n
    left = 1.0 - x
    return n, (1.0 + 2.0 * x) * left * left, x * x * (3.0 - 2.0 * x), step * x * left * left, -step * x * x * left


@nb.njit(**JIT)
def steps_to(times: Any, row: int, step: Any) -> int:
    """Steps that reach the latest time of a row."""
    latest = times[row, 0]
    for r in range(1, times.shape[1]):
        latest = max(latest, times[row, r])
    count = int(latest / step)
    return count + 1 if count * step < latest else count


@nb.njit(cache=True, **JIT)
def forward(model: Any, start: Any, jumps: Any, times: Any, step: Any, work: Any, after: Any, out: Any) -> None:
    """Fill ``out`` (B (T + 1), R, H), and ``after`` (B (T + 1), H), the states at the start and after each event."""
    states, slopes, left = work[0], work[1], work[5]
    width, reads = out.shape[2], out.shape[1]
    batch = start.shape[0]
    rows = times.shape[0] // batch
    for row in range(batch * rows):
        b, i = row // rows, row % rows
        for c in range(0, width, LANES):
            if i == 0:
                store(after, row * width + c, load(start, b * width + c))
            store(states, c, load(after, row * width + c))
        count = steps_to(times, row, step)
        if count > 0:
            knots(model, count, step, work)
        for r in range(reads):
            n, here, then, rise, fall = cubic(times[row, r], step, count)
            o, p = (row * reads + r) * width, n * width
            for c in range(0, width, LANES):
                value = load(states, p + c)
                if count > 0:
                    value = fma(value, here, load(states, p + width + c) * then)
                    value = fma(load(slopes, p + c), rise, fma(load(slopes, p + width + c), fall, value))
                store(out, o + c, value)
        if i + 1 < rows:
            event = (b * (rows - 1) + i) * width
            product(out, (row * reads + reads - 1) * width, model[4], work[6], left, 0)
            for c in range(0, width, LANES):
                store(after, (row + 1) * width + c, tanh(load(left, c) + load(jumps, event + c)))


@nb.njit(**JIT)
def slope_back(model: Any, by: Any, y: Any, i: int, z: Any, j: int, gk: Any, g: int, work: Any, o: int) -> None:
    """From gk[g:], the gradient of f(y[i:]), to that of y in work's ``turned``[o:]; weights' gradients are added."""
    pre, turned, nothing = work[9], work[10], work[6]
    outer(z, j, gk, g, by[2])
    for c in range(0, model[2].shape[1], LANES):
        store(by[3], c, load(by[3], c) + load(gk, g + c))
    product(gk, g, model[6], nothing, pre, 0)
    for c in range(0, model[0].shape[1], LANES):
        unit = load(z, j + c)
        value = load(pre, c) * (1.0 - unit * unit)
        store(pre, c, value)
        store(by[1], c, load(by[1], c) + value)
    outer(y, i, pre, 0, by[0])
    product(pre, 0, model[5], nothing, turned, o)


@nb.njit(**JIT)
def knots_back(model: Any, by: Any, count: int, step: Any, work: Any) -> None:
    """From the gradients of all states and slopes to that of the first state."""
    states, inputs, units = work[0], work[2], work[3]
    gs, gf, turned, gk = work[7], work[8], work[10], work[11]
    width, size = model[2].shape[1], model[0].shape[1]
    for back in range(count + 1):
        n = count - back
        here = n * width
        if n < count:
            for c in range(0, width, LANES):
                g = load(gs, here + width + c)
                store(gk, c, g * (step / 6.0))
                store(gs, here + c, load(gs, here + c) + g)
            for stage in (3, 2, 1):
                y, z = (4 * n + stage) * width, (4 * n + stage) * size
                slope_back(model, by, inputs, y, units, z, gk, 0, work, 0)
                far = step if stage == 3 else step * 0.5
                share = step / 6.0 if stage == 1 else step / 3.0
                for c in range(0, width, LANES):
                    part = load(turned, c)
                    store(gs, here + c, load(gs, here + c) + part)
                    store(gk, c, fma(part, far, load(gs, here + width + c) * share))
            added(gk, 0, 1.0, gf, here, gk, 0, width)
        else:
            added(work[6], 0, 1.0, gf, here, gk, 0, width)
        slope_back(model, by, states, here, units, 4 * n * size, gk, 0, work, 0)
        added(gs, here, 1.0, turned, 0, gs, here, width)


@nb.njit(cache=True, **JIT)
def backward(model: Any, times: Any, step: Any, work: Any, after: Any, out: Any, grad: Any, by: Any) -> None:
    """Add to ``by``: gradients of W', b, V', c, U', start and jumps. ``grad``, of ``out``, is used up."""
    states, gs, gf, left = work[0], work[7], work[8], work[5]
    width, reads, batch = out.shape[2], out.shape[1], by[5].shape[0]
    rows = times.shape[0] // batch
    for b in range(batch):
        for back in range(rows):
            i = rows - 1 - back
            row = b * rows + i
            end = (row * reads + reads - 1) * width
            if back > 0:  # through the jump; ``left`` is the gradient of the state behind it
                event = (b * (rows - 1) + i) * width
                for c in range(0, width, LANES):
                    h = load(after, (row + 1) * width + c)
                    g = load(left, c) * (1.0 - h * h)
                    store(left, c, g)
                    store(by[6], event + c, g)
                outer(out, end, left, 0, by[4])
                product(left, 0, model[7], work[6], work[10], 0)
                added(grad, end, 1.0, work[10], 0, grad, end, width)
            count = steps_to(times, row, step)
            for c in range(0, width, LANES):
                store(states, c, load(after, row * width + c))
            for c in range(0, (count + 1) * width, LANES):
                store(gs, c, load(work[6], 0))
                store(gf, c, load(work[6], 0))
            for r in range(reads):
                n, here, then, rise, fall = cubic(times[row, r], step, count)
                o, p = (row * reads + r) * width, n * width
                for c in range(0, width, LANES):
                    g = load(grad, o + c)
                    if count > 0:
                        store(gs, p + width + c, fma(g, then, load(gs, p + width + c)))
                        store(gf, p + c, fma(g, rise, load(gf, p + c)))
                        store(gf, p + width + c, fma(g, fall, load(gf, p + width + c)))
                        g = g * here
                    store(gs, p + c, load(gs, p + c) + g)
            if count > 0:
                knots(model, count, step, work)
                knots_back(model, by, count, step, work)
            added(gs, 0, 1.0, work[6], 0, left, 0, width)
        added(left, 0, 1.0, work[6], 0, by[5], b * width, width)
