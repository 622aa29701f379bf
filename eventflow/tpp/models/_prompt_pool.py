"""The pool of prompts of PromptTPP (Xue et al., NeurIPS 2023, arXiv:2310.04993): keys to be found by, values to use.

Axes: M prompts, N of them retrieved, Q numbers of a query.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from eventflow.errors import InputError

if TYPE_CHECKING:
    from eventflow.tpp._process import PointProcess


class PromptPool(nn.Module):
    """M prompts, each with a learned key and a learned value; a query retrieves the N whose keys are nearest by cosine.

    What was retrieved does not depend smoothly on the keys. They learn from the *match*, the sum of the cosines between
    a query and the keys that it retrieved, which training raises; the query is taken as it is, so that the match moves
    keys alone. Values learn from the likelihood alone.

    Args:
        query_size: Q.
        value_shape: of a prompt's learned part.
        prompts: M.
        retrieved: N.
        match_weight: of the match in the loss (the paper's alpha). Under Adam, which divides a gradient by its size,
            any positive weight trains the keys alike.
        pool_every: steps of training from one update of the pool to the next.
        encoder_every: the same of everything else (the paper's asynchronous refinement).

    Raises:
        InputError: numbers below 1, more retrieved than there are, a negative weight.
    """

    def __init__(
        self, query_size: int, value_shape: tuple[int, ...], *, prompts: int, retrieved: int, match_weight: float,
        pool_every: int, encoder_every: int,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 1 <= retrieved <= prompts:
            raise InputError(f"prompts={prompts}, retrieved={retrieved}: expected 1 <= retrieved <= prompts")
        if min(pool_every, encoder_every) < 1:
            raise InputError(f"pool_every={pool_every}, encoder_every={encoder_every}: expected at least 1 step")
        if not match_weight >= 0:
            raise InputError(f"match_weight={match_weight}: expected at least 0")
        self.retrieved, self.match_weight = retrieved, match_weight
        self.pool_every, self.encoder_every = pool_every, encoder_every
        self.keys = nn.Parameter(torch.empty(prompts, query_size).uniform_(-1, 1))
        self.values = nn.Parameter(torch.empty(prompts, *value_shape).uniform_(-1, 1))

    def retrieve(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """(which (..., N), nearest first; the match (...)) for queries (..., Q): each by itself, never by the batch."""
        cosines = _unit(query.detach()) @ _unit(self.keys).T
        nearest = cosines.topk(self.retrieved, -1)
        return nearest.indices, nearest.values.sum(-1)

    def resting(self, process: PointProcess, step: int) -> Iterator[nn.Parameter]:
        """The parameters of ``process``, this pool's among them, that step number ``step`` (from 0) leaves alone."""
        own = {id(parameter) for parameter in self.parameters()}
        for parameter in process.parameters():
            if step % (self.pool_every if id(parameter) in own else self.encoder_every):
                yield parameter


def _unit(x: Tensor) -> Tensor:
    """x of length 1 along the last axis."""
    return x / x.square().sum(-1, keepdim=True).clamp_min(1e-24).sqrt()
