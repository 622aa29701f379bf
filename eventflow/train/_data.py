"""A dataset of event sequences for Lightning."""

from __future__ import annotations

import os
from pathlib import Path

import lightning.pytorch as L
import numpy as np

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import load_dataset
from eventflow.train._loader import EventLoader


class EventData(L.LightningDataModule):
    """Train, validation and test sequences as padded batches.

    What the model must know of the data is there right after construction: ``schema``, ``num_marks``, ``time_scale``
    (the mean gap of the training data), ``events_per_sequence`` (scored, on average) and ``start`` (where all spans
    start, if they do so together).

    Args:
        name: of a dataset (``taxi``), or the folder of one, as :func:`eventflow.io.load_dataset` takes it.
        batch_size: sequences a step (for each process, if there are several).
        seed: of the shuffling; None takes the one of ``seed_everything``, or 0.

    Raises:
        InputError: the dataset is not there or is broken; its training data has no event to learn from.
    """

    def __init__(self, name: str, *, batch_size: int = 256, seed: int | None = None) -> None:
        super().__init__()
        self.dataset = name
        self.batch_size = batch_size
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.events: dict[str, Events] = load_dataset(name)
        for split in ("train", "val", "test"):
            if split not in self.events:
                raise InputError(f"dataset {name!r} has no split {split!r}; it has {', '.join(self.events)}")
        train = self.events["train"]
        self.schema: Schema = train.schema
        self.num_marks = _num_marks(train)
        self.time_scale = mean_gap(train, name)
        self.events_per_sequence = train.num_scored / len(train)
        starts = np.unique(train.span[:, 0])
        self.start = float(starts[0]) if len(starts) == 1 and not train.given_first.any() else None

    @property
    def title(self) -> str:
        """What run folders call it."""
        return Path(self.dataset).resolve().name

    def loader(self, split: str, *, shuffle: bool = False) -> EventLoader:
        """This process's batches of a split."""
        rank, world = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        return EventLoader(
            self.events[split], batch_size=self.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, world=world
        )

    def train_dataloader(self) -> EventLoader:
        """Shuffled; sequences of about the same length share a batch."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> EventLoader:
        """In order of length."""
        return self.loader("val")

    def test_dataloader(self) -> EventLoader:
        """In order of length."""
        return self.loader("test")

    def predict_dataloader(self) -> EventLoader:
        """The test split, in order of length."""
        return self.loader("test")


def mean_gap(events: Events, name: str) -> float:
    """The mean gap before the scored events, in the data's unit."""
    gaps = events.gaps[events.scored].astype(np.float64)
    if not len(gaps) or not gaps.sum() > 0:
        raise InputError(
            f"dataset {name!r}: the training data has {len(gaps)} scored events and {gaps.sum()} time between them; "
            "expected at least one event after some time. See: eventflow data info " + name
        )
    return float(gaps.mean())


def _num_marks(events: Events) -> int:
    if events.schema.num_marks is not None:
        return events.schema.num_marks
    mark = events.marks.get("mark")
    return 1 if mark is None else int(mark.max()) + 1
