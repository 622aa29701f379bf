"""How well every task is done after every task, and what that says of learning and forgetting.

``values[i, j]``: the metric on task j after learning tasks 0..i. Transfer and forgetting are *gains* and *losses*,
whichever way the metric points: a positive transfer is good, a positive forgetting is bad, for a likelihood and for an
accuracy alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EvaluationMatrix:
    """One metric on every task after every task.

    Args:
        metric: its name.
        values: (T, T); row i is after learning task i, column j the task judged.
        start: (T,) each task judged before anything was learned, from which forward transfer counts.
        higher_is_better: False for likelihoods (negative) and errors.

    Raises:
        InputError: values that are not square, or a start of another length.
    """

    metric: str
    values: Matrix
    start: Matrix
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        values, start = np.asarray(self.values, np.float64), np.asarray(self.start, np.float64)
        if values.ndim != 2 or values.shape[0] != values.shape[1] or start.shape != values.shape[:1] or not len(start):
            raise InputError(f"{self.metric}: values {values.shape} and start {start.shape}; expected (T, T) and (T,)")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "start", start)

    @property
    def _good(self) -> Matrix:
        return self.values if self.higher_is_better else -self.values

    def average(self, after: int = -1) -> float:
        """Mean over the tasks seen so far, after task ``after``: ACC of Lopez-Paz & Ranzato (NeurIPS 2017), eq. 2."""
        row = range(len(self.start))[after]
        return float(self.values[row, : row + 1].mean())

    def average_over_time(self) -> float:
        """Mean of :meth:`average` after each task (average incremental performance, Rebuffi et al., CVPR 2017)."""
        return float(np.mean([self.average(i) for i in range(len(self.start))]))

    def learned(self) -> float:
        """Mean of each task just after it was learned: what the learner can take in, whatever it loses later."""
        return float(np.diag(self.values).mean())

    def forgetting(self, after: int = -1) -> float:
        """Mean over earlier tasks of the best they ever were less what they are (Chaudhry et al., ECCV 2018, eq. 3).

        nan after the first task, when there is nothing to forget. Best ever counts from the task's own row on, so that
        luck before a task was learned does not make it forgotten.
        """
        row = range(len(self.start))[after]
        good = self._good
        lost = [good[j:row, j].max() - good[row, j] for j in range(row)]
        return float(np.mean(lost)) if lost else float("nan")

    def backward_transfer(self) -> float:
        """Mean over all tasks but the last of what they gained since they were learned (GEM, eq. 3); nan for one."""
        gained = (self._good[-1] - np.diag(self._good))[:-1]
        return float(gained.mean()) if len(gained) else float("nan")

    def forward_transfer(self) -> float:
        """Mean over all tasks but the first of what learning its predecessors gained it before it was seen itself,
        over the untrained start (GEM, eq. 4); nan for one."""
        begin = self.start if self.higher_is_better else -self.start
        gained = np.diag(self._good, 1) - begin[1:]
        return float(gained.mean()) if len(gained) else float("nan")

    def summary(self) -> dict[str, float]:
        """All of the above by name, at the end of the stream."""
        return {
            "average": self.average(), "average_over_time": self.average_over_time(), "learned": self.learned(),
            "forgetting": self.forgetting(), "backward_transfer": self.backward_transfer(),
            "forward_transfer": self.forward_transfer(),
        }  # fmt: skip


def spread(summaries: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (n - 1; nan for one) of each number over runs: seeds, or orders of the tasks."""
    if not summaries:
        raise InputError("spread: no runs given")
    columns = {name: np.array([run[name] for run in summaries]) for name in summaries[0]}
    one = len(summaries) == 1
    return {k: (float(v.mean()), float("nan") if one else float(v.std(ddof=1))) for k, v in columns.items()}
