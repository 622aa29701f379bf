"""States that follow an ordinary differential equation between events, and jump at them.

Axes: B sequences, T events, R times at which the path before event i (and behind the last one) is read, H channels, M
units of the field. Between events dh/ds = f(h) = tanh(h W' + b) V' + c; at event i h' = tanh(h U' + jumps[i]).

The path is what Runge and Kutta's fourth-order rule makes of it in steps of ``step`` counted from the last event,
joined by cubic Hermite polynomials: its error is O(step^4), it has a continuous derivative, and where it is read
changes nothing. So one solution serves all the nodes of a quadrature. ``backend``: "naive" is the definition; "numba"
the compiled path for the CPU (float32 and float64, first derivatives only), exact in its gradient too: it goes back
through the same steps; "auto" takes "numba" where it applies. Times have no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


class Field(NamedTuple):
    """``inner`` W (M, H), ``shift`` b (M,), ``outer`` V (H, M), ``drift`` c (H,); ``jump`` U (H, H)."""

    inner: Tensor
    shift: Tensor
    outer: Tensor
    drift: Tensor
    jump: Tensor


def ode_path(
    field: Field, start: Tensor, jumps: Tensor, times: Tensor, *, step: float = 0.25, backend: str = "auto"
) -> Tensor:
    """(B, T + 1, R, H): the path at ``times`` (B, T + 1, R) >= 0 since the start (row 0) and since each event.

    Args:
        field: see :class:`Field`.
        start: (B, H) the state at the start.
        jumps: (B, T, H) what the events add inside their tanh.
        times: the last of each row is where its gap ends, and event i comes.
        step: of the solver.
        backend: see above.
    """
    import torch

    if backend == "auto":
        compiled = start.device.type == "cpu" and start.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "naive"
    if backend == "numba":
        from eventflow.ops.ode_path.numba import ode_path as chosen
    elif backend == "naive":
        from eventflow.ops.ode_path.naive import ode_path as chosen
    else:
        raise InputError(f"ode_path(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    return chosen(field, start, jumps, times, step)
