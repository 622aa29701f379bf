"""Figures of a stream: heat maps of task x time, prequential curves, what is kept at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eventflow.bench import _plots
from eventflow.bench.continual._board import NLL, Entry, StreamBoard, regret

#: Curves a picture can hold and still be read.
CURVES = 6


def heat(stream: StreamBoard) -> Any:
    """nll of every task after every task above the reference's, a panel for each entry."""
    known = [entry for entry in stream.entries if entry.seeds]
    above = "above the oracle's" if stream.oracle is not None else "above the lowest that anybody reached on the task"
    columns = len({entry.model for entry in known})
    return _plots.heat_maps(
        {entry.name.replace(", ", "\n", 1): regret(stream, entry) for entry in known}, columns=min(max(columns, 2), 4),
        xlabel="task judged", ylabel="tasks learned", label=f"nll per event {above} (nats)",
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
    ylabel = "nll per event above the oracle's" if oracle else "nll per event"
    return _plots.bands(lines, xlabel="time, in tasks", ylabel=f"{ylabel} (nats)")


def kept(stream: StreamBoard) -> Any:
    """Bars of the nll at the end of the stream."""
    table = stream.table(NLL)
    values = {row.name: row.values["average"] for row in table.rows}
    oracle = stream.oracle
    return _plots.bars(
        {name: value.mean for name, value in values.items()},
        errors={name: value.sd for name, value in values.items() if value.sd},
        xlabel="exact nll per event (nats) at the end, mean over tasks; less is better",
        references=None if oracle is None else {"oracle": float(oracle.mean())},
    )


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
