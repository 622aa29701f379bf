"""The contract of a temporal point process, and its exact likelihood.

Axes: B sequences, T events, K marks, Q queries. Gaps are in the data's unit; inside, every gap is divided by
``time_scale`` (the data's mean gap), so that a model sees numbers near 1 whatever the unit, and the likelihood is put
back into the data's unit: multiplying all times by c changes a log-density by -log c and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events, PaddedBatch, Schema, pad
from eventflow.nn import map_state
from eventflow.nn._recorded import Recorded
from eventflow.ops.quadrature import gauss_legendre_graded, linspace_mean
from eventflow.tpp._continue import Continuations, continue_from
from eventflow.tpp._predict import predict_next
from eventflow.tpp._query import Prediction as Prediction
from eventflow.tpp._query import queried as queried
from eventflow.tpp._sample import numeric_bound, sample_next, simulate, thin

if TYPE_CHECKING:
    from eventflow.tpp.models._prompt_pool import PromptPool

#: Events a chunk of ``log_prob(events)`` may hold, padding included: bounds memory, changes no number.
CHUNK = 1 << 15


#: (nodes, weights) on [0, 1].
Rule = tuple[Any, Any]


class PointProcess(Recorded, nn.Module):
    """A marked temporal point process that trains in parallel and runs live, one event at a time.

    A subclass writes, in units of ``time_scale`` (u = dt / time_scale):
    ``init``, ``_evolve``, ``_update``, ``_intensity``, ``_encode``; and, where it can do better than the defaults,
    ``_log_intensity``, ``_log_density``, ``_compensator`` (closed form), ``_bound`` (for thinning), ``_sample``.
    Its state is a NamedTuple whose last field ``elapsed`` (...,) is the time since the last event (or the start) and
    has the state's leading axes.

    Args:
        num_marks: K.
        time_scale: the unit in which the model thinks, in the data's unit; the mean gap of the training data.
        quadrature: nodes per gap of the compensator, where it has no closed form.
    """

    #: Points of EasyTPP's grid for this model (its ``loss_integral_num_sample_per_step``).
    easytpp_points = 20
    #: True where ``_compensator`` is exact.
    closed_form = False
    #: False where the intensity mostly changes faster than events come, and ``predict_next`` need not try wide panels.
    smooth = True

    def __init__(self, num_marks: int, *, time_scale: float = 1.0, quadrature: int = 20) -> None:
        super().__init__()
        if num_marks < 1:
            raise InputError(f"{type(self).__name__}(num_marks={num_marks}): expected at least 1")
        if not (time_scale > 0 and math.isfinite(time_scale)):
            raise InputError(f"{type(self).__name__}(time_scale={time_scale}): expected a positive, finite number")
        if quadrature < 2:
            raise InputError(f"{type(self).__name__}(quadrature={quadrature}): expected at least 2 nodes")
        self.num_marks = num_marks
        self.time_scale = float(time_scale)
        self.quadrature = quadrature

    # -- what a subclass writes -----------------------------------------------------------------------------------

    def init(self, batch: int) -> Any:
        """The state of ``batch`` sequences at the start of their spans."""
        raise NotImplementedError

    def init_at(self, start: Tensor) -> Any:
        """As :meth:`init`, of spans that start at ``start`` (B,), float64, in the stream's time and the data's unit.

        Only a model with :attr:`prompts` looks at it.
        """
        return self.init(len(start))

    def _evolve(self, state: Any, u: Tensor) -> Any:
        raise NotImplementedError

    def _update(self, state: Any, mark: Tensor) -> Any:
        """The state just after an event; ``state`` is the left limit, whose ``elapsed`` is the gap before the event."""
        raise NotImplementedError

    def _intensity(self, state: Any, u: Tensor) -> Tensor:
        """(..., K) intensities a time u ahead, events per ``time_scale``."""
        raise NotImplementedError

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> Any:
        """States after each event, leaves (B, T, ...)."""
        raise NotImplementedError

    def _log_intensity(self, state: Any, mark: Tensor, u: Tensor) -> Tensor:
        return self._intensity(state, u).gather(-1, mark[..., None])[..., 0].log()

    def _log_density(self, state: Any, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        """Log-density of an event of ``mark`` a time u ahead; with ``rule``, by that quadrature of the compensator."""
        silence = self._compensator(state, u) if rule is None else self._integrate(state, u, *rule)
        return self._log_intensity(state, mark, u) - silence

    def _compensator(self, state: Any, u: Tensor) -> Tensor:
        """Integral of the total intensity over [0, u): Gauss-Legendre, nodes graded towards the last event."""
        nodes, weights = gauss_legendre_graded(self.quadrature)
        return self._integrate(state, u, nodes, weights)

    def _bound(self, state: Any, now: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) bound on the total intensity from ``now`` on, and for how long it holds (checked at each proposal)."""
        return numeric_bound(self, state, now)

    def _sample(self, state: Any, until: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(gap (N,), mark (N,)) of the next event of each row before ``until``, else (inf, -1)."""
        return thin(self, state, until, generator)

    def _integrate(self, state: Any, u: Tensor, nodes: Any, weights: Any) -> Tensor:
        """u * sum_j weights_j * total intensity at nodes_j * u, for nodes on [0, 1]."""
        at = torch.tensor(nodes, dtype=u.dtype, device=u.device)
        by = torch.tensor(weights, dtype=u.dtype, device=u.device)
        return u * (self._intensity(queried(state, 1), u[..., None] * at).sum(-1) @ by)

    # -- one event at a time --------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters, and so of gaps, states and results."""
        return next(self.parameters()).dtype

    def evolve(self, state: Any, dt: Tensor) -> Any:
        """The state after a silence of ``dt`` (the state's axes)."""
        return self._evolve(state, dt / self.time_scale)

    def update(self, state: Any, mark: Tensor) -> Any:
        """The state just after an event with ``mark`` (int64), now."""
        return self._update(state, mark)

    def step(self, state: Any, mark: Tensor, dt: Tensor) -> tuple[Tensor, Any]:
        """One event after a gap ``dt``: its log-density given the past (log lambda_mark - compensator), next state."""
        u = dt / self.time_scale
        log_prob = self._log_density(state, mark, u) - math.log(self.time_scale)
        return log_prob, self._update(self._evolve(state, u), mark)

    def intensity(self, state: Any, dt: Tensor) -> Tensor:
        """(..., K) events per unit of time, ``dt`` ahead; dt has the state's axes, and any query axes behind them."""
        return self._intensity(self._for(state, dt), dt / self.time_scale) / self.time_scale

    def compensator(self, state: Any, dt: Tensor) -> Tensor:
        """(...) integral of the total intensity over the next ``dt``, as long as no event comes."""
        return self._compensator(self._for(state, dt), dt / self.time_scale)

    def predict_next(self, state: Any) -> Prediction:
        """The next event: mean and median gap, mark probabilities; by quadrature, without sampling noise."""
        return predict_next(self, state)

    def sample_next(self, state: Any, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One independent draw per sequence of the next gap and mark; (inf, -1) where no event comes."""
        return sample_next(self, state, generator=generator)

    def continue_from(
        self, state: Any, *, steps: int | None = None, horizon: float | None = None, num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Continuations:  # fmt: skip
        """``num_samples`` independent continuations of every sequence of ``state``, from now: the next ``steps``
        events, or all that come within ``horizon`` (half-open, in the data's unit), or whichever ends first.

        All rows go forward together and carry their states, so that a continuation costs what its events cost, however
        long the past. ``model.continue_from(model.encode(batch), horizon=2.0, num_samples=100)`` continues from every
        event of every sequence at once: leaves (B, T, 100, N).
        """
        return continue_from(
            self, state, steps=steps, horizon=horizon, num_samples=num_samples, generator=generator
        )

    def simulate(
        self, *, span: tuple[float, float], num_sequences: int = 1, generator: torch.Generator | None = None,
        schema: Schema | None = None,
    ) -> Events:  # fmt: skip
        """``num_sequences`` independent realisations over the half-open ``span``."""
        return simulate(self, span=span, num_sequences=num_sequences, generator=generator, schema=schema)

    def observe(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], Any]:
        """One live event (an ``online.Operator``): its ``nll``, and the forecast ``next_t`` (median gap from it) and
        ``next_mark_probs`` (B, K)."""
        log_prob, state = self.step(state, marks["mark"], dt)
        after = self.predict_next(state)
        return {"nll": -log_prob, "next_t": after.median, "next_mark_probs": after.mark_probs}, state

    # -- whole sequences ------------------------------------------------------------------------------------------

    def encode(self, batch: PaddedBatch) -> Any:
        """The states after each event of a padded batch, leaves (B, T, ...); padding carries the last state on."""
        self._check_marks(batch)
        return self._encode(batch.mark, self._gaps(batch.dt), batch.mask)

    def left_states(self, batch: PaddedBatch) -> tuple[Any, Any]:
        """(states before the gap of each event, leaves (B, T, ...); state after the last event, leaves (B, ...))."""
        first = self.init_at(batch.start)
        if batch.mask.shape[1] == 0:
            return map_state(lambda leaf: leaf[:, None][:, :0], first), first
        states = self.encode(batch)
        left = map_state(lambda a, b: torch.cat([a[:, None], b[:, :-1]], 1), first, states)
        return left, map_state(lambda leaf: leaf[:, -1], states)

    def log_prob(self, events: Events | PaddedBatch, *, compat: str | None = None) -> Tensor:
        """(s,) exact log-likelihood of each sequence over its span: every scored event, and the silence to the end.

        With ``compat="easytpp"``: what EasyTPP computes for this model instead (events 2..N, no survival term, the
        compensator as the plain mean over ``easytpp_points`` equispaced points including both ends), but for the 1.2e-7
        that it adds to every intensity.
        """
        if compat not in (None, "easytpp"):
            raise InputError(f"log_prob(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        score = self._exact_log_prob if compat is None else self._easytpp_log_prob
        return torch.cat([score(batch) for batch in self._batches(events)])

    def event_log_prob(self, batch: PaddedBatch) -> Tensor:
        """(B, T) log-density of each event given its past; 0 where it is not scored."""
        return self._event_terms(self.left_states(batch)[0], batch)

    def tail_log_prob(self, batch: PaddedBatch) -> Tensor:
        """(B,) log-probability of the silence from the last event to the end of the span."""
        return -self._compensator(self.left_states(batch)[1], self._gaps(batch.tail))

    def _event_terms(self, left: Any, batch: PaddedBatch, *, easytpp: bool = False) -> Tensor:
        scored = batch.scored
        if easytpp:
            scored = batch.mask.clone()
            scored[:, :1] = False
        rows = scored.flatten().nonzero()[:, 0]
        state = map_state(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), left)
        mark, u = batch.mark.flatten()[rows], self._gaps(batch.dt).flatten()[rows]
        rule = linspace_mean(self.easytpp_points) if easytpp else None
        terms = self._log_density(state, mark, u, rule) - math.log(self.time_scale)
        return torch.zeros_like(scored.flatten(), dtype=terms.dtype).index_copy(0, rows, terms).view(scored.shape)

    def _exact_log_prob(self, batch: PaddedBatch) -> Tensor:
        left, last = self.left_states(batch)
        return self._event_terms(left, batch).sum(1) - self._compensator(last, self._gaps(batch.tail))

    def _easytpp_log_prob(self, batch: PaddedBatch) -> Tensor:
        return self._event_terms(self.left_states(batch)[0], batch, easytpp=True).sum(1)

    # -- prompts --------------------------------------------------------------------------------------------------

    @property
    def prompts(self) -> PromptPool | None:
        """The pool of prompts of a model that has one. Such a model knows the stream's time, and is trained on more
        than its likelihood."""
        return None

    @property
    def dated(self) -> bool:
        """Whether states must be told when they begin (:meth:`init_at`)."""
        return self.prompts is not None

    def _match(self, state: Any) -> Tensor:
        """(...) how well the prompts in use match what they were retrieved for."""
        raise NotImplementedError

    def auxiliary(self, left: Any, last: Any, mask: Tensor) -> Tensor:
        """(B,) what training adds to the negative log-likelihood, from :meth:`left_states`: for every retrieval,
        -match_weight x its match. Never part of ``log_prob``; zeros without prompts."""
        if self.prompts is None:
            return torch.zeros(len(mask), dtype=self.dtype, device=mask.device)
        matches = torch.where(mask, self._match(left), 0).sum(1) + self._match(last)
        return -self.prompts.match_weight * matches

    def fit_terms(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """((B,) ``log_prob(batch)``, (B,) :meth:`auxiliary`) in one pass: training minimises auxiliary - log_prob."""
        if self.prompts is None:
            log_prob = self._exact_log_prob(batch)
            return log_prob, torch.zeros_like(log_prob)
        left, last = self.left_states(batch)
        log_prob = self._event_terms(left, batch).sum(1) - self._compensator(last, self._gaps(batch.tail))
        return log_prob, self.auxiliary(left, last, batch.mask)

    def resting(self, step: int) -> list[nn.Parameter]:
        """Parameters that training step number ``step`` (from 0) leaves as they are: a pool of prompts and what it
        prompts learn at their own rates. A trainer clears their gradients before the optimizer's step."""
        return [] if self.prompts is None else list(self.prompts.resting(self, step))

    # -- helpers --------------------------------------------------------------------------------------------------

    def _gaps(self, dt: Tensor) -> Tensor:
        return dt.to(self.dtype) / self.time_scale

    def _for(self, state: Any, dt: Tensor) -> Any:
        lead = state.elapsed.shape
        fits = all(a in (1, b) or b == 1 for a, b in zip(dt.shape, lead, strict=False))
        if dt.dim() < len(lead) or not fits:
            raise InputError(f"dt is {tuple(dt.shape)}; expected the state's axes {tuple(lead)}, and query axes behind")
        return queried(state, dt.dim() - len(lead))

    def _batches(self, events: Events | PaddedBatch) -> Iterator[PaddedBatch]:
        if isinstance(events, PaddedBatch):
            yield events
            return
        device = next(self.parameters()).device
        start = 0
        while start < len(events):
            stop, width = start, 0
            while stop < len(events):
                width = max(width, int(events.lengths[stop]), 1)
                if stop > start and width * (stop + 1 - start) > CHUNK:
                    break
                stop += 1
            yield pad(events[start:stop], dtype=self.dtype).to(device)
            start = stop
        if not len(events):
            yield pad(events, dtype=self.dtype).to(device)

    def _check_marks(self, batch: PaddedBatch) -> None:
        if batch.mark.numel() and (high := int(batch.mark.max())) >= self.num_marks:
            raise InputError(f"mark {high} in the data, but this {type(self).__name__} has num_marks={self.num_marks}")
