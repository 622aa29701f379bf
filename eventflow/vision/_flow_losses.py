"""Losses of optical flow networks: against a known flow, or by how sharp the events become when they are moved back.

Axes: B images, T steps, C channels, H rows, W columns. Flows are (B, 2, H, W), displacement (x, y) in pixels of the
full image, whatever the scale they are given at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eventflow.errors import InputError, did_you_mean

#: name -> of the difference (B, 2, h, w), what is averaged over the known pixels (B, h, w).
MEASURES = {
    "epe": lambda d: torch.sqrt((d * d).sum(1) + 1e-6),
    "mse": lambda d: (d * d).mean(1),
}


class Weighed(NamedTuple):
    """A sum and what to divide it by, so that many processes can add theirs first."""

    total: Tensor
    weight: Tensor


def supervised_loss(
    flows: Sequence[Tensor], truth: Tensor, valid: Tensor, *, measure: str = "epe", scales: Sequence[float] = (1.0,)
) -> Weighed:
    """Distance from the truth, over the pixels where it is known, at one scale or several.

    Args:
        flows: coarse to fine, the last (B, 2, H, W); each a whole number of times smaller.
        truth: (B, 2, H, W).
        valid: (B, H, W) bool. What lies in ``truth`` elsewhere matters to neither value nor gradient.
        measure: "epe": sqrt(|d|^2 + 1e-6), "mse": the mean of the squared components, the authors'.
        scales: weights from the finest scale on; (1,) is the full image only, as in the paper. At a coarser scale the
            truth is the mean over the known pixels of each block.

    Returns:
        The weighted mean over scales, times the number of known pixels; and that number.

    Raises:
        InputError: an unknown measure, or more weights than scales.
    """
    if measure not in MEASURES:
        raise InputError(f"loss={measure!r}: {did_you_mean(measure, MEASURES)}")
    if not 1 <= len(scales) <= len(flows):
        raise InputError(f"scales={list(scales)}: {len(scales)} weights; the network has {len(flows)} scales")
    known = valid.to(flows[-1].dtype)
    truth = torch.where(valid[:, None], truth, 0)
    count = known.sum()
    total = flows[-1].new_zeros(())
    for weight, flow in zip(scales, reversed(flows), strict=False):
        factor = truth.shape[-1] // flow.shape[-1]
        there, share = truth, known
        if factor > 1:
            share = F.avg_pool2d(known[:, None], factor)[:, 0]
            there = F.avg_pool2d(truth, factor) / share.clamp_min(1e-9)[:, None]
        each = MEASURES[measure](flow - there) * share
        total = total + weight * each.sum() * factor**2
    return Weighed(total / sum(scales), count)


def warped_events(counts: Tensor, flow: Tensor, *, reference: float) -> Tensor:
    """The image of warped events: every count is moved along the flow of its pixel to one time, and shared there.

    Args:
        counts: (B, T, C, H, W): the events of T equal steps of the time that ``flow`` spans; those of a step count as
            if they came at its middle.
        flow: (B, 2, H, W) over all T steps.
        reference: 0 is the start of that time, 1 its end.

    Returns:
        (B, C, H, W): the sum over steps, bilinear; what falls off the image is lost. Differentiable in the flow.

    Source: Gallego, Rebecq, Scaramuzza, "A unifying contrast maximization framework for event cameras", CVPR 2018.
    """
    batch, steps, channels, height, width = counts.shape
    when = (torch.arange(steps, device=counts.device, dtype=flow.dtype) + 0.5) / steps
    y, x = torch.meshgrid(
        torch.arange(height, device=counts.device, dtype=flow.dtype),
        torch.arange(width, device=counts.device, dtype=flow.dtype), indexing="ij",
    )  # fmt: skip
    move = (reference - when)[None, :, None, None, None] * flow[:, None]
    u, v = x + move[:, :, 0], y + move[:, :, 1]
    column, row = u.floor(), v.floor()
    out = counts.new_zeros(batch, channels, height * width)
    for i in (0, 1):
        for j in (0, 1):
            at_x, at_y = column + i, row + j
            share = (1 - (u - at_x).abs()) * (1 - (v - at_y).abs())
            inside = (at_x >= 0) & (at_y >= 0) & (at_x < width) & (at_y < height)
            index = torch.where(inside, at_y * width + at_x, 0).long().flatten(2)
            worth = (counts * torch.where(inside, share, 0)[:, :, None]).flatten(3)
            for t in range(steps):
                out = out.scatter_add(2, index[:, t, None].expand(-1, channels, -1), worth[:, t])
    return out.view(batch, channels, height, width)


def contrast_loss(counts: Tensor, flow: Tensor, *, smoothness: float = 0.1) -> Weighed:
    """How blurred the events are after the flow has moved them back, against how blurred they were: no truth is needed.

    The mean over two times, start and end of what the flow spans, of sharpness(events as they are) / sharpness(warped),
    where sharpness is the mean squared gradient of the image of warped events, polarities apart: 1 for no flow, less
    for a better one. Two times, and the ratio, because at a single one flows that run together are sharper than the
    true one. A smoothness term (Charbonnier, on differences of neighbours) fills in where nothing happened.

    Args:
        counts: (B, T, C, H, W) of the steps that the flow spans; see :func:`warped_events`.
        flow: (B, 2, H, W).
        smoothness: its weight, per pixel of difference.

    Returns:
        The sum over the images that have events, and their number.

    Source: the multi-reference focus loss of Shiba, Aoki, Gallego, "Secrets of event-based optical flow", ECCV 2022.
    """
    counts = counts.to(flow.dtype)
    still = _sharpness(counts.sum(1))
    ratio = torch.stack([still / _sharpness(warped_events(counts, flow, reference=at)) for at in (0.0, 1.0)]).mean(0)
    rough = torch.stack([
        torch.sqrt(torch.diff(flow, dim=axis) ** 2 + 1e-6).mean((1, 2, 3)) for axis in (2, 3)
    ]).sum(0)  # fmt: skip
    some = (counts.flatten(1) > 0).any(1)
    return Weighed(torch.where(some, ratio + smoothness * rough, 0).sum(), some.sum().to(flow.dtype))


def _sharpness(image: Tensor) -> Tensor:
    """(B,): the mean squared gradient."""
    down, across = torch.diff(image, dim=2), torch.diff(image, dim=3)
    return (down**2).mean((1, 2, 3)) + (across**2).mean((1, 2, 3)) + 1e-9
