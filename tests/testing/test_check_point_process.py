"""Every law of ``check_point_process`` fires on a process that breaks it, and names it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from eventflow.events import PaddedBatch
from eventflow.testing import check_point_process
from eventflow.tpp import Hawkes, Prediction


class NoSurvivalTerm(Hawkes):
    def log_prob(self, events: Any, *, compat: str | None = None) -> Tensor:
        return torch.stack([self.event_log_prob(b).sum() for b in map(next, map(self._batches, events))])


class BatchHasItsOwnIdea(Hawkes):
    def event_log_prob(self, batch: PaddedBatch) -> Tensor:
        return super().event_log_prob(batch) * 1.01


class PaddingCounts(Hawkes):
    def log_prob(self, events: Any, *, compat: str | None = None) -> Tensor:
        parts = super().log_prob(events, compat=compat)
        return parts + events.dt.sum() * 0 if isinstance(events, PaddedBatch) else parts


class BatchMatters(Hawkes):
    def log_prob(self, events: Any, *, compat: str | None = None) -> Tensor:
        value = super().log_prob(events, compat=compat)
        return value if len(events) > 1 else value * (1 + 1e-5)


class SeesTheFuture(Hawkes):
    def left_states(self, batch: PaddedBatch) -> tuple[Any, Any]:
        left, last = super().left_states(batch)
        future = batch.mark.flip(1).cumsum(1).flip(1).double()[..., None, None] * 1e-4
        return left._replace(excitation=left.excitation + future), last


class DriftsAtZero(Hawkes):
    def _evolve(self, state: Any, u: Tensor) -> Any:
        return super()._evolve(state, u + 1e-9 * (u == 0))


class ForgetsTwice(Hawkes):
    def _intensity(self, state: Any, u: Tensor) -> Tensor:
        return super()._intensity(state, u + u**2 * 1e-6)

    def _compensator(self, state: Any, u: Tensor) -> Tensor:
        return super()._compensator(state, u)


class HalfACompensator(Hawkes):
    def compensator(self, state: Any, dt: Tensor) -> Tensor:
        return super().compensator(state, dt) * 0.99


class LovesAbsoluteTime(Hawkes):
    def log_prob(self, events: Any, *, compat: str | None = None) -> Tensor:
        value = super().log_prob(events, compat=compat)
        return value if isinstance(events, PaddedBatch) else value - 1e-3 * (events.span[0, 0] > 500)


class ForgetsItsUnit(Hawkes):
    def log_prob(self, events: Any, *, compat: str | None = None) -> Tensor:
        return super().log_prob(events, compat=compat) + 1e-3 * (self.time_scale - 1.0)


class WrongMean(Hawkes):
    def predict_next(self, state: Any) -> Prediction:
        right = super().predict_next(state)
        return right._replace(mean=right.mean * 1.05)


class WrongMarks(Hawkes):
    def predict_next(self, state: Any) -> Prediction:
        right = super().predict_next(state)
        return right._replace(mark_probs=right.mark_probs * 1.05)


class IdleParameter(Hawkes):
    def __init__(self, num_marks: int) -> None:
        super().__init__(num_marks)
        self.idle = torch.nn.Parameter(torch.zeros(1))


class LosesItsArguments(Hawkes):
    def __init__(self, num_marks: int, *, time_scale: float = 1.0) -> None:
        super().__init__(num_marks, time_scale=time_scale)
        self.init_args = {"num_marks": num_marks, "time_scale": time_scale * 2}


class LateSampler(Hawkes):
    def _sample(self, state: Any, until: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        gap, mark = super()._sample(state, until, generator)
        return gap * 1.3, mark


class OneMarkSampler(Hawkes):
    def _sample(self, state: Any, until: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        gap, mark = super()._sample(state, until, generator)
        return gap, torch.zeros_like(mark)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (NoSurvivalTerm, "survival term included"),
        (BatchHasItsOwnIdea, "step by step == event_log_prob"),
        (PaddingCounts, "what lies in padding"),
        (BatchMatters, "alone == the same sequence in a batch|the definition"),
        (SeesTheFuture, "causality"),
        (DriftsAtZero, "bit for bit"),
        (ForgetsTwice, r"intensity\(evolve\(s, a\), b\) == intensity\(s, a \+ b\)|the definition"),
        (HalfACompensator, "survival term|dense integral"),
        (LovesAbsoluteTime, "shifting all times"),
        (ForgetsItsUnit, "times and time_scale multiplied"),
        (WrongMean, r"predict_next\(...\).mean"),
        (WrongMarks, "mark probabilities sum to 1"),
        (IdleParameter, "parameter idle takes no part"),
        (LosesItsArguments, "rebuilt from class_path"),
        (LateSampler, "Kolmogorov-Smirnov"),
        (OneMarkSampler, "sample_next: marks"),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_each_law_fires(broken: type[Hawkes], law: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=law):
        check_point_process(broken(2))
