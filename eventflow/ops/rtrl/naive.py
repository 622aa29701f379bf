"""The definition: at every event, autograd through the whole history since the last reset."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops.rtrl import EPSILON, SLOPE, RTRLResult, RTRLRule, RTRLState, RTRLStream, Sizes

History = list[tuple[np.ndarray, float, Tensor]]


def unpack(flat: Tensor, sizes: Sizes) -> list[Tensor]:
    """log_rate (N,), frequency (N,), weight_in (N, D) complex, weight_out (H, N, 2), bias, head (H,), offset (1,)."""
    d, n, h = sizes
    parts = [flat[a:b] for a, b in zip(sizes.parameters, sizes.parameters[1:], strict=False)]
    pairs = parts[2].view(n, 2, d)
    return [parts[0], parts[1], torch.complex(pairs[:, 0], pairs[:, 1]), parts[3].view(h, n, 2), *parts[4:]]


def value(flat: Tensor, h: Tensor, sizes: Sizes) -> Tensor:
    """What the state h is worth."""
    _, _, _, weight_out, bias, head, offset = unpack(flat, sizes)
    z = 2 * (weight_out[..., 0] @ h.real - weight_out[..., 1] @ h.imag) + bias
    return head @ F.leaky_relu(F.layer_norm(z, z.shape, eps=EPSILON), SLOPE) + offset[0]


def state_of(flat: Tensor, history: History, sizes: Sizes) -> Tensor:
    """h after the history, each step taken with the weights of its time: ``flat`` moved there by a constant."""
    h = torch.zeros(sizes.states, dtype=torch.complex128)
    for x, dt, then in history:
        log_rate, frequency, weight_in, *_ = unpack(flat + (then - flat).detach(), sizes)
        decay = torch.exp(torch.complex(-log_rate.exp(), frequency) * dt)
        h = decay * h + weight_in @ torch.complex(torch.from_numpy(x), torch.zeros(len(x), dtype=torch.float64))
    return h


def scan(stream: RTRLStream, state: RTRLState, rule: RTRLRule, sizes: Sizes) -> RTRLResult:
    """See :func:`eventflow.ops.rtrl.rtrl_scan`. The sensitivities of the state are not kept: they come back as NaN."""
    if state.past[1] and len(stream.dt) and not stream.reset[0]:
        raise InputError("rtrl_scan(backend='naive') knows no history before a state; start with a reset")
    flat, trace = torch.tensor(state.weight), torch.tensor(state.trace)
    fade, history = float(state.past[0]), []
    values, errors = np.zeros(len(stream.dt)), np.zeros(len(stream.dt))
    for t, (x, dt, cumulant, discount, reset) in enumerate(zip(*stream, strict=True)):
        if reset or not history:
            trace, fade, history, delta = torch.zeros_like(flat), 0.0, [(x, dt, flat)], 0.0
        else:
            leaf = flat.clone().requires_grad_()
            before = value(leaf, state_of(leaf, history, sizes), sizes)
            trace = fade * trace + torch.autograd.grad(before, leaf)[0]
            history.append((x, dt, flat))
            ahead = value(flat, state_of(flat, history, sizes), sizes)
            delta = float(cumulant + discount * ahead - before.detach())
            overshoot = rule.step_size * rule.bound * max(abs(delta), 1.0) * float(trace.abs().sum())
            flat = flat + rule.step_size / max(overshoot, 1.0) * delta * trace
            fade = rule.lambda_ * discount
        values[t], errors[t] = float(value(flat, state_of(flat, history, sizes), sizes)), delta
    h: Any = state_of(flat, history, sizes).numpy() if history else state.h
    past = np.array([fade, float(bool(history))])
    after = RTRLState(
        weight=flat.numpy(), trace=trace.numpy(), h=h, by_rate=np.full_like(state.by_rate, np.nan),
        by_frequency=np.full_like(state.by_frequency, np.nan), by_input=np.full_like(state.by_input, np.nan), past=past,
    )  # fmt: skip
    return RTRLResult(values, errors, after)
