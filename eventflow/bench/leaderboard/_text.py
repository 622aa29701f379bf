"""A board as Markdown, for a README, and as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventflow.bench.leaderboard._board import COLUMNS, Dataset, Model, Row, Spread

#: What a JSON entry repeats of every cell's report.
ORIGIN = ("commit", "date", "machine", "config")
KINDS = {"trivial": "trivial baselines", "ours": "eventflow", "published": "published, by other code"}
RULE = (
    "Mean ± standard deviation over seeds. Bold: the best of our models and the baselines, where the gap to the next "
    "is larger than the larger of the two deviations; a model with one seed has none, and takes no part."
)


def shown(value: Spread | None, column: str) -> str:
    """A cell's text: "0.5305 ± 0.0010", or nothing."""
    if value is None:
        return ""
    mean, sd = parts(value, column)
    return f"{mean} ± {sd}" if sd else mean


def parts(value: Spread, column: str) -> tuple[str, str]:
    """The texts of mean and deviation; the latter empty where there is none, or nobody asks."""
    digits = COLUMNS[column].digits
    if not math.isfinite(value.mean):
        return str(value.mean), ""
    if not digits:
        return f"{float(f'{value.mean:.3g}') if abs(value.mean) >= 1e6 else round(value.mean):,.0f}", ""
    return f"{value.mean:.{digits}f}", f"{value.sd:.{digits}f}" if value.sd and value.values else ""


def present(dataset: Dataset) -> list[str]:
    """The columns of which at least one row says something."""
    return [column for column in COLUMNS if any(column in row.values for row in dataset.rows)]


def markdown(datasets: Sequence[Dataset], origin: str) -> str:
    """One table for each dataset."""
    lines = ["# Leaderboard", "", RULE, ""]
    for dataset in datasets:
        lines += [f"## {dataset.name}", "", about(dataset), "", *_table(dataset), ""]
    lines += ["## Columns", "", *(f"- {c.head}: {c.meaning}" for c in COLUMNS.values()), "", origin, ""]
    return "\n".join(lines)


def about(dataset: Dataset) -> str:
    """How large the test set is, and its unit."""
    test, unit = dataset.facts.get("test", {}), dataset.facts.get("unit", "1")
    gaps = "" if unit == "1" else f"; gaps in {unit}"
    if not test:
        return f"Test events{gaps}."
    return f"{test['scored_events']:,} scored test events of {test['sequences']:,} sequences{gaps}."


def _table(dataset: Dataset) -> Iterable[str]:
    columns, bold = present(dataset), dataset.best
    yield _line(["", *(COLUMNS[column].head for column in columns), ""])
    yield _line([":--", *["--:"] * len(columns), ":--"])
    kind = None
    for row in dataset.rows:
        if row.kind != kind:
            kind = row.kind
            yield _line([f"*{KINDS[kind]}*", *[""] * (len(columns) + 1)])
        texts = {column: shown(row.values.get(column), column) for column in columns}
        cells = [f"**{text}**" if bold.get(column) == row.name else text for column, text in texts.items()]
        yield _line([row.name, *cells, row.note.replace("|", "/")])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_json(datasets: Sequence[Dataset], made: Mapping[str, str]) -> str:
    """Every number, with its seeds, configuration, commit, date and machine; what is not finite is null."""
    content = {"made": dict(made), "rule": RULE, "datasets": {d.name: _dataset(d) for d in datasets}}
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _dataset(dataset: Dataset) -> dict[str, Any]:
    rows = {kind: [row for row in dataset.rows if row.kind == kind] for kind in KINDS}
    plain = {row.name: {column: value.mean for column, value in row.values.items()} for row in rows["trivial"]}
    return {
        "unit": dataset.facts.get("unit"), "test": dataset.facts.get("test"), "bold": dataset.best,
        "baselines": plain,
        "models": {m.name: _model(m, row) for m, row in zip(dataset.models, rows["ours"], strict=True)},
        "published": [_published(row) for row in rows["published"]],
    }  # fmt: skip


def _model(model: Model, row: Row) -> dict[str, Any]:
    numbers = {c: {"mean": v.mean, "sd": v.sd, "values": list(v.values)} for c, v in row.values.items()}
    first = next(iter(model.done.values()), None)
    shared = {"config": _without_seed(first["report"]["config"]), "config_hash": first["hash"]} if first else {}
    return {
        "seeds": list(model.done), "metrics": numbers, **shared,
        "cells": {str(seed): _cell(result) for seed, result in model.done.items()},
        "failed": {str(seed): error for seed, error in model.failed.items()},
    }  # fmt: skip


def _cell(result: Mapping[str, Any]) -> dict[str, Any]:
    report = result["report"]
    origin = {key: report[key] for key in ORIGIN if key != "config"}
    return {**origin, "epochs": result["epochs"], "metrics": report["metrics"], "ks": result["ks"]}


def _published(row: Row) -> dict[str, Any]:
    return {"model": row.name, "source": row.note, "metrics": {c: v.mean for c, v in row.values.items()}}


def _without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "seed_everything"}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
