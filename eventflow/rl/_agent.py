"""What all streaming agents share: the loop over an environment, pushing, saving, resuming, judging."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eventflow import __version__
from eventflow.errors import InputError, did_you_mean
from eventflow.ops.streamx import Array, Learner, Network, Rule, new_learner, steps
from eventflow.ops.streamx._layout import RETURN
from eventflow.rl._environment import Reader, episode_seed, input_shape, make_env
from eventflow.rl._parts import Callback, Episode, Transition, check_steps, check_transition
from eventflow.rl._progress import Bar
from eventflow.rl._saved import read_saved, write_saved
from eventflow.rl._settings import Settings, as_hidden, as_seed, as_settings, start

_COMPAT = (None, "official")


class Agent:
    """A streaming agent: learns from each transition once, when it comes; no replay, no batch, no target network.

    See :class:`StreamQ`, :class:`StreamSARSA` and :class:`StreamAC`. Episode i of an agent starts with
    ``env.reset(seed=...)``, a number made from (seed, i), so that a saved agent goes on at an episode's start with the
    same numbers, whatever process it is in.

    Attributes:
        num_steps: transitions learned from.
        episodes: what is known of the finished ones, :class:`Episode`.
        learner: weights, traces and statistics (:class:`eventflow.ops.streamx.Learner`).
    """

    def __init__(
        self, env: Any, *, rule: str | Rule = "obgd", seed: int = 0, hidden: Sequence[int] | None = None,
        compat: str | None = None, settings: Settings | None = None,
    ) -> None:  # fmt: skip
        if compat not in _COMPAT:
            raise InputError(f"compat={compat!r}: {did_you_mean(str(compat), ['official'])}")
        self.settings = as_settings(settings)
        self.rule, self.seed, self.compat, self.hidden = rule, as_seed(seed), compat, as_hidden(hidden)
        self.env, self.env_name = make_env(env)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        name = self.env_name or type(self.env).__name__
        shape = input_shape(self.observation_space, name)
        image = isinstance(shape, tuple)
        self._limit = self._time_limit(image, name)
        self.learner = self._new_learner(shape if image or not self._limit else shape + 1, bool(compat))
        self._bind()
        start(self.learner, rule.name if isinstance(rule, Rule) else rule, self.seed)
        self._rng = np.random.default_rng([self.seed, 1])
        self._asked = np.random.default_rng([self.seed, 2])  # of predict, apart from learning
        self.num_steps, self._episode, self._length, self._total = 0, 0, 0, 0.0
        self._over = True
        self.episodes: list[Episode] = []

    # -- what differs -------------------------------------------------------------------------------------------------

    def _networks(self, inputs: Any) -> tuple[tuple[Network, ...], tuple[Rule, ...], int, bool]:
        """Networks, their rules, random numbers an action takes, whether actions are continuous."""
        raise NotImplementedError

    def _learn(self, reward: float, terminated: bool, truncated: bool, clock: float) -> int:
        raise NotImplementedError

    def _begin(self, clock: float) -> int:
        raise NotImplementedError

    def _draw(self) -> None:
        """Random numbers for the next action."""
        raise NotImplementedError

    def _action(self) -> Any:
        """The next action, for the environment."""
        raise NotImplementedError

    def _take(self, action: Any) -> None:
        """Pretend that this is the action that was chosen."""
        raise NotImplementedError

    def _answer(self, out: Array, deterministic: bool) -> Any:
        """An action from outputs of the first network."""
        raise NotImplementedError

    # -- learning -----------------------------------------------------------------------------------------------------

    def learn(self, total_steps: int, *, callbacks: Sequence[Callback] = (), progress: bool = False) -> Agent:
        """Interact ``total_steps`` times with the environment, learning from each; goes on where the last call ended.

        Args:
            total_steps: interactions.
            callbacks: :class:`Evaluation`, :class:`Checkpoint` or own ones.
            progress: show a bar with the return and the steps a second.

        Raises:
            InputError: an observation or a reward is not finite; nothing was learned from it.
        """
        end, last = self.num_steps + check_steps(total_steps, callbacks), {id(c): self.num_steps for c in callbacks}
        bar = Bar(total_steps, self.num_steps) if progress else None
        try:
            while self.num_steps < end:
                due = [last[id(c)] + c.every for c in callbacks]
                ahead = [max(d - self.num_steps, 1) for d in due]
                self._interact(min([end - self.num_steps, *ahead, *([2000] if bar else [])]))
                if bar:
                    bar.show(self.num_steps, [e.total for e in self.episodes[-10:]])
                for c in callbacks:
                    if self.num_steps >= last[id(c)] + c.every and (self._over or not c.whole):
                        last[id(c)] = self.num_steps
                        if c(self) is False:
                            return self
        finally:
            if bar:
                bar.close()
        return self

    def finish_episode(self) -> None:
        """Go on learning to the end of the episode, if one has begun."""
        while not self._over:
            self._interact(1)

    def _interact(self, count: int) -> None:
        env, read, learn = self.env, self._read, self._learn
        for _ in range(count):
            if self._over:
                self._start()
            obs, reward, terminated, truncated, _ = env.step(self._action())
            read(obs)
            self._draw()
            fault = learn(float(reward), bool(terminated), bool(truncated), self._clock(1))
            if fault != -1:
                error = self._fault(fault, reward)
                self._cut()  # what was before has no known sequel: the next call starts a new episode
                raise error
            self.num_steps += 1
            self._length += 1
            self._total += reward
            if terminated or truncated:
                self._end()

    def _start(self) -> None:
        obs, _ = self.env.reset(seed=episode_seed(self.seed, self._episode))
        self._open(obs)

    def _open(self, obs: Any) -> None:
        self._read(obs)
        self._draw()
        if (fault := self._begin(self._clock(0))) != -1:
            raise self._fault(fault, 0.0)
        self._over, self._length, self._total = False, 0, 0.0

    def _cut(self) -> None:
        """Forget the episode under way."""
        self.learner.params[1] = 0
        self.learner.memory[RETURN] = 0
        self._episode += 1
        self._over = True

    def _end(self) -> None:
        self.episodes.append(Episode(self._episode, self.num_steps, self._length, float(self._total)))
        self._episode += 1
        self._over = True

    def partial_fit(self, transition: Transition) -> Agent:
        """Learn from a transition that came from elsewhere: a live stream, a log, another loop.

        ``obs`` counts at the start of an episode only; later it must be the last ``next_obs``.

        Raises:
            InputError: a number that is not finite, or an ``obs`` that does not follow.
        """
        check_transition(transition)
        self._reader.flat(transition.next_obs)  # its shape
        if self._over:
            self._reader.flat(transition.obs)
            self._open(transition.obs)
        elif not np.array_equal(self._reader.flat(transition.obs), self.learner.observation):
            raise InputError(
                "partial_fit: obs is not the last next_obs. End the stretch before with truncated=True, and this one "
                "starts a new one"
            )
        self._take(transition.action)
        before = self.learner.observation.copy()
        self._read(transition.next_obs)
        self._draw()
        ends = bool(transition.terminated), bool(transition.truncated)
        if (fault := self._learn(float(transition.reward), *ends, self._clock(1))) != -1:
            error = self._fault(fault, transition.reward)
            self.learner.observation[:] = before  # a repaired transition may follow
            raise error
        self.num_steps += 1
        self._length += 1
        self._total += float(transition.reward)
        if any(ends):
            self._end()
        return self

    # -- using --------------------------------------------------------------------------------------------------------

    def predict(
        self, obs: Any, state: Any = None, *, deterministic: bool = True, clock: float = -0.5
    ) -> tuple[Any, Any]:
        """(action, state) for one observation, as Stable-Baselines3 returns it; changes nothing, statistics included.

        Args:
            obs: one observation of the space.
            state: returned as it is; the agent has no memory of its own.
            deterministic: the mean or the likeliest action; else drawn from the policy (StreamQ: still the best).
            clock: t / limit - 0.5, where the agent has a time feature.

        Raises:
            InputError: an observation of another shape, or not finite.
        """
        x = self._reader.flat(obs)
        if not np.isfinite(x).all():
            raise InputError(f"predict: observation[{int(np.flatnonzero(~np.isfinite(x))[0])}] is not finite")
        return self._answer(self._forward(self._normal(x, clock)), deterministic), state

    def evaluate(self, episodes: int = 5, *, env: Any = None, deterministic: bool = True) -> list[float]:
        """Returns of whole episodes in an environment of its own; nothing is learned, the normalisers stand still."""
        if env is None and self.env_name is None:
            raise InputError("evaluate: this agent was given an environment object. Write: agent.evaluate(env=other)")
        if episodes < 1:
            raise InputError(f"evaluate({episodes}): expected at least one episode")
        judge, made = make_env(env or self.env_name)
        found = []
        for i in range(episodes):
            obs, _ = judge.reset(seed=episode_seed(self.seed, -1 - i))
            total, length, over = 0.0, 0, False
            while not over:
                clock = length / self._limit - 0.5 if self._limit else 0.0
                action, _ = self.predict(obs, deterministic=deterministic, clock=clock)
                obs, reward, terminated, truncated, _ = judge.step(action)
                total, length, over = total + float(reward), length + 1, bool(terminated or truncated)
            found.append(total)
        if made:
            judge.close()
        return found

    # -- keeping ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Weights, traces, scales, statistics, exploration and random numbers, into one file, whole or not at all.

        A loaded agent goes on exactly if this is called between episodes (``Checkpoint`` waits for that); in the middle
        of one, the loaded agent starts a new episode, since the environment's inside is not saved.
        """
        write_saved(Path(path), self._meta(), self._arrays())

    @classmethod
    def load(cls, path: str | Path, *, env: Any = None) -> Any:
        """The agent of :meth:`save`; ``env`` is needed where it was given one as an object.

        Raises:
            InputError: not such a file, of another class, or without an environment.
        """
        meta, arrays = read_saved(path, cls.__name__)
        if env is None and meta["env"] is None:
            raise InputError(f"{path}: was made with an environment object. Write: {cls.__name__}.load(path, env=env)")
        rule = Rule(**meta["rule"]) if isinstance(meta["rule"], dict) else meta["rule"]
        agent = cls(
            env or meta["env"], rule=rule, seed=meta["seed"], hidden=meta["hidden"], compat=meta["compat"],
            settings=Settings(**meta["settings"]),
        )  # fmt: skip
        agent.restore(meta, arrays, str(path))
        return agent

    def state_dict(self) -> dict[str, Any]:
        """All that changes while learning, as plain data and arrays (for checkpoints of others)."""
        return {"meta": json.dumps(self._meta()), **{k: v.copy() for k, v in self._arrays().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.restore(json.loads(state["meta"]), {k: np.asarray(v) for k, v in state.items() if k != "meta"}, "state")

    def restore(self, meta: dict[str, Any], arrays: dict[str, Array], where: str) -> None:
        """Take over what was saved; in the middle of an episode, its traces end here."""
        for name, array in self._arrays().items():
            if name == "episodes":
                continue
            if arrays[name].shape != array.shape or arrays[name].dtype != array.dtype:
                seen = f"{arrays[name].dtype} {arrays[name].shape}"
                raise InputError(f"{where}: {name} is {seen}; this agent's is {array.dtype} {array.shape}")
            array[...] = arrays[name]
        self.episodes = [Episode(int(n), int(s), int(k), float(r)) for n, s, k, r in arrays["episodes"]]
        self._rng.bit_generator.state = meta["rng"]
        self.num_steps, self._episode = meta["num_steps"], meta["episode"]
        if not meta["over"]:
            self._cut()
        self._over = True

    def _arrays(self) -> dict[str, Array]:
        episodes = np.array(self.episodes, np.float64).reshape(-1, 4)
        return {"params": self.learner.params, "memory": self.learner.memory, "episodes": episodes}

    def _meta(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__, "version": __version__, "env": self.env_name, "seed": self.seed,
            "rule": asdict(self.rule) if isinstance(self.rule, Rule) else self.rule, "compat": self.compat,
            "hidden": None if self.hidden is None else list(self.hidden), "settings": asdict(self.settings),
            "rng": self._rng.bit_generator.state, "num_steps": self.num_steps, "episode": self._episode,
            "over": self._over,
        }  # fmt: skip

    # -- inside -------------------------------------------------------------------------------------------------------

    def _time_limit(self, image: bool, name: str) -> int:
        """Steps of an episode if they are a feature, else 0."""
        wanted = self.settings.time_feature
        spec = getattr(self.env, "spec", None)
        limit = getattr(spec, "max_episode_steps", None)
        if wanted is None:
            wanted = self.compat == "official" and not image and limit is not None
        if wanted and (image or limit is None):
            raise InputError(f"{name}: time_feature needs observations that are no images, and a limit of steps")
        return int(limit or 0) if wanted else 0

    def _new_learner(self, inputs: Any, official: bool) -> Learner:
        networks, rules, draws, continuous = self._networks(inputs)
        features = networks[0].features - (1 if self._limit else 0)
        return new_learner(
            networks, rules, options=self.settings.options(official), features=features, actions=draws,
            continuous=continuous, dtype=np.dtype(self.settings.dtype),
        )  # fmt: skip

    def _bind(self) -> None:
        self._steps = steps(self.learner, backend=self.settings.backend)
        self._reader = Reader(self.observation_space, self.learner.observation)
        self._read: Callable[[Any], None] = self._reader
        self._spare = np.zeros_like(self.learner.work)

    def _clock(self, ahead: int) -> float:
        """The time feature of the observation that is ``ahead`` of the last step."""
        if not self._limit:
            return 0.0
        late = self.compat == "official" and ahead  # the authors' clock stands still for the first step
        return (0 if not ahead else self._length + ahead - (1 if late else 0)) / self._limit - 0.5

    def _normal(self, x: Array, clock: float) -> Array:
        if self.settings.normalise and self.learner.memory[0] > 1:
            variance = self.learner.squares / (self.learner.memory[0] - 1)
            x = (x - self.learner.mean) / np.sqrt(variance + 1e-8)
        return np.append(x, clock) if self._limit else x

    def _forward(self, x: Array, k: int = 0) -> Array:
        from eventflow.ops.streamx import numba

        self._spare[: len(x)] = x
        out = numba.forward(self.learner.nets[k], self.learner.params, self._spare, 0)
        return self._spare[out : out + self.learner.networks[k].outputs].astype(np.float64)

    def _fault(self, fault: int, reward: float) -> InputError:
        name = self.env_name or type(self.env).__name__
        what = f"reward is {reward}" if fault == -2 else f"observation[{fault}] is {self.learner.observation[fault]}"
        return InputError(
            f"{name}, episode {self._episode}, step {self._length}: {what}; expected finite numbers. Nothing was "
            "learned from it, and the episode ends here for the agent: repair the environment"
        )
