"""Marks told apart by prototypes: Bayes' rule over Gaussian classes, whose posterior goes on without forgetting."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.events import PaddedBatch
from eventflow.nn import map_state
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._learner import Steps
from eventflow.tpp.continual._replay import Replay
from eventflow.tpp.continual._tasks import Task, TaskBatch


class Seen(NamedTuple):
    """All that a posterior needs of the events seen, per mark: how many, and the sum of their embeddings (K, K)."""

    events: Tensor
    total: Tensor

    def plus(self, other: Seen) -> Seen:
        """Of the events of both; in whatever order, and in however many pieces, they came."""
        return Seen(self.events + other.events, self.total + other.total)


class PrototypeMarks(PointProcess):
    """A process whose times are another one's, and whose marks are told by prototypes (ProtoCL; Kessler, Cobb, Rudner,
    Zohren & Roberts, On Sequential Bayesian Inference for Continual Learning, Entropy 25(6), 2023, section 7).

    An event at t is embedded as z, the K log-intensities of ``base`` at t less their mean. Mark j is drawn from pi, pi
    from Dir(concentration); z given j from N(mu_j, s_j I), mu_j from N(0, I / precision). After n_j events of mark j
    with embeddings that sum to Z_j, alpha_j = concentration + n_j, the precision of mu_j is r_j = precision + n_j / s_j
    and its mean m_j = Z_j / (s_j r_j), so that p(j | z) is proportional to alpha_j N(z; m_j, (1 / r_j + s_j) I). The
    intensities are those probabilities times the total intensity of ``base``, whose compensator is this one's.

    The counts and sums are buffers, set by :meth:`remember`; ``base`` and log s_j are learned.

    Args:
        base: the process whose total intensity and embeddings these are.
        concentration: of the Dirichlet prior, each mark's.
        precision: of the prior of each prototype.
        noise: s_j before it is learned.
    """

    def __init__(
        self, base: PointProcess, *, concentration: float = 1.0, precision: float = 1.0, noise: float = 0.1
    ) -> None:
        super().__init__(base.num_marks, time_scale=base.time_scale, quadrature=base.quadrature)
        if not (concentration > 0 and precision > 0 and noise > 0):
            raise InputError(
                f"PrototypeMarks(concentration={concentration}, precision={precision}, noise={noise}): expected "
                "numbers above 0"
            )
        self.base = base
        self.closed_form, self.smooth, self.easytpp_points = base.closed_form, base.smooth, base.easytpp_points
        self.concentration, self.precision = concentration, precision
        marks = base.num_marks
        self.log_noise = nn.Parameter(torch.full((marks,), math.log(noise), dtype=base.dtype))
        self.count: Tensor
        self.total: Tensor
        self.register_buffer("count", torch.zeros(marks, dtype=base.dtype))
        self.register_buffer("total", torch.zeros(marks, marks, dtype=base.dtype))

    # -- the posterior --------------------------------------------------------------------------------------------

    def seen(self) -> Seen:
        """A copy of what the posterior rests on."""
        return Seen(self.count.clone(), self.total.clone())

    def remember(self, seen: Seen) -> None:
        """Rest the posterior on these events, and on no others."""
        self.count.copy_(seen.events)
        self.total.copy_(seen.total)

    @torch.no_grad()
    def embedded(self, batch: TaskBatch) -> Seen:
        """Counts and sums of the scored events of a batch, under the present embedding."""
        left, _ = self.base.left_states(batch.padded)
        rows = batch.padded.scored.flatten().nonzero()[:, 0]
        state = map_state(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), left)
        z = self._embed(self.base._intensity(state, self._gaps(batch.padded.dt.flatten()[rows])))
        which = nn.functional.one_hot(batch.padded.mark.flatten()[rows], self.num_marks).to(z)
        return Seen(which.sum(0), which.T @ z)

    def log_mark_probs(self, z: Tensor) -> Tensor:
        """(..., K) log p(j | z), by Bayes' rule from the posterior predictive of each mark."""
        noise = self.log_noise.exp()
        sharp = self.precision + self.count / noise
        mean = self.total / (noise * sharp)[:, None]
        spread = 1 / sharp + noise
        distance = (z[..., None, :] - mean).square().sum(-1) / spread
        prior = (self.concentration + self.count).log()
        return (prior - 0.5 * (distance + self.num_marks * spread.log())).log_softmax(-1)

    def _embed(self, intensity: Tensor) -> Tensor:
        z = intensity.clamp_min(torch.finfo(intensity.dtype).tiny).log()
        return z - z.mean(-1, keepdim=True)

    # -- the process ----------------------------------------------------------------------------------------------

    def init(self, batch: int) -> Any:
        return self.base.init(batch)

    def _evolve(self, state: Any, u: Tensor) -> Any:
        return self.base._evolve(state, u)

    def _update(self, state: Any, mark: Tensor) -> Any:
        return self.base._update(state, mark)

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> Any:
        return self.base._encode(mark, u, mask)

    def init_at(self, start: Tensor) -> Any:
        """See :meth:`PointProcess.init_at`."""
        return self.base.init_at(start)

    def encode(self, batch: PaddedBatch) -> Any:
        """See :meth:`PointProcess.encode`."""
        return self.base.encode(batch)

    @property
    def prompts(self) -> Any:
        """The base's."""
        return self.base.prompts

    def _match(self, state: Any) -> Tensor:
        return self.base._match(state)

    def resting(self, step: int) -> list[nn.Parameter]:
        """The base's; the noise never rests."""
        return self.base.resting(step)

    def _intensity(self, state: Any, u: Tensor) -> Tensor:
        intensity = self.base._intensity(state, u)
        return intensity.sum(-1, keepdim=True) * self.log_mark_probs(self._embed(intensity)).exp()

    def _log_intensity(self, state: Any, mark: Tensor, u: Tensor) -> Tensor:
        intensity = self.base._intensity(state, u)
        log_probs = self.log_mark_probs(self._embed(intensity))
        return intensity.sum(-1).log() + log_probs.gather(-1, mark[..., None])[..., 0]

    def _compensator(self, state: Any, u: Tensor) -> Tensor:
        return self.base._compensator(state, u)

    def _integrate(self, state: Any, u: Tensor, nodes: Any, weights: Any) -> Tensor:
        return self.base._integrate(state, u, nodes, weights)

    def _bound(self, state: Any, now: Tensor) -> tuple[Tensor, Tensor]:
        return self.base._bound(state, now)


class ProtoCL(Replay):
    """Prototypical Bayesian continual learning of the marks: gradient steps on the likelihood of
    :class:`PrototypeMarks`, whose prototypes are then the posterior of one task and the prior of the next.

    A step's marks are predicted from prototypes of what came before it: the finished tasks, and this task's events so
    far (from the second epoch on, all of them, as the last epoch embedded them). When a task is over its events are
    embedded once more and added for good, each once, so that the prototypes do not depend on the order of events within
    a task nor on the number of epochs.

    As in the paper: conjugate updates, isotropic noise that is learned, an embedding trained through the predictive
    probability of the mark, and a memory of old examples learned alongside (there the same number of each task, here
    :class:`Replay`'s reservoir; ``capacity=0``: none). Its own: the times, which have no prototypes; the embedding; a
    prior mean of 0 (there drawn at random). In the authors' code every epoch counts its events again, every place in a
    batch keeps a posterior of its own, and test batches, with their labels, update it too; not so here.
    As there, an old task's embeddings are not renewed when the embedding moves on.

    Args:
        model: where learning starts; copied. Its total intensity stays the process's, its marks' shares become the
            embedding.
        capacity: sequences the buffer holds; 0: no buffer.
        concentration: see :class:`PrototypeMarks`.
        precision: see :class:`PrototypeMarks`.
        noise: see :class:`PrototypeMarks`.
        steps: see :class:`Steps`.
    """

    _model: PrototypeMarks

    def __init__(
        self, model: PointProcess, *, capacity: int = 100, concentration: float = 1.0, precision: float = 1.0,
        noise: float = 0.1, steps: Steps | None = None,
    ) -> None:  # fmt: skip
        proto = PrototypeMarks(model, concentration=concentration, precision=precision, noise=noise)
        super().__init__(proto, capacity=max(capacity, 1), steps=steps)
        if capacity < 0:
            raise InputError(f"ProtoCL(capacity={capacity}): expected at least 0")
        self._replays = capacity > 0

    def learn(self, task: Task) -> None:
        """Go through the task, then make its events part of the prototypes."""
        self._epoch = self._due = len(task)
        self._finished = self._model.seen()
        self._passing, self._last = _nothing(self._model), None
        super().learn(task)

    def _step(self, shown: Task, events_per_sequence: float) -> float:
        present = self._model.embedded(shown.batch(dtype=self._model.dtype))
        loss = super()._step(shown, events_per_sequence)
        self._passing = self._passing.plus(present)
        self._due -= len(shown)
        if self._due <= 0:  # the epoch is over
            self._last, self._passing, self._due = self._passing, _nothing(self._model), self._epoch
        self._model.remember(self._finished.plus(self._last or self._passing))
        return loss

    def _past(self, number: int) -> Task | None:
        return super()._past(number) if self._replays else None

    def _after(self, task: Task) -> None:
        now = self._finished
        for batch in task.batches(dtype=self._model.dtype):
            now = now.plus(self._model.embedded(batch))
        self._model.remember(now)


def _nothing(model: PrototypeMarks) -> Seen:
    return Seen(torch.zeros_like(model.count), torch.zeros_like(model.total))
