"""The definition of the continuous-time LSTM's four operations, in plain torch: short, differentiable, any device.

Shapes as in :mod:`eventflow.ops.ctlstm`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, Tensor, Tensor, Tensor]
Sequence = tuple[Tensor, Tensor, Tensor, Tensor]
FAR_BELOW = -60.0  # there log softplus(x) = x and softplus = its derivative, to the last bit


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); linear only where that changes nothing in float64 (torch's default threshold costs 2e-9)."""
    return functional.softplus(x, threshold=35.0)


def _evolved(state: State, dt: Tensor) -> Tensor:
    """The cell after a silence of ``dt`` (the leading axes of the leaves)."""
    c, target, decay, _ = state
    return target + (c - target) * torch.exp(-decay * dt[..., None])


def step(gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State) -> tuple[Tensor, State]:
    """See :func:`eventflow.ops.ctlstm.ctlstm_step`."""
    cell, target, out = _evolved(state, dt), state[1], state[3]
    left = out * torch.tanh(cell)
    i, i_bar, f, f_bar, z, o, delta = (gates_x + left @ weight_h.T).chunk(7, -1)
    i, i_bar, f, f_bar, o = (torch.sigmoid(gate) for gate in (i, i_bar, f, f_bar, o))
    z = torch.tanh(z)
    return left, (f * cell + i * z, f_bar * target + i_bar * z, softplus(delta), o)


def scan(
    gates_x: Tensor, dt: Tensor, weight_h: Tensor, state: State, init: State, flags: tuple[Tensor | None, Tensor | None]
) -> tuple[State, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_scan`; ``flags`` are (reset, mask)."""
    reset, mask = flags
    if mask is not None:  # what lies in padding, NaN included, must reach neither values nor gradients
        gates_x, dt = torch.where(mask[..., None], gates_x, 0), torch.where(mask, dt, 0)
        reset = None if reset is None else reset & mask
    now, states = state, []
    for t in range(dt.shape[1]):
        before = now if reset is None else _pick(reset[:, t], init, now)
        after = step(gates_x[:, t], dt[:, t], weight_h, before)[1]
        now = after if mask is None else _pick(mask[:, t], after, now)
        states.append(now)
    if not states:
        return _four(*(leaf[:, None][:, :0] for leaf in now)), now
    return _four(*(torch.stack(leaves, 1) for leaves in zip(*states, strict=True))), now


def intensity(state: State, u: Tensor, head: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """See :func:`eventflow.ops.ctlstm.ctlstm_intensity`; ``head`` is (weight_k, bias_k, log_scale)."""
    weight_k, bias_k, log_scale = head
    c, target, decay, out = (leaf[:, None] for leaf in state)
    hidden = out * torch.tanh(_evolved((c, target, decay, out), u))
    scale = log_scale.exp()
    return scale * softplus((hidden @ weight_k.T + bias_k) / scale)


def compensator(
    state: State, dt: Tensor, head: tuple[Tensor, Tensor, Tensor], rule: tuple[Tensor, Tensor]
) -> Tensor:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_compensator`."""
    nodes, weights = rule
    return dt * (intensity(state, dt[:, None] * nodes, head).sum(-1) @ weights)


def log_prob(
    state: State, dt: Tensor, mark: Tensor, head: tuple[Tensor, Tensor, Tensor], rule: tuple[Tensor, Tensor]
) -> Tensor:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_log_prob`."""
    weight, bias, log_scale = (part[mark] for part in head)
    hidden = state[3] * torch.tanh(_evolved(state, dt))
    x = ((hidden * weight).sum(1) + bias) / log_scale.exp()
    log_softplus = torch.where(x < FAR_BELOW, x, softplus(x.clamp(min=FAR_BELOW)).log())  # else it underflows to log 0
    return log_softplus + log_scale - compensator(state, dt, head, rule)


def sequence(
    cell: tuple[Tensor, Tensor], events: Sequence, state: State, head: tuple[Tensor, Tensor, Tensor],
    rule: tuple[Tensor, Tensor],
) -> tuple[Tensor, State]:  # fmt: skip
    """See :func:`eventflow.ops.ctlstm.ctlstm_sequence`."""
    mark, dt, mask, scored = events
    mark, dt, scored = torch.where(mask, mark, 0), torch.where(mask, dt, 0), scored & mask
    after, last = scan(cell[0][mark], dt, cell[1], state, state, (None, mask))
    before = _four(*(torch.cat([a[:, None], b], 1)[:, :-1][scored] for a, b in zip(state, after, strict=True)))
    terms = log_prob(before, dt[scored], mark[scored], head, rule)
    return torch.zeros_like(dt).masked_scatter(scored, terms), last


def _pick(condition: Tensor, yes: State, no: State) -> State:
    return _four(*(torch.where(condition[:, None], a, b) for a, b in zip(yes, no, strict=True)))


def _four(c: Tensor, target: Tensor, decay: Tensor, out: Tensor) -> State:
    return c, target, decay, out
