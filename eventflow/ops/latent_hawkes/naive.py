"""The definitions: every node of every gap, layer by layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eventflow.ops.latent_hawkes import EPSILON, Gap, Layer, Stack


def decay(step: Tensor, u: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of exp((-rate + i frequency) step u): step (..., P), u (...) -> (..., P).

    A phase that has overflowed belongs to a modulus of 0.
    """
    time = step * u[..., None]
    modulus = torch.exp(-layer.rate * time)
    angle = torch.where(modulus > 0, layer.frequency * time, 0)
    return modulus * torch.cos(angle), modulus * torch.sin(angle)


def moved(x: Tensor, held: Tensor | None, turn: tuple[Tensor, Tensor]) -> Tensor:
    """d x + (d - 1) b = d (x + b) - b, of (..., 2P), for d = ``turn`` (..., P) twice and b = ``held`` (..., 2P)."""
    real, imaginary = (x if held is None else x + held).chunk(2, -1)
    c, s = turn
    out = torch.cat([c * real - s * imaginary, s * real + c * imaginary], -1)
    return out if held is None else out - held


def signal(y: Tensor, below: Tensor | None, layer: Layer, keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_signal`; any leading axes."""
    out = functional.gelu(y if below is None or layer.skip is None else y + layer.skip * below + layer.skip_bias)
    out = out if keep is None else out * keep
    out = out if below is None or layer.gain is None else out + layer.gain * below + layer.shift
    return functional.layer_norm(out, out.shape[-1:], eps=EPSILON)


def top_signal(gap: Gap, u: Tensor, stack: Stack, keep: Tensor | None) -> Tensor:
    """(..., H) signal of the last layer; leaves of ``gap`` (..., L, *), u (...), broadcast against each other."""
    below: Any = None
    for i, layer in enumerate(stack.layers):
        held = None
        if layer.weight_in is not None:
            held = functional.linear(below, layer.weight_in, layer.bias_in) if gap.hold is None else gap.hold[..., i, :]
        x = moved(gap.x[..., i, :], held, decay(gap.step[..., i, :], u, layer))
        below = signal(functional.linear(x, layer.weight_out), below, layer, None if keep is None else keep[..., i, :])
    assert below is not None
    return below


def intensity(gap: Gap, u: Tensor, stack: Stack, keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_intensity`."""
    rows = Gap(gap.x[:, None], gap.step[:, None], None if gap.hold is None else gap.hold[:, None])
    top = top_signal(rows, u, stack, None if keep is None else keep[:, None])
    weight, bias, log_scale = stack.head
    scale = log_scale.exp()
    return scale * functional.softplus(functional.linear(top, weight, bias) / scale, threshold=40.0)


def compensator(gap: Gap, dt: Tensor, stack: Stack, rule: tuple[Any, Any], keep: Tensor | None) -> Tensor:
    """See :func:`eventflow.ops.latent_hawkes.llh_compensator`."""
    nodes, weights = (torch.tensor(part, dtype=dt.dtype, device=dt.device) for part in rule)
    return dt * (intensity(gap, dt[:, None] * nodes, stack, keep).sum(-1) @ weights)
