"""The files of an output folder as a board: for each dataset rows of numbers with their spread, and what may be bold.

Bold. A number is bold where it is the best of its column among our models and the trivial baselines, and where the gap
to the next best is larger than the larger of the two standard deviations over seeds. A baseline is counted, not
trained: its deviation is 0. A model with one seed has no deviation, so neither it nor what it is next to can be bold.
Published numbers come from other code, and often from another definition; they stand beside ours and do not compete.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eventflow._assets import ROOT
from eventflow.bench.leaderboard._store import Cell, baselines_file, epochs, read_json


class Column(NamedTuple):
    """A column: its head, which way is better (None: nobody competes), and what it means."""

    head: str
    better: Literal["low", "high"] | None
    digits: int
    meaning: str


COLUMNS = {
    "nll_per_event": Column("nll", "low", 4, "exact negative log-likelihood, nats per scored event, silences included"),
    "easytpp_nll_per_event": Column(
        "compat nll", "low", 4,
        "the same as EasyTPP counts it: events 2..N, no last silence, the compensator, where the model has to be "
        "integrated, as the mean of 20 points a gap (AttNHP and S2P2: 10)",
    ),
    "time_nll_per_event": Column("time nll", "low", 4, "the share of nll that is about when"),
    "mark_nll_per_event": Column("mark nll", "low", 4, "the share that is about which mark, given when"),
    "accuracy": Column("accuracy", "high", 4, "how often the likeliest mark came, its time unknown"),
    "gap_rmse": Column("RMSE", "low", 4, "root mean square error of the predicted mean gap, in the data's unit"),
    "gap_mae": Column("MAE", "low", 4, "mean absolute error of the predicted median gap, in the data's unit"),
    "otd": Column("OTD", "low", 3, "optimal transport distance of the predicted next events from those that came"),
    "tmap": Column("T-mAP", "high", 4, "mean average precision of predicted next events within a tolerance of time"),
    "train_events_per_cpu_s": Column("train ev/s", None, 0, "training: scored events per CPU-second, on one thread"),
    "eval_events_per_cpu_s": Column(
        "eval ev/s", None, 0, "exact likelihood and forecast of test events in float64, per CPU-second, on one thread"
    ),
    "num_parameters": Column("parameters", None, 0, "numbers that are learned"),
}  # fmt: skip


class Spread(NamedTuple):
    """Mean over n seeds and sample standard deviation: 0 for what has no seed, None where one seed says nothing."""

    mean: float
    sd: float | None
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: who, what kind, the numbers that are there, and a remark."""

    name: str
    kind: Literal["trivial", "ours", "published"]
    values: Mapping[str, Spread]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """What a folder holds of one model on one dataset: its finished cells' results, and the errors of failed ones."""

    name: str
    done: Mapping[int, Mapping[str, Any]]
    failed: Mapping[int, str]
    #: seed -> its epochs: {"epoch", "val_nll", ...}
    curves: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One table: the baselines' record, the models by nll, and the published rows of those models."""

    name: str
    facts: Mapping[str, Any]
    models: Sequence[Model]
    rows: Sequence[Row]

    @property
    def best(self) -> dict[str, str]:
        """column -> the row that is bold there."""
        return {column: name for column in COLUMNS if (name := best(self.rows, column)) is not None}


def board(out: Path) -> list[Dataset]:
    """Every dataset of which the folder has finished or failed cells."""
    found = []
    for home in sorted(path for path in (out / "cells").glob("*") if path.is_dir()):
        models = [_model(out, home.name, path.name) for path in sorted(home.glob("*")) if path.is_dir()]
        models = sorted((m for m in models if m.done or m.failed), key=_by_nll)
        if models:
            facts = read_json(baselines_file(out, home.name))
            rows = [*_trivial(facts), *map(row_of, models), *_published(home.name, models)]
            found.append(Dataset(home.name, facts, models, rows))
    return found


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of one number over seeds."""
    finite = all(map(math.isfinite, values))
    sd = statistics.stdev(values) if finite and len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, tuple(values))


def best(rows: Iterable[Row], column: str, *, columns: Mapping[str, Column] = COLUMNS) -> str | None:
    """The row that is bold in a column, by the rule at the head of this file."""
    better = columns[column].better
    if better is None:
        return None
    sign = 1 if better == "low" else -1
    known = [(sign * row.values[column].mean, row) for row in rows if row.kind != "published" and column in row.values]
    known = sorted(((mean, row) for mean, row in known if math.isfinite(mean)), key=lambda pair: pair[0])
    if len(known) < 2:
        return None
    (first, winner), (second, runner_up) = known[:2]
    sds = [winner.values[column].sd, runner_up.values[column].sd]
    if any(sd is None for sd in sds):
        return None
    return winner.name if second - first > max(sd for sd in sds if sd is not None) else None


def row_of(model: Model) -> Row:
    """Means over the finished seeds of a model."""
    results = list(model.done.values())
    values = {}
    for column in COLUMNS:
        numbers = [number for result in results if (number := _number(result, column)) is not None]
        if results and len(numbers) == len(results):
            values[column] = spread(numbers)
    count = len(model.done)
    note = f"{count} seed{'s' * (count != 1)}" if count else "failed: " + next(iter(model.failed.values()))
    if count and model.failed:
        note += f", {len(model.failed)} failed"
    return Row(model.name, "ours", values, note)


def _number(result: Mapping[str, Any], column: str) -> float | None:
    places = (result["report"]["metrics"], result.get("horizon") or {}, result)
    value = next((place[column] for place in places if column in place), None)
    return None if value is None else float(value)


def _model(out: Path, data: str, name: str) -> Model:
    results = {}
    for path in (out / "cells" / data / name).glob("*.json"):
        results[int(path.stem)] = read_json(path)
    done = {seed: results[seed] for seed in sorted(results) if results[seed]["state"] == "done"}
    failed = {seed: results[seed]["error"] for seed in sorted(results) if results[seed]["state"] == "failed"}
    return Model(name, done, failed, {seed: epochs(Cell(out, data, name, seed).run) for seed in done})


def _by_nll(model: Model) -> tuple[bool, float, str]:
    nll = [result["report"]["metrics"]["nll_per_event"] for result in model.done.values()]
    mean = statistics.fmean(nll) if nll else math.inf
    return not nll, mean if math.isfinite(mean) else math.inf, model.name


def _trivial(facts: Mapping[str, Any]) -> list[Row]:
    """Those with a likelihood first."""
    rows = [
        Row(name, "trivial", {key: Spread(value, 0.0) for key, value in row.items() if key in COLUMNS})
        for name, row in facts.get("rows", {}).items()
    ]
    return sorted(rows, key=lambda row: "nll_per_event" not in row.values)


def _published(data: str, models: Sequence[Model]) -> list[Row]:
    """What papers say of these models on this dataset, from models/<m>/results/<d>.yaml."""
    import yaml

    rows = []
    for model in models:
        path = ROOT / "models" / model.name / "results" / f"{data}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for entry in content.get("theirs", []):
            values = {key: Spread(value, None) for key, value in entry.items() if key in COLUMNS}
            rows.append(Row(entry["model"], "published", values, entry["source"]))
    return sorted(rows, key=lambda row: row.values.get("easytpp_nll_per_event", Spread(math.inf, None)).mean)
