"""The compiled path: what is not zero is listed pixel by pixel; then 64 outputs of a pixel are summed in registers.

Axes: blocks of 64 output channels, pixels, taps of the kernel. The order of a sum is that of taps and channels.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from torch import Tensor

from eventflow.ops._lanes import JIT, LANES, _emitted, fma, get, load, store

BLOCK = 4 * LANES


def sparse_convolution(
    x: Tensor, taps: Tensor, bias: Tensor | None, *, kernel: int, stride: int, padding: int, most: float = 1.0
) -> Tensor | None:
    """See :func:`eventflow.ops.sparse_convolution.sparse_convolution`."""
    batch, height, width, channels = x.shape
    limit = int(most * x.numel())
    starts = np.empty(batch * height * width + 1, np.int64)
    where, values = np.empty(limit + channels, np.int32), np.empty(limit + channels, np.float32)
    if not _list(x.numpy(), limit, starts, where, values):
        return None
    rows, columns = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
    out = torch.empty(batch, rows, columns, BLOCK * len(taps))
    offset = np.zeros(out.shape[3], np.float32) if bias is None else bias.numpy()
    form = (batch, height, width, kernel, stride, padding)
    _convolve((starts, where, values), taps.numpy(), offset, out.numpy(), form)
    return out


@_emitted
def _filled(context: Any, x: Any) -> Any:
    """A bit for each lane that is not 0; of what is no number, too."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zeros = ir.Constant(values[0].type, None)
        bits = builder.fcmp_unordered("!=", values[0], zeros)
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(x), emit


@_emitted
def _lowest(context: Any, bits: Any) -> Any:
    """The place of the lowest bit; there is one."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@nb.njit(cache=True, **JIT)
def _list(x: Any, limit: int, starts: Any, where: Any, values: Any) -> bool:  # pragma: no cover - compiled
    """Channel and value of every input that is not 0; pixel q has those from starts[q] on. False: beyond the limit."""
    batch, height, width, channels = x.shape
    whole, count = channels - channels % LANES, 0
    for q in range(batch * height * width):
        starts[q] = count
        for k in range(0, whole, LANES):
            bits = _filled(load(x, q * channels + k))
            while bits:
                channel = k + _lowest(bits)
                where[count], values[count] = channel, get(x, q * channels + channel)
                count += 1
                bits &= bits - 1
        for channel in range(whole, channels):
            value = get(x, q * channels + channel)
            if value != 0:
                where[count], values[count] = channel, value
                count += 1
        if count > limit:
            return False
    starts[batch * height * width] = count
    return True


@nb.njit(cache=True, **JIT)
def _convolve(lists: Any, taps: Any, offset: Any, out: Any, form: Any) -> None:  # pragma: no cover - compiled
    batch, height, width, kernel, stride, padding = form
    rows, columns, outputs = out.shape[1:]
    for block in range(len(taps)):
        for b in range(batch):
            for i in range(rows):
                for j in range(columns):
                    place = (b * height, i * stride - padding, j * stride - padding, block)
                    at = ((b * rows + i) * columns + j) * outputs + block * BLOCK
                    _pixel(lists, taps, offset, (height, width, kernel), place, out, at)


@nb.njit(**JIT)
def _pixel(
    lists: Any, taps: Any, offset: Any, form: Any, place: Any, out: Any, at: int
) -> None:  # pragma: no cover - compiled
    """64 outputs of a pixel, of which out[at] is the first."""
    starts, where, values = lists
    height, width, kernel = form
    above, top, left, block = place
    channels = taps.shape[2]
    one, two = load(offset, block * BLOCK), load(offset, block * BLOCK + LANES)
    three, four = load(offset, block * BLOCK + 2 * LANES), load(offset, block * BLOCK + 3 * LANES)
    for down in range(max(0, -top), min(kernel, height - top)):
        for across in range(max(0, -left), min(kernel, width - left)):
            q = (above + top + down) * width + left + across
            first = ((block * kernel + down) * kernel + across) * channels
            for n in range(get(starts, q), get(starts, q + 1)):
                value, row = get(values, n), (first + get(where, n)) * BLOCK
                one = fma(load(taps, row), value, one)
                two = fma(load(taps, row + LANES), value, two)
                three = fma(load(taps, row + 2 * LANES), value, three)
                four = fma(load(taps, row + 3 * LANES), value, four)
    store(out, at, one)
    store(out, at + LANES, two)
    store(out, at + 2 * LANES, three)
    store(out, at + 3 * LANES, four)
