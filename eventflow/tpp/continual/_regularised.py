"""Learners that hold on to the parameters that mattered: EWC, MAS, and MAS without task boundaries."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError, did_you_mean
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._importance import Anchor, Named, fisher, here, sensitivity
from eventflow.tpp.continual._learner import FineTune, Steps, rate, training_loss
from eventflow.tpp.continual._tasks import Task, task_log_prob, together

_KEEPS = ("all", "latest")
#: Sequences of a task by which EWC and MAS weigh the parameters, at most: an average over more would hardly differ.
SAMPLES = 200


class _Anchored(FineTune):
    """Adds ``factor`` times the anchor's penalty to each step's loss."""

    def __init__(self, model: PointProcess, *, strength: float, factor: float, steps: Steps | None) -> None:
        super().__init__(model, steps=steps)
        if not strength >= 0:
            raise InputError(f"{type(self).__name__}(strength={strength}): expected at least 0")
        self.strength = strength
        self._factor = factor * strength
        self.anchor = Anchor.empty(self._model)

    def penalty(self) -> Tensor:
        """What the distance from the anchor adds to the loss."""
        return self._factor * self.anchor.penalty(self._model)

    def _loss(self, shown: Task, events_per_sequence: float) -> Tensor:
        return super()._loss(shown, events_per_sequence) + self.penalty()

    def _sample(self, task: Task) -> Task:
        """SAMPLES of its sequences that have scored events, or all."""
        filled = np.unique(task.events.sequence[task.scored])
        return task.take(self._random.permutation(filled)[:SAMPLES]) if len(filled) > SAMPLES else task


class EWC(_Anchored):
    """Elastic weight consolidation: after each task, strength / 2 sum_p F_p (theta_p - theta*_p)^2 (Kirkpatrick et al.,
    PNAS 2017, eq. 3), F the empirical Fisher information's diagonal of a sequence at theta*.

    Args:
        model: where learning starts; copied.
        strength: lambda.
        keep: "all" keeps a penalty for every task (the paper's), in the memory of one; "latest" moves one anchor along
            and lets the old information decay ("online EWC", Schwarz et al., ICML 2018).
        decay: of the old information at each task, with "latest"; gamma there.
        steps: see :class:`Steps`.
    """

    def __init__(
        self, model: PointProcess, *, strength: float = 1.0, keep: str = "all", decay: float = 1.0,
        steps: Steps | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, strength=strength, factor=0.5, steps=steps)
        if keep not in _KEEPS:
            raise InputError(f"EWC(keep={keep!r}): {did_you_mean(keep, _KEEPS)}")
        if not 0 <= decay <= 1 or (keep == "all" and decay != 1):
            raise InputError(f"EWC(keep={keep!r}, decay={decay}): expected 0 <= decay <= 1, and 1 with keep='all'")
        self.keep, self.decay = keep, decay

    def _after(self, task: Task) -> None:
        weight, centre = fisher(self._model, self._sample(task)), here(self._model)
        if self.keep == "all":
            self.anchor = self.anchor.plus(weight, centre)
        else:
            self.anchor = self.anchor.moved(weight, centre, decay=self.decay)


class MAS(_Anchored):
    """Memory-aware synapses: strength sum_p Omega_p (theta_p - theta*_p)^2, theta* after the latest task, Omega the
    sum of the tasks' importances, for which no label is needed (Aljundi et al., ECCV 2018).

    What the output of a point process is: :func:`~eventflow.tpp.continual.sensitivity`.
    """

    def __init__(self, model: PointProcess, *, strength: float = 1.0, steps: Steps | None = None) -> None:
        super().__init__(model, strength=strength, factor=1.0, steps=steps)

    def _after(self, task: Task) -> None:
        self.anchor = self.anchor.moved(sensitivity(self._model, self._sample(task)), here(self._model))


class Plateaus:
    """Says when a loss has come to rest: the last ``window`` losses have a standard deviation below ``deviation``.

    After one plateau another counts only once the loss has risen: the window's mean above the mean plus one standard
    deviation of the plateau that was (Aljundi, Kelchtermans & Tuytelaars, CVPR 2019). There the mean, too,
    must be below a bound; a likelihood has no zero to measure that from, so it is not asked for here.
    """

    def __init__(self, window: int, deviation: float) -> None:
        if window < 2 or not deviation > 0:
            raise InputError(f"Plateaus(window={window}, deviation={deviation}): expected window >= 2, deviation > 0")
        self._losses: deque[float] = deque(maxlen=window)
        self._deviation = deviation
        self._ceiling = -np.inf  # any loss is a rise at first

    def reached(self, loss: float) -> bool:
        """One more loss; True where a new plateau begins."""
        self._losses.append(loss)
        if len(self._losses) < (self._losses.maxlen or 0):
            return False
        mean, deviation = float(np.mean(self._losses)), float(np.std(self._losses))
        if mean > self._ceiling:
            self._ceiling = -np.inf
        if self._ceiling > -np.inf or deviation >= self._deviation:
            return False
        self._ceiling = mean + deviation
        self._losses.clear()
        return True


class TaskFreeMAS(_Anchored):
    """MAS that is not told where tasks end (Aljundi, Kelchtermans & Tuytelaars, CVPR 2019).

    Importance is measured whenever the loss comes to rest (:class:`Plateaus`), on a small buffer of the sequences that
    were hardest (highest nll per sequence), and averaged over the plateaus so far. The buffer is learned along with
    every step.

    Args:
        model: where learning starts; copied.
        strength: lambda.
        hard: sequences in the buffer.
        window: losses that a plateau is judged by.
        deviation: standard deviation (nats per event) below which they are at rest.
        steps: see :class:`Steps`.
    """

    def __init__(
        self, model: PointProcess, *, strength: float = 1.0, hard: int = 30, window: int = 5, deviation: float = 0.1,
        steps: Steps | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, strength=strength, factor=1.0, steps=steps)
        if hard < 1:
            raise InputError(f"TaskFreeMAS(hard={hard}): expected at least 1")
        self._plateaus = Plateaus(window, deviation)
        self.hard = hard
        self.plateaus = 0
        self.buffer: Task | None = None

    def _step(self, shown: Task, events_per_sequence: float) -> float:
        pull = float(self.penalty().detach())
        loss = super()._step(shown, events_per_sequence)
        self._keep_hardest(shown)
        if self._plateaus.reached(loss - pull):  # of the data alone: how hard the anchor pulls is not learning
            self._consolidate()
        return loss

    def _loss(self, shown: Task, events_per_sequence: float) -> Tensor:
        loss = super()._loss(shown, events_per_sequence)
        if self.buffer is None:
            return loss
        return loss + training_loss(self._model, self.buffer.batch(dtype=self._model.dtype), rate(self.buffer))

    def _keep_hardest(self, shown: Task) -> None:
        both = shown if self.buffer is None else together([self.buffer, shown])
        with torch.no_grad():
            log_prob = task_log_prob(self._model, both)
        order = torch.argsort(log_prob, stable=True).cpu().numpy()
        self.buffer = both.take(order[: self.hard])

    def _consolidate(self) -> None:
        """Omega becomes the mean over the plateaus so far."""
        assert self.buffer is not None
        if not self.buffer.num_scored:
            return
        self.plateaus += 1
        share = 1 / self.plateaus
        new: Named = {name: share * value for name, value in sensitivity(self._model, self.buffer).items()}
        self.anchor = self.anchor.moved(new, here(self._model), decay=1 - share)
