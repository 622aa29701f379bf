"""The compiled path: a question's weights and trace are read twice an event, from the first-level cache.

w . x_t of the definition is the value kept from the last event (no weight has changed since), and w . x_t+1 after the
update is w . x_t+1 before it plus step (e . x_t+1): three sums in one pass, two updates in the next. Sums may be
reordered (``reassoc``), which lets them be vectorised; NaNs are honoured.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from eventflow.ops.gvf import Array, GVFResult, GVFState, GVFStream, GVFTerms


def scan(stream: GVFStream, terms: GVFTerms, state: GVFState) -> GVFResult:
    """See :func:`eventflow.ops.gvf.gvf_scan`."""
    weight, trace, value = (np.array(part, part.dtype, order="C") for part in state)
    values, errors = (np.empty((len(stream.dt), len(value)), value.dtype) for _ in range(2))
    _scan(tuple(stream), tuple(terms), (weight, trace, value), (values, errors))
    return GVFResult(values, errors, GVFState(weight, trace, value))


def step_rows(rows: tuple[Array, ...], terms: tuple[Array, ...], state: tuple[Array, ...], error: Array) -> None:
    """One event of each of N streams with states of their own, in place; see :func:`_rows`."""
    _rows(rows, terms, state, error)


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _learn(weight: Array, trace: Array, g: int, x: Array, given: tuple) -> tuple:  # pragma: no cover - compiled
    """One question, one event: row g of weight and trace in place; returns (value after, delta)."""
    earned, keep, decay, before, step, bound, reset = given
    zero = weight.dtype.type(0)
    ahead, overlap, norm = zero, zero, zero
    if reset:
        for f in range(x.shape[0]):
            ahead += weight[g, f] * x[f]
            trace[g, f] = x[f]
        return ahead, zero
    for f in range(x.shape[0]):
        ahead += weight[g, f] * x[f]
        overlap += trace[g, f] * x[f]
        norm += abs(trace[g, f])
    delta = earned + keep * ahead - before
    overshoot = step * bound * max(abs(delta), weight.dtype.type(1)) * norm
    if overshoot > 1:
        step = step / overshoot
    gain = step * delta
    for f in range(x.shape[0]):
        weight[g, f] += gain * trace[g, f]
        trace[g, f] = decay * trace[g, f] + x[f]
    return ahead + gain * overlap, delta


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _event(event: tuple, terms: tuple, state: tuple, error: Array) -> None:  # pragma: no cover - compiled
    """All questions, one event; ``event`` is (features (F,), dt, signals (C,), stops (D,), reset)."""
    x, dt, signals, stops, reset = event
    rate, lambda_, trace_rate, step_size, bound, signal, kind, stop = terms
    weight, trace, value = state
    discount = np.exp(-rate[0] * dt)
    for g in range(weight.shape[0]):
        if g and rate[g] != rate[g - 1]:  # neighbours often ask over the same horizon
            discount = np.exp(-rate[g] * dt)
        keep = discount
        if stop[g] >= 0 and stops[stop[g]]:
            keep = discount * 0
        earned = signals[signal[g]]
        if kind[g] == 1:
            earned *= discount
        elif kind[g] == 2:
            earned *= dt if rate[g] == 0 else -np.expm1(-rate[g] * dt) / rate[g]
        decay = keep * lambda_[g]
        if trace_rate[g] > 0:
            decay *= np.exp(-trace_rate[g] * dt)
        given = (earned, keep, decay, value[g], step_size[g], bound[g], reset)
        value[g], error[g] = _learn(weight, trace, g, x, given)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _scan(stream: tuple, terms: tuple, state: tuple, out: tuple) -> None:  # pragma: no cover - compiled
    features, dt, signals, stops, reset = stream
    values, errors = out
    for t in range(dt.shape[0]):
        _event((features[t], dt[t], signals[t], stops[t], reset[t]), terms, state, errors[t])
        values[t] = state[2]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _rows(rows: tuple, terms: tuple, state: tuple, error: Array) -> None:  # pragma: no cover - compiled
    """rows: features (N, F), dt (N,), signals (N, C), stops (N, D), reset (N,); state leaves (N, ...); error (N, G)."""
    features, dt, signals, stops, reset = rows
    weight, trace, value = state
    for n in range(dt.shape[0]):
        event = (features[n], dt[n], signals[n], stops[n], reset[n])
        _event(event, terms, (weight[n], trace[n], value[n]), error[n])
