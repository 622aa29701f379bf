"""Closed forms of discounted sums where time is irregular: what the learners are checked against.

A semi-Markov reward process: after an event of mark i the next one is of mark j with probability P[i, j], a gap later
whose Laplace transform at beta is L[i, j] = E[exp(-beta dt)]. Its values solve V = (P * L) (r + V) (Bradtke & Duff,
Reinforcement learning methods for continuous-time Markov decision problems, NIPS 1994).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eventflow.errors import InputError


def gamma_laplace(rate: float, *, shape: float, mean: float) -> float:
    """E[exp(-rate dt)] of a gamma-distributed gap; shape 1 is exponential (a Poisson process), inf a regular clock."""
    if not (shape > 0 and mean > 0 and rate >= 0):
        raise InputError(f"gamma_laplace({rate}, shape={shape}, mean={mean}): expected rate >= 0, shape and mean > 0")
    return float(np.exp(-rate * mean) if np.isinf(shape) else (1 + rate * mean / shape) ** -shape)


def renewal_value(laplace: float) -> float:
    """The expected discounted number of events after one: L / (1 - L); beta -> 0 gives inf."""
    return float(np.inf if laplace >= 1 else laplace / (1 - laplace))


def semi_markov_value(transition: ArrayLike, laplace: ArrayLike, reward: ArrayLike) -> np.ndarray:
    """(K,) the expected discounted sum of rewards after an event of each mark.

    Args:
        transition: (K, K) probabilities of the next mark.
        laplace: (K, K), or broadcasting to it: E[exp(-beta dt)] of the gap in between.
        reward: (K,) what an event of each mark earns, when it comes.

    Raises:
        InputError: the rows of ``transition`` do not sum to 1, or the sum diverges.
    """
    p, r = np.asarray(transition, float), np.asarray(reward, float)
    if p.ndim != 2 or p.shape[0] != p.shape[1] or not np.allclose(p.sum(1), 1):
        raise InputError(f"semi_markov_value: transition {p.shape} with row sums {p.sum(-1)}; expected (K, K), all 1")
    kernel = p * np.broadcast_to(np.asarray(laplace, float), p.shape)
    if np.abs(np.linalg.eigvals(kernel)).max() >= 1:
        raise InputError("semi_markov_value: the discounted sum diverges; expected a discount rate > 0")
    return np.linalg.solve(np.eye(len(p)) - kernel, kernel @ r)
