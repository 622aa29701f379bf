"""The definition: one event after another, one question after another, as the equations of the package say."""

from __future__ import annotations

import numpy as np

from eventflow.ops.gvf import Array, GVFResult, GVFState, GVFStream, GVFTerms


def scan(stream: GVFStream, terms: GVFTerms, state: GVFState) -> GVFResult:
    """See :func:`eventflow.ops.gvf.gvf_scan`."""
    features, dt, signals, stops, reset = stream
    assert stops is not None and reset is not None
    weight, trace, value = (part.copy() for part in state)
    values, errors = (np.zeros((len(dt), len(value)), value.dtype) for _ in range(2))
    for t in range(len(dt)):
        for g in range(len(value)):
            question = GVFTerms(*(part[g] for part in terms))
            if reset[t]:
                trace[g], value[g] = 0, 0
            discount = np.exp(-question.rate * dt[t])
            keep = discount * (1 - (question.stop >= 0 and stops[t, question.stop]))  # what bootstraps
            earned = _cumulant(signals[t, question.signal], question, dt[t], discount)
            delta = 0.0 if reset[t] else earned + keep * (weight[g] @ features[t]) - value[g]
            weight[g] += _step(question, delta, trace[g]) * delta * trace[g]
            trace[g] = keep * question.lambda_ * np.exp(-question.trace_rate * dt[t]) * trace[g] + features[t]
            value[g] = weight[g] @ features[t]
            values[t, g], errors[t, g] = value[g], delta
    return GVFResult(values, errors, GVFState(weight, trace, value))


def _cumulant(signal: float, question: GVFTerms, dt: float, discount: float) -> float:
    """What the gap and the event at its end add to the sum, seen from the beginning of the gap."""
    if question.kind == 0:  # step
        return signal
    if question.kind == 1:  # impulse
        return discount * signal
    held = dt if question.rate == 0 else float(-np.expm1(-question.rate * dt) / question.rate)
    return signal * held


def _step(question: GVFTerms, delta: float, trace: Array) -> float:
    """alpha, or less where the update would overshoot (ObGD: alpha kappa max(|delta|, 1) ||e||_1 <= 1)."""
    overshoot = question.step_size * question.bound * max(abs(delta), 1.0) * np.abs(trace).sum()
    return question.step_size / max(overshoot, 1.0)
