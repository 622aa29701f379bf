"""The one contract of all learners, and the simplest of them: what forgetting is measured between."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._tasks import Task, TaskBatch, together, told


@runtime_checkable
class ContinualLearner(Protocol):
    """Learns tasks as they come, each once; ``model`` is what it would be judged by now."""

    @property
    def model(self) -> PointProcess:
        """What it has learned so far."""
        ...

    def learn(self, task: Task) -> None:
        """A new task, and the last time that it is shown."""
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """How a learner goes through a task.

    Args:
        epochs: passes over the task; 1 is online.
        batch_size: sequences a step.
        lr: of Adam, whose moments go on from task to task.
        seed: of the shuffling, and of every draw that a learner makes.

    Raises:
        InputError: a number that is not positive.
    """

    epochs: int = 1
    batch_size: int = 32
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise InputError(f"{self}: expected epochs >= 1, batch_size >= 1 and lr > 0")


class FineTune:
    """Online fine-tuning: gradient steps on each task in turn, and nothing done against forgetting.

    The loss of a step is the negative log-likelihood (nats) of its sequences over the events that so many sequences of
    the task have on average. The base of all other learners: they add to :meth:`_loss`, or act after a step or a task.
    Fine-tuning a model with a pool of prompts is PromptTPP's way of learning: the match of keys and queries is part of
    the loss, and pool and encoder move at their own rates.

    Args:
        model: where learning starts; it is copied, never changed.
        steps: see :class:`Steps`.
    """

    def __init__(self, model: PointProcess, *, steps: Steps | None = None) -> None:
        self.steps = steps or Steps()
        self._model = copy.deepcopy(model)
        self._optimizer = self._fresh_optimizer()
        self._random = np.random.default_rng(self.steps.seed)
        self._number = 0

    @property
    def model(self) -> PointProcess:
        """What it has learned so far."""
        return self._model

    def learn(self, task: Task) -> None:
        """Go through the task, then :meth:`_after`."""
        for shown in self._shown(task):
            self._step(shown, rate(task))
        self._after(task)

    def _fresh_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._model.parameters(), lr=self.steps.lr)

    def _shown(self, task: Task) -> Iterator[Task]:
        """The batches of all epochs, shuffled."""
        for _ in range(self.steps.epochs):
            order = self._random.permutation(len(task))
            for low in range(0, len(order), self.steps.batch_size):
                yield task.take(order[low : low + self.steps.batch_size])

    def _step(self, shown: Task, events_per_sequence: float) -> float:
        """One gradient step; its loss."""
        loss = self._loss(shown, events_per_sequence)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter in self._model.resting(self._number):
            parameter.grad = None
        self._number += 1
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, shown: Task, events_per_sequence: float) -> Tensor:
        return training_loss(self._model, shown.batch(dtype=self._model.dtype), events_per_sequence)

    def _after(self, task: Task) -> None:
        """What is done when a task is over."""


class PretrainOnly(FineTune):
    """Learns the first task and stays as it is: what a model is worth that never learns again."""

    def __init__(self, model: PointProcess, *, steps: Steps | None = None) -> None:
        super().__init__(model, steps=steps)
        self._learned = False

    def learn(self, task: Task) -> None:
        """The first task; later ones change nothing."""
        if not self._learned:
            super().learn(task)
        self._learned = True


class Retrain(FineTune):
    """Starts over on everything seen at each task: the upper bound, which keeps all data and pays for it each time."""

    def __init__(self, model: PointProcess, *, steps: Steps | None = None) -> None:
        super().__init__(model, steps=steps)
        self._start = copy.deepcopy(model)
        self._seen: list[Task] = []

    def learn(self, task: Task) -> None:
        """Forget everything and learn all tasks so far, shuffled together."""
        self._seen.append(task)
        self._model = copy.deepcopy(self._start)
        self._optimizer = self._fresh_optimizer()
        self._random = np.random.default_rng(self.steps.seed)
        super().learn(together(self._seen))


def training_loss(model: PointProcess, batch: TaskBatch, events_per_sequence: float) -> Tensor:
    """Negative log-likelihood of the batch over the events that so many sequences have on average; with what a model
    with prompts adds to it in training (:meth:`PointProcess.auxiliary`)."""
    said = told(model, batch)
    loss = model.auxiliary(said.left, said.last, batch.padded.mask) - said.log_prob
    return loss.sum() / (len(batch) * events_per_sequence)


def rate(task: Task) -> float:
    """Scored events per sequence; at least one in all, so that a silent task can be learned from, too."""
    return max(task.num_scored, 1) / max(len(task), 1)
