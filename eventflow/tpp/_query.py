"""Questions to a state at times ahead of it, and the answer about the next event."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eventflow.nn import map_state


class Prediction(NamedTuple):
    """The next event, given that one comes; times are gaps from now, in the data's unit. Leaves have the state's axes.

    ``mean`` and ``median`` of the gap; ``mark_probs`` (..., K) whenever it comes; ``never``: P(no further event).
    """

    mean: Tensor
    median: Tensor
    mark_probs: Tensor
    never: Tensor


def queried(state: Any, axes: int) -> Any:
    """The state with ``axes`` query axes of length 1 behind its leading axes, to broadcast against (..., Q) gaps."""
    lead = state.elapsed.dim()
    shape = (slice(None),) * lead + (None,) * axes
    return map_state(lambda leaf: leaf[shape], state) if axes else state


def by_rows(state: Any, u: Tensor) -> tuple[Any, Tensor, torch.Size]:
    """States (N, ...), the times (N, R) after the last event of each at which it is asked, and what N R is to be shaped
    to. A state asked at many times, along a query axis of length 1, is one row."""
    shape, lead = torch.broadcast_shapes(state.elapsed.shape, u.shape), state.elapsed.dim()
    rows = (*shape[:-1], 1) if state.elapsed.shape[-1:] == (1,) else shape
    count = math.prod(rows)
    flat = map_state(lambda x: x.expand(*rows, *x.shape[lead:]).reshape(count, *x.shape[lead:]), state)
    return flat, (state.elapsed + u).expand(shape).reshape(count, shape[-1] if rows != shape else 1), shape
