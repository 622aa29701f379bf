"""Convolutions with fewer multiplications: Winograd's minimal filtering on tiles of 4x4 outputs, without gradients."""

from __future__ import annotations

from torch import Tensor


def winograd(x: Tensor, tiles: Tensor, bias: Tensor | None, *, kernel: int, padding: int) -> Tensor:
    """The convolution of stride 1 with a 3x3 or 2x2 kernel: (B, H', W', C') of (B, H, W, C).

    A tile of 4x4 outputs takes 36 (2x2: 25) multiplications a pair of channels instead of 144 (64), as matrix products;
    what is added are two linear maps of small tiles. Rounding errors are about ten times those of the plain sum: up to
    1e-5 of the largest output. It pays from some 32 channels (2x2: 64) on each side on, in images of dozens of tiles.

    Source: Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Winograd, "Arithmetic
    complexity of computations", 1980.

    Args:
        x: float32, on the CPU, contiguous; 16 channels or more.
        tiles: of :func:`winograd_kernel`; 16 output channels or more.
        bias: (C',).
        kernel: 3 or 2.
        padding: rows and columns of zeros around.
    """
    from eventflow.ops.winograd.numba import winograd as compiled

    return compiled(x, tiles, bias, kernel=kernel, padding=padding)


def winograd_kernel(weight: Tensor) -> Tensor:
    """(n^2, C, C') float32, n = k + 3, of weights (C', C, k, k), k = 3 or 2; computed in float64."""
    from eventflow.ops.winograd.naive import winograd_kernel as computed

    return computed(weight)
