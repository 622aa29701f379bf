"""The definition: every query against every key, then what is not seen is left out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from eventflow.ops.attention import Seen


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Seen, rest: bool) -> Tensor:
    """See :func:`eventflow.ops.attention.attention`."""
    return attention_and_total(query, key, value, seen, rest)[0]


def attention_and_total(query: Tensor, key: Tensor, value: Tensor, seen: Seen, rest: bool) -> tuple[Tensor, Tensor]:
    """See :func:`eventflow.ops.attention.attention_and_total`."""
    there = looked_at(seen, key)[:, :, None]  # (N, R, 1, S)
    of = torch.arange(len(query), device=key.device) if seen.of is None else seen.of
    logits = torch.einsum("nrhd,nshd->nrhs", query, key[of]) / math.sqrt(query.shape[-1])
    logits = torch.where(there, logits, torch.finfo(logits.dtype).min)
    top = logits.amax(-1, keepdim=True).detach() if logits.shape[-1] else logits.new_zeros(*logits.shape[:-1], 1)
    top = top.clamp_min(0) if rest else top
    f = torch.where(there, torch.exp(logits - top), 0)
    below = f.sum(-1) + (torch.exp(-top[..., 0]) if rest else 0)
    out = torch.einsum("nrhs,nshd->nrhd", f, value[of])
    return out / torch.where(below > 0, below, 1)[..., None], top[..., 0] + below.log()


def looked_at(seen: Seen, key: Tensor) -> Tensor:
    """(N or 1, R, S) which keys are seen."""
    place = torch.arange(key.shape[1], device=key.device)
    return (place >= seen.first[..., None]) & (place < seen.stop[..., None])
