"""Datasets that were simulated: the process that made them, from their card, and the same draws once more.

The card's ``truth`` holds the process (``class_path`` and ``init_args``), the ``span``, how many ``sequences`` a split
has, the ``seed``, and the ``grid``: times are cut down to its multiples (a power of two, so exactly), which makes the
files small and keeps differences between machines in the last bit of a logarithm out of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import card, list_datasets, write_events
from eventflow.io._card import SPLITS, Card
from eventflow.nn._recorded import rebuild
from eventflow.tpp._process import PointProcess


@dataclass(frozen=True, slots=True)
class Truth:
    """How a dataset was made.

    Args:
        process: the law, in float64.
        span: [start, end) of every sequence, in the schema's unit.
        sequences: split -> how many.
        seed: of the one generator that draws train, val and test in turn.
        grid: times are multiples of it.
        schema: unit and marks.
    """

    process: PointProcess
    span: tuple[float, float]
    sequences: dict[str, int]
    seed: int
    grid: float
    schema: Schema

    def simulate(self) -> dict[str, Events]:
        """All splits: the same numbers at every call."""
        generator = torch.Generator().manual_seed(self.seed)
        parts = {}
        for split in SPLITS:
            drawn = self.process.simulate(
                span=self.span, num_sequences=self.sequences[split], generator=generator, schema=self.schema
            )
            parts[split] = replace(drawn, t=np.floor(drawn.t / self.grid) * self.grid)
        return parts


def truth(name_or_path: str | PathLike[str]) -> Truth:
    """The law behind a simulated dataset: ``truth("hawkes").process.log_prob(events)`` is the oracle's likelihood.

    Raises:
        InputError: the dataset is not a simulation, or is unknown.
    """
    entry = card(name_or_path)
    if not entry.truth:
        known = ", ".join(name for name in list_datasets() if card(name).truth)
        raise InputError(f"dataset {entry.name!r} is real data: its truth is not known. Simulated ones: {known}")
    return _parse(entry)


def _parse(entry: Card) -> Truth:
    known = dict(entry.truth)
    try:
        process = rebuild(known["process"], PointProcess).double()
        start, end = known["span"]
        sequences = {split: int(known["sequences"][split]) for split in SPLITS}
        return Truth(
            process, (float(start), float(end)), sequences, int(known["seed"]), float(known["grid"]), entry.schema
        )
    except KeyError as error:
        raise InputError(f"card of {entry.name!r}: truth has no key {error}") from None


def data_simulate(name: str, out: Path) -> None:
    """Simulate a dataset again, from the law and the seed on its card: train, val and test files in a new folder.

    The folder is then a dataset itself: `eventflow fit --data OUT --model nhp`.

    Args:
        name: a simulated dataset, for example hawkes.
        out: the folder to write.
    """
    law = truth(name)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out}: there is something already; expected a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    for split, events in law.simulate().items():
        write_events(events, out / f"{split}.parquet")
        print(f"{out / f'{split}.parquet'}: {len(events):,} sequences, {events.num_events:,} events")
