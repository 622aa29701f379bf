"""The optimal stationary policy of :class:`PointProcessEnv`, and the value of any other, by dynamic programming.

The state (x, y) is put on a grid. Fatigue is deterministic; the law of x over an interval is the matrix exponential of
the Hawkes generator  (G u)(x) = -decay x u'(x) + (base + x) (u(x + jump) - u(x)),  taken by Strang splitting: decay is
a linear interpolation, jumps are exact (the grid's spacing divides the jump). Both are stochastic matrices, so the
Bellman operator contracts and iteration converges to the one solution. Means of activity are exact; what remains is
the interpolation error, of second order in the spacing (a test halves it).

Axes: X points of x, Y points of y.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.rl.envs._user import User

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class NotifySolution:
    """Values on the grid.

    Args:
        x: (X,) points of the excitation.
        y: (Y,) points of the fatigue.
        q: (2, X, Y) the value of hold and send, and the policy afterwards.
        policy: (X, Y) probability of sending.
        discount: gamma, per decision.
    """

    x: Array
    y: Array
    q: Array
    policy: Array
    discount: float

    def value(self, obs: Array) -> float:
        """The expected discounted reward from an observation (x, y) on."""
        hold, send = self.q_values(obs)
        best = np.array_equal(self.policy, (self.q[1] > self.q[0]).astype(float))
        if best:
            return max(hold, send)
        share = float(_bilinear(self.policy[None], self.x, self.y, obs)[0])
        return (1 - share) * hold + share * send

    def q_values(self, obs: Array) -> tuple[float, float]:
        """(hold, send), interpolated between grid points."""
        hold, send = _bilinear(self.q, self.x, self.y, obs)
        return float(hold), float(send)

    def act(self, obs: Array) -> int:
        """The better of the two."""
        hold, send = self.q_values(obs)
        return int(send > hold)


def solve(
    user: User, *, interval: float = 1.0, discount: float = 0.97, policy: Callable[[Array, Array], Array] | None = None,
    points: tuple[int, int] = (240, 64), tolerance: float = 1e-9,
) -> NotifySolution:  # fmt: skip
    """The optimal policy and its values; with ``policy``, the values of that one.

    Args:
        user: the law of the user.
        interval: between decisions.
        discount: gamma in [0, 1), per decision.
        policy: (x (X, 1), y (1, Y)) -> probability of sending, broadcast to (X, Y); None: the best there is.
        points: of the grid: about so many in x, so many in y.
        tolerance: on the values, absolute.

    Raises:
        InputError: a discount outside [0, 1).
    """
    if not 0 <= discount < 1:
        raise InputError(f"solve(discount={discount}): expected a number in [0, 1)")
    grid = _Grid(user, interval, points)
    chosen: Array | None = None
    if policy is not None:
        chosen = np.broadcast_to(policy(grid.x[:, None], grid.y[None]), grid.shape).astype(np.float64)
    value = np.zeros(grid.shape)
    stop = tolerance * (1 - discount) / max(discount, 1e-12)
    while True:
        q = grid.backup(value, discount)
        after = q.max(0) if chosen is None else (1 - chosen) * q[0] + chosen * q[1]
        change = np.abs(after - value).max()
        value = after
        if change <= stop:
            sends = (q[1] > q[0]).astype(float) if chosen is None else chosen
            return NotifySolution(grid.x, grid.y, q, sends, discount)


class _Grid:
    """Points, the matrices between them, and one Bellman backup."""

    def __init__(self, user: User, interval: float, points: tuple[int, int]) -> None:
        self._user = user
        slow, fatigue = user.decay - user.jump, math.exp(-user.fatigue_decay * interval)
        # beyond this x hardly ever gets: always noticed, plus 20 decay lengths of the tail of x, exp(-theta x)
        highest = user.jump * user.base / slow + user.nudge / -math.expm1(-slow * interval) + 20 / _tail(user)
        spacing = highest / (points[0] - 1)
        if user.jump:
            spacing = user.jump / max(1, round(user.jump / spacing))
        self.x = spacing * np.arange(math.ceil(highest / spacing) + 1)
        self.y = np.linspace(0, fatigue / (1 - fatigue), points[1])
        self.shape = (len(self.x), len(self.y))
        self._law = _law(user, interval, self.x)
        self._nudged = _interpolation(self.x, self.x + user.nudge)
        self._rested, self._tired = (_interpolation(self.y, (self.y + sent) * fatigue) for sent in (0.0, 1.0))
        self._activity = np.asarray(user.mean_activity(self.x, interval))
        self._nudged_activity = np.asarray(user.mean_activity(self.x + user.nudge, interval))

    def backup(self, value: Array, discount: float) -> Array:
        """(2, X, Y): what hold and send are worth if ``value`` comes after."""
        user = self._user
        ahead = discount * (self._law @ value)  # (X, Y) by excitation now and fatigue at the next decision
        hold = user.response * self._activity[:, None] + ahead @ self._rested.T
        sent = ahead @ self._tired.T
        unnoticed = user.response * self._activity[:, None] + sent
        noticed = user.response * self._nudged_activity[:, None] + self._nudged @ sent
        share = np.asarray(user.notices(self.x))[:, None]
        stays = 1 - np.asarray(user.leaves(self.y))[None]
        send = stays * (share * noticed + (1 - share) * unnoticed) - np.asarray(user.cost(self.y))[None]
        return np.stack([hold, send])


def _tail(user: User) -> float:
    """theta > 0 with exp(theta jump) - 1 = decay theta: the stationary excitation has a tail like exp(-theta x)."""
    if not user.jump:
        return 1.0
    low, high = 1e-12, 1.0
    while math.expm1(high * user.jump) < user.decay * high:
        high *= 2
    for _ in range(200):
        mid = 0.5 * (low + high)
        low, high = (mid, high) if math.expm1(mid * user.jump) < user.decay * mid else (low, mid)
    return low


def _law(user: User, interval: float, x: Array, doublings: int = 5) -> Array:
    """(X, X): from the excitation now to the one an interval later."""
    step = interval / 2**doublings
    fade = _interpolation(x, x * math.exp(-user.decay * step / 2))
    jumps = np.zeros((len(x), len(x)))
    shifted = np.minimum(np.arange(len(x)) + round(user.jump / x[1]), len(x) - 1)
    rate = user.base + x
    np.add.at(jumps, (np.arange(len(x)), shifted), rate)
    # exp(step (J - rate)) by uniformisation: a mixture of powers of a stochastic matrix, weights of a Poisson law
    top = rate.max()
    chain = (jumps + np.diag(top - rate)) / top
    weight = math.exp(-step * top)
    power = np.eye(len(x))
    law, mass, k = weight * power, weight, 0
    while 1 - mass > 1e-14 and k < 1000:
        k += 1
        power, weight = power @ chain, weight * step * top / k
        law, mass = law + weight * power, mass + weight
    whole = fade @ law @ fade
    whole /= whole.sum(1, keepdims=True)
    for _ in range(doublings):
        whole = whole @ whole
    return whole


def _interpolation(grid: Array, at: Array) -> Array:
    """(len(at), len(grid)): linear interpolation on an even grid; what lies beyond its end is at its end."""
    place = np.clip(at / grid[1], 0, len(grid) - 1)
    low = np.minimum(place.astype(int), len(grid) - 2)
    part = place - low
    weights = np.zeros((len(at), len(grid)))
    weights[np.arange(len(at)), low] = 1 - part
    weights[np.arange(len(at)), low + 1] = part
    return weights


def _bilinear(table: Array, x: Array, y: Array, obs: Array) -> Array:
    """(n, X, Y) -> (n,) at obs (x, y)."""
    px, py = min(float(obs[0]) / x[1], len(x) - 1.0), min(float(obs[1]) / y[1], len(y) - 1.0)
    i, j = min(int(px), len(x) - 2), min(int(py), len(y) - 2)
    u, v = px - i, py - j
    corner = table[:, i : i + 2, j : j + 2]
    return (1 - u) * ((1 - v) * corner[:, 0, 0] + v * corner[:, 0, 1]) + u * (
        (1 - v) * corner[:, 1, 0] + v * corner[:, 1, 1]
    )
