"""``scan`` compiled for the CPU: one pass forwards, one fused pass backwards.

The inner loops run over the contiguous trailing axis, where LLVM vectorises them; time is walked in order, so a row's
numbers depend neither on the other rows nor on how the sequence was cut into chunks. Of fast-math only contraction
(fused multiply-add) is allowed: the rest would let the compiler assume that there are no NaNs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd import Function

from eventflow.ops.scan.torch import Gradients, scan_gradients, torch_scan


def numba_scan(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
    """a, b: (B, T, *D); h0, init: (B, *D); reset: (B, T) bool. Returns (B, T, *D)."""
    if b.numel() == 0:
        return torch_scan(a, b, h0, reset, init)
    return _NumbaScan.apply(a, b, h0, reset, init)  # type: ignore[return-value]


class _NumbaScan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, init: Tensor | None) -> Tensor:
        h = torch.empty(b.shape, dtype=b.dtype)
        _forward(_rows(a), _rows(b), _start(h0, init, reset), _rows(h))
        ctx.save_for_backward(a, h, h0, reset, init)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        if torch.is_grad_enabled():  # a second derivative is wanted
            return scan_gradients(numba_scan, grads[0], ctx.saved_tensors)
        a, h, h0, reset, init = ctx.saved_tensors
        grad_a = torch.empty(h.shape if ctx.needs_input_grad[0] else (0, 0, 0), dtype=h.dtype)
        grad_b, grad_h0 = torch.empty(h.shape, dtype=h.dtype), torch.zeros(h0.shape, dtype=h.dtype)
        grad_init = torch.zeros((0, 0) if init is None else h0.shape, dtype=h.dtype)
        out = (_rows(grad_a), _rows(grad_b), _row(grad_h0), _row(grad_init))
        _backward(_rows(grads[0]), _rows(a), _rows(h), _start(h0, init, reset), out)
        return grad_a if grad_a.numel() else None, grad_b, grad_h0, None, None if init is None else grad_init


def _rows(x: Tensor) -> np.ndarray:
    """(B, T, *D) as a contiguous (B, T, D) array; a view where it can be."""
    return _array(x).reshape(x.shape[0], x.shape[1], -1 if x.numel() else 0)


def _row(x: Tensor) -> np.ndarray:
    """(B, *D) as a contiguous (B, D) array."""
    return _array(x).reshape(x.shape[0], -1 if x.numel() else 0)


def _array(x: Tensor) -> np.ndarray:
    x = x.detach()
    x = x.resolve_conj() if x.is_conj() else x
    return np.ascontiguousarray((x.resolve_neg() if x.is_neg() else x).numpy())


def _start(h0: Tensor, init: Tensor | None, reset: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(h0, init, reset) as arrays; empty ones for None, so that a dtype is compiled once."""
    first = _row(h0)
    cuts = np.empty((0, 0), np.bool_) if reset is None else _array(reset)
    return first, np.empty((0, 0), first.dtype) if init is None else _row(init), cuts


@njit(cache=True, nogil=True, fastmath={"contract"})
def _forward(a, b, start, h):  # pragma: no cover - compiled
    """The state is carried in a row of its own: read back from ``h``, it would wait for the store."""
    h0, init, reset = start
    batch, length, width = b.shape
    state = np.empty(width, b.dtype)
    for i in range(batch):
        state[:] = h0[i]
        for t in range(length):
            new = bool(reset.size) and reset[i, t]
            if new and init.size:
                state[:] = init[i]
            for d in range(width):
                value = a[i, t, d] * state[d] + b[i, t, d]
                state[d] = value
                h[i, t, d] = value
            if new and not init.size:
                state[:] = b[i, t]
                h[i, t] = b[i, t]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _backward(grad, a, h, start, out):  # pragma: no cover - compiled
    """grad_b[t] is dL/dh[t], everything after t included; the other gradients are products with it.

    Time and the trailing axis are both walked downwards: a hardware prefetcher follows one direction.
    """
    h0, init, reset = start
    grad_a, grad_b, grad_h0, grad_init = out
    batch, length, width = h.shape
    carry = np.empty(width, h.dtype)  # what reaches h[t-1] through a[t]
    for i in range(batch):
        carry[:] = 0
        for t in range(length - 1, -1, -1):
            new = bool(reset.size) and reset[i, t]
            before = h[i, t - 1] if t else h0[i]
            if new and init.size:
                before = init[i]
            for d in range(width - 1, -1, -1):
                total = grad[i, t, d] + carry[d]
                carry[d] = a[i, t, d].conjugate() * total
                grad_b[i, t, d] = total
            if grad_a.size:
                for d in range(width - 1, -1, -1):
                    grad_a[i, t, d] = before[d].conjugate() * grad_b[i, t, d]
                if new and not init.size:
                    grad_a[i, t] = 0
            if new:
                if init.size:
                    grad_init[i] += carry
                carry[:] = 0
        grad_h0[i] = carry
