"""Figures of a stream: heat maps of task x time, prequential curves, what is kept at the end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from eventflow.bench import _plots
from eventflow.bench.continual._board import Entry, StreamBoard, regret

#: Curves a picture can hold and still be read.
CURVES = 6


def heat(stream: StreamBoard) -> Any:
    """nll of every task after every task above the reference's, a panel for each entry."""
    known = [entry for entry in stream.entries if entry.seeds]
    known = [entry for model in dict.fromkeys(e.model for e in known) for entry in known if entry.model == model]
    return _plots.heat_maps(
        {entry.name.replace(", ", "\n", 1): regret(stream, entry) for entry in known}, columns=3,
        xlabel="task judged", ylabel="tasks learned", label=f"nll {_above(stream)} (nats)",
    )  # fmt: skip


def curves(stream: StreamBoard, model: str) -> Any | None:
    """Prequential nll of the learners of a model: of each block of the stream, before it is learned."""
    known = [e for e in stream.entries if e.model == model and e.seeds and next(iter(e.seeds.values()))["prequential"]]
    if not known:
        return None
    known, oracle = _few(known), stream.facts.get("oracle_blocks")
    lines = {}
    for entry in known:
        blocks = [result["prequential"] for result in entry.seeds.values()]
        x = [sum(block["span"]) / 2 for block in blocks[0]]
        y = np.array([[block["values"]["nll_per_event"] for block in seed] for seed in blocks])
        lines[entry.learner] = (_of_tasks(stream, x), y - np.array(oracle) if oracle else y)
    ylabel = "nll above the oracle's (nats)" if oracle else "nll per event (nats)"
    return _plots.bands(lines, xlabel="time, in tasks", ylabel=ylabel)


def kept(stream: StreamBoard) -> Any:
    """Bars of the nll at the end of the stream, above the reference's."""
    values, errors = {}, {}
    for entry in (entry for entry in stream.entries if entry.seeds):
        values[entry.name] = float(regret(stream, entry)[-1].mean())
        ends = [result["summary"]["nll_per_event"]["average"] for result in entry.seeds.values()]
        errors |= {entry.name: statistics.stdev(ends)} if len(ends) > 1 else {}
    return _plots.bars(values, errors=errors, xlabel=f"nll {_above(stream)} (nats); less is better")


def _above(stream: StreamBoard) -> str:
    return "above the oracle's" if stream.oracle is not None else "above the lowest ever reached"


def _few(entries: Sequence[Entry]) -> list[Entry]:
    """As many as can be told apart: the bounds and the plain one first, then those that end lowest."""
    first = [e for e in entries if e.learner in ("pretrain-only", "retrain", "fine-tune")]
    rest = sorted((e for e in entries if e not in first), key=lambda e: float(e.matrix("nll_per_event")[-1].mean()))
    chosen = first + rest[: CURVES - len(first)]
    return [entry for entry in entries if entry in chosen]


def _of_tasks(stream: StreamBoard, x: Sequence[float]) -> list[float]:
    """Times as numbers of tasks: 1.5 is the middle of the second one."""
    edges = [span[0] for span in stream.facts["spans"]] + [stream.facts["spans"][-1][1]]
    return np.interp(x, edges, np.arange(len(edges))).tolist()
