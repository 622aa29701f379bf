"""Any cell, any head: a point process in one line (the README's gallery shows five)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import Cell, DurationHead, SoftplusIntensity, SoftplusNetwork
from eventflow.nn._durations import IndependentMarks
from eventflow.tpp._predict import predict_next
from eventflow.tpp._process import Prediction, Rule
from eventflow.tpp._sample import _categorical, _exponential
from eventflow.tpp.models._history import HistoryProcess, HistoryState

Head = SoftplusIntensity | SoftplusNetwork | DurationHead


class NeuralPointProcess(HistoryProcess):
    """A cell summarises the past, a head turns it into intensities.

    ``SoftplusIntensity`` reads the cell as it evolves between events; ``SoftplusNetwork`` also sees the time since the
    last event; a ``DurationHead`` gives the law of the next gap from the state just after the last event, and the
    result is then a :class:`DurationProcess`, with likelihood, survival and samples in closed form.

    Args:
        num_marks: K.
        cell: of D inputs: a mark's embedding of D - 1 numbers, and log(1 + gap).
        head: made with (cell.hidden_size, num_marks).
        sees_gaps: False leaves log(1 + gap) out, for a cell to which the time between events happens anyway.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator, where it has no closed form.
    """

    def __new__(cls, *args: Any, **options: Any) -> NeuralPointProcess:
        """A DurationProcess where the head is a DurationHead; subclasses are themselves."""
        head = options.get("head", args[2] if len(args) > 2 else None)
        return object.__new__(DurationProcess if cls is NeuralPointProcess and isinstance(head, DurationHead) else cls)

    def __init__(
        self, num_marks: int, cell: Cell, head: Head, *, sees_gaps: bool = True, time_scale: float = 1.0,
        quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(
            num_marks, cell, embedding_size=cell.input_size - sees_gaps, gap_features=int(sees_gaps),
            time_scale=time_scale, quadrature=quadrature,
        )  # fmt: skip
        made_for = (head.init_args["hidden_size"], head.init_args["num_marks"])
        if made_for != (cell.hidden_size, num_marks):
            raise InputError(
                f"the head was made for (hidden_size, num_marks)={made_for}; the cell and the process have "
                f"{(cell.hidden_size, num_marks)}. Write: {type(head).__name__}({cell.hidden_size}, {num_marks})"
            )
        if isinstance(head, DurationHead) and not issubclass(type(self), DurationProcess):
            raise InputError(
                f"{type(self).__name__} has a {type(head).__name__}, the law of the next gap. Write: "
                f"class {type(self).__name__}(DurationProcess)"
            )
        self.head = head

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        age = state.elapsed + u
        h = self.cell.read(self.cell.evolve(state.cell, age))
        if isinstance(self.head, SoftplusNetwork):
            return self.head(h, age)
        return self.head(h).expand(*age.shape, -1)  # a cell to which silence does nothing has one answer for all times


class DurationProcess(NeuralPointProcess):
    """A :class:`NeuralPointProcess` with a :class:`DurationHead`: everything in closed form that has one."""

    closed_form = True
    head: DurationHead

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        h, age = self.cell.read(state.cell), state.elapsed + u
        return self.head.log_intensities(h, age).exp()

    def _log_intensity(self, state: HistoryState, mark: Tensor, u: Tensor) -> Tensor:
        h, age = self.cell.read(state.cell), state.elapsed + u
        return self.head.log_hazard(h, age) + self._log_mark(h, mark, age)

    def _log_mark(self, h: Tensor, mark: Tensor, age: Tensor) -> Tensor:
        return self.head.log_mark_probs(h, age).gather(-1, mark[..., None])[..., 0]

    def _log_density(self, state: HistoryState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        if rule is not None:
            return super()._log_density(state, mark, u, rule)
        h, age = self.cell.read(state.cell), state.elapsed + u
        log_density = self.head.log_density(h, age) - self.head.log_survival(h, state.elapsed)
        return log_density + self._log_mark(h, mark, age)

    def _compensator(self, state: HistoryState, u: Tensor) -> Tensor:
        h = self.cell.read(state.cell)
        now = state.elapsed + torch.zeros_like(u)
        return self.head.log_survival(h, now) - self.head.log_survival(h, now + u)

    def _sample(
        self, state: HistoryState, until: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:  # by inversion
        h = self.cell.read(state.cell)
        target = self.head.log_survival(h, state.elapsed) - _exponential(torch.ones_like(until), generator)
        age = self.head.quantile(h, target)
        u = (age - state.elapsed).clamp_min(0)
        mark = _categorical(self.head.log_mark_probs(h, age.where(u < until, state.elapsed)).exp(), generator)
        return u.where(u < until, torch.inf), mark.where(u < until, -1)

    @torch.no_grad()
    def predict_next(self, state: HistoryState) -> Prediction:
        """Closed form where the head has one; otherwise by quadrature."""
        h = self.cell.read(state.cell)
        beyond = self.head.mean_beyond(h, state.elapsed)
        if beyond is None:
            return self._by_quadrature(state, h)
        log_survival = self.head.log_survival(h, state.elapsed)
        mean = (beyond * torch.exp(-log_survival) - state.elapsed).clamp_min(0)
        median = (self.head.quantile(h, log_survival - 0.6931471805599453) - state.elapsed).clamp_min(0)
        probs = self.head.log_mark_probs(h, state.elapsed).exp()
        return Prediction(mean * self.time_scale, median * self.time_scale, probs, torch.zeros_like(mean))

    def _by_quadrature(self, state: HistoryState, h: Tensor) -> Prediction:
        """Marks that do not depend on the time need no quadrature: the total intensity is enough."""
        if not isinstance(self.head, IndependentMarks):
            return super().predict_next(state)

        def total(asked: HistoryState, u: Tensor) -> Tensor:
            return self.head.log_hazard(self.cell.read(asked.cell), asked.elapsed + u).exp()[..., None]

        said = predict_next(self, state, ask=total, marks=1)
        return said._replace(mark_probs=self.head.log_mark_probs(h, state.elapsed).exp())
