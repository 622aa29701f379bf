"""Heads as distributions: the law of the time T since the last event, and the mark that ends it, given a hidden state.

Axes: (...) leading, H hidden, K marks, C components. Times are in the cell's unit (about 1 on average). Mixtures see
t + TINY, so that their densities are finite at zero gaps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eventflow.errors import InputError
from eventflow.nn._recorded import Recorded

#: Added to times of laws whose density is singular at 0: far below a gap that matters, far above float32's smallest.
TINY = 1e-8
#: Log of the largest deviation of log T in a lognormal component: two of them to both sides are a factor of 3000.
_WIDEST = math.log(2.0)


class DurationHead(Recorded, nn.Module):
    """The law of the time to the next event, from the hidden state after the last one.

    A subclass writes ``log_survival``, ``log_density`` and ``log_mark_probs``; and ``mean_beyond`` and ``quantile``
    where it has them in closed form.

    Args:
        hidden_size: H.
        num_marks: K.
    """

    def __init__(self, hidden_size: int, num_marks: int) -> None:
        super().__init__()

    def log_mark_probs(self, h: Tensor, t: Tensor) -> Tensor:
        """(..., K) log-probabilities of the marks of an event at t."""
        raise NotImplementedError

    def log_survival(self, h: Tensor, t: Tensor) -> Tensor:
        """(...) log P(T > t)."""
        raise NotImplementedError

    def log_density(self, h: Tensor, t: Tensor) -> Tensor:
        """(...) log of the density at t."""
        raise NotImplementedError

    def log_hazard(self, h: Tensor, t: Tensor) -> Tensor:
        """(...) log of the intensity of all marks together."""
        return self.log_density(h, t) - self.log_survival(h, t)

    def log_intensities(self, h: Tensor, t: Tensor) -> Tensor:
        """(..., K) logs of the intensities of the marks."""
        return self.log_hazard(h, t)[..., None] + self.log_mark_probs(h, t)

    def mean_beyond(self, h: Tensor, t: Tensor) -> Tensor | None:
        """(...) E[T; T > t] where it has a closed form and marks are independent of the time, else None."""
        return None

    def quantile(self, h: Tensor, log_survival: Tensor) -> Tensor:
        """(...) the time where the log-survival has fallen to this: bisection in log time; inf where it never does."""
        low, high = torch.full_like(log_survival, -40.0), torch.full_like(log_survival, 40.0)
        unreached = self.log_survival(h, high.exp()) > log_survival
        for _ in range(70):
            middle = (low + high) / 2
            above = self.log_survival(h, middle.exp()) > log_survival
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return torch.where(unreached, torch.inf, ((low + high) / 2).exp())


class IndependentMarks(DurationHead):
    """Time and mark of the next event are independent given the past; marks ~ softmax(V h + c)."""

    def __init__(self, hidden_size: int, num_marks: int) -> None:
        super().__init__(hidden_size, num_marks)
        self.mark_logits = nn.Linear(hidden_size, num_marks)

    def log_mark_probs(self, h: Tensor, t: Tensor) -> Tensor:
        return self.mark_logits(h).log_softmax(-1)


class _Mixture(IndependentMarks):
    """C components with weights, and two parameters each, from one linear map of the hidden state."""

    def __init__(self, hidden_size: int, num_marks: int, *, components: int) -> None:
        super().__init__(hidden_size, num_marks)
        if components < 1:
            raise InputError(f"{type(self).__name__}(components={components}): expected at least 1")
        self.components = nn.Linear(hidden_size, 3 * components)

    def _parts(self, h: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(log weights, first, second, log time), all broadcasting to (..., C)."""
        logits, first, second = self.components(h).chunk(3, -1)
        return logits.log_softmax(-1), first, second, (t + TINY).log()[..., None]


class LogNormalMixture(_Mixture):
    """log T is a mixture of normals (Shchur, Bilos & Guennemann, ICLR 2020, arXiv:1909.12127, eq. 2).

    Their deviations are at most 2: the mean of a lognormal grows with exp(sigma^2 / 2), and a wide component of a
    weight that costs the likelihood nothing would rule the mean of the mixture (EasyTPP stops at e^3: 10^87).
    """

    def __init__(self, hidden_size: int, num_marks: int, *, components: int = 16) -> None:
        super().__init__(hidden_size, num_marks, components=components)

    def _parts(self, h: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight, mean, log_std, log_t = super()._parts(h, t)
        return weight, mean, log_std.clamp_max(_WIDEST), log_t

    def log_survival(self, h: Tensor, t: Tensor) -> Tensor:
        weight, mean, log_std, log_t = self._parts(h, t)
        return (weight + torch.special.log_ndtr((mean - log_t) * torch.exp(-log_std))).logsumexp(-1)

    def log_density(self, h: Tensor, t: Tensor) -> Tensor:
        weight, mean, log_std, log_t = self._parts(h, t)
        z = (log_t - mean) * torch.exp(-log_std)
        return (weight - z**2 / 2 - log_std - log_t - 0.5 * math.log(2 * math.pi)).logsumexp(-1)

    def mean_beyond(self, h: Tensor, t: Tensor) -> Tensor:
        weight, mean, log_std, log_t = self._parts(h, t)
        std = log_std.exp()
        whole = weight + mean + std**2 / 2 + torch.special.log_ndtr((mean + std**2 - log_t) / std)
        return whole.logsumexp(-1).exp() - TINY * self.log_survival(h, t).exp()


class WeibullMixture(_Mixture):
    """A mixture of Weibull laws: survival exp(-(t / scale)^shape) each (Marin et al., J. Stat. Comput. Simul. 2005)."""

    def __init__(self, hidden_size: int, num_marks: int, *, components: int = 8) -> None:
        super().__init__(hidden_size, num_marks, components=components)

    def _power(self, log_scale: Tensor, log_shape: Tensor, log_t: Tensor) -> Tensor:
        return (log_shape.exp() * (log_t - log_scale)).clamp_max(80.0)

    def log_survival(self, h: Tensor, t: Tensor) -> Tensor:
        weight, log_scale, log_shape, log_t = self._parts(h, t)
        return (weight - self._power(log_scale, log_shape, log_t).exp()).logsumexp(-1)

    def log_density(self, h: Tensor, t: Tensor) -> Tensor:
        weight, log_scale, log_shape, log_t = self._parts(h, t)
        power = self._power(log_scale, log_shape, log_t)
        return (weight + log_shape + power - log_t - power.exp()).logsumexp(-1)

    def mean_beyond(self, h: Tensor, t: Tensor) -> Tensor:
        weight, log_scale, log_shape, log_t = self._parts(h, t)
        order = 1 + torch.exp(-log_shape)
        upper = torch.special.gammaincc(order, self._power(log_scale, log_shape, log_t).exp().expand_as(order))
        whole = (weight + log_scale + torch.lgamma(order)).exp() * upper
        return whole.sum(-1) - TINY * self.log_survival(h, t).exp()
