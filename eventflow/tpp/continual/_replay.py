"""Learners with a buffer of what they saw: experience replay, and replay with two slow memories."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._importance import log_intensities
from eventflow.tpp.continual._learner import FineTune, Steps, rate, training_loss
from eventflow.tpp.continual._reservoir import Reservoir
from eventflow.tpp.continual._tasks import Task, together


class Replay(FineTune):
    """Experience replay: every step learns as many sequences from a uniform sample of the past as are new (Chaudhry
    et al., On Tiny Episodic Memories in Continual Learning, 2019, with their reservoir).

    A sequence of the buffer is what was seen of it within one task, its history as the task had it. The first epoch of
    a task fills the buffer; later ones show nothing new and add nothing.

    Args:
        model: where learning starts; copied.
        capacity: sequences the buffer holds.
        steps: see :class:`Steps`.
    """

    def __init__(self, model: PointProcess, *, capacity: int = 100, steps: Steps | None = None) -> None:
        super().__init__(model, steps=steps)
        self.buffer: Reservoir[Task] = Reservoir(capacity, seed=self.steps.seed + 1)
        self._left = 0

    def learn(self, task: Task) -> None:
        """Go through the task, the past alongside."""
        self._left = len(task)
        super().learn(task)

    def _step(self, shown: Task, events_per_sequence: float) -> float:
        loss = super()._step(shown, events_per_sequence)
        for i in range(min(len(shown), self._left)):
            self.buffer.add(shown.take([i]))
        self._left = max(self._left - len(shown), 0)
        return loss

    def _loss(self, shown: Task, events_per_sequence: float) -> Tensor:
        loss = super()._loss(shown, events_per_sequence)
        past = self._past(len(shown))
        return loss if past is None else loss + self._replayed(past)

    def _past(self, number: int) -> Task | None:
        drawn = self.buffer.draw(number)
        return together(drawn) if drawn else None

    def _replayed(self, past: Task) -> Tensor:
        return training_loss(self._model, past.batch(dtype=self._model.dtype), rate(past))


class CLSER(Replay):
    """Complementary learning systems (CLS-ER; Arani, Sarfraz & Zonooz, ICLR 2022): replay, and two slow averages of
    the working model, a plastic and a stable one, whose better answer on what is replayed the working model keeps to.

    At each step, with probability ``rates[i]``, memory i moves to alpha theta_i + (1 - alpha) theta, alpha =
    min(1 - 1 / (n + 1), decays[i]) after n steps. The consistency loss is the mean squared difference between the
    working model's log-intensities before the replayed events and those of the memory that gave the event the higher
    log-intensity (the paper: logits, and the probability of the true class). ``model`` is the stable memory, as there.

    Args:
        model: where learning starts; copied.
        capacity: sequences the buffer holds.
        consistency: weight of the consistency loss; lambda.
        rates: probability of an update of the plastic and of the stable memory, plastic more often.
        decays: their alphas.
        steps: see :class:`Steps`.

    Raises:
        InputError: rates or decays outside (0, 1], a plastic memory that is not updated more often.
    """

    def __init__(
        self, model: PointProcess, *, capacity: int = 100, consistency: float = 0.1,
        rates: tuple[float, float] = (0.9, 0.7), decays: tuple[float, float] = (0.999, 0.999),
        steps: Steps | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, capacity=capacity, steps=steps)
        if not all(0 < x <= 1 for x in (*rates, *decays)) or rates[0] < rates[1] or not consistency >= 0:
            raise InputError(
                f"CLSER(consistency={consistency}, rates={rates}, decays={decays}): expected consistency >= 0, numbers "
                "in (0, 1], the plastic memory's rate (the first) no lower than the stable one's"
            )
        self.consistency, self.rates, self.decays = consistency, tuple(rates), tuple(decays)
        self.plastic, self.stable = copy.deepcopy(self._model), copy.deepcopy(self._model)
        self._coins = np.random.default_rng(self.steps.seed + 2)
        self._done = 0

    @property
    def model(self) -> PointProcess:
        """The stable memory."""
        return self.stable

    def _replayed(self, past: Task) -> Tensor:
        batch = past.batch(dtype=self._model.dtype)
        said = log_intensities(self._model, batch)
        mark = batch.padded.mark[batch.padded.scored][:, None]
        with torch.no_grad():
            plastic, stable = log_intensities(self.plastic, batch), log_intensities(self.stable, batch)
            better = torch.where(stable.gather(1, mark) > plastic.gather(1, mark), stable, plastic)
        apart = (said - better).square().mean() if len(said) else said.sum()
        return super()._replayed(past) + self.consistency * apart

    def _step(self, shown: Task, events_per_sequence: float) -> float:
        loss = super()._step(shown, events_per_sequence)
        self._done += 1
        for memory, rate_, decay in zip((self.plastic, self.stable), self.rates, self.decays, strict=True):
            if self._coins.random() < rate_:
                self._drift(memory, min(1 - 1 / (self._done + 1), decay))
        return loss

    @torch.no_grad()
    def _drift(self, memory: PointProcess, alpha: float) -> None:
        for slow, fast in zip(memory.parameters(), self._model.parameters(), strict=True):
            slow.lerp_(fast, 1 - alpha)
