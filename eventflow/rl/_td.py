"""Stream TD(lambda), prediction: Elsayed et al., arXiv 2410.14606, algorithm 4."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventflow import __version__
from eventflow.errors import InputError, did_you_mean
from eventflow.ops.streamx import TD, Array, Network, Rule, new_learner, steps
from eventflow.ops.streamx._layout import REWARD_P, REWARDS
from eventflow.ops.streamx._layout import VALUE as VALUE_SLOT
from eventflow.rl._settings import VALUE, Settings, paper_rule, start


class Observed(NamedTuple):
    """One step of a stream: what was seen, the cumulant on the way, what was seen then.

    ``discount`` defaults to gamma, ``decay`` (of the trace) to lambda times the discount of the step before.
    """

    obs: Any
    reward: float
    next_obs: Any
    terminated: bool = False
    truncated: bool = False
    discount: float | None = None
    decay: float | None = None


class StreamTD:
    """Predicts the discounted sum of what a stream will bring: v(s) = E[r + gamma v(s')], learned step by step.

    Args:
        inputs: features of an observation.
        rule: ``obgd``, ``stream2026`` or ``intentional``, with the papers' numbers; or a :class:`Rule`.
        seed: of the weights.
        hidden: sizes of the hidden layers.
        compat: ``official``: truncation ends the return like termination; the reward's scale leaks across it.
        settings: discount, lambda_, normalise, scale, dtype, backend.

    Raises:
        InputError: an unknown rule, sizes below one.
    """

    def __init__(
        self, inputs: int, *, rule: str | Rule = "obgd", seed: int = 0, hidden: Sequence[int] = (128, 128),
        compat: str | None = None, settings: Settings | None = None,
    ) -> None:  # fmt: skip
        if compat not in (None, "official"):
            raise InputError(f"compat={compat!r}: {did_you_mean(str(compat), ['official'])}")
        self.inputs, self.rule, self.seed, self.hidden, self.compat = inputs, rule, seed, tuple(hidden), compat
        self.settings = s = settings or Settings()
        self.learner = new_learner(
            (Network(inputs, self.hidden, 1),), (paper_rule(rule, VALUE),), options=s.options(bool(compat)),
            features=inputs, dtype=np.dtype(s.dtype),
        )  # fmt: skip
        start(self.learner, rule.name if isinstance(rule, Rule) else rule, seed)
        self._steps = steps(self.learner, backend=s.backend)
        self._spare = np.zeros_like(self.learner.work)
        self.num_steps, self._over = 0, True
        self._before = self.settings.discount  # of the gap before the last observation

    @property
    def deviation(self) -> float:
        """What values are multiplied with to be in the unit of the rewards."""
        count = self.learner.memory[REWARDS]
        if not self.settings.scale or count < 2:
            return 1.0
        return math.sqrt(self.learner.memory[REWARD_P] / (count - 1) + 1e-8)

    @property
    def value(self) -> float:
        """The prediction at the last observation, in the unit of the rewards."""
        return float(self.learner.memory[VALUE_SLOT]) * self.deviation

    def begin(self, obs: Any) -> float:
        """Start a stretch with its first observation; the prediction there."""
        self._put(obs)
        self._check(self._steps.begin(TD, 0.0, 0.0), 0.0)
        self._over, self._before = False, self.settings.discount
        return self.value

    def step(
        self, reward: float, obs: Any, *, terminated: bool = False, truncated: bool = False,
        discount: float | None = None, decay: float | None = None,
    ) -> float:  # fmt: skip
        """Learn from what came; the prediction at the new observation, in the unit of the rewards.

        Args:
            reward: the cumulant.
            obs: (inputs,) what is seen now.
            terminated: nothing comes after.
            truncated: what comes after is not seen; the value there still counts.
            discount: of the value there; by default gamma.
            decay: of the traces up to the last observation; by default lambda times the discount of *its* step: in
                irregular time the one that bootstraps now belongs to the next gap, and would bias what is learned.

        Raises:
            InputError: a number that is not finite; a discount outside [0, 1].
        """
        if self._over:
            raise InputError("StreamTD.step: no stretch has begun. Write: td.begin(first_observation)")
        s = self.settings
        gamma = s.discount if discount is None else float(discount)
        fade = self._before * s.lambda_ if decay is None else float(decay)
        if not (0 <= gamma <= 1 and 0 <= fade <= 1):
            raise InputError(f"StreamTD.step(discount={gamma}, decay={fade}): expected numbers in [0, 1]")
        self._put(obs)
        self._check(self._steps.td(float(reward), gamma, fade, bool(terminated), bool(truncated)), reward)
        self.num_steps += 1
        self._before = gamma
        self._over = bool(terminated or truncated)
        return self.value

    def partial_fit(self, seen: Observed) -> StreamTD:
        """Learn from one step of a stream; ``obs`` counts at the start of a stretch only."""
        if self._over:
            self.begin(seen.obs)
        self.step(
            seen.reward, seen.next_obs, terminated=seen.terminated, truncated=seen.truncated, discount=seen.discount,
            decay=seen.decay,
        )  # fmt: skip
        return self

    def learn(self, stream: Iterable[Observed]) -> StreamTD:
        """Learn from every step of a stream, once."""
        for seen in stream:
            self.partial_fit(seen)
        return self

    def predict(self, obs: Any) -> float:
        """The prediction at an observation, in the unit of the rewards; changes nothing."""
        from eventflow.ops.streamx import numba

        x, learner = self._flat(obs), self.learner
        if self.settings.normalise and learner.memory[0] > 1:
            x = (x - learner.mean) / np.sqrt(learner.squares / (learner.memory[0] - 1) + 1e-8)
        self._spare[: self.inputs] = x
        out = numba.forward(learner.nets[0], learner.params, self._spare, 0)
        return float(self._spare[out]) * self.deviation

    def save(self, path: str | Path) -> None:
        """All that was learned, into one file, whole or not at all; exact at the end of a stretch."""
        path = Path(path)
        rule = asdict(self.rule) if isinstance(self.rule, Rule) else self.rule
        meta = {
            "class": "StreamTD", "version": __version__, "inputs": self.inputs, "rule": rule, "seed": self.seed,
            "hidden": list(self.hidden), "compat": self.compat, "settings": asdict(self.settings),
            "num_steps": self.num_steps, "over": self._over, "before": self._before,
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        learner = self.learner
        with part.open("wb") as file:
            np.savez(
                file, meta=np.array(json.dumps(meta)), params=learner.params, memory=learner.memory, work=learner.work
            )
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | Path) -> StreamTD:
        """The learner of :meth:`save`; it goes on exactly, in the middle of a stretch too."""
        try:
            with np.load(path, allow_pickle=False) as file:
                meta, arrays = json.loads(str(file["meta"])), {k: file[k] for k in ("params", "memory", "work")}
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a saved StreamTD ({error})") from None
        if meta["class"] != "StreamTD":
            raise InputError(f"{path}: holds a {meta['class']}. Write: {meta['class']}.load({str(path)!r})")
        rule = Rule(**meta["rule"]) if isinstance(meta["rule"], dict) else meta["rule"]
        found = cls(
            meta["inputs"], rule=rule, seed=meta["seed"], hidden=meta["hidden"], compat=meta["compat"],
            settings=Settings(**meta["settings"]),
        )  # fmt: skip
        for name, array in arrays.items():
            getattr(found.learner, name)[...] = array
        found.num_steps, found._over, found._before = meta["num_steps"], meta["over"], meta["before"]
        return found

    def _flat(self, obs: Any) -> Array:
        x = np.asarray(obs, np.float64).reshape(-1)
        if len(x) != self.inputs:
            raise InputError(f"StreamTD: observation of {len(x)} numbers; expected {self.inputs}")
        return x

    def _put(self, obs: Any) -> None:
        try:
            self.learner.observation[:] = obs
        except (ValueError, TypeError):
            self.learner.observation[:] = self._flat(obs)

    def _check(self, fault: int, reward: float) -> None:
        if fault == -1:
            return
        what = f"reward is {reward}" if fault == -2 else f"observation[{fault}] is {self.learner.observation[fault]}"
        raise InputError(
            f"StreamTD, step {self.num_steps}: {what}; expected finite numbers. Nothing was learned from it"
        )
