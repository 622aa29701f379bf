"""Stacks of latent linear Hawkes layers (S2P2; Chang et al. 2025, arXiv:2412.19634) between events, as operations.

A layer has P complex states x, which turn and decay between events, and hands a signal of H numbers to the layer above,
at every moment u after the last event::

    x(u) = d x + (d - 1) b,   d = exp((-rate + i frequency) step u),   b = weight_in n(u) + bias_in
    s = 2 Re(C x(u)) + skip n(u) + skip_bias
    n'(u) = normalised(gelu(s) keep + gain n(u) + shift)         (mean 0, variance 1 over the H numbers)

n is the signal of the layer below (the first layer has none: b = 0, s = 2 Re(C x), n' = normalised(gelu(s) keep)). The
factors of a layer norm are part of what reads its signal: of weight_in, skip, gain, and of the head. Where ``hold`` is
given, it is b, the same through the whole gap. Intensities are scaled softpluses of the last signal.

Complex numbers are kept as real parts, then imaginary parts: x (..., 2P), and weight_out (H, 2P) is [2 Re C, -2 Im C].

Axes: N rows (gaps), L layers, P states, H signal, J nodes, K marks. ``backend``: "naive" is the definition; "numba" the
path for the CPU: products by BLAS, everything between them compiled, a few gaps at a time so that all they need stays
in the caches, and the gradient in the same pass (first derivatives only; float32 and float64, H and P multiples of 16);
"auto" takes "numba" where it applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

#: Added to the variance before it divides.
EPSILON = 1e-5


class Layer(NamedTuple):
    """rate, frequency (P,); weight_out (H, 2P); and, but in the first layer, weight_in (2P, H), bias_in (2P,), skip,
    skip_bias, gain, shift (H,)."""

    rate: Tensor
    frequency: Tensor
    weight_out: Tensor
    weight_in: Tensor | None = None
    bias_in: Tensor | None = None
    skip: Tensor | None = None
    skip_bias: Any = None
    gain: Tensor | None = None
    shift: Any = None


class Stack(NamedTuple):
    """The layers, lowest first, and the head's weight (K, H), bias (K,), log_scale (K,)."""

    layers: tuple[Layer, ...]
    head: tuple[Tensor, Tensor, Tensor]


class Gap(NamedTuple):
    """Where the layers stand just after an event: x (N, L, 2P), step (N, L, P), hold (N, L, 2P) or None."""

    x: Tensor
    step: Tensor
    hold: Tensor | None = None


def llh_signal(
    y: Tensor, below: Tensor | None, layer: Layer, *, keep: Tensor | None = None, backend: str = "auto"
) -> Tensor:  # fmt: skip
    """(R, H) signal of a layer, from y = 2 Re(C x) (R, H), the signal below (R, H), and ``keep`` (R, H), which the
    layer's output is multiplied by (dropout)."""
    return _module(backend, y, layer.weight_out).signal(y, below, layer, keep)


def llh_intensity(gap: Gap, u: Tensor, stack: Stack, *, backend: str = "auto") -> Tensor:
    """(N, M, K) intensities a time u (N, M) after the last event. "numba" gives no gradients; "auto" takes it where
    none are asked for."""
    import torch

    if backend == "auto" and torch.is_grad_enabled():
        backend = "naive"
    return _module(backend, u, stack.layers[0].rate, stack.layers[0].weight_out).intensity(gap, u, stack, None)


def llh_compensator(
    gap: Gap, dt: Tensor, stack: Stack, rule: tuple[Any, Any], *, keep: Tensor | None = None, backend: str = "auto"
) -> Tensor:  # fmt: skip
    """(N,) integrals of the total intensity over [0, dt): dt sum_j weights_j lambda(nodes_j dt).

    Args:
        gap: just after the event.
        dt: (N,).
        stack: layers and head.
        rule: nodes and weights on [0, 1].
        keep: (N, L, H) what the layers' outputs are multiplied by throughout the gap (dropout), or None.
        backend: see above.
    """
    return _module(backend, dt, stack.layers[0].rate, stack.layers[0].weight_out).compensator(
        gap, dt, stack, rule, keep
    )


def _module(backend: str, like: Tensor, *sizes: Tensor) -> Any:
    import torch

    fits = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    fits = fits and all(x.shape[0] % 16 == 0 for x in sizes)
    if backend == "auto":
        backend = "numba" if fits else "naive"
    if backend == "numba":
        if not fits:
            raise InputError(
                f"latent_hawkes(backend='numba'): {like.dtype} on {like.device}, sizes {[x.shape[0] for x in sizes]}; "
                "expected float32 or float64 on the CPU, H and P multiples of 16. Write: backend='auto'"
            )
        from eventflow.ops.latent_hawkes import numba

        return numba
    if backend == "naive":
        from eventflow.ops.latent_hawkes import naive

        return naive
    raise InputError(f"latent_hawkes(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
