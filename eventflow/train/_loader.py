"""Padded batches whose order depends on (seed, epoch) alone; shared exactly among processes, resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events, PaddedBatch, pad

#: Batches among which sequences are sorted by length, so that the ones padded together are about as long.
BUCKET = 32


class EventLoader:
    """An iterable of :class:`PaddedBatch` (gaps in float64; the model rounds them to its own dtype).

    With ``world`` processes a step takes ``batch_size * world`` sequences, of which process ``rank`` gets every
    world-th: together they see exactly the step of one process with the batch size times ``world``, and every process
    makes the same number of steps. A process for which the last step has no sequence left gets one without any event
    (it counts for nothing).

    Args:
        events: the sequences.
        batch_size: sequences a step, for each process.
        shuffle: a new order each epoch, from (seed, epoch); else the sequences go by length, longest first.
        seed: of the shuffling.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self, events: Events, *, batch_size: int, shuffle: bool = False, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        self.events = events
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank, self.world = rank, world
        self.sampler, self.batch_sampler = self, None  # where Lightning looks for set_epoch
        self._epoch = 0
        self._position = 0
        self._resume = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.events) // (self.batch_size * self.world))

    def plan(self) -> list[NDArray[np.int64]]:
        """The sequences of each step of this epoch, those of all processes together."""
        size, lengths = self.batch_size * self.world, self.events.lengths
        if not self.shuffle:
            order = np.argsort(-lengths, kind="stable")
            return [order[i : i + size] for i in range(0, len(order), size)]
        draw = np.random.default_rng([self.seed, self._epoch])
        order = draw.permutation(len(lengths))
        for i in range(0, len(order), size * BUCKET):
            bucket = order[i : i + size * BUCKET]
            order[i : i + size * BUCKET] = bucket[np.argsort(lengths[bucket], kind="stable")]
        steps = [order[i : i + size] for i in range(0, len(order), size)]
        return [steps[i] for i in draw.permutation(len(steps))]

    def share(self, step: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's sequences of a step."""
        return step[self.rank :: self.world]

    def __iter__(self) -> Iterator[PaddedBatch]:
        start, self._resume = self._resume, 0
        for i, step in enumerate(self.plan()[start:], start):
            self._position = i + 1
            mine = self.share(step)
            yield pad(self.events, mine, dtype=torch.float64) if len(mine) else self._nothing(step)

    def _nothing(self, step: NDArray[np.int64]) -> PaddedBatch:
        """A batch of one sequence in which nothing happened and no time passed."""
        some = pad(self.events, step[:1], dtype=torch.float64)
        marks = {name: torch.zeros_like(column) for name, column in some.marks.items()}
        empty = torch.zeros_like(some.mask)
        return replace(
            some, t=torch.zeros_like(some.t), dt=torch.zeros_like(some.dt), marks=marks, mask=empty, scored=empty,
            tail=torch.zeros_like(some.tail),
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """How many steps of the epoch were handed out (Lightning puts it into the checkpoint)."""
        return {"position": self._position % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration starts where the saved one stood."""
        self._resume = int(state["position"])
