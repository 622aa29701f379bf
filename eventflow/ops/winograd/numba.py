"""The compiled path: tiles are spread and gathered sixteen channels at a time; between lie matrix products.

Axes: n x n tile, T tiles of a chunk, C channels. The last sixteen channels may overlap those before them.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from eventflow.ops._lanes import JIT, LANES, load, splat, store

#: Tiles at once: what they become stays in the caches.
CHUNK = 128


def winograd(x: Tensor, tiles: Tensor, bias: Tensor | None, *, kernel: int, padding: int) -> Tensor:
    """See :func:`eventflow.ops.winograd.winograd`."""
    batch, height, width, channels = x.shape
    rows, columns = (size + 2 * padding - kernel + 1 for size in (height, width))
    size, outputs = tiles.shape[0], tiles.shape[2]
    out = torch.empty(batch, rows, columns, outputs)
    offset = np.zeros(outputs, np.float32) if bias is None else bias.numpy()
    across = -(-columns // 4)
    total, work = -(-rows // 4) * across, np.empty(size * LANES, np.float32)
    most = min(CHUNK, total)
    spread, product = torch.empty(size * most * channels), torch.empty(size * most * outputs)
    for image, target in zip(x.numpy(), out.numpy(), strict=True):
        for first in range(0, total, CHUNK):
            place, count = (padding, across, first), min(CHUNK, total - first)
            given = spread[: size * count * channels].view(size, count, channels)
            made = product[: size * count * outputs].view(size, count, outputs)
            _SPREAD[kernel](image, given.numpy(), place, work)
            torch.bmm(given, tiles, out=made)
            _GATHER[kernel](made.numpy(), offset, target, place, work)
    return out


@nb.njit(**JIT)
def _take(image: Any, y: int, x: int, k: int) -> Any:  # pragma: no cover - compiled
    """Sixteen channels of a pixel; zeros around the image."""
    height, width, channels = image.shape
    if 0 <= y < height and 0 <= x < width:
        return load(image, (y * width + x) * channels + k)
    return splat(np.float32(0))


@nb.njit(**JIT)
def _six(array: Any, at: int, step: int) -> Any:  # pragma: no cover - compiled
    """B^T of points 0, 1, -1, 2, -2, of the six that lie ``step`` apart from ``at`` on."""
    a, b, c = load(array, at), load(array, at + step), load(array, at + 2 * step)
    d, e, f = load(array, at + 3 * step), load(array, at + 4 * step), load(array, at + 5 * step)
    even, odd, near, far = e - 4.0 * c, d - 4.0 * b, e - c, 2.0 * (d - b)
    return 4.0 * a - 5.0 * c + e, even + odd, even - odd, near + far, near - far, 4.0 * b - 5.0 * d + f


@nb.njit(**JIT)
def _five(array: Any, at: int, step: int) -> Any:  # pragma: no cover - compiled
    """B^T of points 0, 1, -1, 2, of five."""
    a, b, c = load(array, at), load(array, at + step), load(array, at + 2 * step)
    d, e = load(array, at + 3 * step), load(array, at + 4 * step)
    rise = d - b
    return 2.0 * (a - c) + rise, rise - b - c, 2.0 * b - 3.0 * c + d, rise, e - c - 2.0 * rise


@nb.njit(**JIT)
def _from_six(array: Any, at: int, step: int) -> Any:  # pragma: no cover - compiled
    """A^T of the same points."""
    b, c = load(array, at + step), load(array, at + 2 * step)
    d, e = load(array, at + 3 * step), load(array, at + 4 * step)
    near, slope, far, steep = b + c, b - c, d + e, d - e
    last = slope + 8.0 * steep + load(array, at + 5 * step)
    return load(array, at) + near + far, slope + 2.0 * steep, near + 4.0 * far, last


@nb.njit(**JIT)
def _from_five(array: Any, at: int, step: int) -> Any:  # pragma: no cover - compiled
    """A^T of the same points."""
    b, c, d = load(array, at + step), load(array, at + 2 * step), load(array, at + 3 * step)
    near, slope = b + c, b - c
    return load(array, at) + near + d, slope + 2.0 * d, near + 4.0 * d, slope + 8.0 * d + load(array, at + 4 * step)


def _spreading(n: int) -> Any:
    """Tiles of n x n, transformed; n is a constant in the kernel, so that one side of every choice is compiled."""
    places = tuple(range(n))

    @nb.njit(cache=True, **JIT)
    def spread(image: Any, tiles: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
        padding, across, first = place
        channels, count = image.shape[2], tiles.shape[1]
        for t in range(count):
            y, x = (first + t) // across * 4 - padding, (first + t) % across * 4 - padding
            for block in range((channels + LANES - 1) // LANES):
                k = min(block * LANES, channels - LANES)
                for i in range(n):
                    for j in range(n):
                        store(work, (i * n + j) * LANES, _take(image, y + i, x + j, k))
                for j in range(n):
                    s = _six(work, j * LANES, n * LANES) if n == 6 else _five(work, j * LANES, n * LANES)
                    for i in nb.literal_unroll(places):
                        store(work, (i * n + j) * LANES, s[i])
                for i in range(n):
                    s = _six(work, i * n * LANES, LANES) if n == 6 else _five(work, i * n * LANES, LANES)
                    for j in nb.literal_unroll(places):
                        store(tiles, ((i * n + j) * count + t) * channels + k, s[j])

    return spread


def _gathering(n: int) -> Any:
    """What products of tiles of n x n give: 4x4 outputs each."""

    @nb.njit(cache=True, **JIT)
    def gather(product: Any, offset: Any, out: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
        channels, count = out.shape[2], product.shape[1]
        down = n * count * channels
        for t in range(count):
            for block in range((channels + LANES - 1) // LANES):
                k = min(block * LANES, channels - LANES)
                for j in range(n):
                    at = (j * count + t) * channels + k
                    s = _from_six(product, at, down) if n == 6 else _from_five(product, at, down)
                    for i in nb.literal_unroll((0, 1, 2, 3)):
                        store(work, (i * n + j) * LANES, s[i])
                for i in range(4):
                    at = i * n * LANES
                    s = _from_six(work, at, LANES) if n == 6 else _from_five(work, at, LANES)
                    _leave(s, offset, out, ((place[2] + t) // place[1] * 4 + i, (place[2] + t) % place[1] * 4, k))

    return gather


@nb.njit(**JIT)
def _leave(four: Any, offset: Any, out: Any, place: Any) -> None:  # pragma: no cover - compiled
    """Four outputs of a row, where they lie in the image."""
    height, width, channels = out.shape
    y, x, k = place
    if y < height:
        for j in nb.literal_unroll((0, 1, 2, 3)):
            if x + j < width:
                store(out, (y * width + x + j) * channels + k, four[j] + load(offset, k))


#: By the kernel's size.
_SPREAD = {size: _spreading(size + 3) for size in (2, 3)}
_GATHER = {size: _gathering(size + 3) for size in (2, 3)}
