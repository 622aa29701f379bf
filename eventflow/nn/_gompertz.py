"""Duration heads whose log-intensity is a line in the time since the last event, up to a ceiling.

Axes: (...) leading, H hidden, K marks. Times are in the cell's unit (about 1 on average).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eventflow.nn._durations import DurationHead, IndependentMarks

#: Log-intensities stop growing here: e^15 events per unit; without it a long gap overflows.
CEILING = 15.0


class Gompertz(IndependentMarks):
    """Log-intensity v . h + b + w t, a line in time (RMTPP: Du et al., KDD 2016, eq. 11); w may be negative, and then
    the process may die out. Beyond e^CEILING it stays there."""

    def __init__(self, hidden_size: int, num_marks: int) -> None:
        super().__init__(hidden_size, num_marks)
        self.level = nn.Linear(hidden_size, 1)  # v, b
        self.slope = nn.Parameter(torch.zeros(()))  # w

    def _start(self, h: Tensor, t: Tensor) -> Tensor:
        return self.level(h)[..., 0] + torch.zeros_like(t)

    def log_hazard(self, h: Tensor, t: Tensor) -> Tensor:
        return (self._start(h, t) + self.slope * t).clamp_max(CEILING)

    def log_survival(self, h: Tensor, t: Tensor) -> Tensor:
        return -_line_integral(self._start(h, t), self.slope, t)

    def log_density(self, h: Tensor, t: Tensor) -> Tensor:
        return self.log_hazard(h, t) + self.log_survival(h, t)

    def quantile(self, h: Tensor, log_survival: Tensor) -> Tensor:
        start, hazard = self._start(h, log_survival), -log_survival
        rate, line = start.clamp_max(CEILING).exp(), _line_length(start, self.slope)
        ratio = self.slope * hazard / rate
        slope = torch.where(self.slope.abs() < 1e-8, 1.0, self.slope)
        grown = torch.where(ratio > -1, torch.log1p(ratio.clamp_min(-1 + 1e-12)) / slope, torch.inf)
        on_line = torch.where(self.slope.abs() < 1e-8, hazard / rate, grown)
        until = torch.where(line.isinf(), 0.0, line)
        beyond = until + (hazard - rate * until * _expm1_ratio(self.slope * until)) / math.exp(CEILING)
        return torch.where(on_line <= line, on_line, beyond)


class MarkedGompertz(DurationHead):
    """A line for each mark: log-intensity v_k . h + b_k + w_k t (EasyTPP's RMTPP). Which mark comes depends on when."""

    def __init__(self, hidden_size: int, num_marks: int) -> None:
        super().__init__(hidden_size, num_marks)
        self.level = nn.Linear(hidden_size, num_marks)  # v, b
        self.slope = nn.Parameter(torch.zeros(num_marks))  # w

    def _lines(self, h: Tensor, t: Tensor) -> Tensor:
        """(..., K) log-intensities."""
        return (self.level(h) + self.slope * t[..., None]).clamp_max(CEILING)

    def log_mark_probs(self, h: Tensor, t: Tensor) -> Tensor:
        return self._lines(h, t).log_softmax(-1)

    def log_intensities(self, h: Tensor, t: Tensor) -> Tensor:
        return self._lines(h, t)

    def log_hazard(self, h: Tensor, t: Tensor) -> Tensor:
        return self._lines(h, t).logsumexp(-1)

    def log_survival(self, h: Tensor, t: Tensor) -> Tensor:
        start = self.level(h) + torch.zeros_like(t)[..., None]
        return -_line_integral(start, self.slope, t[..., None]).sum(-1)

    def log_density(self, h: Tensor, t: Tensor) -> Tensor:
        return self.log_hazard(h, t) + self.log_survival(h, t)


def _line_length(start: Tensor, slope: Tensor) -> Tensor:
    """How long the log-intensity ``start + slope t`` stays below the ceiling."""
    rising = (CEILING - start).clamp_min(0) / slope.clamp_min(1e-12)
    flat = torch.where(start > CEILING, 0.0, torch.inf)
    return torch.where(slope > 0, rising, flat).detach()


def _line_integral(start: Tensor, slope: Tensor, t: Tensor) -> Tensor:
    """Integral over [0, t) of exp(min(start + slope s, CEILING))."""
    on_line = torch.minimum(t, _line_length(start, slope))
    grown = start.clamp_max(CEILING).exp() * on_line * _expm1_ratio(slope * on_line)
    return grown + math.exp(CEILING) * (t - on_line)


def _expm1_ratio(x: Tensor) -> Tensor:
    """(e^x - 1) / x, 1 at 0, with gradients that are finite there."""
    small = x.abs() < 1e-4
    safe = torch.where(small, 1.0, x)
    return torch.where(small, 1 + x / 2 + x**2 / 6, torch.expm1(safe) / safe)
