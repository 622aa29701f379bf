"""What a compiled op promises to a live model: every row is computed by itself, whatever the batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def row_by_row(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a compiled op whose rows do not depend on each other's presence.

    ``eventflow.online.batch_invariant`` watches every call of a torch function; inside such an op it need not, and a
    live step of one key costs half. The promise is kept by ``eventflow.testing.check_batch_invariant`` on the models.
    """
    import torch

    @functools.wraps(function)
    def unwatched(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch._C.DisableTorchFunction():
            return function(*args, **kwargs)

    return unwatched
