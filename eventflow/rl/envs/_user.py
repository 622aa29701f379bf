"""The law of a user who acts by himself, is excited by what he does, and can be notified.

Activity is a Hawkes process with an exponential kernel, of intensity lambda(t) = base + x(t). The excitation x decays
at rate ``decay``, jumps by ``jump`` at each activity, and by ``nudge`` when a notification is *noticed*, which has
probability lambda / (lambda + half): those who are around notice. Fatigue y decays at rate ``fatigue_decay`` and grows
by 1 at each notification, noticed or not. Sending costs annoyance (1 + y) and, with probability 1 - exp(-leave y), the
user leaves for good. (x, y) is Markov: nothing else of the past matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from eventflow.errors import InputError


@dataclass(frozen=True, slots=True)
class User:
    """Parameters of a user; rates are per unit of time (say, hours).

    Args:
        base: intensity of activity by itself.
        jump: by which each activity raises the intensity; below ``decay``, else activity explodes.
        decay: rate at which excitation is forgotten.
        nudge: by which a noticed notification raises the intensity.
        half: intensity at which half of the notifications are noticed.
        fatigue_decay: rate at which notifications are forgiven.
        response: reward for each activity.
        annoyance: cost of a notification to a rested user.
        leave: hazard of leaving, per unit of fatigue, at each notification.

    Raises:
        InputError: a rate that is negative, or a process that explodes.
    """

    base: float = 0.1
    jump: float = 0.3
    decay: float = 0.6
    nudge: float = 1.2
    half: float = 0.4
    fatigue_decay: float = 0.15
    response: float = 1.0
    annoyance: float = 0.6
    leave: float = 0.01

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"User({field.name}={value}): expected a finite number >= 0")
        for name in ("base", "decay", "fatigue_decay"):
            if not getattr(self, name) > 0:
                raise InputError(f"User({name}={getattr(self, name)}): expected a number > 0")
        if not self.jump < self.decay:
            raise InputError(f"User(jump={self.jump}, decay={self.decay}): activity explodes; expected jump < decay")

    def notices(self, x: Any) -> Any:
        """Probability that a notification is noticed at excitation x."""
        return (self.base + x) / (self.base + x + self.half)

    def cost(self, y: Any) -> Any:
        """What a notification costs at fatigue y."""
        return self.annoyance * (1 + y)

    def leaves(self, y: Any) -> Any:
        """Probability that a notification at fatigue y makes the user leave."""
        return -np.expm1(-self.leave * y)

    def mean_excitation(self, x: Any, dt: float) -> Any:
        """E[x(t + dt) | x(t)], nothing being sent: d/dt E[x] = jump base - (decay - jump) E[x]."""
        rest = self.jump * self.base / (self.decay - self.jump)
        return rest + (x - rest) * math.exp(-(self.decay - self.jump) * dt)

    def mean_activity(self, x: Any, dt: float) -> Any:
        """E[number of activities within dt | x], nothing being sent."""
        slow = self.decay - self.jump
        rest = self.jump * self.base / slow
        return (self.base + rest) * dt - (x - rest) * math.expm1(-slow * dt) / slow

    def activity(self, x: float, dt: float, draw: np.random.Generator) -> tuple[float, list[float]]:
        """(excitation after dt, times of the activities in (0, dt]): exact, without rejection.

        The next activity is the earlier of two: one at rate ``base``, and one from the decaying excitation, which may
        never come (Dassios & Zhao, Exact simulation of Hawkes process with exponentially decaying intensity, 2013).
        """
        now, times = 0.0, []
        while True:
            gap = draw.exponential(1 / self.base)
            if x > 0:
                left = 1 - self.decay * draw.exponential() / x
                if left > 0:
                    gap = min(gap, -math.log(left) / self.decay)
            if now + gap > dt:
                return x * math.exp(-self.decay * (dt - now)), times
            now += gap
            x = x * math.exp(-self.decay * gap) + self.jump
            times.append(now)
