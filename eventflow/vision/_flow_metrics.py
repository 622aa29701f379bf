"""Errors of optical flow, over the pixels whose flow is known, or that had events too.

Flows are (..., 2, H, W): displacement (x, y) in pixels, numpy or torch, as the networks give them (write
``np.moveaxis(flow, -1, -3)`` for maps (H, W, 2), as DSEC's are read). ``valid`` (..., H, W) is True where the truth is
known, ``events`` (..., H, W) is the number of events at each pixel, or True where there were any: with it, pixels
without events are left out. A flow of exactly zero is a flow like any other. Every pixel counts the same; over no pixel
at all an error is nan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError

Flow = Any  # numpy array or torch tensor
PIXELS = (1, 2, 3, 4, 5)


def epe(flow: Flow, truth: Flow, valid: Flow | None = None, *, events: Flow | None = None) -> Tensor:
    """End-point error in pixels: the mean of |flow - truth|; a tensor of no axes, differentiable.

    Raises:
        InputError: shapes that do not fit.
    """
    flow, truth, seen = _checked("epe", flow, truth, valid, events)
    return _distance(flow, truth)[seen].mean()


def npe(flow: Flow, truth: Flow, valid: Flow | None = None, *, n: float = 3, events: Flow | None = None) -> Tensor:
    """n-pixel error in percent: the share of pixels whose end-point error is above ``n`` pixels (DSEC's 1PE, 2PE, 3PE).

    Raises:
        InputError: shapes that do not fit; ``n`` below 0.
    """
    if not n >= 0:
        raise InputError(f"npe: n={n}; expected pixels, 0 or more. Write: n=3")
    flow, truth, seen = _checked("npe", flow, truth, valid, events)
    return 100 * (_distance(flow, truth)[seen] > n).to(flow.dtype).mean()


def angular_error(flow: Flow, truth: Flow, valid: Flow | None = None, *, events: Flow | None = None) -> Tensor:
    """Angular error in degrees: the mean angle between (u, v, 1) and the truth's (Barron et al., IJCV 12, 1994).

    Raises:
        InputError: shapes that do not fit.
    """
    flow, truth, seen = _checked("angular_error", flow, truth, valid, events)
    return _angle(flow, truth)[seen].mean()


@dataclass(frozen=True, slots=True)
class FlowErrors:
    """All of them over many maps, as a value: ``errors = errors.update(flow, truth, valid)``, ``a.merge(b)``.

    Attributes:
        pixels: how many were judged.
        distance: the sum of their end-point errors, in pixels.
        angle: the sum of their angular errors, in degrees.
        above: how many are above 1, 2, 3, 4, 5 pixels.
    """

    pixels: int = 0
    distance: float = 0.0
    angle: float = 0.0
    above: tuple[int, ...] = (0,) * len(PIXELS)

    def update(self, flow: Flow, truth: Flow, valid: Flow | None = None, *, events: Flow | None = None) -> FlowErrors:
        """With these maps added; the arguments are :func:`epe`'s.

        Raises:
            InputError: shapes that do not fit.
        """
        flow, truth, seen = _checked("FlowErrors.update", flow, truth, valid, events)
        with torch.no_grad():
            flow, truth = flow.double(), truth.double()
            distance, angle = _distance(flow, truth)[seen], _angle(flow, truth)[seen]
            above = tuple(int((distance > n).sum()) for n in PIXELS)
        return self.merge(FlowErrors(distance.numel(), float(distance.sum()), float(angle.sum()), above))

    def merge(self, other: FlowErrors) -> FlowErrors:
        """The errors over what both saw."""
        above = tuple(a + b for a, b in zip(self.above, other.above, strict=True))
        return FlowErrors(self.pixels + other.pixels, self.distance + other.distance, self.angle + other.angle, above)

    def compute(self) -> dict[str, float]:
        """``epe`` (pixels), ``ae`` (degrees), ``pe1`` ... ``pe5`` (percent); nan if no pixel was seen."""
        if not self.pixels:
            return dict.fromkeys(("epe", "ae", *(f"pe{n}" for n in PIXELS)), math.nan)
        shares = {f"pe{n}": 100 * count / self.pixels for n, count in zip(PIXELS, self.above, strict=True)}
        return {"epe": self.distance / self.pixels, "ae": self.angle / self.pixels, **shares}


def _distance(flow: Tensor, truth: Tensor) -> Tensor:
    return torch.linalg.vector_norm(flow - truth, dim=-3)


def _angle(flow: Tensor, truth: Tensor) -> Tensor:
    """By arc tangent: the arc cosine loses half of the digits of a small angle, and its slope is infinite at 0."""
    u, v = flow.unbind(-3)
    a, b = truth.unbind(-3)
    cross = torch.linalg.vector_norm(torch.stack([v - b, a - u, u * b - v * a]), dim=0)
    return torch.rad2deg(torch.atan2(cross, u * a + v * b + 1))


def _checked(
    name: str, flow: Flow, truth: Flow, valid: Flow | None, events: Flow | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Both flows as tensors of one floating dtype, and which pixels count."""
    flow, truth = torch.as_tensor(flow), torch.as_tensor(truth)
    if flow.dim() < 3 or flow.shape[-3] != 2 or flow.shape != truth.shape:
        hint = " Write: np.moveaxis(flow, -1, -3)" if flow.dim() >= 3 and flow.shape[-1] == 2 else ""
        raise InputError(
            f"{name}: flow {tuple(flow.shape)}, truth {tuple(truth.shape)}; expected (..., 2, H, W).{hint}"
        )
    kind = torch.promote_types(torch.promote_types(flow.dtype, truth.dtype), torch.float32)
    shape = (*flow.shape[:-3], *flow.shape[-2:])
    seen = torch.ones(shape, dtype=torch.bool, device=flow.device)
    for what, mask in (("valid", valid), ("events", events)):
        if mask is None:
            continue
        mask = torch.as_tensor(mask, device=flow.device)
        if mask.shape != shape:
            raise InputError(f"{name}: {what} is {tuple(mask.shape)}; expected (..., H, W)={shape}")
        seen = seen & (mask > 0)
    return flow.to(kind), truth.to(flow.device, kind), seen
