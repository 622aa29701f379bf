"""Prequential evaluation: at every event the forecast made before it is scored, then the model may learn from it.

(Dawid 1984; "progressive validation" in river.) No event is used to forecast itself, none is used only once: a log is
test set and training set in one pass, as it is for a model that runs live.

The forecast of an event is what the model said after the previous event of the same key, and the density it gave to
this one. The *label* of a forecast is the event that came. With ``delay`` d it is known d later: until then it is
neither scored nor learned from (the event itself updates the state at once).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.nn import map_state
from eventflow.online._engine import waves
from eventflow.online._operator import Operator, StateTable

CHUNK = 4096


class Happened(NamedTuple):
    """An event: its key (the sequence's name, or number), t, the gap before it, and its mark."""

    key: Any
    t: float
    gap: float
    mark: int


Forecast = dict[str, Any]


class Metric(Protocol):
    """A running score, as river's: ``update(y_true, y_pred)`` and ``get()``."""

    def update(self, y_true: Any, y_pred: Any) -> Any:
        """Take one case in."""
        ...

    def get(self) -> float:
        """The score of all so far."""
        ...


@runtime_checkable
class Learner(Operator, Protocol):
    """An operator that learns while it runs."""

    def learn(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> None:
        """Learn from one event of each of N keys: ``state`` was theirs before it, ``dt`` (N,) the gaps."""
        ...


@runtime_checkable
class RiverLike(Protocol):
    """A model in river's manner: x is the last event of a key, {"mark": ..., "gap": ...}, y the mark of its next
    one."""

    def predict_one(self, x: dict[str, Any]) -> Any:
        """The mark that comes next."""
        ...

    def learn_one(self, x: dict[str, Any], y: Any) -> Any:
        """It was y."""
        ...


class Progress(NamedTuple):
    """Running scores: how many cases were scored, up to which t, and each metric's value."""

    scored: int
    t: float
    values: dict[str, float]

    @classmethod
    def of(cls, scored: int, t: float, metrics: Mapping[str, Metric]) -> Progress:
        """The metrics as they stand."""
        return cls(scored, t, {name: metric.get() for name, metric in metrics.items()})


class Mean:
    """The mean of ``loss(event, forecast)`` over all cases for which it is not None; NaN before the first."""

    def __init__(self, loss: Callable[[Happened, Forecast], float | None]) -> None:
        self._loss = loss
        self._total, self._count = 0.0, 0

    def update(self, y_true: Happened, y_pred: Forecast) -> None:
        """See :class:`Metric`."""
        value = self._loss(y_true, y_pred)
        if value is not None:
            self._total, self._count = self._total + value, self._count + 1

    def get(self) -> float:
        """See :class:`Metric`."""
        return self._total / self._count if self._count else math.nan


def nll_per_event(event: Happened, forecast: Forecast) -> float | None:
    """The negative log-density of the event given the past."""
    return forecast.get("nll")


def gap_mae(event: Happened, forecast: Forecast) -> float | None:
    """|gap - median forecast gap|, where there was a finite forecast."""
    ahead = forecast.get("next_t")
    return abs(event.gap - ahead) if ahead is not None and math.isfinite(ahead) else None


def mark_accuracy(event: Happened, forecast: Forecast) -> float | None:
    """1 if the mark held most probable came."""
    if "next_mark" in forecast:
        return float(forecast["next_mark"] == event.mark)
    probs = forecast.get("next_mark_probs")
    return None if probs is None else float(int(np.argmax(probs)) == event.mark)


def default_metrics() -> dict[str, Metric]:
    """Fresh ``nll_per_event``, ``mark_accuracy`` and ``gap_mae``."""
    return {loss.__name__: Mean(loss) for loss in (nll_per_event, mark_accuracy, gap_mae)}


def prequential(
    model: Operator | RiverLike, events: Events, *, metrics: Mapping[str, Metric] | None = None, delay: float = 0.0,
    every: int = 1000,
) -> Iterator[Progress]:  # fmt: skip
    """Score ``model`` on ``events`` as they happened, all sequences interleaved in the order of t.

    Args:
        model: an operator (a point process), one that learns as well (:class:`Learner`), or a river-like model.
        events: the log; events that are given, by its schema, are seen but neither scored nor learned from.
        metrics: name -> metric, ``update(Happened, forecast)``, updated in place; by default :func:`default_metrics`.
        delay: how much later labels are known, in the log's unit.
        every: cases from one yield to the next; the last yield comes at the end.

    Raises:
        InputError: neither an operator nor river-like; a negative delay.
    """
    if not delay >= 0 or every < 1:
        raise InputError(f"prequential(delay={delay}, every={every}): expected delay >= 0 and every >= 1")
    scores = default_metrics() if metrics is None else metrics
    log = _Log(events)
    side = _side(model, log)
    waiting: deque[tuple[int, Forecast, Any]] = deque()
    ahead: dict[int, Forecast] = {}
    scored = 0
    for row in [*range(len(log.t)), None]:
        now = math.inf if row is None else log.t[row]
        if row is not None and not log.given[row]:
            forecast = {**ahead.get(log.slot[row], {}), **side.density(row)}
            waiting.append((row, forecast, side.before(row)))
        while waiting and log.t[waiting[0][0]] + delay <= now:
            settled, forecast, before = waiting.popleft()
            for metric in scores.values():
                metric.update(log.happened(settled), forecast)
            side.learn(settled, before)
            scored += 1
            if scored % every == 0:
                yield Progress.of(scored, log.t[settled], scores)
        if row is not None:
            ahead[log.slot[row]] = side.forecast(row)
    if scored % every or not scored:
        yield Progress.of(scored, log.t[-1] if log.t else math.nan, scores)


class _Log:
    """Events in the order of t, column by column."""

    def __init__(self, events: Events) -> None:
        order = np.argsort(events.t, kind="stable")
        self.t: list[float] = events.t[order].tolist()
        self.gap: list[float] = events.gaps[order].tolist()
        self.slot: list[int] = events.sequence[order].tolist()
        marks = events.marks.get("mark")
        self.mark: list[int] = [0] * len(order) if marks is None else marks[order].tolist()
        self.given: list[bool] = (~events.scored)[order].tolist()
        self._keys = range(len(events)) if events.keys is None else events.keys.tolist()
        self.num_keys = len(events)
        self.starts: list[float] = events.span[:, 0].tolist()

    def happened(self, row: int) -> Happened:
        return Happened(self._keys[self.slot[row]], self.t[row], self.gap[row], self.mark[row])


def _side(model: Any, log: _Log) -> _OperatorSide | _RiverSide:
    if isinstance(model, Operator):
        return _OperatorSide(model, log)
    if isinstance(model, RiverLike):
        return _RiverSide(model, log)
    raise InputError(
        f"prequential: {type(model).__name__} is neither an operator (init, observe) nor river-like (predict_one, "
        "learn_one)"
    )


class _OperatorSide:
    """Answers in batches of many keys; one by one if the model learns, since what it learns changes what it says
    next."""

    def __init__(self, operator: Operator, log: _Log) -> None:
        self._operator, self._log = operator, log
        self._learner = operator if isinstance(operator, Learner) else None
        with torch.no_grad():
            self._table = StateTable(operator)
            self._table.reserve(log.num_keys)
            if getattr(operator, "dated", False) and log.num_keys:
                first = operator.init_at(torch.tensor(log.starts, dtype=torch.float64))  # type: ignore[attr-defined]
                self._table.scatter(torch.arange(log.num_keys), first)
        self._first, self._answers = 0, list[Forecast]()
        self._before: Any = None
        self._stale = False  # something was learned since the answers were given

    def density(self, row: int) -> Forecast:
        """The ``nll`` of this event."""
        answers = self._answered(row)
        return {"nll": answers["nll"]} if "nll" in answers else {}

    def before(self, row: int) -> Any:
        """What :meth:`learn` needs to know of the moment before this event."""
        return self._before if self._learner else None

    def learn(self, row: int, before: Any) -> None:
        """The event of this row is known now."""
        if self._learner is not None:
            with torch.enable_grad():
                self._learner.learn(before, *self._given([row]))
            self._stale = True

    def forecast(self, row: int) -> Forecast:
        """What comes next for this key."""
        answers = self._answered(row)
        if self._stale:
            answers = self._observe([row], self._before)[0]
        return {name: value for name, value in answers.items() if name != "nll"}

    def _answered(self, row: int) -> Forecast:
        if row >= self._first + len(self._answers):
            self._first, self._stale = row, False
            rows = list(range(row, min(row + (1 if self._learner else CHUNK), len(self._log.t))))
            order, edges = waves([self._log.slot[r] for r in rows])
            found: dict[int, Forecast] = {}
            for low, high in edges:
                wave = [rows[i] for i in order[low:high]]
                with torch.no_grad():
                    self._before = self._table.gather(self._slots(wave))
                found.update(zip(wave, self._observe(wave, self._before), strict=True))
            self._answers = [found[r] for r in rows]
        return self._answers[row - self._first]

    def _observe(self, rows: list[int], before: Any) -> list[Forecast]:
        with torch.no_grad():
            answers, after = self._operator.observe(before, *self._given(rows))
            self._table.scatter(self._slots(rows), after)
        columns = {name: values.tolist() for name, values in answers.items()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _slots(self, rows: list[int]) -> Tensor:
        return torch.tensor([self._log.slot[r] for r in rows])

    def _given(self, rows: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        marks = torch.tensor([self._log.mark[r] for r in rows])
        return {"mark": marks}, torch.tensor([self._log.gap[r] for r in rows], dtype=self._table.dtype)


class _RiverSide:
    """The thin adapter: x is a key's last event, y the mark of its next one."""

    def __init__(self, model: RiverLike, log: _Log) -> None:
        self._model, self._log = model, log
        self._x: dict[int, dict[str, Any]] = {}

    def density(self, row: int) -> Forecast:
        return {}

    def before(self, row: int) -> Any:
        return self._x.get(self._log.slot[row])

    def learn(self, row: int, before: Any) -> None:
        if before is not None:
            self._model.learn_one(before, self._log.mark[row])

    def forecast(self, row: int) -> Forecast:
        x = self._x[self._log.slot[row]] = {"mark": self._log.mark[row], "gap": self._log.gap[row]}
        return {"next_mark": self._model.predict_one(x)}


class GradientLearner:
    """An operator that takes a gradient step on the ``nll`` of each event that it is told of.

    The state before the event is taken as it was (gradients do not flow further back).

    Args:
        operator: a module with ``init`` and ``observe``, such as a point process; its weights are changed.
        optimizer: over its parameters.
    """

    def __init__(self, operator: Operator, optimizer: torch.optim.Optimizer) -> None:
        self.operator, self.optimizer = operator, optimizer

    def init(self, batch: int) -> Any:
        """See :class:`Operator`."""
        return self.operator.init(batch)

    def observe(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], Any]:
        """See :class:`Operator`."""
        return self.operator.observe(state, marks, dt)

    def learn(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> None:
        """See :class:`Learner`."""
        loss = self.operator.observe(map_state(Tensor.detach, state), marks, dt)[0]["nll"].mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
