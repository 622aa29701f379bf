"""Everything as one HTML file, in the leaderboard's style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventflow.bench import _plots, _report
from eventflow.bench.continual import _pictures
from eventflow.bench.continual._board import StreamBoard, Table
from eventflow.bench.continual._text import RULE, TABLES, about, meanings, parts, settings


def page(streams: Sequence[StreamBoard], origin: str) -> str:
    """The whole document."""
    notes = [_report.paragraph(line.removeprefix("- ") + ".", note=True) for line in meanings()]
    return _report.page(
        "Continual learning of event streams",
        "Every learner takes every model through a stream whose law drifts, one task after the other, each shown once. "
        "After each task all tasks are judged on other sequences: what was learned, what was lost, what was passed on.",
        [*map(_section, streams), _report.section("How to read it", _report.paragraph(RULE), *notes)],
        footer=f"eventflow bench continual. {origin}",
        wide=True,
    )


def _section(stream: StreamBoard) -> str:
    blocks = [_report.paragraph(about(stream))]
    failed = [f"{entry.name}: {error}" for entry in stream.entries for error in entry.failed]
    blocks += [_report.paragraph(f"Failed: {text}", note=True) for text in failed]
    if any(entry.seeds for entry in stream.entries):
        blocks += [_report.paragraph(settings(stream), note=True), *_figures(stream)]
    tables = {title: stream.table(columns) for title, columns in TABLES.items()}
    for title, table in tables.items():
        blocks += [f"<h3>{title}</h3>", _table(table)] if table.rows else []
    return _report.section(stream.name, *blocks).replace("<section>", '<section class="full">', 1)


def _figures(stream: StreamBoard) -> list[str]:
    name = stream.name.replace("_", "-")
    beside = [(_pictures.kept(stream), "What is kept of all tasks at the end; the stroke is one deviation over seeds.")]
    for model in dict.fromkeys(entry.model for entry in stream.entries):
        figure = _pictures.curves(stream, model)
        if figure is not None:
            beside.append((figure, f"Test, then train: {model}; the band is one deviation over seeds."))
    pictures = [
        _report.figure(_plots.to_svg(figure, name=f"{name}-{i}"), text) for i, (figure, text) in enumerate(beside)
    ]
    told = (
        "Task by time. A row is what a learner knows after so many tasks, a column one task; on and below the diagonal "
        "the tasks that it has seen. Dark is bad: a column that darkens downwards is forgotten."
    )
    heat = _report.figure(_plots.to_svg(_pictures.heat(stream), name=f"{name}-heat"), told)
    return [_report.side_by_side(heat, "<div>" + "".join(pictures) + "</div>")]


def _table(table: Table) -> str:
    rows: list[Any] = []
    for row in table.rows:
        cells = [_cell(table, row, key) for key in table.columns]
        rows.append([row.name, *cells, row.note])
    return _report.table(["", *(column.head.strip() for column in table.columns.values()), "from"], rows)


def _cell(table: Table, row: Any, key: str) -> _report.Rich | None:
    if key not in row.values:
        return None
    mean, sd = parts(row.values[key], table.columns[key])
    return _report.Rich(mean, table.bold.get(key) == row.name, f"± {sd}" if sd else "")
