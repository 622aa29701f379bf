"""A trained point process against test events: every number beside the trivial baselines, and where it came from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventflow.events import Events, PaddedBatch
from eventflow.nn import map_state
from eventflow.tpp import BaselineRow, Baselines, GapMAE, Judged, NextEventMetrics, PointProcess, fit_baselines
from eventflow.tpp.baselines._hawkes import hawkes_fits

#: name in metrics.json -> head of its column in the table
COLUMNS = {
    "nll_per_event": "nll/event", "easytpp_nll_per_event": "compat", "time_nll_per_event": "time",
    "mark_nll_per_event": "mark", "accuracy": "accuracy", "gap_rmse": "gap RMSE", "gap_mae": "gap MAE",
}  # fmt: skip


def judge(model: PointProcess, batch: PaddedBatch) -> Judged:
    """What the model says of every scored event before it comes, and its nll; leaves (B, T), nan elsewhere."""
    left, _ = model.left_states(batch)
    rows = batch.scored.flatten().nonzero()[:, 0]
    state = map_state(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), left)
    mark, dt = batch.mark.flatten()[rows], batch.dt.flatten()[rows].to(model.dtype)
    nll = -model.event_log_prob(batch).flatten()[rows]
    log_intensity = model.intensity(state, dt).log()
    mark_nll = log_intensity.logsumexp(-1) - log_intensity.gather(-1, mark[:, None])[:, 0]
    said = model.predict_next(state)

    def spread(values: Tensor) -> Tensor:
        out = values.new_full((batch.mask.numel(), *values.shape[1:]), math.nan)
        return out.index_copy(0, rows, values).view(*batch.mask.shape, *values.shape[1:])

    return Judged(*map(spread, (nll - mark_nll, mark_nll, said.mean, said.median, said.mark_probs)))


class Score:
    """The numbers of one pass over test events, added batch by batch."""

    def __init__(self) -> None:
        self.metrics = NextEventMetrics()
        self.mae_of_mean = GapMAE()
        self.easytpp = [0.0, 0]
        self.sequences = 0

    def add(self, model: PointProcess, batch: PaddedBatch) -> None:
        """Add a padded batch."""
        judged, tail = judge(model, batch), -model.tail_log_prob(batch)
        self.metrics = self.metrics.update(judged, dt=batch.dt, mark=batch.mark, mask=batch.scored, tail_nll=tail)
        self.mae_of_mean = self.mae_of_mean.update(judged.mean, batch.dt, batch.scored)
        self.easytpp[0] -= float(model.log_prob(batch, compat="easytpp").sum())
        self.easytpp[1] += int(batch.mask[:, 1:].sum())
        self.sequences += int((batch.lengths > 0).sum())

    def compute(self) -> dict[str, float | int]:
        """Every number by name; RMSE judges the mean of the predicted gap, MAE its median unless the name says so."""
        out: dict[str, float | int] = dict(self.metrics.compute())
        out["accuracy"] = out.pop("mark_accuracy")
        out["gap_mae_of_mean"] = self.mae_of_mean.compute()
        total, scored = self.easytpp
        out["easytpp_nll_per_event"] = total / scored if scored else math.nan
        return out | {"scored_events": self.metrics.nll_per_event.count, "sequences": self.sequences}


#: By what they were made of, the latest last: every model of a leaderboard asks for those of the same few sets.
_KNOWN: dict[str, tuple[Baselines, dict[str, dict[str, float]]]] = {}


def baseline_rows(train: Events, test: Events) -> dict[str, dict[str, float]]:
    """The trivial baselines, fitted on train and scored on test, under the names of metrics.json."""
    return {name: dict(row) for name, row in judged_baselines(train, test)[1].items()}


def judged_baselines(train: Events, test: Events) -> tuple[Baselines, dict[str, dict[str, float]]]:
    """The baselines fitted on train, and their rows on test; both are kept for the next who asks: change neither.

    The Hawkes process, which takes seconds, is among them unless there are so many marks that it would not fit.
    """
    key = _digest(train) + _digest(test)
    if key not in _KNOWN:
        fitted = fit_baselines(train, hawkes=hawkes_fits(train, test))
        _KNOWN[key] = fitted, {row.name: _named(row) for row in fitted.evaluate(test)}
        for old in list(_KNOWN)[:-4]:
            del _KNOWN[old]
    return _KNOWN[key]


def _digest(events: Events) -> str:
    mark = events.marks.get("mark", np.zeros(0))
    told = hashlib.sha256(repr((events.schema, events.t.dtype, mark.dtype)).encode())
    for column in (events.t, events.offsets, events.span, mark, events.given_first):
        told.update(np.ascontiguousarray(column).data)
    return told.hexdigest()


def _named(row: BaselineRow) -> dict[str, float]:
    pairs = {
        "nll_per_event": row.nll_per_event, "time_nll_per_event": row.time_nll_per_event,
        "mark_nll_per_event": row.mark_nll_per_event, "accuracy": row.accuracy, "gap_rmse": row.rmse,
        "gap_mae": row.mae, "easytpp_nll_per_event": row.easytpp_nll_per_event,
    }  # fmt: skip
    return {name: value for name, value in pairs.items() if value is not None and not math.isnan(value)}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows of numbers under the heads of ``COLUMNS``, aligned; a dot where a row says nothing."""
    lines = [["", *COLUMNS.values()]]
    for name, row in rows.items():
        lines.append([name, *(f"{row[key]:.4f}" if key in row else "." for key in COLUMNS)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [word.rjust(width) for word, width in zip(line, widths, strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip()


def prediction_columns(
    model: PointProcess, batch: PaddedBatch, events: Events, rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """One row per scored event of the batch, whose sequences are ``rows`` of ``events``."""
    judged, keep = judge(model, batch), batch.scored.cpu()
    sequence, position = torch.nonzero(keep, as_tuple=True)
    index = rows[sequence.numpy()]
    keys = {} if events.keys is None else {"key": events.keys[index]}
    at = events.offsets[:-1][index] + position.numpy()
    probs = judged.mark_probs[batch.scored]

    def column(values: Tensor) -> NDArray[Any]:
        return values[batch.scored].cpu().numpy()

    mark = events.marks["mark"][at] if "mark" in events.marks else np.zeros(len(at), dtype=np.int64)
    return keys | {
        "sequence": index, "position": position.numpy(), "t": events.t[at], "mark": mark, "dt": column(batch.dt),
        "nll": column(judged.time_nll + judged.mark_nll), "dt_mean": column(judged.mean),
        "dt_median": column(judged.median), "mark_likeliest": probs.argmax(-1).cpu().numpy(),
        "mark_prob": probs.gather(-1, torch.as_tensor(mark, device=probs.device)[:, None])[:, 0].cpu().numpy(),
    }  # fmt: skip
