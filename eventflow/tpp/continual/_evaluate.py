"""A model on tasks, in numbers: exact likelihood, the next gap, the next mark."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from eventflow.errors import InputError
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess
from eventflow.tpp._settle import settle
from eventflow.tpp.continual._tasks import Task, TaskBatch, Told, together, told
from eventflow.tpp.metrics._next_event import GapRMSE, MarkAccuracy, NLLPerEvent

#: The metrics of :func:`evaluate`, and whether more of each is better.
HIGHER_IS_BETTER = {"nll_per_event": False, "gap_rmse": False, "mark_accuracy": True}


def evaluate(model: PointProcess, task: Task, *, forecasts: bool = True) -> dict[str, float]:
    """``nll_per_event`` (nats, silences included), ``gap_rmse`` of the mean gap, ``mark_accuracy``; in float64.

    Gaps are forecast from the event before, also where that one is history. The model is copied, never changed; where
    its integrals are by quadrature, the nodes are doubled until the likelihood stays, as ``eventflow test`` does.
    Without ``forecasts``, which cost most of the time, the likelihood alone.

    Raises:
        InputError: the task has no scored event to divide by.
    """
    return evaluate_all(model, [task], forecasts=forecasts)[0]


@torch.no_grad()
def evaluate_all(model: PointProcess, tasks: Sequence[Task], *, forecasts: bool = True) -> list[dict[str, float]]:
    """:func:`evaluate` of each task, all of them in one pass."""
    for task in tasks:
        if not task.num_scored:
            raise InputError(f"task {task.name!r} over {task.span} has no scored event; cut fewer tasks")
    subject, whole = copy.deepcopy(model).double().eval(), together(tasks)
    subject.quadrature = settle(subject, lambda: _nll_per_event(subject, whole)).nodes
    scores, row = [_Score() for _ in tasks], 0
    owner = torch.tensor([i for i, task in enumerate(tasks) for _ in range(len(task))])
    for batch in whole.batches(dtype=torch.float64):
        mine, row = owner[row : row + len(batch)], row + len(batch)
        said = told(subject, batch)
        rows = batch.padded.scored.flatten().nonzero()[:, 0]
        state = map_state(lambda leaf, rows=rows: leaf.flatten(0, 1).index_select(0, rows), said.left)
        forecast = subject.predict_next(state) if forecasts and len(rows) else None
        of = mine[:, None].expand(batch.padded.mask.shape).flatten()[rows]
        for i in mine.unique().tolist():
            scores[i].likelihood(batch, said, mine == i)
            if forecast is not None:
                scores[i].forecast(batch, (forecast.mean, forecast.mark_probs), rows, of == i)
    return [score.compute(forecasts=forecasts) for score in scores]


def _nll_per_event(model: PointProcess, task: Task) -> float:
    total = sum(float(told(model, batch).log_prob.sum()) for batch in task.batches(dtype=torch.float64))
    return -total / task.num_scored


class _Score:
    """The sums of one task."""

    def __init__(self) -> None:
        self.nll, self.rmse, self.accuracy = NLLPerEvent(), GapRMSE(), MarkAccuracy()

    def likelihood(self, batch: TaskBatch, said: Told, mine: torch.Tensor) -> None:
        """Add some sequences of a batch."""
        silence = said.terms.sum(1) - said.log_prob  # the tail, less what the history already charged
        self.nll = self.nll.update(-said.terms[mine], batch.padded.scored[mine], tail_nll=silence[mine])

    def forecast(
        self, batch: TaskBatch, said: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor, mine: torch.Tensor
    ) -> None:
        """Add some scored events of a batch: the mean gaps and mark probabilities said of all of them."""
        mean, probs = said
        dt, mark = batch.padded.dt.flatten()[rows], batch.padded.mark.flatten()[rows]
        self.rmse = self.rmse.update(mean[mine], dt[mine])
        self.accuracy = self.accuracy.update(probs[mine], mark[mine])

    def compute(self, *, forecasts: bool) -> dict[str, float]:
        """The numbers."""
        if not forecasts:
            return {"nll_per_event": self.nll.compute()}
        numbers = self.nll.compute(), self.rmse.compute(), self.accuracy.compute()
        return dict(zip(HIGHER_IS_BETTER, numbers, strict=True))
