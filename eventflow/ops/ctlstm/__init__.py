"""The continuous-time LSTM of the Neural Hawkes process (Mei & Eisner 2017, arXiv:1612.09328, eqs. 4-7), as operations.

Axes: B sequences, T events, N rows, M query times, H hidden, K marks. A state is the four tensors (c, target, decay,
out): the cell at the last event, where it decays to, how fast, and the output gate. After a silence u::

    cell(u) = target + (c - target) exp(-decay u)          hidden(u) = out tanh(cell(u))

and an event changes it by gates = gates_x + hidden(dt) weight_h^T, in the order i, i_bar, f, f_bar, z, o, delta::

    c' = f cell(dt) + i z      target' = f_bar target + i_bar z      decay' = softplus(delta)      out' = o

Intensities are s_k softplus((w_k . hidden(u) + b_k) / s_k), s = exp(log_scale).

``backend``: "naive" is the definition; "numba" the compiled path for the CPU (float32 and float64, first derivatives
only); "auto" takes "numba" where it applies. The compiled operations compute every row by itself: its numbers are the
same to the last bit in any batch, and a scan's are those of its steps. The first call of each compiles for some ten
seconds; what is compiled is kept on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    State = tuple[Tensor, Tensor, Tensor, Tensor]


def ctlstm_scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, *, reset: Tensor | None = None,
    mask: Tensor | None = None, init: State | None = None, backend: str = "auto",
) -> tuple[State, State]:  # fmt: skip
    """States after each event of B sequences, from the gates' part that does not depend on the past.

    Args:
        gates_x: (B, T, 7H), the input's part of the gates, bias included.
        dt: (B, T) gap before each event.
        weight_h: (7H, H), the recurrent weight.
        state: four (B, H), the state before the first gap.
        reset: (B, T) bool; where True the state becomes ``init`` before the gap of that event.
        mask: (B, T) bool; where False nothing happens, and what lies there (NaN too) reaches no value or gradient.
        init: four (B, H), the state after a reset; None is zeros.

    Returns:
        (four (B, T, H) after each event, four (B, H) after the last).
    """
    _check("ctlstm_scan", weight_h, state, gates_x=gates_x, dt=dt, reset=reset, mask=mask)
    start = tuple(leaf.new_zeros(leaf.shape) for leaf in state) if init is None else tuple(init)
    return _module(backend, gates_x).scan(gates_x, dt, weight_h, tuple(state), start, (reset, mask))


def ctlstm_step(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, *, backend: str = "auto"
) -> tuple[Tensor, State]:
    """One event for each of N rows: gates_x (N, 7H), dt (N,) -> (hidden just before it (N, H), the state after it)."""
    _check("ctlstm_step", weight_h, state, gates_x=gates_x, dt=dt)
    return _module(backend, gates_x).step(gates_x, dt, weight_h, tuple(state))


def ctlstm_intensity(
    state: State, u: Tensor, head: tuple[Tensor, Tensor, Tensor], *, backend: str = "auto"
) -> Tensor:  # fmt: skip
    """(N, M, K) intensities of N states, four (N, H), at times ``u`` (N, M) after their last events.

    ``head`` is (weight_k (K, H), bias_k (K,), log_scale (K,)).
    """
    return _module(backend, u).intensity(tuple(state), u, tuple(head))


def ctlstm_compensator(
    state: State, dt: Tensor, head: tuple[Tensor, Tensor, Tensor], rule: tuple[Any, Any], *, backend: str = "auto"
) -> Tensor:  # fmt: skip
    """(N,) integrals of the total intensity over the next ``dt`` (N,): dt sum_j weights_j sum_k lambda_k(nodes_j dt).

    Args:
        state: four (N, H).
        dt: (N,).
        head: (weight_k (K, H), bias_k (K,), log_scale (K,)).
        rule: (nodes (M,), weights (M,)) on [0, 1].
    """
    nodes, weights = _rule(rule, dt)
    return _module(backend, dt).compensator(tuple(state), dt, tuple(head), (nodes, weights))


def ctlstm_log_prob(
    state: State, dt: Tensor, mark: Tensor, head: tuple[Tensor, Tensor, Tensor], rule: tuple[Any, Any], *,
    backend: str = "auto",
) -> Tensor:  # fmt: skip
    """(N,) log-densities of N events: log lambda_mark(dt) less the compensator of the gap, in one pass.

    ``mark`` (N,) int64 in [0, K); the other arguments as in :func:`ctlstm_compensator`.
    """
    nodes, weights = _rule(rule, dt)
    return _module(backend, dt).log_prob(tuple(state), dt, mark, tuple(head), (nodes, weights))


def ctlstm_sequence(
    cell: tuple[Tensor, Tensor], events: tuple[Tensor, Tensor, Tensor, Tensor], state: State,
    head: tuple[Tensor, Tensor, Tensor], rule: tuple[Any, Any], *, backend: str = "auto",
) -> tuple[Tensor, State]:  # fmt: skip
    """Log-densities of all events of B sequences: a scan, and :func:`ctlstm_log_prob` before each event, in one pass.

    Args:
        cell: (gates_x of each mark (J, 7H), the recurrent weight (7H, H)).
        events: (mark (B, T) int64 in [0, K), gap before it (B, T), mask (B, T), scored (B, T)); an event that is not
            scored changes the state and no more.
        state: four (B, H), before the first gap.
        head: (weight_k (K, H), bias_k (K,), log_scale (K,)).
        rule: (nodes (M,), weights (M,)) on [0, 1].

    Returns:
        ((B, T) log-densities, 0 where not scored; four (B, H) after the last event).
    """
    _check_events(cell, events, state)
    return _module(backend, events[1]).sequence(
        tuple(cell), tuple(events), tuple(state), tuple(head), _rule(rule, events[1])
    )


def _module(backend: str, like: Tensor) -> Any:
    import torch

    if backend == "auto":
        compiled = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "naive"
    if backend == "numba":
        from eventflow.ops.ctlstm import numba

        return numba
    if backend == "naive":
        from eventflow.ops.ctlstm import naive

        return naive
    raise InputError(f"ctlstm(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")


def _rule(rule: tuple[Any, Any], like: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    nodes, weights = (part if isinstance(part, torch.Tensor) else torch.tensor(part) for part in rule)
    return nodes.to(like), weights.to(like)


def _check_events(cell: tuple[Tensor, Tensor], events: tuple[Tensor, ...], state: State) -> None:
    """Raise :class:`InputError` that names the first argument of ``ctlstm_sequence`` with a wrong shape."""
    mark, dt, mask, scored = events
    for name, value in (("mark", mark), ("mask", mask), ("scored", scored)):
        if value.shape != dt.shape or dt.dim() != 2:
            raise InputError(
                f"ctlstm_sequence: {name} is {tuple(value.shape)}, dt {tuple(dt.shape)}; expected (B, T) both"
            )
    gates = cell[0][:1].expand(len(dt), -1)
    _check("ctlstm_sequence", cell[1], state, gates_x=gates, dt=dt[:, 0] if dt.shape[1] else gates[:, 0])


def _check(name: str, weight_h: Tensor, state: State, **given: Tensor | None) -> None:
    """Raise :class:`InputError` that names the first argument with a wrong shape."""
    hidden = weight_h.shape[-1]
    gates, dt = given["gates_x"], given["dt"]
    assert gates is not None and dt is not None
    lead = tuple(gates.shape[:-1])
    if tuple(weight_h.shape) != (7 * hidden, hidden) or gates.shape[-1] != 7 * hidden:
        raise InputError(
            f"{name}: gates_x is {tuple(gates.shape)} and weight_h {tuple(weight_h.shape)}; expected (..., 7H), (7H, H)"
        )
    for key, value in given.items():
        if key != "gates_x" and value is not None and tuple(value.shape) != lead:
            raise InputError(f"{name}: {key} is {tuple(value.shape)}; gates_x has leading axes {lead}")
    for leaf in state:
        if tuple(leaf.shape) != (lead[0], hidden):
            raise InputError(f"{name}: a leaf of state is {tuple(leaf.shape)}; expected {(lead[0], hidden)}")
