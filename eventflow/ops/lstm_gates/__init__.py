"""The part of a convolutional LSTM that is not a convolution, without gradients."""

from __future__ import annotations

from torch import Tensor


def lstm_gates(x: Tensor, memory: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """(h', c') of gates f, i, o, g = x + memory: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    All float32 or all float64, on the CPU, channels last and contiguous.

    Args:
        x: (B, H, W, 4C); or the phases of a transposed convolution of kernel 4 and stride 2, (B, H/2 + 1, W/2 + 1, 4,
            4C): what pixel (i, j) is given stands at [(i + 1) // 2, (j + 1) // 2, 2 (i % 2) + j % 2].
        memory: (B, H, W, 4C).
        c: (B, H, W, C).
    """
    from eventflow.ops.lstm_gates.numba import lstm_gates as compiled

    return compiled(x, memory, c)
