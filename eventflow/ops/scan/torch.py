"""``scan`` as a parallel prefix scan in plain torch: any device, any floating or complex dtype, any length.

The recurrence's elements are affine maps; ``(a1, b1)`` then ``(a2, b2)`` is ``(a2 * a1, a2 * b1 + b2)``. Adjacent pairs
are composed, the half-length sequence is scanned, and the states in between take one more step: 2 T compositions,
2 log2(T) deep. Its gradient is again a scan, run backwards, so it can be differentiated as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Gradients = tuple["Tensor | None", Tensor, Tensor, None, "Tensor | None"]


def torch_scan(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
    """a, b: (B, T, *D); h0, init: (B, *D); reset: (B, T) bool. Returns (B, T, *D)."""
    return _TorchScan.apply(a, b, h0, reset, init)  # type: ignore[return-value]


class _TorchScan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
        h = _absorb(a, b, h0, reset, init)
        ctx.save_for_backward(a, h, h0, reset, init)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        return scan_gradients(torch_scan, grads[0], ctx.saved_tensors)


def scan_gradients(scan: Callable[..., Tensor], grad: Tensor, saved: tuple[Tensor | Any, ...]) -> Gradients:
    """Gradients of (a, b, h0, reset, init), by differentiable operations: ``scan`` backwards and products.

    ``saved`` is (a, h, h0, reset, init), the last two perhaps None.
    With L the loss and l[t] = dL/dh[t], everything after t included: l[t] = grad[t] + conj(a[t+1]) * l[t+1].
    """
    a, h, h0, reset, init = saved
    if h.shape[1] == 0:
        return torch.zeros_like(a), grad, torch.zeros_like(h0), None, None if init is None else torch.zeros_like(init)
    gates = torch.cat([torch.zeros_like(a[:, :1]), a[:, 1:].flip(1)], 1).conj()
    cuts = None if reset is None else torch.cat([torch.zeros_like(reset[:, :1]), reset[:, 1:].flip(1)], 1)
    back = scan(gates, grad.flip(1), torch.zeros_like(h0), cuts, None).flip(1)
    before = torch.cat([h0[:, None], h[:, :-1]], 1)
    if reset is None:
        return back * before.conj(), back, back[:, 0] * a[:, 0].conj(), None, None
    new = reset.reshape(reset.shape + (1,) * (h.dim() - 2))
    grad_h0 = torch.where(new[:, 0], 0, back[:, 0] * torch.where(new[:, 0], 0, a[:, 0]).conj())
    if init is None:
        return torch.where(new, 0, back * torch.where(new, 0, before).conj()), back, grad_h0, None, None
    grad_init = torch.where(new, back * torch.where(new, a, 0).conj(), 0).sum(1)
    return back * torch.where(new, init[:, None], before).conj(), back, grad_h0, None, grad_init


def _absorb(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
    """Write ``init`` and ``h0`` into the inputs, which leaves a scan from zero."""
    if b.shape[1] == 0:
        return torch.zeros_like(b)
    b = b.clone(memory_format=torch.contiguous_format)
    new = None
    if reset is not None:
        new = reset.reshape(reset.shape + (1,) * (b.dim() - 2))
        if init is not None:
            b += torch.where(new, a * init[:, None], 0)
        a = torch.where(new, 0, a)
        h0 = torch.where(new[:, 0], 0, h0)
    b[:, 0] += a[:, 0] * h0
    return _prefix(a, b, new)


def _prefix(a: Tensor, b: Tensor, new: Tensor | None) -> Tensor:
    """States of a scan from zero; where ``new``, ``a`` is 0 and the past is cut off (by selection: 0 * NaN is NaN)."""
    length = b.shape[1]
    if length == 1:
        return b
    first_a, first_b, second_a, second_b = a[:, :-1:2], b[:, :-1:2], a[:, 1::2], b[:, 1::2]
    pair_new = None
    if new is not None:
        first_a, first_b = (torch.where(new[:, 1::2], 0, x) for x in (first_a, first_b))
        pair_new = new[:, :-1:2] | new[:, 1::2]
    odd = _prefix(second_a * first_a, torch.addcmul(second_b, second_a, first_b), pair_new)
    h = torch.empty_like(b)
    h[:, 0] = b[:, 0]
    h[:, 1::2] = odd
    if length > 2:
        before = odd[:, : (length - 1) // 2]
        before = before if new is None else torch.where(new[:, 2::2], 0, before)
        h[:, 2::2] = torch.addcmul(b[:, 2::2], a[:, 2::2], before)
    return h
