"""The definition: one gap after another, every knot, then the polynomials between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from eventflow.ops.ode_path import Field


def ode_path(field: Field, start: Tensor, jumps: Tensor, times: Tensor, step: float) -> Tensor:
    """See :func:`eventflow.ops.ode_path.ode_path`."""
    h, out = start, []
    for i in range(times.shape[1]):
        out.append(_read(*_knots(field, h, times[:, i], step), times[:, i], step))
        if i < jumps.shape[1]:
            h = torch.tanh(out[-1][:, -1] @ field.jump.t() + jumps[:, i])
    return torch.stack(out, 1)


def slope(field: Field, h: Tensor) -> Tensor:
    """f(h)."""
    return torch.tanh(h @ field.inner.t() + field.shift) @ field.outer.t() + field.drift


def _knots(field: Field, h: Tensor, times: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """(B, N + 1, H) states at 0, step, 2 step, ... up to the latest time, and their slopes."""
    states, slopes = [h], [slope(field, h)]
    last = float(times.max()) if times.numel() else 0.0
    for _ in range(max(math.ceil(last / step), 1)):
        k1, h = slopes[-1], states[-1]
        k2 = slope(field, h + step / 2 * k1)
        k3 = slope(field, h + step / 2 * k2)
        k4 = slope(field, h + step * k3)
        states.append(h + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        slopes.append(slope(field, states[-1]))
    return torch.stack(states, 1), torch.stack(slopes, 1)


def _read(states: Tensor, slopes: Tensor, times: Tensor, step: float) -> Tensor:
    """(B, R, H) the cubic through two knots and their slopes."""
    place = times / step
    before = place.floor().clamp_max(states.shape[1] - 2)
    x, index = (place - before)[..., None], before.long()[..., None].expand(*times.shape, states.shape[-1])
    (h, then), (f, after) = ((leaf.gather(1, index), leaf.gather(1, index + 1)) for leaf in (states, slopes))
    here = (1 + 2 * x) * (1 - x) ** 2 * h + x**2 * (3 - 2 * x) * then
    return here + step * (x * (1 - x) ** 2 * f + x**2 * (x - 1) * after)
