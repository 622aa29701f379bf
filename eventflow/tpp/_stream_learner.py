"""A point process that learns while it runs live: every event is answered first, and learned from once."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import map_state, where_state
from eventflow.online import StateTable
from eventflow.online._operator import Moment
from eventflow.tpp._process import PointProcess

#: Keys whose events are gone through together: bounds the memory of a step.
ROWS = 64


class LearningState(NamedTuple):
    """Of a key. ``live``: what answers. ``mark``, ``gap`` (N, C): its last C events, ``held`` (N,) of them, oldest
    first; ``past``: its state before those, which is that of its beginning, at ``start`` (N,), as long as it is
    ``fresh`` (N,): no event was dropped."""

    live: Any
    past: Any
    start: Tensor
    fresh: Tensor
    mark: Tensor
    gap: Tensor
    held: Tensor


class _Rows(NamedTuple):
    """Events of n keys, context and new ones, padded on the right to T: (n, T); ``real`` ones, and ``new`` ones that
    have a likelihood."""

    mark: Tensor
    gap: Tensor
    real: Tensor
    new: Tensor


class StreamLearner:
    """Runs a point process live and trains it as it goes (an :class:`eventflow.online.BlockLearner`).

    Weights stand still for ``block`` events, whosever they are: these are answered, and their nll is that of events
    which the model has not learned from (prequential; Dawid 1984). Then one step of Adam is made on their mean negative
    log-density, and with prompts on the match of what they retrieved. Each event is learned from once. What a key's
    state owes to its last ``context`` events, and to its beginning if there were no more, is differentiated; what came
    before is taken as it is (truncated backpropagation), so that memory is constant: per key two states and
    ``context`` events.

    What is learned depends on the order of the events alone, not on the chunks they come in, and goes on exactly after
    :meth:`dump` and :meth:`load`. A last block that is not full waits for the rest of its events.

    Args:
        process: where learning starts; a copy, in float64, is changed.
        block: events from one step to the next.
        context: events of a key's past that gradients flow through.
        lr: of Adam.

    Raises:
        InputError: numbers that are not positive.
    """

    def __init__(self, process: PointProcess, *, block: int = 64, context: int = 16, lr: float = 1e-3) -> None:
        if block < 1 or context < 1 or not lr > 0:
            raise InputError(f"StreamLearner(block={block}, context={context}, lr={lr}): expected >= 1, >= 1 and > 0")
        with torch.inference_mode(False):
            self.module = copy.deepcopy(process).double().eval().requires_grad_()
        self.block, self.context, self.lr = block, context, lr
        self.num_marks, self.dated = process.num_marks, process.dated
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr)
        #: Steps made; nll of the events answered, summed; how many they are; and the mean over the last block.
        self.steps, self.total, self.count, self.recent = 0, 0.0, 0, math.nan
        self._noted: list[float] = []

    # -- live -----------------------------------------------------------------------------------------------------

    def init(self, batch: int) -> LearningState:
        """See :class:`eventflow.online.Operator`."""
        return self.init_at(torch.zeros(batch, dtype=torch.float64))

    def init_at(self, start: Tensor) -> LearningState:
        """See :meth:`PointProcess.init_at`."""
        state, mark = self.module.init_at(start), torch.zeros(len(start), self.context, dtype=torch.int64)
        fresh = torch.ones_like(start, dtype=torch.bool)
        return LearningState(state, state, start.double(), fresh, mark, mark.double(), mark[:, 0])

    def observe(self, state: LearningState, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], Any]:
        """What the process answers now."""
        answers, live = self.module.observe(state.live, marks, dt)
        return answers, state._replace(live=live)

    def note(self, nlls: list[float]) -> None:
        """Add finite ones to the prequential score."""
        for nll in nlls:  # one by one: the sum must not depend on who calls with how many
            if math.isfinite(nll):
                self.total, self.count = self.total + nll, self.count + 1
                self._noted.append(nll)

    @property
    def progress(self) -> dict[str, float]:
        """``steps`` made, prequential ``nll_per_event`` of all events, and of those of the ``last_block``."""
        mean = self.total / self.count if self.count else math.nan
        return {"steps": self.steps, "nll_per_event": mean, "last_block": self.recent}

    # -- learning -------------------------------------------------------------------------------------------------

    def learn_block(self, table: StateTable, events: list[Moment]) -> None:
        """One step on these events; see the class."""
        of: dict[int, list[Moment]] = {}
        for event in events:
            of.setdefault(event.slot, []).append(event)
        scored, keys = sum(event.scored for event in events), list(of)
        self.optimizer.zero_grad(set_to_none=True)
        for i in range(0, len(keys), ROWS):
            some = keys[i : i + ROWS]
            slots = torch.tensor(some)
            state = table.gather(slots)
            with torch.inference_mode(False), torch.enable_grad():
                state = map_state(torch.clone, state)  # what was made in inference mode cannot be differentiated
                rows = _rows(state, [of[slot] for slot in some])
                loss, past = self._loss(state, rows)
                if loss.requires_grad:
                    (loss / max(scored, 1)).backward()
                state = self._kept(state, past, rows)
            table.scatter(slots, state)
        with torch.inference_mode(False):
            for parameter in self.module.resting(self.steps):
                parameter.grad = None
            self.optimizer.step()
        self.steps += 1
        self.recent = math.fsum(self._noted) / len(self._noted) if self._noted else math.nan
        self._noted = []

    def _loss(self, key: LearningState, rows: _Rows) -> tuple[Tensor, Any]:
        """(loss summed over the new events, the states before the last ``context`` events)."""
        process, loss, kept = self.module, torch.zeros((), dtype=torch.float64), key.past
        state = where_state(key.fresh, process.init_at(key.start), key.past)
        u = rows.gap / process.time_scale
        first = (rows.real.sum(1) - self.context).clamp_min(0)
        for j in range(rows.mark.shape[1]):
            kept = where_state(first == j, map_state(Tensor.detach, state), kept)
            after = process.update(process.evolve(state, rows.gap[:, j]), rows.mark[:, j])
            state_before, state = state, where_state(rows.real[:, j], after, state)
            new = rows.new[:, j].nonzero()[:, 0]
            if len(new):
                before = map_state(lambda leaf, at=new: leaf.index_select(0, at), state_before)
                loss = loss - process._log_density(before, rows.mark[new, j], u[new, j]).sum()
                if process.prompts is not None:
                    loss = loss - process.prompts.match_weight * process._match(state)[new].sum()
        return loss, kept

    def _kept(self, key: LearningState, past: Any, rows: _Rows) -> LearningState:
        """The states with their last ``context`` events."""
        number = rows.real.sum(1)
        fresh = key.fresh & (number <= self.context)
        held = number.clamp_max(self.context)
        index = ((number - held)[:, None] + torch.arange(self.context)).clamp_max(rows.mark.shape[1] - 1)
        there = torch.arange(self.context) < held[:, None]
        mark, gap = (torch.where(there, column.gather(1, index), 0) for column in (rows.mark, rows.gap))
        return LearningState(key.live, past, key.start, fresh, mark, gap, held)

    # -- snapshots ------------------------------------------------------------------------------------------------

    def dump(self) -> tuple[dict[str, Any], list[Any]]:
        """See :class:`eventflow.online.BlockLearner`: weights, Adam's moments, and the score."""
        arrays, moments = [], []
        for parameter in self.module.parameters():
            held = self.optimizer.state.get(parameter, {})
            moments.append(sorted(held))
            arrays += [parameter.detach().numpy().copy(), *(held[name].numpy().copy() for name in sorted(held))]
        recent = None if math.isnan(self.recent) else self.recent
        plain = {"moments": moments, "steps": self.steps, "total": self.total, "count": self.count}
        return {**plain, "recent": recent, "noted": self._noted}, arrays

    @torch.inference_mode(False)
    def load(self, plain: dict[str, Any], arrays: list[Any]) -> None:
        """Inverse of :meth:`dump`."""
        left = iter(arrays)
        with torch.no_grad():
            for parameter, names in zip(self.module.parameters(), plain["moments"], strict=True):
                parameter.copy_(torch.from_numpy(next(left)))
                if names:
                    self.optimizer.state[parameter] = {name: torch.from_numpy(next(left)) for name in names}
        self.steps, self.total, self.count = plain["steps"], plain["total"], plain["count"]
        self.recent = math.nan if plain["recent"] is None else plain["recent"]
        self._noted = list(plain["noted"])


def _rows(state: LearningState, fresh: list[list[Moment]]) -> _Rows:
    """What each key holds, and then what came."""
    lines = []
    for mark, gap, held, events in zip(state.mark, state.gap, state.held.tolist(), fresh, strict=True):
        marks = mark[:held].tolist() + [event.mark for event in events]
        gaps = gap[:held].tolist() + [event.gap for event in events]
        lines.append((marks, gaps, [False] * held + [event.scored for event in events]))
    width = max(len(marks) for marks, _, _ in lines)

    def padded(column: int, dtype: torch.dtype) -> Tensor:
        return torch.tensor([[*line[column], *[0] * (width - len(line[column]))] for line in lines], dtype=dtype)

    real = torch.arange(width) < torch.tensor([len(marks) for marks, _, _ in lines])[:, None]
    return _Rows(padded(0, torch.int64), padded(1, torch.float64), real, padded(2, torch.bool))
