"""What lies between the products: the states of a layer at the nodes of a gap, its signal, the ways back (compiled).

Axes: N gaps, J nodes, R = N J rows (the nodes of a gap side by side), P states, H signal; sixteen P or H at a time.
What is not there is of size 0. ``held`` is (b, bias): b (R, 2P), or the same through a gap (N, 2P), without its
bias (2P,).
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from eventflow.ops._lanes import JIT, LANES, fma, load, splat, store, total
from eventflow.ops._vecmath import exp_decay
from eventflow.ops._vecspecial import normal, sine_cosine
from eventflow.ops.latent_hawkes import EPSILON


@nb.njit(**JIT)
def move(gap: Any, held: Any, rates: Any, time: Any, out: Any) -> None:
    """x(u) at all nodes, and the d it took.

    Args:
        gap: x (N, 2P), step (N, P).
        held: see above.
        rates: rate and frequency (2, P).
        time: dt (N,), nodes (J,).
        out: x (R, 2P), d (R, 2P).
    """
    x, step = gap
    dt, nodes = time
    width, steps = step.shape[1], nodes.shape[0]
    each = held[0].shape[0] // max(x.shape[0], 1)
    for g in range(x.shape[0]):
        for j in range(steps):
            row, u = (g * steps + j) * 2 * width, dt[g] * nodes[j]
            for p in range(0, width, LANES):
                q = load(step, g * width + p) * u
                modulus = exp_decay(load(rates, p) * q * -1.0)
                sine, cosine = sine_cosine(load(rates, width + p) * q)
                c, s = modulus * cosine, modulus * sine
                b_re, b_im = _held(held, (g * each + (j if each > 1 else 0)) * 2 * width + p, p, width)
                re, im = load(x, g * 2 * width + p) + b_re, load(x, g * 2 * width + width + p) + b_im
                store(out[0], row + p, c * re - s * im - b_re)
                store(out[0], row + width + p, s * re + c * im - b_im)
                store(out[1], row + p, c)
                store(out[1], row + width + p, s)


@nb.njit(**JIT)
def _held(held: Any, at: int, p: int, width: int) -> Any:
    """Real and imaginary part of b with its bias; zeros where there is none."""
    b, bias = held
    zero = splat(b.dtype.type(0))
    re, im = zero, zero
    if b.size > 0:
        re, im = load(b, at) + load(bias, p), load(b, at + width) + load(bias, width + p)
    return re, im


@nb.njit(**JIT)
def move_back(above: Any, gap: Any, held: Any, rates: Any, time: Any, out: Any) -> None:
    """The way back of :func:`move`.

    Args:
        above: gradient of x(u) (R, 2P); if b is by rows, it becomes the gradient of b. And d (R, 2P).
        gap, held, rates, time: see :func:`move`.
        out: gradients of x (N, 2P), step (N, P), b (N, 2P) if it is by gaps, dt (N,, added to), rates (2, P, added to).
    """
    upper, turns = above
    x, step = gap
    dt, nodes = time
    d_x, d_step, d_held, d_dt, d_rates = out
    width, steps, zero = step.shape[1], nodes.shape[0], splat(x.dtype.type(0))
    each = held[0].shape[0] // max(x.shape[0], 1)
    for g in range(x.shape[0]):
        for p in range(0, width, LANES):
            at = g * 2 * width + p
            x_re, x_im, steady = load(x, at), load(x, at + width), load(step, g * width + p)
            sums = (zero, zero, zero, zero, zero)
            for j in range(steps):
                row = (g * steps + j) * 2 * width + p
                b = _held(held, (g * each + (j if each > 1 else 0)) * 2 * width + p, p, width)
                up, turn = (load(upper, row), load(upper, row + width)), (load(turns, row), load(turns, row + width))
                u = dt[g] * nodes[j]
                back, sums = _node_back(up, turn, (x_re + b[0], x_im + b[1]), (rates, d_rates, p, steady, u), sums)
                d_dt[g] += nodes[j] * total(back[2] * steady)
                store(upper, row, back[0] - up[0])
                store(upper, row + width, back[1] - up[1])
            store(d_x, at, sums[0])
            store(d_x, at + width, sums[1])
            store(d_step, g * width + p, sums[2])
            if each == 1 and d_held.size > 0:
                store(d_held, at, sums[3])
                store(d_held, at + width, sums[4])


@nb.njit(**JIT)
def _node_back(up: Any, turn: Any, start: Any, at: Any, sums: Any) -> Any:
    """One node: (gradient of x + b, and of step u), and the sums over nodes of the gradients of x, step and b."""
    rates, d_rates, p, _, u = at
    width = rates.shape[1]
    (g_re, g_im), (c, s), (re, im) = up, turn, start
    back_re, back_im = c * g_re + s * g_im, c * g_im - s * g_re
    z_re, z_im = c * re - s * im, s * re + c * im
    along, across = g_re * z_re + g_im * z_im, g_im * z_re - g_re * z_im
    by_time = load(rates, width + p) * across - load(rates, p) * along
    q = at[3] * u
    store(d_rates, p, load(d_rates, p) - q * along)
    store(d_rates, width + p, fma(q, across, load(d_rates, width + p)))
    a, b, by_step, held_re, held_im = sums
    return (back_re, back_im, by_time), (
        a + back_re, b + back_im, by_step + by_time * u, held_re + back_re - g_re, held_im + back_im - g_im,
    )  # fmt: skip


@nb.njit(**JIT)
def signal(y: Any, below: Any, keep: Any, vectors: Any, out: Any, scale: Any) -> None:
    """The signal of a layer, and what each row was divided by (inverted).

    Args:
        y: 2 Re(C x) (R, H).
        below: (R, H) or of size 0.
        keep: (G, H), each for R / G rows, or of size 0.
        vectors: skip, skip_bias, gain, shift (4, H).
        out: (R, H).
        scale: (R,).
    """
    rows, width = y.shape
    per, number, zero = rows // max(keep.shape[0], 1), y.dtype.type, splat(y.dtype.type(0))
    for r in range(rows):
        at, of, whole = r * width, (r // max(per, 1)) * width, zero
        for h in range(0, width, LANES):
            s = load(y, at + h)
            if below.size > 0:
                s = fma(load(vectors, h), load(below, at + h), s + load(vectors, width + h))
            cdf, _ = normal(s)
            v = s * cdf
            if keep.size > 0:
                v = v * load(keep, of + h)
            if below.size > 0:
                v = v + fma(load(vectors, 2 * width + h), load(below, at + h), load(vectors, 3 * width + h))
            store(out, at + h, v)
            whole = whole + v
        mean, squares = number(total(whole) / number(width)), zero
        for h in range(0, width, LANES):
            v = load(out, at + h) - mean
            squares = fma(v, v, squares)
            store(out, at + h, v)
        scale[r] = number(1) / np.sqrt(number(total(squares) / number(width)) + number(EPSILON))
        for h in range(0, width, LANES):
            store(out, at + h, load(out, at + h) * scale[r])


@nb.njit(**JIT)
def signal_back(above: Any, given: Any, keep: Any, vectors: Any, made: Any, out: Any) -> None:
    """The way back of :func:`signal`.

    Args:
        above: gradient of the signal (R, H).
        given: y and below; keep, vectors: see :func:`signal`.
        made: the signal (R, H) and the scale (R,).
        out: gradients of y (R, H), below (R, H, or of size 0), vectors (4, H, added to).
    """
    y, below = given
    d_y, d_below, sums = out
    rows, width = y.shape
    per, number, zero = rows // max(keep.shape[0], 1), y.dtype.type, splat(y.dtype.type(0))
    for r in range(rows):
        at, of, whole, along = r * width, (r // max(per, 1)) * width, zero, zero
        for h in range(0, width, LANES):
            a = load(above, at + h)
            whole, along = whole + a, fma(a, load(made[0], at + h), along)
        mean, slope, scale = total(whole) / number(width), total(along) / number(width), made[1][r]
        for h in range(0, width, LANES):
            d_v = (load(above, at + h) - mean - load(made[0], at + h) * slope) * scale
            s, d_s = load(y, at + h), d_v
            if keep.size > 0:
                d_s = d_s * load(keep, of + h)
            if below.size > 0:
                s = fma(load(vectors, h), load(below, at + h), s + load(vectors, width + h))
            cdf, density = normal(s)
            d_s = d_s * fma(s, density, cdf)
            store(d_y, at + h, d_s)
            if below.size > 0:
                _below_back(h, d_s, d_v, load(below, at + h), (vectors, sums))
                store(d_below, at + h, fma(load(vectors, h), d_s, load(vectors, 2 * width + h) * d_v))


@nb.njit(**JIT)
def _below_back(h: int, d_s: Any, d_v: Any, n: Any, at: Any) -> None:
    """Add to the gradients of skip, skip_bias, gain and shift."""
    vectors, sums = at
    width = vectors.shape[1]
    store(sums, h, fma(d_s, n, load(sums, h)))
    store(sums, width + h, load(sums, width + h) + d_s)
    store(sums, 2 * width + h, fma(d_v, n, load(sums, 2 * width + h)))
    store(sums, 3 * width + h, load(sums, 3 * width + h) + d_v)
