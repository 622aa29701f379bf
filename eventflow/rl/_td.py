"""Stream TD(lambda), prediction: Elsayed et al., arXiv 2410.14606, algorithm 4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventflow import __version__
from eventflow.errors import InputError, did_you_mean
from eventflow.nn import Cell
from eventflow.ops.streamx import TD, Array, Network, Rule, new_learner, steps
from eventflow.ops.streamx._layout import REWARD_P, REWARDS
from eventflow.ops.streamx._layout import VALUE as VALUE_SLOT
from eventflow.rl._features import CellFeatures
from eventflow.rl._saved import read_saved, write_saved
from eventflow.rl._settings import VALUE, Settings, as_hidden, as_seed, as_settings, paper_rule, start


class Observed(NamedTuple):
    """One step of a stream: what was seen, the cumulant on the way, what was seen then.

    ``discount`` defaults to gamma, ``decay`` (of the trace) to lambda times the discount of the step before; ``dt``,
    the gap on the way, counts for learners with ``features``.
    """

    obs: Any
    reward: float
    next_obs: Any
    terminated: bool = False
    truncated: bool = False
    discount: float | None = None
    decay: float | None = None
    dt: float = 1.0


#: Events of :meth:`StreamTD.learn` whose features are found in one scan.
CHUNK = 512


class StreamTD:
    """Predicts the discounted sum of what a stream will bring: v(s) = E[r + gamma v(s')], learned step by step.

    Args:
        inputs: features of an observation.
        rule: ``obgd``, ``stream2026`` or ``intentional``, with the papers' numbers; or a :class:`Rule`.
        seed: of the weights.
        hidden: sizes of the hidden layers.
        compat: ``official``: truncation ends the return like termination; the reward's scale leaks across it.
        settings: discount, lambda_, normalise, scale, dtype, backend.
        features: a recurrent cell (:class:`eventflow.nn.Cell`) between the observations and the network, which sees
            what the cell's state says just after each of them: memory of a stretch, over gaps of any length; each
            stretch starts from the cell's ``init``. The cell's weights stay as they are, in its own dtype;
            :class:`RecurrentTD` learns those of diagonal cells too, by exact gradients. Its inputs are given as they
            are, not normalised; what it says is.

    Raises:
        InputError: an unknown rule, sizes below one, a cell of another input size.
    """

    def __init__(
        self, inputs: int, *, rule: str | Rule = "obgd", seed: int = 0, hidden: Sequence[int] = (128, 128),
        compat: str | None = None, settings: Settings | None = None, features: Cell | None = None,
    ) -> None:  # fmt: skip
        if compat not in (None, "official"):
            raise InputError(f"compat={compat!r}: {did_you_mean(str(compat), ['official'])}")
        if features is not None and not isinstance(features, Cell):
            raise InputError(f"StreamTD(features={features!r}): expected a cell. Write: features=GRU({inputs}, 32)")
        if features is not None and features.input_size != inputs:
            kind = type(features).__name__
            raise InputError(f"StreamTD({inputs}, features={kind}): the cell takes {features.input_size} inputs")
        self._features = None if features is None else CellFeatures(features)
        seen = inputs if self._features is None else self._features.size
        self.inputs, self.rule, self.seed, self.hidden, self.compat = (
            inputs,
            rule,
            as_seed(seed),
            as_hidden(hidden) or (),
            compat,
        )
        self.settings = s = as_settings(settings)
        self.learner = new_learner(
            (Network(seen, self.hidden, 1),), (paper_rule(rule, VALUE),), options=s.options(bool(compat)),
            features=seen, dtype=np.dtype(s.dtype),
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
        return self._begin(obs if self._features is None else self._features.begin(self._finite(obs)))

    def _begin(self, seen: Any) -> float:
        self._put(seen)
        self._check(self._steps.begin(TD, 0.0, 0.0), 0.0)
        self._over, self._before = False, self.settings.discount
        return self.value

    def step(
        self, reward: float, obs: Any, *, terminated: bool = False, truncated: bool = False,
        discount: float | None = None, decay: float | None = None, dt: float = 1.0,
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
            dt: the gap before ``obs``, for the cell of ``features``.

        Raises:
            InputError: a number that is not finite; a discount outside [0, 1].
        """
        if self._over:
            raise InputError("StreamTD.step: no stretch has begun. Write: td.begin(first_observation)")
        ahead = Observed(None, reward, obs, terminated, truncated, discount, decay, dt)
        if self._features is None:
            return self._step(ahead, obs)
        self._check_gap(ahead)
        return self._step(ahead, self._features.step(self._finite(obs), dt))

    def _check_gap(self, ahead: Observed) -> None:
        """Refuse what cannot be learned from before the cell has seen it."""
        if not math.isfinite(ahead.reward):
            self._check(-2, ahead.reward)
        if not 0 <= ahead.dt < math.inf:
            raise InputError(f"StreamTD, step {self.num_steps}: dt={ahead.dt}; expected a number >= 0")
        self._fades(ahead)

    def _fades(self, ahead: Observed) -> tuple[float, float]:
        """Of the bootstrap and of the traces."""
        gamma = self.settings.discount if ahead.discount is None else float(ahead.discount)
        fade = self._before * self.settings.lambda_ if ahead.decay is None else float(ahead.decay)
        if not (0 <= gamma <= 1 and 0 <= fade <= 1):
            raise InputError(f"StreamTD.step(discount={gamma}, decay={fade}): expected numbers in [0, 1]")
        return gamma, fade

    def _step(self, ahead: Observed, seen: Any) -> float:
        (gamma, fade), (_, reward, _, terminated, truncated, *_) = self._fades(ahead), ahead
        self._put(seen)
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
            decay=seen.decay, dt=seen.dt,
        )  # fmt: skip
        return self

    def learn(self, stream: Iterable[Observed]) -> StreamTD:
        """Learn from every step of a stream, once and in turn; features of a cell are found in scans of many steps,
        which agree with those of :meth:`step` to rounding."""
        steps = iter(stream)
        if self._features is None:
            for seen in steps:
                self.partial_fit(seen)
            return self
        while chunk := list(islice(steps, CHUNK)):
            self._learn_chunk(self._features, chunk)
        return self

    def _learn_chunk(self, cell: CellFeatures, chunk: Sequence[Observed]) -> None:
        rows: list[tuple[Any, float, bool]] = []
        over = self._over
        for seen in chunk:
            if over:
                rows.append((self._finite(seen.obs), 0.0, True))
            rows.append((self._finite(seen.next_obs), seen.dt, False))
            over = bool(seen.terminated or seen.truncated)
            self._check_gap(seen)
        x, dt, reset = (np.array(column) for column in zip(*rows, strict=True))
        said = iter(cell.scan(x, dt, reset))
        for seen in chunk:
            if self._over:
                self._begin(next(said))
            self._step(seen, next(said))

    def predict(self, obs: Any, *, dt: float = 1.0) -> float:
        """The prediction at an observation, in the unit of the rewards; changes nothing. With ``features``: if it came
        ``dt`` after the last one."""
        from eventflow.ops.streamx import numba

        x, learner = self._flat(obs), self.learner
        if self._features is not None:
            x = self._features.peek(x, dt)
        if self.settings.normalise and learner.memory[0] > 1:
            x = (x - learner.mean) / np.sqrt(learner.squares / (learner.memory[0] - 1) + 1e-8)
        self._spare[: len(x)] = x
        out = numba.forward(learner.nets[0], learner.params, self._spare, 0)
        return float(self._spare[out]) * self.deviation

    def save(self, path: str | Path) -> None:
        """All that was learned, into one file, whole or not at all; exact at the end of a stretch."""
        rule = asdict(self.rule) if isinstance(self.rule, Rule) else self.rule
        meta = {
            "class": "StreamTD", "version": __version__, "inputs": self.inputs, "rule": rule, "seed": self.seed,
            "hidden": list(self.hidden), "compat": self.compat, "settings": asdict(self.settings),
            "num_steps": self.num_steps, "over": self._over, "before": self._before, "features": None,
        }  # fmt: skip
        cell = {}
        if self._features is not None:
            meta["features"], cell = type(self._features.cell).__name__, self._features.arrays()
        learner = self.learner
        arrays = {"params": learner.params, "memory": learner.memory, "work": learner.work}
        write_saved(Path(path), meta, arrays | cell)

    @classmethod
    def load(cls, path: str | Path, *, features: Cell | None = None) -> StreamTD:
        """The learner of :meth:`save`; it goes on exactly, in the middle of a stretch too.

        Args:
            path: the file.
            features: a cell like the one it was made with, if it was; weights and state come from the file.

        Raises:
            InputError: not such a file, or one of a learner with another cell.
        """
        meta, arrays = read_saved(path, "StreamTD")
        named = None if features is None else type(features).__name__
        if meta.get("features") != named:
            cell = meta.get("features")
            hint = f", features={cell}(...))" if cell else ")"
            raise InputError(f"{path}: made with features={cell}, given {named}. Write: StreamTD.load(path{hint}")
        rule = Rule(**meta["rule"]) if isinstance(meta["rule"], dict) else meta["rule"]
        found = cls(
            meta["inputs"], rule=rule, seed=meta["seed"], hidden=meta["hidden"], compat=meta["compat"],
            settings=Settings(**meta["settings"]), features=features,
        )  # fmt: skip
        for name in ("params", "memory", "work"):
            getattr(found.learner, name)[...] = arrays[name]
        if found._features is not None:
            found._features.restore(arrays, str(path))
        found.num_steps, found._over, found._before = meta["num_steps"], meta["over"], meta["before"]
        return found

    def _flat(self, obs: Any) -> Array:
        x = np.asarray(obs, np.float64).reshape(-1)
        if len(x) != self.inputs:
            raise InputError(f"StreamTD: observation of {len(x)} numbers; expected {self.inputs}")
        return x

    def _finite(self, obs: Any) -> Array:
        """For the cell, whose state must not be spoilt."""
        x = self._flat(obs)
        wrong = np.flatnonzero(~np.isfinite(x))
        if len(wrong):
            at = int(wrong[0])
            raise InputError(
                f"StreamTD, step {self.num_steps}: observation[{at}] is {x[at]}; expected finite numbers. Nothing was "
                "learned from it"
            )
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
