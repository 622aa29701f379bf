"""A fixed number of sequences, drawn uniformly from all that ever passed."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from eventflow.errors import InputError

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """After n items each of them is kept with probability min(1, capacity / n) (Vitter 1985, algorithm R).

    Args:
        capacity: items held at most.
        seed: of the draws.

    Raises:
        InputError: a capacity below 1.
    """

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        if capacity < 1:
            raise InputError(f"Reservoir(capacity={capacity}): expected at least 1")
        self.capacity = capacity
        self.seen = 0
        self.items: list[Item] = []
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: Item) -> None:
        """One more has passed."""
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        slot = int(self._random.integers(self.seen))
        if slot < self.capacity:
            self.items[slot] = item

    def draw(self, number: int) -> list[Item]:
        """``number`` of the kept, without repetition; all of them if there are fewer."""
        chosen = self._random.permutation(len(self.items))[:number]
        return [self.items[i] for i in chosen]
