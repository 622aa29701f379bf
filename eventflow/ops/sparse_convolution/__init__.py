"""Convolutions that pass over what is zero: images of spikes are mostly empty. Without gradients."""

from __future__ import annotations

from torch import Tensor


def sparse_convolution(
    x: Tensor, taps: Tensor, bias: Tensor | None, *, kernel: int, stride: int, padding: int, most: float = 1.0
) -> Tensor | None:
    """The convolution (B, H', W', C') of images (B, H, W, C), in which a zero costs next to nothing.

    Every input that is not zero is multiplied with the weights that it meets, and no other. A dense convolution's
    products come faster one by one; this pays where fewer than about four inputs in ten are not zero.

    Args:
        x: float32, on the CPU, contiguous.
        taps: of :func:`sparse_taps`.
        bias: (C',).
        kernel: height and width of the kernel.
        stride: in both directions.
        padding: rows and columns of zeros around.
        most: None is returned if more than this share of ``x`` is not zero.
    """
    from eventflow.ops.sparse_convolution.numba import sparse_convolution as compiled

    return compiled(x, taps, bias, kernel=kernel, stride=stride, padding=padding, most=most)


def sparse_taps(weight: Tensor) -> Tensor:
    """(C' / 64, k^2, C, 64) float32, contiguous, of weights (C', C, k, k); C' is a multiple of 64."""
    blocks = weight.unflatten(0, (-1, 64))  # (blocks, 64, C, k, k)
    return blocks.permute(0, 3, 4, 2, 1).flatten(1, 2).float().contiguous()
