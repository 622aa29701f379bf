"""Mean of softplus(x) along a curve x: what the compensator of a softplus intensity is made of, curve by curve.

Axes: any, the same for all curves; rule (nodes (M,), weights (M,)) on [0, 1]. ``backend``: "naive" is the definition;
"numba" the compiled path for the CPU (float32 and float64, first derivatives only), which makes value and gradient in
one pass and holds nothing per node; "auto" takes "numba" where it applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


def softplus_line(a: Tensor, b: Tensor, rule: tuple[Any, Any], *, backend: str = "auto") -> Tensor:
    """sum_j weights_j softplus(a + b nodes_j), element by element of ``a`` and ``b``, which broadcast."""
    return _module(backend, a).line(a, b, *rule)


def softplus_decay(a: Tensor, b: Tensor, rate: Tensor, rule: tuple[Any, Any], *, backend: str = "auto") -> Tensor:
    """sum_j weights_j softplus(a + b exp(-rate nodes_j)), element by element; ``rate`` >= 0; the three broadcast."""
    return _module(backend, a).decay(a, b, rate, *rule)


def _module(backend: str, like: Tensor) -> Any:
    import torch

    if backend == "auto":
        compiled = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "naive"
    if backend == "numba":
        from eventflow.ops.softplus_integral import numba

        return numba
    if backend == "naive":
        from eventflow.ops.softplus_integral import naive

        return naive
    raise InputError(f"softplus_integral(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
