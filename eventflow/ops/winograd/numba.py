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
    out = torch.empty(batch, rows, columns, tiles.shape[2])
    offset = np.zeros(tiles.shape[2], np.float32) if bias is None else bias.numpy()
    across = -(-columns // 4)
    total, work = -(-rows // 4) * across, np.empty(36 * LANES, np.float32)
    for image, target in zip(x.numpy(), out.numpy(), strict=True):
        for first in range(0, total, CHUNK):
            place = (padding, across, first)
            spread = torch.empty(tiles.shape[0], min(CHUNK, total - first), channels)
            (_spread3 if kernel == 3 else _spread2)(image, spread.numpy(), place, work)
            product = torch.bmm(spread, tiles)
            (_gather3 if kernel == 3 else _gather2)(product.numpy(), offset, target, place, work)
    return out


@nb.njit(**JIT)
def _take(image: Any, y: int, x: int, k: int) -> Any:  # pragma: no cover - compiled
    """Sixteen channels of a pixel; zeros around the image."""
    height, width, channels = image.shape
    if 0 <= y < height and 0 <= x < width:
        return load(image, (y * width + x) * channels + k)
    return splat(np.float32(0))


@nb.njit(**JIT)
def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:  # pragma: no cover - compiled
    """B^T of points 0, 1, -1, 2, -2."""
    even, odd, near, far = e - 4.0 * c, d - 4.0 * b, e - c, 2.0 * (d - b)
    return 4.0 * a - 5.0 * c + e, even + odd, even - odd, near + far, near - far, 4.0 * b - 5.0 * d + f


@nb.njit(**JIT)
def _five(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:  # pragma: no cover - compiled
    """B^T of points 0, 1, -1, 2."""
    rise = d - b
    return 2.0 * (a - c) + rise, rise - b - c, 2.0 * b - 3.0 * c + d, rise, e - c - 2.0 * rise


@nb.njit(**JIT)
def _from_six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:  # pragma: no cover - compiled
    """A^T of the same points."""
    near, slope, far, steep = b + c, b - c, d + e, d - e
    return a + near + far, slope + 2.0 * steep, near + 4.0 * far, slope + 8.0 * steep + f


@nb.njit(**JIT)
def _from_five(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:  # pragma: no cover - compiled
    """A^T of the same points."""
    near, slope = b + c, b - c
    return a + near + d, slope + 2.0 * d, near + 4.0 * d, slope + 8.0 * d + e


@nb.njit(cache=True, **JIT)
def _spread3(image: Any, spread: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
    padding, across, first = place
    channels, count = image.shape[2], spread.shape[1]
    for t in range(count):
        y, x = (first + t) // across * 4 - padding, (first + t) % across * 4 - padding
        for block in range((channels + LANES - 1) // LANES):
            k = min(block * LANES, channels - LANES)
            for j in range(6):
                s = _six(
                    _take(image, y, x + j, k), _take(image, y + 1, x + j, k), _take(image, y + 2, x + j, k),
                    _take(image, y + 3, x + j, k), _take(image, y + 4, x + j, k), _take(image, y + 5, x + j, k),
                )  # fmt: skip
                for i in nb.literal_unroll((0, 1, 2, 3, 4, 5)):
                    store(work, (i * 6 + j) * LANES, s[i])
            for i in range(6):
                at = i * 6 * LANES
                s = _six(
                    load(work, at), load(work, at + LANES), load(work, at + 2 * LANES), load(work, at + 3 * LANES),
                    load(work, at + 4 * LANES), load(work, at + 5 * LANES),
                )  # fmt: skip
                for j in nb.literal_unroll((0, 1, 2, 3, 4, 5)):
                    store(spread, ((i * 6 + j) * count + t) * channels + k, s[j])


@nb.njit(cache=True, **JIT)
def _spread2(image: Any, spread: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
    padding, across, first = place
    channels, count = image.shape[2], spread.shape[1]
    for t in range(count):
        y, x = (first + t) // across * 4 - padding, (first + t) % across * 4 - padding
        for block in range((channels + LANES - 1) // LANES):
            k = min(block * LANES, channels - LANES)
            for j in range(5):
                s = _five(
                    _take(image, y, x + j, k), _take(image, y + 1, x + j, k), _take(image, y + 2, x + j, k),
                    _take(image, y + 3, x + j, k), _take(image, y + 4, x + j, k),
                )  # fmt: skip
                for i in nb.literal_unroll((0, 1, 2, 3, 4)):
                    store(work, (i * 5 + j) * LANES, s[i])
            for i in range(5):
                at = i * 5 * LANES
                s = _five(
                    load(work, at), load(work, at + LANES), load(work, at + 2 * LANES), load(work, at + 3 * LANES),
                    load(work, at + 4 * LANES),
                )  # fmt: skip
                for j in nb.literal_unroll((0, 1, 2, 3, 4)):
                    store(spread, ((i * 5 + j) * count + t) * channels + k, s[j])


@nb.njit(cache=True, **JIT)
def _gather3(product: Any, offset: Any, out: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
    channels, count = out.shape[2], product.shape[1]
    for t in range(count):
        for block in range((channels + LANES - 1) // LANES):
            k = min(block * LANES, channels - LANES)
            row = count * channels
            for j in range(6):
                at = (j * count + t) * channels + k
                s = _from_six(
                    load(product, at), load(product, at + 6 * row), load(product, at + 12 * row),
                    load(product, at + 18 * row), load(product, at + 24 * row), load(product, at + 30 * row),
                )  # fmt: skip
                for i in nb.literal_unroll((0, 1, 2, 3)):
                    store(work, (i * 6 + j) * LANES, s[i])
            for i in range(4):
                at = i * 6 * LANES
                s = _from_six(
                    load(work, at), load(work, at + LANES), load(work, at + 2 * LANES), load(work, at + 3 * LANES),
                    load(work, at + 4 * LANES), load(work, at + 5 * LANES),
                )  # fmt: skip
                _leave(s, offset, out, ((place[2] + t) // place[1] * 4 + i, (place[2] + t) % place[1] * 4, k))


@nb.njit(cache=True, **JIT)
def _gather2(product: Any, offset: Any, out: Any, place: Any, work: Any) -> None:  # pragma: no cover - compiled
    channels, count = out.shape[2], product.shape[1]
    for t in range(count):
        for block in range((channels + LANES - 1) // LANES):
            k = min(block * LANES, channels - LANES)
            row = count * channels
            for j in range(5):
                at = (j * count + t) * channels + k
                s = _from_five(
                    load(product, at), load(product, at + 5 * row), load(product, at + 10 * row),
                    load(product, at + 15 * row), load(product, at + 20 * row),
                )  # fmt: skip
                for i in nb.literal_unroll((0, 1, 2, 3)):
                    store(work, (i * 5 + j) * LANES, s[i])
            for i in range(4):
                at = i * 5 * LANES
                s = _from_five(
                    load(work, at), load(work, at + LANES), load(work, at + 2 * LANES), load(work, at + 3 * LANES),
                    load(work, at + 4 * LANES),
                )  # fmt: skip
                _leave(s, offset, out, ((place[2] + t) // place[1] * 4 + i, (place[2] + t) % place[1] * 4, k))


@nb.njit(**JIT)
def _leave(four: Any, offset: Any, out: Any, place: Any) -> None:  # pragma: no cover - compiled
    """Four outputs of a row, where they lie in the image."""
    height, width, channels = out.shape
    y, x, k = place
    if y < height:
        for j in nb.literal_unroll((0, 1, 2, 3)):
            if x + j < width:
                store(out, (y * width + x + j) * channels + k, four[j] + load(offset, k))
