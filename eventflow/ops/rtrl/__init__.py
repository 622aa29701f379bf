"""Temporal differences through a diagonal recurrence, with exact gradients in constant memory.

A state h (N,) complex evolves as exp(Lambda dt) h between events and jumps by B x at them; Lambda = -exp(log_rate) + i
frequency. The value is head . f + offset with f = LeakyReLU(LayerNorm(2 Re(C h) + b)). Because the recurrence is
diagonal, the derivatives of h with respect to its parameters are recurrences of the same kind (real-time recurrent
learning, Williams & Zipser 1989; for diagonal cells Elelimy et al. 2024, arXiv:2409.01449):

    a          = exp(Lambda dt)
    dh/dlog_rate <- a dh/dlog_rate - exp(log_rate) dt a h
    dh/dfrequency <- a dh/dfrequency + i dt a h
    dh_n/dB_nd   <- a_n dh_n/dB_nd + x_d                     (for the real part; i times that for the imaginary part)

N (D + 2) complex numbers replace the whole history. They are exact for the weights that *made* the history: where
weights move at every event, each past step counts with the weights it was made with (a test rebuilds just that).

    e      = decay e + grad v(h_t)               decay = gamma_t lambda of the gap before h_t
    delta  = c + gamma_t+1 v(h_t+1) - v(h_t)
    theta += alpha min(1, 1 / (alpha kappa max(|delta|, 1) ||e||_1)) delta e          (ObGD, arXiv:2410.14606)

Axes: T events, D inputs, N states, H hidden, P parameters: log_rate (N), frequency (N), weight_in (N, 2, D), weight_out
(H, N, 2), bias (H), head (H), offset (1), in this order in one flat vector.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

__all__ = ["RTRLResult", "RTRLRule", "RTRLState", "RTRLStream", "Sizes", "rtrl_init", "rtrl_scan"]

Array = NDArray[Any]
#: Slope of LeakyReLU below zero, and what LayerNorm adds to the variance.
SLOPE, EPSILON = 0.01, 1e-5


class Sizes(NamedTuple):
    """D, N, H."""

    inputs: int
    states: int
    hidden: int

    @property
    def parameters(self) -> tuple[int, ...]:
        """Where each parameter begins in the flat vector, and where the last one ends."""
        d, n, h = self
        return tuple(int(v) for v in np.cumsum([0, n, n, 2 * n * d, 2 * h * n, h, h, 1]))


class RTRLRule(NamedTuple):
    """``step_size`` alpha, ``bound`` kappa of ObGD (0: none), ``lambda_`` of the traces per event."""

    step_size: float = 1.0
    bound: float = 2.0
    lambda_: float = 0.8


class RTRLState(NamedTuple):
    """All that is remembered.

    Args:
        weight: (P,).
        trace: (P,).
        h: (N,) complex.
        by_rate: (N,) complex, dh/dlog_rate.
        by_frequency: (N,) complex.
        by_input: (N, D) complex.
        past: (2,) the discount of the gap before h, and whether there is an event at all (1) or none yet (0).
    """

    weight: Array
    trace: Array
    h: Array
    by_rate: Array
    by_frequency: Array
    by_input: Array
    past: Array


class RTRLStream(NamedTuple):
    """``x`` (T, D), ``dt`` (T,) before each event, ``cumulant`` (T,) earned when it comes, ``discount`` (T,) of the gap
    before it (0: nothing comes after), ``reset`` (T,) bool: a new sequence starts, nothing is learned from the gap."""

    x: Array
    dt: Array
    cumulant: Array
    discount: Array
    reset: Array


class RTRLResult(NamedTuple):
    """``value`` (T,) just after each event, learned from it already; ``error`` (T,); the state after."""

    value: Array
    error: Array
    state: RTRLState


def rtrl_init(weight: Array, sizes: Sizes) -> RTRLState:
    """Before the first event, from a flat vector of weights (float64)."""
    if weight.shape != (sizes.parameters[-1],):
        raise InputError(f"rtrl_init: weight {weight.shape}; {sizes} has {sizes.parameters[-1]} parameters")
    n = sizes.states
    h, by_rate, by_frequency = (np.zeros(n, np.complex128) for _ in range(3))
    flat = np.array(weight, np.float64)
    by_input = np.zeros((n, sizes.inputs), np.complex128)
    return RTRLState(flat, np.zeros(len(flat)), h, by_rate, by_frequency, by_input, np.zeros(2))


def rtrl_scan(
    stream: RTRLStream, state: RTRLState, rule: RTRLRule, sizes: Sizes, *, backend: str = "auto"
) -> RTRLResult:
    """Learn from every event in turn, in float64; the given state is not changed.

    ``backend``: "numba" ("auto"), or "naive": the definition, autograd through the whole history at every event, which
    starts where the history does (a fresh state or a reset) and costs T^2.

    Raises:
        InputError: shapes that do not fit, an unknown backend.
    """
    length = len(stream.dt)
    x, gaps, cumulant, discount = (np.ascontiguousarray(part, np.float64) for part in stream[:4])
    checked = RTRLStream(x, gaps, cumulant, discount, np.ascontiguousarray(stream.reset, np.bool_))
    if checked.x.shape != (length, sizes.inputs) or any(part.shape != (length,) for part in checked[1:]):
        shapes = ", ".join(f"{name} {part.shape}" for name, part in zip(RTRLStream._fields, checked, strict=True))
        raise InputError(f"rtrl_scan: {shapes}; expected (T, D)=({length}, {sizes.inputs}) and (T,)")
    if backend == "naive":
        from eventflow.ops.rtrl.naive import scan
    elif backend in ("auto", "numba"):
        from eventflow.ops.rtrl.numba import scan
    else:
        raise InputError(f"rtrl_scan(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    return scan(checked, state, rule, sizes)
