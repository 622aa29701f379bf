"""Tables as Markdown, for a page of the project, and everything as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventflow.bench.continual._board import COSTS, FORECASTS, NLL, ORDERS, Entry, StreamBoard, Table
from eventflow.bench.leaderboard._board import Column, Spread
from eventflow.bench.leaderboard._text import _finite, _line

RULE = (
    "Mean ± standard deviation over seeds, in the last table over orders of the tasks. Bold: the best, where the gap "
    "to the next is larger than the larger of the two deviations; retrain, which keeps all data, is a bound and takes "
    "no part."
)
TABLES = {
    "Exact likelihood": NLL, "Forecasts": FORECASTS, "Cost": COSTS, "Other orders of the tasks, one seed": ORDERS,
}  # fmt: skip


def parts(value: Spread, column: Column) -> tuple[str, str]:
    """The texts of mean and deviation, the latter empty where there is none, or nobody asks."""
    if not math.isfinite(value.mean):
        return str(value.mean), ""
    mean = f"{value.mean:,.0f}" if not column.digits else f"{value.mean:.{column.digits}f}"
    return mean, f"{value.sd:.{column.digits}f}" if value.sd and column.better else ""


def about(stream: StreamBoard) -> str:
    """Tasks, events, unit."""
    facts = stream.facts
    oracle = f" The oracle, which knows the law of every moment: nll {stream.oracle.mean():.4f}." if (
        stream.oracle is not None) else ""  # fmt: skip
    return (
        f"{len(facts['train'])} tasks in the order of time; {sum(facts['train']):,} events to learn from (the smallest "
        f"task: {min(facts['train']):,}), {sum(facts['test']):,} to judge by. Gaps in {facts['unit']}.{oracle}"
    )


def settings(stream: StreamBoard) -> str:
    """How everybody learned."""
    asked = next(r["asked"] for e in stream.entries for r in (*e.seeds.values(), *e.orders.values()))
    steps = asked["steps"]
    return (
        f"Adam at {steps['lr']:g}, {steps['epochs']} passes over a task, {steps['batch_size']} sequences a step; the "
        "same steps for every learner, but that retrain goes through all tasks so far, and a buffer adds "
        f"as many old sequences to each step. Prequential: {asked['blocks']} blocks a task."
    )


def markdown(streams: Sequence[StreamBoard], origin: str) -> str:
    """All tables."""
    lines = ["# Continual learning of event streams", "", RULE, ""]
    for stream in streams:
        lines += [f"## {stream.name}", "", about(stream), "", *tables(stream)]
    return "\n".join([*lines, "## Columns", "", *meanings(), "", origin, ""])


def tables(stream: StreamBoard, *, depth: int = 3) -> list[str]:
    """The lines of a stream's tables."""
    if not any(entry.seeds or entry.orders for entry in stream.entries):
        return ["No cell has finished.", ""]
    lines = [settings(stream), ""]
    for title, columns in TABLES.items():
        table = stream.table(columns)
        if table.rows:
            lines += [f"{'#' * depth} {title}", "", *_lines(table), ""]
    return lines


def meanings() -> list[str]:
    """What the columns say."""
    heads = {c.head.strip(): c.meaning for columns in (NLL, COSTS) for c in columns.values()}
    heads |= {c.head.strip(): c.meaning for c in FORECASTS.values() if c.head.endswith(" ")}
    return [f"- {head}: {meaning}" for head, meaning in heads.items()]


def _lines(table: Table) -> Iterable[str]:
    yield _line(["", *(column.head.strip() for column in table.columns.values()), ""])
    yield _line([":--", *["--:"] * len(table.columns), ":--"])
    for row in table.rows:
        cells = []
        for key, column in table.columns.items():
            mean, sd = parts(row.values[key], column) if key in row.values else ("", "")
            text = f"{mean} ± {sd}" if sd else mean
            cells.append(f"**{text}**" if table.bold.get(key) == row.name else text)
        yield _line([row.name, *cells, row.note])


def as_json(streams: Sequence[StreamBoard], made: Mapping[str, str]) -> str:
    """Every number of every cell; what is not finite is null."""
    content = {"made": dict(made), "rule": RULE, "streams": {s.name: _stream(s) for s in streams}}
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _stream(stream: StreamBoard) -> dict[str, Any]:
    found = {}
    for title, columns in TABLES.items():
        table = stream.table(columns)
        found[title] = {row.name: {k: _number(v) for k, v in row.values.items()} for row in table.rows}
    return {**stream.facts, "tables": found, "cells": [_cells(entry) for entry in stream.entries]}


def _number(value: Spread) -> dict[str, Any]:
    return {"mean": value.mean, "sd": value.sd, "values": list(value.values)}


def _cells(entry: Entry) -> dict[str, Any]:
    both = {"seeds": entry.seeds, "orders": entry.orders}
    done = {what: {str(key): result for key, result in found.items()} for what, found in both.items()}
    return {"model": entry.model, "learner": entry.learner, **done, "failed": list(entry.failed)}
