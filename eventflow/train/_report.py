"""What ``test`` and ``predict`` leave: a table with its provenance, and a file of predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean
from eventflow.tpp._settle import TOLERANCE
from eventflow.train._data import EventData
from eventflow.train._evaluate import baseline_rows, table
from eventflow.train._run import provenance
from eventflow.train._task import PointProcessTask

Columns = Mapping[str, NDArray[Any]]


def test_report(task: PointProcessTask, data: EventData, *, config: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Everything that metrics.json holds: the model's numbers, the baselines', and how to get them again."""
    return {
        "data": data.title,
        "model": task.title,
        "split": "test",
        "unit": data.schema.unit,
        "seed": config.get("seed_everything"),
        "metrics": task.score.compute(),
        "quadrature": task.settled._asdict(),
        "baselines": baseline_rows(data.events["train"], data.events["test"]),
        "checkpoint": str(checkpoint),
        **provenance(),
        "config": config,
    }


def report_text(report: Mapping[str, Any]) -> str:
    """The report as one table."""
    numbers = report["metrics"]
    unit = "" if report["unit"] == "1" else f", gaps in {report['unit']}"
    return "\n".join(
        [
            f"{report['data']}, test: {numbers['scored_events']:,} scored events of {numbers['sequences']:,} sequences"
            + unit,
            "nll in nats per event, in all, as EasyTPP counts it (compat), and its shares of time and mark",
            "RMSE of the mean gap, MAE of the median",
            "",
            table({**report["baselines"], report["model"]: numbers}),
            "",
            f"{report['model']}, gap MAE of the mean: {numbers['gap_mae_of_mean']:.4f}; "
            f"mark ECE: {numbers['mark_ece']:.4f}",
            *_of_nodes(report["quadrature"]),
        ]
    )


def _of_nodes(settled: Mapping[str, Any]) -> list[str]:
    """What is to be said where the nodes of training were too few, or all were."""
    said = []
    nodes, trained = settled["nodes"], settled["trained"]
    if nodes != trained:
        said.append(
            f"The integrals between events take {nodes} nodes a gap. The {trained} of training would say an nll/event "
            f"of {settled['rough']:.4f} instead of {settled['nll']:.4f}: train again, with "
            f"--model.network.quadrature {min(nodes, 4 * trained)}"
        )
    if abs(settled["left"]) > TOLERANCE:
        said.append(f"Twice as many still change it by {settled['left']:.4f}: it is exact to no more than that")
    return said


def prediction_file(path: Path) -> Path:
    """``path``, if predictions can be written there.

    Raises:
        InputError: its suffix is unknown, or it exists.
    """
    if path.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"--out {path}: {did_you_mean(path.suffix, ['.parquet', '.jsonl'])}")
    if path.exists():
        raise InputError(f"--out {path}: exists already; give another name, or remove it")
    return path


def write_predictions(path: Path, parts: Sequence[Any]) -> Path:
    """Write the columns of all batches, in the order of the sequences, whole or not at all."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["position"], columns["sequence"]))
    columns = {name: column[order] for name, column in columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), part)
    else:
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        with part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
    os.replace(part, path)
    return path
