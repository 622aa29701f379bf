"""torch's own attention under a mask, on any device: a last key and value of zeros is the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from eventflow.ops.attention.naive import looked_at

if TYPE_CHECKING:
    from eventflow.ops.attention import Seen


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Seen, rest: bool) -> Tensor:
    """See :func:`eventflow.ops.attention.attention`. Queries that see nothing see the last, which is zeros."""
    there = functional.pad(looked_at(seen, key), (0, 1), value=rest)
    there[..., -1] |= ~there.any(-1)
    key, value = (functional.pad(x if seen.of is None else x[seen.of], (0, 0, 0, 0, 0, 1)) for x in (key, value))
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None]).transpose(1, 2)
