"""How a stream is run, and what is said of it at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventflow.errors import InputError
from eventflow.events import Schema


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Options of :func:`eventflow.online.run`.

    Args:
        schema: vocabulary, K, and ``given_first``: whether a key's first event is given (its ``nll`` is null).
        start: when the observation of every key began, unless first events are given.
        lateness: in the schema's unit: how much later than a younger event one may arrive and still be put in order.
        snapshot: a folder; with it a killed run is resumed exactly.
        every: events after which a snapshot is taken.
        seconds: seconds after which one is taken, if sooner.
        dead_letters: where lines that are no events, and late ones, are written with the reason; None is stderr.
        chunk: lines read at once, at most; fewer answer sooner under load, more run faster.
        max_batch: keys stepped at once, at most; it changes no number.
        max_keys: keys held, at most; events of further keys become dead letters. None: as many as come.
        identity: of the model, in snapshots; None is a checksum of its class and weights.
    """

    schema: Schema = field(default_factory=Schema)
    start: float | None = None
    lateness: float = 0.0
    snapshot: Path | None = None
    every: int = 100_000
    seconds: float = 30.0
    dead_letters: Path | None = None
    chunk: int = 4096
    max_batch: int = 1024
    max_keys: int | None = None
    identity: str | None = None

    def __post_init__(self) -> None:
        if not (self.lateness >= 0 and math.isfinite(self.lateness)):
            raise InputError(f"lateness {self.lateness}: expected a finite number >= 0, in {self.schema.unit!r}")
        if self.start is not None and not math.isfinite(self.start):
            raise InputError(f"start {self.start}: expected a finite number")
        for name in ("every", "chunk", "max_batch", "max_keys"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: expected a positive integer")
        if not self.seconds > 0:
            raise InputError(f"seconds {self.seconds}: expected a positive number")
        if self.start is None and not self.schema.given_first:
            raise InputError(
                "the first gap of a key is measured from the start of its observation, which neither the checkpoint "
                "nor the command gives. Write: --start 0 (or train with given first events)"
            )
        for name in ("snapshot", "dead_letters"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))


@dataclass(slots=True)
class Counters:
    """What came in and went out; part of every snapshot."""

    lines: int = 0
    events_in: int = 0
    events_out: int = 0
    late: int = 0
    malformed: int = 0
    refused: int = 0
    nonfinite: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    Args:
        counters: since the first run of the stream; ``refused`` counts events of keys beyond ``max_keys``,
            ``nonfinite`` answers with a number that is not finite (written as null).
        keys: keys held.
        waiting: events still in the reorder buffer (kept by the snapshot).
        answered: events answered by this run alone; with ``seconds`` its rate.
        seconds: how long this run took, waiting included.
        latency: (p50, p99) seconds from a line's arrival to its answer.
        bytes_per_key: of state.
        notes: what the user should know (a resumed run, a damaged snapshot).
        learned: of a model that learned as it went: ``steps``, prequential ``nll_per_event``, that of the
            ``last_block``; empty where nothing is learned.
    """

    counters: Counters
    keys: int
    waiting: int
    answered: int
    seconds: float
    latency: tuple[float, float]
    bytes_per_key: int
    notes: tuple[str, ...] = ()
    learned: Mapping[str, float] = field(default_factory=dict)
