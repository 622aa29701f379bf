"""ObGD as an optimizer of torch, and the sparse starts of stream-x (Elsayed et al., arXiv 2410.14606)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError


class ObGD(torch.optim.Optimizer):
    """Overshooting-bounded gradient descent with eligibility traces (2410.14606 v2, algorithm 3), for any module.

    ``(-value).backward(); optimizer.step(delta)`` moves the weights so that the value goes after the error delta:
    e = discount lambda e + grad, z = sum |e| over all groups, w -= min(lr, 1 / (kappa max(|delta|, 1) z)) delta e.

    Args:
        params: parameters or groups.
        lr: step size before the bound.
        discount: gamma.
        lambda_: of the traces.
        kappa: a step changes the weights by at most 1 / kappa in the sum of absolute values.

    Raises:
        InputError: a number outside its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        discount: float = 0.99,
        lambda_: float = 0.8,
        kappa: float = 2.0,
    ) -> None:
        if not (lr > 0 and kappa > 0 and 0 <= discount <= 1 and 0 <= lambda_ <= 1):
            raise InputError(
                f"ObGD(lr={lr}, discount={discount}, lambda_={lambda_}, kappa={kappa}): expected lr and kappa above 0, "
                "discount and lambda_ in [0, 1]"
            )
        super().__init__(params, {"lr": lr, "discount": discount, "lambda_": lambda_, "kappa": kappa})

    @torch.no_grad()
    def step(self, delta: float, reset: bool = False) -> None:  # type: ignore[override]
        """Move the weights after the error ``delta``; with ``reset`` the traces are zero afterwards."""
        if not math.isfinite(delta := float(delta)):
            raise InputError(f"ObGD.step(delta={delta}): expected a finite error; look for NaN in rewards or values")
        z = 0.0
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                e = self.state[p].setdefault("eligibility_trace", torch.zeros_like(p))
                e.mul_(group["discount"] * group["lambda_"]).add_(p.grad)
                z += float(e.abs().sum())
        for group in self.param_groups:
            bound = group["lr"] * group["kappa"] * max(abs(delta), 1.0) * z
            size = group["lr"] / bound if bound > 1 else group["lr"]
            for p in group["params"]:
                if "eligibility_trace" in self.state[p]:
                    e = self.state[p]["eligibility_trace"]
                    p.sub_(e, alpha=size * delta)
                    if reset:
                        e.zero_()


@torch.no_grad()
def sparse_init(
    weight: Tensor, sparsity: float = 0.9, *, whole: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """Fill (out, in) or (out, channels, height, width) in place: U(-1, 1) / sqrt(fan in), then cut a share of it.

    ``ceil(sparsity * fan_in)`` inputs of every output are cut, so that with the paper's 0.9 **a layer with fewer than
    ten inputs starts all zero**. It learns nevertheless: LayerNorm multiplies the gradient of a constant layer by 316.
    Two such layers in a row would never learn, so with ``whole`` the share is that of all the layer's weights, to the
    nearest one, and rows keep as many as each other but for one.

    Raises:
        InputError: another number of dimensions, or a sparsity outside [0, 1].
    """
    if weight.dim() not in (2, 4) or not 0 <= sparsity <= 1:
        raise InputError(f"sparse_init: {tuple(weight.shape)}, sparsity {sparsity}; expected 2 or 4 axes and [0, 1]")
    rows, fan_in = weight.shape[0], weight[0].numel()
    filled = (torch.rand(rows, fan_in, generator=generator, dtype=torch.float64) * 2 - 1) / math.sqrt(fan_in)
    order = torch.rand(rows, fan_in, generator=generator, dtype=torch.float64).argsort(1)
    cut = torch.full((rows,), math.ceil(sparsity * fan_in - 1e-9))
    if whole:
        least, more = divmod(round(sparsity * rows * fan_in), rows)
        cut = least + (torch.randperm(rows, generator=generator) < more).long()
    kept = torch.empty_like(filled).scatter_(1, order, (torch.arange(fan_in) >= cut[:, None]).to(filled))
    return weight.copy_((filled * kept).view(weight.shape))


def layer_sparsities(shapes: list[tuple[int, ...]], sparsity: float = 0.95) -> list[float]:
    """Erdos-Renyi-kernel: densities in proportion to the sum of a layer's dimensions over their product.

    The kept weights of all layers together are the share ``1 - sparsity``; layers that would exceed 1 are dense.
    """
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    sizes = [math.prod(shape) for shape in shapes]
    dense: set[int] = set()
    while True:
        budget = (1 - sparsity) * sum(sizes) - sum(sizes[i] for i in dense)
        free = [i for i in range(len(shapes)) if i not in dense]
        scale = max(budget, 0.0) / max(sum(raw[i] * sizes[i] for i in free), 1e-12)
        over = {i for i in free if scale * raw[i] > 1}
        if not over:
            return [0.0 if i in dense else 1 - scale * raw[i] for i in range(len(shapes))]
        dense |= over
