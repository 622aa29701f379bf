"""What past events still add to a state, where each pair of events has a rate of its own::

    out[b, i, r] = sum_j seen[b, i, j] weight[b, i, j] value[b, j] exp(-rate[b, i, j] (age[b, i, j] + ahead[b, i, r]))
    rate[b, i, j] = softplus(slow[b, j] + fast[b, i])

Axes: B sequences, I events that look back, J events that they see, R times ahead of event i, H channels; weight, seen
and age (B, I, J); ahead (B, I, R); value and slow (B, J, H); fast (B, I, H); out (B, I, R, H). ``age + ahead`` >= 0.
``backend``: "naive" is the definition; "numba" the compiled path for the CPU (float32 and float64, first derivatives
only), which holds nothing per pair; "auto" takes "numba" where it applies. Times have no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Who sees whom, how much, and how long ago: each (B, I, J)."""

    weight: Tensor
    seen: Tensor
    age: Tensor


def pair_decay(
    pairs: Pairs, ahead: Tensor, value: Tensor, slow: Tensor, fast: Tensor, *, backend: str = "auto"
) -> Tensor:
    """(B, I, R, H), as defined above."""
    import torch

    if backend == "auto":
        compiled = value.device.type == "cpu" and value.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "naive"
    if backend == "numba":
        from eventflow.ops.pair_decay.numba import pair_decay as chosen
    elif backend == "naive":
        from eventflow.ops.pair_decay.naive import pair_decay as chosen
    else:
        raise InputError(f"pair_decay(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    return chosen(pairs, ahead, value, slow, fast)
