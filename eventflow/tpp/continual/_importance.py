"""How much each parameter matters for what was learned, and the penalty that keeps it where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._tasks import Task, TaskBatch, told

Named = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A quadratic well, sum_p weight_p (theta_p - centre_p)^2 up to a constant; the empty one pulls nowhere.

    :meth:`plus` adds a well of its own at each call: a sum of quadratics is a quadratic, so that any number of tasks
    costs the memory of one, and the gradient is that of the sum of them all.
    """

    weight: Named
    centre: Named

    @classmethod
    def empty(cls, model: torch.nn.Module) -> Anchor:
        """No well, of the model's shape."""
        centre = {name: p.detach().clone() for name, p in _trained(model).items()}
        return cls({name: torch.zeros_like(p) for name, p in centre.items()}, centre)

    def plus(self, weight: Named, centre: Named) -> Anchor:
        """With the well of ``weight`` around ``centre`` added."""
        total = {name: self.weight[name] + weight[name] for name in weight}
        middle = {
            name: torch.where(
                total[name] > 0,
                self.centre[name] + weight[name] / total[name].clamp_min(1e-300) * (centre[name] - self.centre[name]),
                centre[name],
            )
            for name in weight
        }
        return Anchor(total, middle)

    def moved(self, weight: Named, centre: Named, *, decay: float = 1.0) -> Anchor:
        """All weights around the new centre: the old ones times ``decay``, and ``weight``."""
        return Anchor({name: decay * self.weight[name] + weight[name] for name in weight}, centre)

    def penalty(self, model: torch.nn.Module) -> Tensor:
        """sum_p weight_p (theta_p - centre_p)^2."""
        parts = [(self.weight[n] * (p - self.centre[n]) ** 2).sum() for n, p in _trained(model).items()]
        return torch.stack(parts).sum()


def here(model: torch.nn.Module) -> Named:
    """A copy of the parameters."""
    return {name: p.detach().clone() for name, p in _trained(model).items()}


def fisher(model: PointProcess, task: Task) -> Named:
    """The empirical Fisher information's diagonal: the mean over sequences of the squared gradient of the sequence's
    log-likelihood over the task (the observed events stand for draws from the model)."""
    every = range(len(task))
    return _mean_gradient(model, task, every, lambda batch: told(model, batch).log_prob.sum(), Tensor.square)


def sensitivity(model: PointProcess, task: Task) -> Named:
    """Memory-aware synapses' importance (Aljundi et al., ECCV 2018): the mean over sequences of the
    absolute gradient of the squared norm of the model's output.

    The output of a point process is taken to be its K log-intensities just before each scored event (per
    ``time_scale``, so that the data's unit does not matter), their squares averaged over the sequence's events. Which
    event came is not used.
    """
    filled = [i for i in range(len(task)) if task.take([i]).num_scored]

    def squared_norm(batch: TaskBatch) -> Tensor:
        return log_intensities(model, batch).square().sum(-1).mean()

    return _mean_gradient(model, task, filled, squared_norm, Tensor.abs)


def log_intensities(model: PointProcess, batch: TaskBatch) -> Tensor:
    """(N, K) of the scored events, given their past, at the time at which they came."""
    left, _ = model.left_states(batch.padded)
    rows = batch.padded.scored.flatten().nonzero()[:, 0]
    state = map_state(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), left)
    u = model._gaps(batch.padded.dt.flatten()[rows])
    return model._intensity(state, u).clamp_min(torch.finfo(u.dtype).tiny).log()


def _mean_gradient(
    model: PointProcess, task: Task, rows: Sequence[int], value: Callable[[TaskBatch], Tensor],
    magnitude: Callable[[Tensor], Tensor],
) -> Named:  # fmt: skip
    """The mean over these sequences of the magnitude of the gradient of ``value``."""
    if not rows:
        raise InputError(f"task {task.name!r} over {task.span} has no scored event: nothing to weigh parameters by")
    names, parameters = zip(*_trained(model).items(), strict=True)
    total = [torch.zeros_like(p) for p in parameters]
    for i in rows:
        result = value(task.take([i]).batch(dtype=model.dtype))
        found = torch.autograd.grad(result, parameters, allow_unused=True)
        total = [t if g is None else t + magnitude(g) for t, g in zip(total, found, strict=True)]
    return {name: t / len(rows) for name, t in zip(names, total, strict=True)}


def _trained(model: torch.nn.Module) -> Named:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
