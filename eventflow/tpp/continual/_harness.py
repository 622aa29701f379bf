"""Through the tasks once, every task judged after every task; and block by block, judged before it is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from eventflow.errors import InputError
from eventflow.tpp.continual._evaluate import HIGHER_IS_BETTER, evaluate, evaluate_all
from eventflow.tpp.continual._learner import ContinualLearner
from eventflow.tpp.continual._matrix import EvaluationMatrix
from eventflow.tpp.continual._tasks import Task


class Block(NamedTuple):
    """A block of a stream, judged just before it was learned: its number, [start, end), scored events, metrics."""

    number: int
    span: tuple[float, float]
    scored: int
    values: dict[str, float]


def through_tasks(
    learner: ContinualLearner, tasks: Sequence[Task], judged_by: Sequence[Task], *, forecasts: bool = True
) -> dict[str, EvaluationMatrix]:
    """Learn ``tasks`` in turn, each once; after each, judge all of ``judged_by``: metric of :func:`evaluate` -> matrix.

    ``judged_by[j]`` holds test events of what ``tasks[j]`` trains on: the same cut of other sequences
    (``cut_at(test, times)`` with the same times), or of another order, in the same order.

    Raises:
        InputError: another number of tasks than of judges, or none.
    """
    if len(tasks) != len(judged_by) or not tasks:
        raise InputError(f"{len(tasks)} tasks to learn, {len(judged_by)} to judge by; expected as many, at least one")
    rows = [evaluate_all(learner.model, judged_by, forecasts=forecasts)]
    for task in tasks:
        learner.learn(task)
        rows.append(evaluate_all(learner.model, judged_by, forecasts=forecasts))
    found = {}
    for name in rows[0][0]:
        table = np.array([[values[name] for values in row] for row in rows])
        found[name] = EvaluationMatrix(name, table[1:], table[0], HIGHER_IS_BETTER[name])
    return found


def prequential_blocks(learner: ContinualLearner, blocks: Sequence[Task], *, forecasts: bool = True) -> Iterator[Block]:
    """The prequential curve: each block is judged by what was learned from the blocks before it, then learned.

    Cut the stream as finely as the curve is wanted (``cut_by_time(events, 100)``); a block without scored events is
    learned, since silence tells something, but cannot be judged. Learning after every single event is
    :func:`eventflow.online.prequential` with a ``GradientLearner``.
    """
    for number, block in enumerate(blocks):
        if scored := block.num_scored:
            yield Block(number, block.span, scored, evaluate(learner.model, block, forecasts=forecasts))
        if len(block):
            learner.learn(block)
