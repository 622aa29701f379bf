"""One step of leaky integrate-and-fire neurons at every pixel of an image, without gradients."""

from __future__ import annotations

from torch import Tensor


def lif_step(current: Tensor, v: Tensor, leak: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """(spikes, v'): v' = leak v [v <= threshold] + current; a spike (1, else 0) where v' > threshold.

    All float32 or all float64, on the CPU, channels last and contiguous.

    Args:
        current: (B, H, W, C); or (B, H/2 + 1, W/2 + 1, 4, C), what :func:`eventflow.ops.lstm_gates` calls phases.
        v: (B, H, W, C) potentials before their reset.
        leak: (C,).
        threshold: (C,).
    """
    from eventflow.ops.lif_step.numba import lif_step as compiled

    return compiled(current, v, leak, threshold)
