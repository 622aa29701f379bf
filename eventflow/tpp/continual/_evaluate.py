"""A model on a task, in numbers: exact likelihood, the next gap, the next mark."""

from __future__ import annotations

import copy

import torch

from eventflow.errors import InputError
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._tasks import Task, left_and_log_prob
from eventflow.tpp.metrics._next_event import GapRMSE, MarkAccuracy, NLLPerEvent

#: The metrics of :func:`evaluate`, and whether more of each is better.
HIGHER_IS_BETTER = {"nll_per_event": False, "gap_rmse": False, "mark_accuracy": True}


@torch.no_grad()
def evaluate(model: PointProcess, task: Task) -> dict[str, float]:
    """``nll_per_event`` (nats, silences included), ``gap_rmse`` of the mean gap, ``mark_accuracy``; in float64.

    Gaps are forecast from the event before, also where that one is history. The model is copied, never changed.

    Raises:
        InputError: the task has no scored event to divide by.
    """
    if not task.num_scored:
        raise InputError(f"task {task.name!r} over {task.span} has no scored event; cut fewer tasks")
    subject = copy.deepcopy(model).double().eval()
    nll, rmse, accuracy = NLLPerEvent(), GapRMSE(), MarkAccuracy()
    for batch in task.batches(dtype=torch.float64):
        left, terms, log_prob = left_and_log_prob(subject, batch)
        padded = batch.padded
        silence = terms.sum(1) - log_prob  # the tail, less what the history already charged
        nll = nll.update(-terms, padded.scored, tail_nll=silence)
        rows = padded.scored.flatten().nonzero()[:, 0]
        if len(rows):
            state = map_state(lambda leaf, rows=rows: leaf.flatten(0, 1).index_select(0, rows), left)
            said = subject.predict_next(state)
            rmse = rmse.update(said.mean, padded.dt.flatten()[rows])
            accuracy = accuracy.update(said.mark_probs, padded.mark.flatten()[rows])
    return {"nll_per_event": nll.compute(), "gap_rmse": rmse.compute(), "mark_accuracy": accuracy.compute()}
