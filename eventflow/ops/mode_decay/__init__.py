"""What is read ahead of a state whose numbers fade, each at a rate of its own::

    out[m, j, h] = sum_n weight[m, h, n] exp(-rate[h, n] pace[m, h] ahead[m, j])

Axes: M states, J times ahead of each, H channels of N numbers; weight (M, H, N), rate (H, N), pace (M, H), ahead
(M, J), none of the last three below 0; out (M, J, H). ``backend``: "naive" is the definition; "numba" the compiled path
for the CPU (float32 and float64, first derivatives only), which holds nothing per time and number; "auto" takes "numba"
where it applies. Times have no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


def mode_decay(weight: Tensor, rate: Tensor, pace: Tensor, ahead: Tensor, *, backend: str = "auto") -> Tensor:
    """(M, J, H), as defined above."""
    import torch

    shapes = tuple(weight.shape), tuple(rate.shape), tuple(pace.shape), tuple(ahead.shape)
    if weight.dim() != 3 or shapes[1] != shapes[0][1:] or shapes[2] != shapes[0][:2] or shapes[3][:-1] != shapes[0][:1]:
        raise InputError(
            f"mode_decay: weight {shapes[0]}, rate {shapes[1]}, pace {shapes[2]}, ahead {shapes[3]}; expected "
            "(M, H, N), (H, N), (M, H), (M, J)"
        )
    if backend == "auto":
        compiled = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "naive"
    if backend == "numba":
        from eventflow.ops.mode_decay.numba import mode_decay as chosen
    elif backend == "naive":
        from eventflow.ops.mode_decay.naive import mode_decay as chosen
    else:
        raise InputError(f"mode_decay(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    return chosen(weight, rate, pace, ahead)
