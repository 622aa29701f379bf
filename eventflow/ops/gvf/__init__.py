"""General value functions over one stream: many questions about the future, learned from every event, once each.

A question asks for the discounted sum of a signal: V(t) = E[sum_k exp(-beta (t_k - t)) c_k] over the events after t,
with discount rate beta. All questions of a stream see the same features x (F,) and have weights, traces and step sizes
of their own; a prediction is w . x. Temporal differences with eligibility traces in irregular time:

    gamma_t+1 = exp(-beta dt_t+1), dt_t+1 the gap *after* x_t        the discount that bootstraps
    delta     = c_t+1 + gamma_t+1 w . x_t+1 - w . x_t
    w        += alpha delta e_t
    e_t+1     = gamma_t+1 lambda exp(-kappa dt_t+1) e_t + x_t+1      one event later: the discount *before* x_t+1

so that the discount in a bootstrap and the discount in a trace never are the same one at the same time (mixing them up
biases the fixed point where gaps vary). Traces: Sutton & Barto 2018, ch. 12; general value functions: Sutton et al.
2011 (Horde); discounts of a random duration: Bradtke & Duff, NIPS 1994. ``bound`` limits the step as ObGD does
(Elsayed, Vasan & Mahmood 2024, arXiv:2410.14606), question by question.

Axes: T events, G questions, F features, C signals, D stops. Memory is constant: 2 G F + F + G numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

__all__ = ["KINDS", "GVFResult", "GVFState", "GVFStream", "GVFTerms", "gvf_init", "gvf_scan"]

Array = NDArray[Any]
#: How a signal counts: at the next event, undiscounted ("step", as in Gymnasium); at the next event, discounted over
#: the gap ("impulse"); as a rate that holds during the gap, discounted ("rate": c (1 - gamma) / beta).
KINDS = ("step", "impulse", "rate")


class GVFTerms(NamedTuple):
    """What is asked, and how it is learned; all (G,).

    Args:
        rate: beta >= 0, the discount rate per unit of time.
        lambda_: the decay of traces per event, in [0, 1].
        trace_rate: kappa >= 0, the decay of traces per unit of time.
        step_size: alpha.
        bound: kappa of ObGD; 0: none.
        signal: int64, the column of the signals that is summed.
        kind: int64, an index into :data:`KINDS`.
        stop: int64, the column of the stops that ends the sum; -1: none does.
    """

    rate: Array
    lambda_: Array
    trace_rate: Array
    step_size: Array
    bound: Array
    signal: Array
    kind: Array
    stop: Array


class GVFState(NamedTuple):
    """``weight``, ``trace`` (..., G, F); ``value`` (..., G): w . x at the last event, 0 before the first."""

    weight: Array
    trace: Array
    value: Array


class GVFStream(NamedTuple):
    """What happened; row i is event i.

    Args:
        features: (T, F), what is known just after the event.
        dt: (T,) the gap before it.
        signals: (T, C).
        stops: (T, D) bool; None: none.
        reset: (T,) bool: a new sequence starts here: nothing is learned from the gap, traces are cut. None: nowhere.
    """

    features: Array
    dt: Array
    signals: Array
    stops: Array | None = None
    reset: Array | None = None


class GVFResult(NamedTuple):
    """``value`` (T, G): predictions just after each event, learned from it already; ``error`` (T, G): delta."""

    value: Array
    error: Array
    state: GVFState


def gvf_init(questions: int, features: int, *, dtype: Any = np.float64) -> GVFState:
    """The state before the first event: nothing is predicted, and nothing learned from the first gap."""
    return GVFState(
        np.zeros((questions, features), dtype), np.zeros((questions, features), dtype), np.zeros(questions, dtype)
    )


def gvf_scan(stream: GVFStream, terms: GVFTerms, state: GVFState, *, backend: str = "auto") -> GVFResult:
    """Learn from every event of ``stream`` in turn; the given state is not changed.

    ``backend``: "numba" ("auto") or "naive" (the definition). Numbers are computed in the dtype of ``state.weight``.

    Raises:
        InputError: shapes that do not fit, a column that is not there, an unknown backend.
    """
    stream, terms = _checked(stream, terms, state)
    if backend == "naive":
        from eventflow.ops.gvf.naive import scan
    elif backend in ("auto", "numba"):
        from eventflow.ops.gvf.numba import scan
    else:
        raise InputError(f"gvf_scan(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    return scan(stream, terms, state)


def _checked(stream: GVFStream, terms: GVFTerms, state: GVFState) -> tuple[GVFStream, GVFTerms]:
    """The stream with its defaults filled in and the terms, contiguous and in the dtype of the state."""
    dtype, (questions, size) = state.weight.dtype, state.weight.shape
    features, dt, signals = (np.ascontiguousarray(part, dtype) for part in stream[:3])
    length = len(dt)
    stops = np.zeros((length, 0), np.bool_) if stream.stops is None else np.ascontiguousarray(stream.stops, np.bool_)
    reset = np.zeros(length, np.bool_) if stream.reset is None else np.ascontiguousarray(stream.reset, np.bool_)
    if not questions:
        raise InputError("gvf_scan: the state has no question; expected (G, F) with G >= 1")
    if state.trace.shape != (questions, size) or state.value.shape != (questions,):
        raise InputError(f"gvf_scan: trace {state.trace.shape}, value {state.value.shape}; expected (G, F), (G,)")
    if features.shape != (length, size):
        raise InputError(f"gvf_scan: features {features.shape}; expected (T, F)=({length}, {size})")
    for name, part, axes in (("signals", signals, 2), ("stops", stops, 2), ("reset", reset, 1)):
        if part.ndim != axes or len(part) != length:
            raise InputError(f"gvf_scan: {name} {part.shape}; expected {axes} axes and {length} events")
    floats = [np.ascontiguousarray(part, dtype) for part in terms[:5]]
    columns = [np.ascontiguousarray(part, np.int64) for part in terms[5:]]
    for name, part in zip(GVFTerms._fields, [*floats, *columns], strict=True):
        if part.shape != (questions,):
            raise InputError(f"gvf_scan: terms.{name} {part.shape}; expected (G,)=({questions},)")
    limits = (("signal", 0, signals.shape[1]), ("kind", 0, len(KINDS)), ("stop", -1, stops.shape[1]))
    for (name, low, high), part in zip(limits, columns, strict=True):
        if not (low <= part.min() and part.max() < high):
            raise InputError(f"gvf_scan: terms.{name} in [{part.min()}, {part.max()}]; expected [{low}, {high})")
    return GVFStream(features, dt, signals, stops, reset), GVFTerms(*floats, *columns)
