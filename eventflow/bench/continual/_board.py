"""The files of an output folder as tables: for each stream a row for each model and learner, its numbers with spread.

Over seeds, or, for the orders of the tasks, over orders with one seed. A number is bold by the rule of
``eventflow bench tpp``: where the gap to the next best is larger than the larger of the two deviations. Learners that
keep all data take no part in that: they are what the others are measured by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventflow.bench.continual._cell import facts_file
from eventflow.bench.leaderboard._board import Column, Row, Spread, best, spread
from eventflow.bench.leaderboard._store import read_json
from eventflow.tpp.continual import LEARNERS

#: Learners that keep every event: an upper bound, not a rival.
BOUNDS = ("retrain",)
NLL = {
    "average": Column("nll", "low", 4, "exact nll per event (nats) at the end of the stream, mean over all tasks"),
    "oracle_gap": Column("to oracle", "low", 4, "the same less that of the law that made the data"),
    "learned": Column("learned", "low", 4, "nll of each task just after it was learned, mean over tasks"),
    "forgetting": Column("forgetting", "low", 4, "how far an earlier task has fallen from its best, mean over tasks"),
    "backward_transfer": Column("backward", "high", 4, "what earlier tasks gained since each was learned"),
    "forward_transfer": Column("forward", "high", 4, "what a task had gained before it was learned, over no learning"),
    "prequential": Column("prequential", "low", 4, "nll of the training stream, each block judged, then learned"),
}  # fmt: skip
_JUDGED: tuple[tuple[str, str, Literal["low", "high"], str], ...] = (
    ("gap_rmse", "RMSE", "low", "of the predicted mean gap, in the data's unit"),
    ("mark_accuracy", "accuracy", "high", "how often the likeliest mark came"),
)
FORECASTS = {
    f"{metric}.{name}": Column(f"{head} {word}", better if name == "average" else NLL[name].better, 4, meaning)
    for metric, head, better, meaning in _JUDGED
    for name, word in (
        ("average", ""), ("forgetting", "forgetting"), ("backward_transfer", "backward"),
        ("forward_transfer", "forward"),
    )
}  # fmt: skip
COSTS = {
    "num_parameters": Column("parameters", None, 0, "numbers that are learned"),
    "train_cpu_s": Column("CPU s", None, 1, "of learning all tasks, on one thread"),
    "score_cpu_us": Column("us an event", None, 1, "CPU time to read an event and give its likelihood, in batches"),
    "state_first": Column("KiB, 1 task", None, 0, "what the learner holds after one task: model, optimizer, memory"),
    "state_last": Column("KiB, all", None, 0, "the same after the last task"),
}
ORDERS = {
    "average": Column("nll", "low", 4, "mean over the tasks at the end, over orders"),
    "forgetting": Column("forgetting", "low", 4, "over orders"),
    "backward_transfer": Column("backward", "high", 4, "over orders"),
    "forward_transfer": Column("forward", "high", 4, "over orders"),
}
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model and a learner on a stream: seed -> result in the order of time, number -> result in other orders."""

    model: str
    learner: str
    seeds: Mapping[int, Mapping[str, Any]]
    orders: Mapping[int, Mapping[str, Any]]
    failed: Sequence[str] = ()

    @property
    def name(self) -> str:
        """For tables and pictures."""
        return f"{self.model}, {self.learner}"

    def matrix(self, metric: str) -> Array:
        """(T, T) mean over seeds."""
        return np.mean([result["matrices"][metric]["values"] for result in self.seeds.values()], axis=0)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and a row for each entry that has numbers there; ``bold``: column -> row."""

    columns: Mapping[str, Column]
    rows: Sequence[Row]
    bold: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamBoard:
    """One dataset: what is known of it, and its entries."""

    name: str
    facts: Mapping[str, Any]
    entries: Sequence[Entry]

    @property
    def oracle(self) -> Array | None:
        """(T,) nll of each task under the law that made it."""
        known = self.facts.get("oracle")
        return np.array(known["nll_per_event"]) if known else None

    def table(self, columns: Mapping[str, Column]) -> Table:
        """The entries' numbers in these columns, over seeds; in ORDERS', over orders."""
        rows = []
        for entry in self.entries:
            results = entry.orders if columns is ORDERS else entry.seeds
            if results:
                rows.append(
                    Row(entry.name, "ours", self._spreads(list(results.values()), columns), _note(entry, columns))
                )
        rivals = [row for row in rows if row.name.rpartition(", ")[2] not in BOUNDS]
        present = {key: column for key, column in columns.items() if any(key in row.values for row in rows)}
        return Table(present, rows, {key: best(rivals, key, columns=columns) for key in present})

    def _spreads(self, results: Sequence[Mapping[str, Any]], columns: Mapping[str, Column]) -> dict[str, Spread]:
        found = {}
        for key in columns:
            numbers = [number for result in results if (number := self._number(result, key)) is not None]
            if len(numbers) == len(results):
                found[key] = spread(numbers)
        return found

    def _number(self, result: Mapping[str, Any], key: str) -> float | None:
        summary = result["summary"]
        if key == "oracle_gap":
            return None if self.oracle is None else summary["nll_per_event"]["average"] - float(self.oracle.mean())
        if key == "prequential":
            blocks = result.get("prequential") or []
            total = sum(block["scored"] for block in blocks)
            return sum(b["scored"] * b["values"]["nll_per_event"] for b in blocks) / total if total else None
        if key in ("state_first", "state_last"):
            return result["state_bytes"][1 if key == "state_first" else -1] / 1024
        if key in result:
            return float(result[key])
        metric, dot, name = key.partition(".")
        metric, name = (metric, name) if dot else ("nll_per_event", metric)
        return summary[metric][name] if metric in summary else None


def board(out: Path) -> list[StreamBoard]:
    """Every stream of which the folder has finished or failed cells."""
    found = []
    for home in sorted(path for path in (out / "cells").glob("*") if path.is_dir()):
        entries = [entry for path in sorted(home.glob("*/*")) if path.is_dir() and (entry := _entry(path)) is not None]
        words = list(LEARNERS)
        entries.sort(key=lambda e: (words.index(e.learner.partition(":")[0]), e.learner, e.model))
        if entries:
            found.append(StreamBoard(home.name, read_json(facts_file(out, home.name)), entries))
    return found


def regret(stream: StreamBoard, entry: Entry) -> Array:
    """(T, T) nll above the oracle's; where the law is not known, above the lowest that any entry ever reached on the
    task."""
    reference = stream.oracle
    if reference is None:
        matrices = [each.matrix("nll_per_event") for each in stream.entries if each.seeds]
        reference = np.min(matrices, axis=(0, 1))
    return entry.matrix("nll_per_event") - reference


def _entry(path: Path) -> Entry | None:
    results = [result for file in sorted(path.glob("*.json")) if (result := read_json(file)).get("asked")]
    done = [result for result in results if result["state"] == "done"]
    failed = [result["error"] for result in results if result["state"] == "failed"]
    if not (done or failed):
        return None
    first = results[0]["asked"]
    timely = {r["asked"]["seed"]: r for r in done if not r["asked"]["order"]}
    orders = {r["asked"]["order"]: r for r in done if r["asked"]["order"]}
    return Entry(first["model"], first["learner"], dict(sorted(timely.items())), dict(sorted(orders.items())), failed)


def _note(entry: Entry, columns: Mapping[str, Column]) -> str:
    count, what = (len(entry.orders), "order") if columns is ORDERS else (len(entry.seeds), "seed")
    failed = f", {len(entry.failed)} failed" if entry.failed else ""
    return f"{count} {what}{'s' * (count != 1)}{failed}"
