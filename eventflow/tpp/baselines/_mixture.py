"""A mixture of lognormals for gaps, fitted by expectation-maximisation (Dempster, Laird, Rubin 1977) in float64.

Deterministic: it starts from the quantiles of the log-gaps. A component may not become narrower than ``SD_FLOOR`` (5 %
of a gap): recorded times lie on the grid of a clock, and without a floor the likelihood grows without bound by spikes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[np.float64]

SD_FLOOR = 0.05


class LognormalMixture(NamedTuple):
    """Weights, means and standard deviations of log-gaps, each (components,)."""

    weight: Array
    mu: Array
    sd: Array

    def log_prob(self, gap: Array) -> Array:
        """(n,) log-densities of positive gaps."""
        log_gap = np.log(gap)
        return np.logaddexp.reduce(self._terms(log_gap), axis=1) - log_gap

    def log_survival(self, gap: Array) -> Array:
        """(n,) log-probabilities of a gap longer than this; 0 at a gap of 0."""
        with np.errstate(divide="ignore"):
            z = (np.log(gap)[:, None] - self.mu) / self.sd
        tails = torch.special.log_ndtr(torch.from_numpy(-z)).numpy()
        return np.logaddexp.reduce(np.log(self.weight) + tails, axis=1)

    @property
    def mean(self) -> float:
        """Expected gap."""
        return float(self.weight @ np.exp(self.mu + self.sd**2 / 2))

    @property
    def median(self) -> float:
        """The gap that half of all exceed, by bisection in log-gap."""
        low, high = float((self.mu - 9 * self.sd).min()), float((self.mu + 9 * self.sd).max())
        for _ in range(80):
            middle = (low + high) / 2
            longer = self.log_survival(np.array([math.exp(middle)]))[0] > math.log(0.5)
            low, high = (middle, high) if longer else (low, middle)
        return math.exp((low + high) / 2)

    def _terms(self, log_gap: Array) -> Array:
        """(n, components) log of weight times normal density."""
        z = (log_gap[:, None] - self.mu) / self.sd
        return np.log(self.weight) - np.log(self.sd) - 0.5 * math.log(2 * math.pi) - 0.5 * z * z


def fit_lognormal_mixture(
    gap: Array, *, components: int = 8, steps: int = 300, tolerance: float = 1e-6
) -> LognormalMixture:
    """The maximum-likelihood mixture of positive gaps (n,); stops when a step gains less than ``tolerance`` a gap."""
    if not len(gap) or not (gap > 0).all() or not np.isfinite(gap).all():
        raise InputError("fit_lognormal_mixture: expected at least one gap, all positive and finite")
    log_gap: Array = np.log(gap)
    rounded: Array = np.round(log_gap, 9)
    x, count = np.unique(rounded, return_counts=True)  # a clock's grid repeats itself: count once
    mu = np.quantile(log_gap, (np.arange(components) + 0.5) / components)
    sd = np.full(components, max(float(log_gap.std()) / 2, SD_FLOOR))
    mixture, before = LognormalMixture(np.full(components, 1 / components), mu, sd), -math.inf
    for _ in range(steps):
        terms = mixture._terms(x)
        top = terms.max(1, keepdims=True)
        share = np.exp(terms - top)
        total = share.sum(1, keepdims=True)
        now = float(count @ (np.log(total) + top)[:, 0]) / len(gap)
        if now - before < tolerance:
            break
        mixture, before = _maximise(x, count[:, None] * share / total), now
    return mixture


def _maximise(x: Array, share: Array) -> LognormalMixture:
    count = share.sum(0) + 1e-10  # an emptied component keeps a weight of about nothing instead of nan
    mu = x @ share / count
    variance = np.maximum(x * x @ share / count - mu * mu, 0)
    return LognormalMixture(count / count.sum(), mu, np.maximum(np.sqrt(variance), SD_FLOOR))
