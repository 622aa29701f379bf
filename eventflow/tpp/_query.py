"""Questions to a state at times ahead of it, and the answer about the next event."""

from __future__ import annotations

from typing import Any, NamedTuple

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
