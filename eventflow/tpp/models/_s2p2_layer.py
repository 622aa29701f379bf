"""One latent linear Hawkes layer: its weights, as they are learned, and as ``ops.latent_hawkes`` reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.ops.latent_hawkes import EPSILON, Layer


def hippo(size: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (P,) and eigenvectors (P, P) of the normal part of HiPPO-LegS (Gu et al. 2022, arXiv:2206.11893)."""
    n = np.arange(size)
    legs = -np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1)), -1) - np.diag(n + 1.0)
    rank = np.sqrt(n + 0.5)
    normal = legs + np.outer(rank, rank)  # -1/2 on the diagonal, antisymmetric beside it
    frequency, vectors = np.linalg.eigh(-1j * (normal - np.diag(np.diagonal(normal))))
    return torch.complex(torch.full((size,), -0.5), torch.tensor(frequency, dtype=torch.float32)), torch.tensor(
        vectors, dtype=torch.complex64
    )


class LatentHawkesLayer(nn.Module):
    """Weights of a layer; complex ones are kept as real parts, then imaginary parts.

    Args:
        hidden_size: H, of the signal.
        state_size: P, complex.
        first: it stands on the events alone, no signal comes from below.
        relative_time: time passes at a pace (P,) that the signal sets at each event.
    """

    def __init__(self, hidden_size: int, state_size: int, *, first: bool, relative_time: bool) -> None:
        super().__init__()
        self.first, self.relative_time = first, relative_time
        values, vectors = hippo(state_size)
        self.log_rate = nn.Parameter((-values.real).log())
        self.frequency = nn.Parameter(values.imag.clone())
        self.start = nn.Parameter(1e-3 * torch.randn(2 * state_size))
        back = vectors.conj().T

        def drawn(rows: int, columns: int) -> Tensor:
            return nn.init.xavier_normal_(torch.empty(rows, columns)).to(torch.complex64)

        def parts(x: Tensor, axis: int) -> nn.Parameter:
            return nn.Parameter(torch.cat([x.real, x.imag], axis).contiguous())

        self.weight_event = parts(back @ drawn(state_size, hidden_size), 0)
        self.weight_out = parts(drawn(hidden_size, state_size) @ vectors, 1)
        self.weight_in = None if first else parts(back @ drawn(state_size, hidden_size), 0)
        self.skip = None if first else nn.Parameter(torch.randn(hidden_size))
        self.norm = nn.LayerNorm(hidden_size, eps=EPSILON)
        pace = torch.full((state_size,), float(np.log(np.expm1(1.0))))
        self.pace_bias = nn.Parameter(pace) if relative_time else None
        weight = None if first or not relative_time else torch.empty(state_size, hidden_size)
        self.pace_weight = None if weight is None else nn.Parameter(nn.init.xavier_normal_(weight))

    def folded(self, below: nn.LayerNorm | None) -> Layer:
        """As the operations read it: the factors of the layer norm below are part of these weights."""
        half = self.log_rate.shape[0]
        sign = torch.cat([self.log_rate.new_full((half,), 2.0), self.log_rate.new_full((half,), -2.0)])
        own = self.log_rate.exp(), self.frequency, self.weight_out * sign
        if below is None or self.weight_in is None or self.skip is None:
            return Layer(*own)
        gain, shift = below.weight, below.bias
        bias = functional.linear(shift, self.weight_in)
        return Layer(*own, self.weight_in * gain, bias, self.skip * gain, self.skip * shift, gain, shift)

    def pace(self, signal: Tensor | None, below: nn.LayerNorm | None) -> Tensor:
        """(..., P) how fast time passes after an event, from the (normalised) signal below just after it; from no
        signal, before the first event and in the first layer, what the bias alone says."""
        if self.pace_bias is None:
            return torch.ones_like(self.log_rate)
        if signal is None or self.pace_weight is None or below is None:
            return functional.softplus(self.pace_bias)
        bias = self.pace_bias + functional.linear(below.bias, self.pace_weight)
        return functional.softplus(functional.linear(signal, self.pace_weight * below.weight, bias))
