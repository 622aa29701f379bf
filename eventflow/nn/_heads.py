"""What turns a hidden state into intensities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn._recorded import Recorded


class SoftplusIntensity(nn.Linear, Recorded):
    """lambda_k = s_k softplus((w_k . h + b_k) / s_k), s_k = exp(log_scale_k) (Mei & Eisner 2017, eq. 4).

    As s_k falls to 0, it becomes the rectifier; EasyTPP's ScaledSoftplus is the same with s_k = 1 / beta_k, that is
    ``log_scale = -log_beta``. No clamps: right to the last digits for arguments of any size.

    Args:
        hidden_size: H.
        num_marks: K.
        learn_scale: s_k is learned, from 1 on; else it stays there.
    """

    log_scale: Tensor

    def __init__(self, hidden_size: int, num_marks: int, *, learn_scale: bool = True) -> None:
        super().__init__(hidden_size, num_marks)
        scale = torch.zeros(num_marks)
        if learn_scale:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)
        nn.init.constant_(self.bias, math.log(math.expm1(1 / num_marks)))  # about one event per unit, before training

    def forward(self, input: Tensor) -> Tensor:
        """(..., H) -> (..., K) intensity of each mark, per unit of the cell's time."""
        return self.activate(super().forward(input))

    def activate(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., K): the scaled softplus alone, increasing in x."""
        return scaled_softplus(x, self.log_scale)

    def intensities(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(..., H) -> the total intensity (...,) and that of each mark (..., K)."""
        marks = self(h)
        return marks.sum(-1), marks

    def log_intensity(self, h: Tensor) -> Tensor:
        """(..., H) -> (..., K) logarithms, finite where the intensity itself has fallen below the smallest float."""
        return log_scaled_softplus(super().forward(h), self.log_scale)


class SoftplusNetwork(Recorded, nn.Module):
    """lambda(t) from a network of the hidden state and the time since the last event, for cells that do not evolve.

    s_k softplus((w_k . tanh(A [h, log(1 + t)] + a) + b_k) / s_k).

    Args:
        hidden_size: H.
        num_marks: K.
        width: of the hidden layer; None is H.
    """

    def __init__(self, hidden_size: int, num_marks: int, *, width: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(hidden_size + 1, width or hidden_size)
        self.out = SoftplusIntensity(width or hidden_size, num_marks)

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        """(..., H) and times (...) since the last event -> (..., K) intensities."""
        shape = torch.broadcast_shapes(h.shape[:-1], t.shape)
        features = torch.cat([h.expand(*shape, h.shape[-1]), t.log1p().expand(shape)[..., None]], -1)
        return self.out(torch.tanh(self.layer(features)))


def scaled_softplus(x: Tensor, log_scale: Tensor) -> Tensor:
    """s softplus(x / s), s = exp(log_scale): (..., K) and (K,) -> (..., K)."""
    scale = log_scale.exp()
    # softplus(x) = x to the last bit of a float64 from 37 on; torch's default threshold of 20 costs 2e-9
    return scale * functional.softplus(x / scale, threshold=40.0)


def log_scaled_softplus(x: Tensor, log_scale: Tensor) -> Tensor:
    """Its logarithm, finite where the softplus itself has fallen below the smallest float."""
    scaled = x / log_scale.exp()
    low = scaled < -20.0
    soft = functional.softplus(torch.where(low, 0.0, scaled), threshold=40.0).log()
    tail = torch.where(low, scaled, 0.0)  # log log1p(e^x) = x - e^x / 2 + O(e^2x)
    return log_scale + torch.where(low, tail - tail.exp() / 2, soft)
