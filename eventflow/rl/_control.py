"""Stream Q(lambda), SARSA(lambda) and AC(lambda): Elsayed et al., arXiv 2410.14606."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventflow.errors import InputError, require
from eventflow.ops.streamx import AC, Array, Network, Q, Rule
from eventflow.ops.streamx._layout import ACTION, EXPLORED
from eventflow.rl._agent import Agent
from eventflow.rl._settings import ACTION_VALUE, POLICY, VALUE, paper_rule


class StreamQ(Agent):
    """Q(lambda), one transition at a time (2410.14606, algorithm 2); Watkins' cut: traces end at exploring actions.

    delta = r + gamma max q(s') - q(s, a). A random action that happens to be the best one does not count as exploring.

    Args:
        env: name of a gymnasium environment (``MinAtar/Breakout-v1`` too), or one.
        rule: ``obgd``, ``stream2026`` or ``intentional``, with the papers' numbers; or a :class:`Rule`.
        seed: of weights, exploration and environment.
        hidden: sizes of the hidden layers; by default (32, 32), behind the convolution of images (128,).
        compat: ``official`` follows the authors' scripts of 2024 where they differ (see the card).
        settings: everything else.

    Raises:
        InputError: an unknown environment or rule, or spaces that do not fit.
    """

    _sarsa = False

    def _networks(self, inputs: Any) -> tuple[tuple[Network, ...], tuple[Rule, ...], int, bool]:
        spaces: Any = require("gymnasium.spaces", "rl")
        if not isinstance(self.action_space, spaces.Discrete):
            raise InputError(f"{type(self).__name__}: actions {self.action_space}; expected Discrete. Write: StreamAC")
        self._first = int(self.action_space.start)
        hidden = tuple(self.hidden or ((128,) if isinstance(inputs, tuple) else (32, 32)))
        return (Network(inputs, hidden, int(self.action_space.n)),), (paper_rule(self.rule, ACTION_VALUE),), 2, False

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        s = self.settings
        fall = (s.epsilon_start - s.epsilon_end) * self.num_steps / s.exploration_steps
        return max(s.epsilon_start - fall, s.epsilon_end)

    def _draw(self) -> None:
        self._rng.random(out=self._noise)

    def _begin(self, clock: float) -> int:
        return self._steps.begin(Q, clock, self.epsilon)

    def _learn(self, reward: float, terminated: bool, truncated: bool, clock: float) -> int:
        return self._steps.q(reward, terminated, truncated, clock, self.epsilon, self._sarsa)

    def _bind(self) -> None:
        super()._bind()
        self._noise = self.learner.noise

    def _action(self) -> int:
        return int(self.learner.memory[ACTION]) + self._first

    def _take(self, action: Any) -> None:
        index = _index(action, self._first, self.learner.networks[0].outputs)
        room, count = self.learner.networks[0].room, self.learner.networks[0].outputs
        if self.settings.backend == "naive":
            out = self._forward(self.learner.work[: self.learner.networks[0].features])
        else:
            out = self.learner.work[room - -(-count // 16) * 16 :][:count]
        self.learner.memory[ACTION], self.learner.memory[EXPLORED] = index, float(index != int(np.argmax(out)))

    def _answer(self, out: Array, deterministic: bool) -> int:
        return int(out.argmax()) + self._first


class StreamSARSA(StreamQ):
    """SARSA(lambda): delta = r + gamma q(s', a') - q(s, a), a' being chosen before the update; traces are not cut.

    Arguments as for :class:`StreamQ`.
    """

    _sarsa = True


class StreamAC(Agent):
    """Actor-critic(lambda), one transition at a time (2410.14606, algorithm 1), for continuous and discrete actions.

    The critic's trace gathers the gradient of v; the actor's that of log pi(a) + entropy sign(delta) H(pi). Continuous:
    a normal distribution with mean and softplus deviation from two heads, clipped on its way into the environment only.

    Args: as for :class:`StreamQ`; ``hidden`` is (128, 128) by default.
    """

    def _networks(self, inputs: Any) -> tuple[tuple[Network, ...], tuple[Rule, ...], int, bool]:
        spaces: Any = require("gymnasium.spaces", "rl")
        space = self.action_space
        hidden = tuple(self.hidden or ((128,) if isinstance(inputs, tuple) else (128, 128)))
        rules = paper_rule(self.rule, POLICY), paper_rule(self.rule, VALUE)
        self._continuous = isinstance(space, spaces.Box)
        if self._continuous:
            count = int(np.prod(space.shape))
            self._low, self._high = (np.asarray(v, np.float64).reshape(-1) for v in (space.low, space.high))
            return (Network(inputs, hidden, 2 * count), Network(inputs, hidden, 1)), rules, count, True
        if not isinstance(space, spaces.Discrete):
            raise InputError(f"StreamAC: actions {space}; expected Box or Discrete")
        self._first = int(space.start)
        return (Network(inputs, hidden, int(space.n)), Network(inputs, hidden, 1)), rules, 1, False

    def _bind(self) -> None:
        super()._bind()
        self._noise, self._drawn = self.learner.noise, self.learner.action

    def _draw(self) -> None:
        if self._continuous:
            self._rng.standard_normal(out=self._noise)
        else:
            self._rng.random(out=self._noise)

    def _begin(self, clock: float) -> int:
        return self._steps.begin(AC, clock, 0.0)

    def _learn(self, reward: float, terminated: bool, truncated: bool, clock: float) -> int:
        return self._steps.ac(reward, terminated, truncated, clock)

    def _action(self) -> Any:
        return self._clip(self._drawn) if self._continuous else int(self.learner.memory[ACTION]) + self._first

    def _clip(self, drawn: Array) -> Array:
        inside = np.minimum(np.maximum(drawn, self._low), self._high).astype(self.action_space.dtype)
        return inside.reshape(self.action_space.shape)

    def _take(self, action: Any) -> None:
        if not self._continuous:
            self.learner.memory[ACTION] = _index(action, self._first, self.learner.networks[0].outputs)
            return
        given = np.asarray(action, np.float64).reshape(-1)
        if given.shape != self._drawn.shape or not np.isfinite(given).all():
            raise InputError(f"partial_fit: action {action!r}; expected {self._drawn.shape} finite numbers")
        self._drawn[:] = given

    def _answer(self, out: Array, deterministic: bool) -> Any:
        if not self._continuous:
            if deterministic:
                return int(out.argmax()) + self._first
            p = np.exp(out - out.max())
            return int(self._asked.choice(len(p), p=p / p.sum())) + self._first
        mean, pre = out.reshape(2, -1)
        spread = 0.0 if deterministic else np.logaddexp(0.0, pre) * self._asked.standard_normal(len(pre))
        return self._clip(mean + spread)


def _index(action: Any, first: int, count: int) -> int:
    index = int(action) - first
    if index + first != action or not 0 <= index < count:
        raise InputError(f"partial_fit: action {action}; expected {first} to {first + count - 1}")
    return index
