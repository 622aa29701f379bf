"""Send or hold: control of a simulated point process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from eventflow.errors import InputError, did_you_mean
from eventflow.rl.envs._user import User


class PointProcessEnv(gymnasium.Env[np.ndarray, int]):
    """When to notify a user whose activity is a Hawkes process (:mod:`eventflow.rl.envs`, :class:`User`).

    Every ``interval`` there is a decision: hold (0) or send (1). The observation is the state itself, (x, y): the
    excitation of the intensity and the fatigue, both from 0. Reward: ``response`` for each activity until the next
    decision, minus the annoyance if one was sent. ``terminated`` when the user leaves; an episode has no other end, so
    limit it with ``gymnasium.make("eventflow/Notify-v0")`` (``truncated`` after 1,000 decisions). It starts at rest,
    x = y = 0, and the seed given to ``reset`` decides all that follows.

    ``info``: ``t`` (now), ``dt`` (since the last decision), ``events`` (times of the activities in between), ``left``,
    and after a step ``noticed`` and ``annoyance``.

    The best that can be done is known: :func:`eventflow.rl.envs.solve`.

    Args:
        user: the law of the user, or a mapping of what differs from the default one.
        interval: between decisions, in the unit of the rates.

    Raises:
        InputError: an unknown parameter, an interval that is not positive.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, user: User | Mapping[str, float] | None = None, *, interval: float = 1.0) -> None:
        if not (interval > 0 and math.isfinite(interval)):
            raise InputError(f"PointProcessEnv(interval={interval}): expected a finite number > 0")
        self.user, self.interval = as_user(user), float(interval)
        self.observation_space = spaces.Box(0.0, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(2)  # type: ignore[assignment]
        self._x = self._y = self._t = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """At rest; ``options={"x": ..., "y": ...}`` starts elsewhere."""
        super().reset(seed=seed)
        options = options or {}
        for key in options:
            if key not in ("x", "y"):
                raise InputError(f"reset: unknown option {key!r}; {did_you_mean(key, ['x', 'y'])}")
        self._x, self._y, self._t = float(options.get("x", 0.0)), float(options.get("y", 0.0)), 0.0
        if not (self._x >= 0 and self._y >= 0):
            raise InputError(f"reset: x={self._x}, y={self._y}; expected numbers >= 0")
        return self._observe(), {"t": 0.0, "dt": 0.0, "events": np.zeros(0), "left": False}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold (0) or send (1), and the time until the next decision."""
        if not self.action_space.contains(action):
            raise InputError(f"PointProcessEnv.step({action!r}): expected 0 (hold) or 1 (send)")
        user, draw = self.user, self.np_random
        cost, noticed, left = 0.0, False, False
        if action == 1:
            cost = float(user.cost(self._y))
            left = bool(draw.random() < user.leaves(self._y))
            noticed = not left and bool(draw.random() < user.notices(self._x))
            self._x += user.nudge * noticed
            self._y += 1.0
        times: list[float] = []
        if not left:
            self._x, times = user.activity(self._x, self.interval, draw)
        self._y *= math.exp(-user.fatigue_decay * self.interval)
        info = {
            "t": self._t + self.interval, "dt": self.interval, "events": self._t + np.array(times), "left": left,
            "noticed": noticed, "annoyance": cost,
        }  # fmt: skip
        self._t += self.interval
        return self._observe(), user.response * len(times) - cost, left, False, info

    def _observe(self) -> np.ndarray:
        return np.array([self._x, self._y])


def as_user(given: User | Mapping[str, float] | None) -> User:
    """A user; unknown parameters are errors."""
    if isinstance(given, User):
        return given
    known = [field.name for field in fields(User)]
    for key in given or {}:
        if key not in known:
            raise InputError(f"User: unknown parameter {key!r}; {did_you_mean(key, known)}")
    return User(**(given or {}))
