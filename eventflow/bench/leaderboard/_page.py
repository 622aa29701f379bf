"""A board as one HTML file: its tables, and pictures of nll, calibration and learning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from eventflow.bench import _plots, _report
from eventflow.bench.leaderboard._board import COLUMNS, Dataset, Row
from eventflow.bench.leaderboard._text import KINDS, RULE, about, parts, present


def page(datasets: Sequence[Dataset], origin: str) -> str:
    """The whole document."""
    sections = [_section(dataset) for dataset in datasets]
    meanings = [[column.head, column.meaning] for column in COLUMNS.values()]
    list_of = "".join(_report.paragraph(f"{head}: {meaning}.", note=True) for head, meaning in meanings)
    return _report.page(
        "Leaderboard of point processes",
        "How surprised each model is by unseen events, how well it forecasts the next ones, and how fast it is; beside "
        "trivial baselines made of counts and averages, and beside published numbers.",
        [*sections, _report.section("How to read it", _report.paragraph(RULE), list_of)],
        footer=f"eventflow bench tpp. {origin}",
        wide=True,
    )


def _section(dataset: Dataset) -> str:
    pictures = [picture for picture in (_nll(dataset), _qq(dataset), _learning(dataset)) if picture]
    table = _table(dataset)
    blocks = [_report.paragraph(about(dataset), note=True), table]
    failed = [f"{m.name}, seed {seed}: {error}" for m in dataset.models for seed, error in m.failed.items()]
    blocks += [_report.paragraph(f"Failed: {text}", note=True) for text in failed]
    text = _report.section(dataset.name, *blocks, _report.side_by_side(*pictures))
    return text.replace("<section>", '<section class="full">', 1)


def _table(dataset: Dataset) -> str:
    columns, bold = present(dataset), dataset.best
    rows: list[Any] = []
    kind = None
    for row in dataset.rows:
        if row.kind != kind:
            kind = row.kind
            rows.append(_report.Group(KINDS[kind]))
        cells = [_cell(row, column, bold.get(column) == row.name) for column in columns]
        rows.append([row.name, *cells, row.note])
    return _report.table(["", *(COLUMNS[column].head for column in columns), "from"], rows)


def _cell(row: Row, column: str, strong: bool) -> _report.Rich | None:
    if column not in row.values:
        return None
    mean, sd = parts(row.values[column], column)
    return _report.Rich(mean, strong, f"± {sd}" if sd else "")


def _nll(dataset: Dataset) -> str:
    """Dots of nll, with one deviation over seeds, and the best baseline."""
    known = {row.name: row.values["nll_per_event"] for row in dataset.rows
             if row.kind == "ours" and "nll_per_event" in row.values}  # fmt: skip
    known = {name: value for name, value in known.items() if math.isfinite(value.mean)}
    if not known:
        return ""
    plain = [(row.values["nll_per_event"].mean, row.name) for row in dataset.rows
             if row.kind == "trivial" and "nll_per_event" in row.values]  # fmt: skip
    best = min(plain, default=None)
    figure = _plots.dots(
        {name: value.mean for name, value in known.items()},
        errors={name: value.sd for name, value in known.items() if value.sd},
        xlabel="exact nll per event (nats); less is better",
        references={f"best baseline: {best[1]}": best[0]} if best else None,
    )
    svg = _plots.to_svg(figure, name=f"{dataset.name}-nll")
    return _report.figure(svg, "Exact nll of test events; strokes reach one standard deviation over seeds either way.")


def _qq(dataset: Dataset) -> str:
    """Time-rescaled residuals against Exp(1), a panel a model, a line a seed."""
    points = {m.name: [result["qq"] for result in m.done.values()] for m in dataset.models if m.done}
    lines = {name: [(qq["expected"], qq["observed"]) for qq in seeds] for name, seeds in points.items()}
    if not lines:
        return ""
    first = next(r["qq"] for m in dataset.models for r in m.done.values())
    figure = _plots.panels(
        lines, band=(first["expected"], first["low"], first["high"]), xlabel="expected: quantiles of Exp(1)",
        ylabel="observed: residuals",
    )  # fmt: skip
    svg = _plots.to_svg(figure, name=f"{dataset.name}-qq")
    return _report.figure(svg, "Waiting times on each model's own clock: a calibrated model stays in the grey band.")


def _learning(dataset: Dataset) -> str:
    """Validation nll over epochs, a panel a model, a line a seed."""
    lines = {}
    for model in dataset.models:
        curves = [
            ([row["epoch"] + 1 for row in rows if row["val_nll"] is not None],
             [row["val_nll"] for row in rows if row["val_nll"] is not None])
            for rows in model.curves.values()
        ]  # fmt: skip
        lines |= {model.name: curves} if any(x for x, _ in curves) else {}
    if not lines:
        return ""
    figure = _plots.panels(lines, band=None, xlabel="epoch", ylabel="validation nll per event (nats)")
    svg = _plots.to_svg(figure, name=f"{dataset.name}-learning")
    return _report.figure(svg, "Learning: nll of validation events after each pass over the training events.")
