"""The compiled path: one pass forwards, one backwards through the readout, and the sensitivities carried along."""

from __future__ import annotations

import numba as nb
import numpy as np

from eventflow.ops.rtrl import EPSILON, SLOPE, Array, RTRLResult, RTRLRule, RTRLState, RTRLStream, Sizes

_JIT = nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def scan(stream: RTRLStream, state: RTRLState, rule: RTRLRule, sizes: Sizes) -> RTRLResult:
    """See :func:`eventflow.ops.rtrl.rtrl_scan`."""
    new = RTRLState(*(np.array(part, part.dtype, order="C") for part in state))
    values, errors = np.empty(len(stream.dt)), np.empty(len(stream.dt))
    room = (np.empty(len(new.weight)), np.empty(sizes.hidden), np.empty(sizes.hidden))
    _scan(tuple(stream), tuple(new), (*map(float, rule), *sizes.parameters), (*room, values, errors))
    return RTRLResult(values, errors, new)


@_JIT
def _value(weight: Array, h: Array, at: tuple, room: Array) -> tuple:  # pragma: no cover - compiled
    """(value, 1 / deviation); room: normalised (H,)."""
    _, _, _, out, bias, head, end, _ = at
    z = room
    states, mean = h.shape[0], 0.0
    for j in range(z.shape[0]):
        total = 0.0
        row = out + 2 * states * j
        for n in range(states):
            total += weight[row + 2 * n] * h[n].real - weight[row + 2 * n + 1] * h[n].imag
        z[j] = 2 * total + weight[bias + j]
        mean += z[j]
    mean /= z.shape[0]
    variance = 0.0
    for j in range(z.shape[0]):
        z[j] -= mean
        variance += z[j] * z[j]
    inverse = 1 / np.sqrt(variance / z.shape[0] + EPSILON)
    value = weight[end]
    for j in range(z.shape[0]):
        z[j] *= inverse
        value += weight[head + j] * (z[j] if z[j] > 0 else SLOPE * z[j])
    return value, inverse


@_JIT
def _readout(state: tuple, inverse: float, at: tuple, room: tuple) -> None:  # pragma: no cover - compiled
    """grad (P,): of bias, head and offset; and dz (H,), the gradient at LayerNorm's input, of normalised z (H,)."""
    weight = state[0]
    _, _, _, _, bias, head, end, _ = at
    grad, z, dz = room
    mean = along = 0.0
    for j in range(z.shape[0]):
        slope = 1.0 if z[j] > 0 else SLOPE
        grad[head + j] = slope * z[j]
        dz[j] = slope * weight[head + j]
        mean += dz[j]
        along += dz[j] * z[j]
    for j in range(z.shape[0]):
        dz[j] = inverse * (dz[j] - mean / z.shape[0] - z[j] * along / z.shape[0])
        grad[bias + j] = dz[j]
    grad[end] = 1.0


@_JIT
def _gradient(state: tuple, at: tuple, room: tuple) -> None:  # pragma: no cover - compiled
    """grad (P,): of weight_out, and through the sensitivities of h of the recurrence."""
    weight, _, h, by_rate, by_frequency, by_input, _ = state
    rate, frequency, into, out, _, _, _, _ = at
    grad, _, dz = room
    states, inputs = by_input.shape
    for n in range(states):
        real = imag = 0.0
        for j in range(dz.shape[0]):
            k = out + 2 * (states * j + n)
            real += 2 * weight[k] * dz[j]
            imag -= 2 * weight[k + 1] * dz[j]
            grad[k] = 2 * h[n].real * dz[j]
            grad[k + 1] = -2 * h[n].imag * dz[j]
        grad[rate + n] = real * by_rate[n].real + imag * by_rate[n].imag
        grad[frequency + n] = real * by_frequency[n].real + imag * by_frequency[n].imag
        for d in range(inputs):
            s = by_input[n, d]
            grad[into + 2 * inputs * n + d] = real * s.real + imag * s.imag
            grad[into + 2 * inputs * n + inputs + d] = imag * s.real - real * s.imag


@_JIT
def _advance(state: tuple, x: Array, dt: float, at: tuple) -> None:  # pragma: no cover - compiled
    """The state and its sensitivities after a gap and an event."""
    weight, _, h, by_rate, by_frequency, by_input, _ = state
    rate, frequency, into, _, _, _, _, _ = at
    states, inputs = by_input.shape
    for n in range(states):
        speed = np.exp(weight[rate + n])
        phase = weight[frequency + n] * dt
        a = np.exp(-speed * dt) * complex(np.cos(phase), np.sin(phase))
        kept = a * h[n]
        by_rate[n] = a * by_rate[n] - speed * dt * kept
        by_frequency[n] = a * by_frequency[n] + complex(-dt * kept.imag, dt * kept.real)
        real = imag = 0.0
        for d in range(inputs):
            by_input[n, d] = a * by_input[n, d] + x[d]
            real += weight[into + 2 * inputs * n + d] * x[d]
            imag += weight[into + 2 * inputs * n + inputs + d] * x[d]
        h[n] = kept + complex(real, imag)


@_JIT
def _forget(state: tuple) -> None:  # pragma: no cover - compiled
    """A new sequence: all but the weights."""
    _, trace, h, by_rate, by_frequency, by_input, past = state
    trace[:] = 0
    h[:] = 0
    by_rate[:] = 0
    by_frequency[:] = 0
    by_input[:] = 0
    past[0] = 0
    past[1] = 1


@_JIT
def _event(event: tuple, state: tuple, rule: tuple, room: tuple) -> tuple:  # pragma: no cover - compiled
    """One event; returns (value after, delta)."""
    x, dt, cumulant, discount, reset = event
    alpha, kappa, lambda_ = rule[:3]
    at = rule[3:]
    weight, trace, h, past = state[0], state[1], state[2], state[6]
    grad, z, dz = room
    if reset or past[1] == 0:
        _forget(state)
        _advance(state, x, dt, at)
        return _value(weight, h, at, z)[0], 0.0
    before, inverse = _value(weight, h, at, z)
    _readout(state, inverse, at, (grad, z, dz))
    _gradient(state, at, (grad, z, dz))
    _advance(state, x, dt, at)
    delta = cumulant + discount * _value(weight, h, at, z)[0] - before
    norm = 0.0
    for p in range(trace.shape[0]):
        trace[p] = past[0] * trace[p] + grad[p]
        norm += abs(trace[p])
    gain = alpha / max(alpha * kappa * max(abs(delta), 1.0) * norm, 1.0) * delta
    for p in range(trace.shape[0]):
        weight[p] += gain * trace[p]
    past[0] = lambda_ * discount
    return _value(weight, h, at, z)[0], delta


@_JIT
def _scan(stream: tuple, state: tuple, rule: tuple, room: tuple) -> None:  # pragma: no cover - compiled
    x, dt, cumulant, discount, reset = stream
    for t in range(dt.shape[0]):
        event = (x[t], dt[t], cumulant[t], discount[t], reset[t])
        room[3][t], room[4][t] = _event(event, state, rule, room[:3])
