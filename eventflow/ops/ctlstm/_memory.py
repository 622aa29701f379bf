"""Arrays for the kernels: on cache lines, padded as they like it, kept from call to call where nothing outlives one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventflow.ops._lanes import LANES
from eventflow.ops.ctlstm import _backward, _density, _forward, _intensity

Array = NDArray[Any]


def empty(*shape: int, dtype: torch.dtype) -> Array:
    """On a cache line, which the kernels' streaming stores insist on."""
    line = 64 // dtype.itemsize
    whole = torch.empty(math.prod(shape) + line, dtype=dtype)
    first = -whole.data_ptr() % 64 // dtype.itemsize  # 0 with torch's own allocator
    return whole[first : first + math.prod(shape)].view(shape).numpy()


def scratch(name: str, *shape: int, dtype: torch.dtype) -> Array:
    """The thread's own array of that name and shape: zero when it is new, else as the last call left it."""
    return _kept(get_ident(), name, shape, dtype)


@lru_cache(maxsize=64)
def _kept(_thread: int, _name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    return torch.zeros(shape, dtype=dtype).numpy()


def arrays(tensors: Iterable[Tensor], dtype: torch.dtype) -> tuple[Array, ...]:
    """C-contiguous arrays of ``dtype``, sharing memory where they can."""
    return tuple(x.detach().to(dtype).contiguous().numpy() for x in tensors)


def flag(mask: Tensor | None, dtype: torch.dtype) -> Array:
    """1.0 and 0.0, or an array of size 0 for None."""
    return _kept(0, "none", (0, 0), dtype) if mask is None else arrays([mask], dtype)[0]


def rows_of(live: Array, batch: int) -> tuple[Array, Array]:
    """(read, write), each (blocks, LANES): which sequences share a block, those of like length together."""
    return _blocks(np.argsort(-live.sum(1), kind="stable")) if live.size else _plain_rows(batch)


@lru_cache(maxsize=16)
def _plain_rows(batch: int) -> tuple[Array, Array]:
    return _blocks(np.arange(batch))


def _blocks(order: Array) -> tuple[Array, Array]:
    batch = len(order)
    count = -(-batch // LANES) * LANES
    read, write = np.zeros(count, np.int64), np.full(count, batch, np.int64)
    read[:batch] = write[:batch] = order
    return read.reshape(-1, LANES), write.reshape(-1, LANES)


def head_of(parts: Iterable[Tensor], dtype: torch.dtype) -> tuple[Array, Array, Array]:
    """weight (K padded, H padded), bias (K padded,), scale (K,)."""
    weight, bias, log_scale = arrays(parts, dtype)
    (marks, hidden), tile = weight.shape, _intensity.MARKS
    padded = np.zeros((-(-marks // tile) * tile, -(-hidden // tile) * tile), weight.dtype)
    padded[:marks, :hidden] = weight
    biases = np.zeros(len(padded), weight.dtype)
    biases[:marks] = bias
    return padded, biases, np.exp(log_scale)


def by_unit(weight: Tensor) -> Array:
    """(7H, H) -> (H 7, H padded): the rows of each hidden unit's gates together."""
    hidden = weight.shape[1]
    padded = torch.zeros(7 * hidden, -(-hidden // _backward.TILE) * _backward.TILE, dtype=weight.dtype)
    padded[:, :hidden] = weight.detach().reshape(7, hidden, hidden).transpose(0, 1).reshape(7 * hidden, hidden)
    return padded.numpy()


def work_ahead(hidden: int, dtype: torch.dtype) -> tuple[Array, ...]:
    """What ``_forward`` works on."""
    gates = scratch("ahead gates", hidden, _forward.GATES, dtype=dtype)
    return *_work("ahead", hidden, _forward.UNIT, 3, dtype), gates


def work_back(hidden: int, dtype: torch.dtype) -> tuple[Array, ...]:
    """What ``_backward`` works on."""
    padded = -(-hidden // _backward.TILE) * _backward.TILE
    gates = scratch("back gates", hidden, _forward.GATES, dtype=dtype)
    return (
        *_work("back", hidden, _backward.UNIT, 3, dtype), gates, scratch("back hidden", padded, LANES, dtype=dtype)
    )  # fmt: skip


def work_aside(head: tuple[Array, Array, Array], hidden: int, nodes: int, *, wanted: bool) -> tuple[Array, ...]:
    """What ``_density`` works on; the sums of the head's gradients are zero."""
    (k, h), marks = head[0].shape, len(head[2])
    dtype = torch.float32 if head[0].dtype == np.float32 else torch.float64
    steps = (nodes + 1) | 1  # odd: consecutive hidden units then start in different cache sets
    hiddens = scratch("hiddens", h, steps, LANES, dtype=dtype)
    lefts, tanhs = (scratch(name, *((h, steps) if wanted else (0, 0)), LANES, dtype=dtype) for name in ("left", "tanh"))
    slopes = scratch("slopes", *((k, steps) if wanted else (0, 0)), LANES, dtype=dtype)
    sums = scratch("sums", *((k, h) if wanted else (0, 0)), LANES, dtype=dtype)
    sums_k = scratch("sums k", 2, marks if wanted else 0, LANES, dtype=dtype)
    sums.fill(0)
    sums_k.fill(0)
    work = _work("aside", hidden, _density.UNIT, _density.LANE_SLOTS, dtype)
    return (*work, hiddens, slopes, sums, sums_k, _starts(get_ident(), "kinds"), lefts, tanhs)


def rule_of(rule: tuple[Tensor, Tensor], dtype: torch.dtype, *, marked: bool) -> tuple[Array, Array]:
    """Nodes, with that of the event at the end of the gap if there is one, and weights."""
    nodes, weights = arrays(rule, dtype)
    return (np.append(nodes, nodes.dtype.type(1)) if marked else nodes), weights


def _work(name: str, hidden: int, unit: int, lanes: int, dtype: torch.dtype) -> tuple[Array, ...]:
    numbers = scratch(name, hidden, unit, dtype=dtype)
    return numbers, scratch(f"{name} lanes", lanes, LANES, dtype=dtype), _starts(get_ident(), name)


@lru_cache(maxsize=64)
def _starts(_thread: int, _name: str) -> Array:
    return np.zeros(LANES, np.int64)
