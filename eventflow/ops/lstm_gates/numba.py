"""The compiled path: one pass over memory, sixteen channels at a time."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from eventflow.ops._lanes import JIT, LANES, load, store
from eventflow.ops._vecmath import sigmoid, tanh


def lstm_gates(x: Tensor, memory: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.lstm_gates.lstm_gates`."""
    h, after = torch.empty_like(c), torch.empty_like(c)
    given = (x.reshape(*x.shape[:3], -1).numpy(), memory.numpy(), c.numpy())
    _gates(given, h.numpy(), after.numpy(), x.dim() == 5)
    return h, after


@nb.njit(cache=True, **JIT)
def _gates(given: Any, h: Any, after: Any, phases: bool) -> None:  # pragma: no cover - compiled
    x, memory, c = given
    batch, height, width, channels = c.shape
    rows, columns, deep = x.shape[1:]
    whole = channels - channels % LANES
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                pixel = (b * height + i) * width + j
                seen = pixel * deep
                if phases:
                    place = (b * rows + (i + 1) // 2) * columns + (j + 1) // 2
                    seen = place * deep + ((i % 2) * 2 + j % 2) * 4 * channels
                own, at = 4 * channels * pixel, channels * pixel
                for k in range(0, whole, LANES):
                    _sixteen(given, h, after, (seen + k, own + k, at + k, channels))
                _rest(given, h, after, (seen + whole, own + whole, at + whole, channels))


@nb.njit(**JIT)
def _sixteen(given: Any, h: Any, after: Any, places: Any) -> None:  # pragma: no cover - compiled
    x, memory, c = given
    seen, own, at, channels = places
    forget = sigmoid(load(x, seen) + load(memory, own))
    write = sigmoid(load(x, seen + channels) + load(memory, own + channels))
    out = sigmoid(load(x, seen + 2 * channels) + load(memory, own + 2 * channels))
    new = tanh(load(x, seen + 3 * channels) + load(memory, own + 3 * channels))
    cell = forget * load(c, at) + write * new
    store(after, at, cell)
    store(h, at, out * tanh(cell))


@nb.njit(**JIT)
def _rest(given: Any, h: Any, after: Any, places: Any) -> None:  # pragma: no cover - compiled
    x, memory, c = given
    seen, own, at, channels = places
    flat_x, flat_memory, flat_c = x.reshape(-1), memory.reshape(-1), c.reshape(-1)
    flat_h, flat_after = h.reshape(-1), after.reshape(-1)
    one = c.dtype.type(1)
    for k in range(channels % LANES):
        forget = flat_x[seen + k] + flat_memory[own + k]
        write = flat_x[seen + channels + k] + flat_memory[own + channels + k]
        out = flat_x[seen + 2 * channels + k] + flat_memory[own + 2 * channels + k]
        new = flat_x[seen + 3 * channels + k] + flat_memory[own + 3 * channels + k]
        cell = flat_c[at + k] / (one + np.exp(-forget)) + np.tanh(new) / (one + np.exp(-write))
        flat_after[at + k] = cell
        flat_h[at + k] = np.tanh(cell) / (one + np.exp(-out))
