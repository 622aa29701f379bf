"""Gymnasium environments: made by name, their spaces as networks see them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eventflow.errors import InputError, did_you_mean, require
from eventflow.ops.streamx import Array


def make_env(env: Any) -> tuple[Any, str | None]:
    """(environment, its name if it was made by name). MinAtar's are registered when one of theirs is asked for.

    Raises:
        InputError: no environment of that name; the message has the nearest.
    """
    if not isinstance(env, str):
        if not all(hasattr(env, part) for part in ("observation_space", "action_space", "reset", "step")):
            raise InputError(f"environment {env!r}: expected a gymnasium environment or its name. Write: 'CartPole-v1'")
        return env, None
    gym: Any = require("gymnasium", "rl")
    if env.startswith("MinAtar/") and env not in gym.registry:
        require("minatar.gym", "rl").register_envs()
    if env.startswith("eventflow/"):
        require("eventflow.rl.envs", "rl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "v4 is out of date": which version runs is the user's choice
        try:
            return gym.make(env, disable_env_checker=True), env
        except gym.error.DependencyNotInstalled as error:
            raise InputError(f"environment {env!r}: {error}") from None
        except gym.error.Error as error:
            near = did_you_mean(env, gym.registry)
            raise InputError(f"environment {env!r}: {str(error).splitlines()[0]}; {near}") from None


def input_shape(space: Any, name: str) -> int | tuple[int, int, int]:
    """What a network takes: (height, width, channels) of a Box with three axes, else the number of features.

    Raises:
        InputError: a space that cannot be flattened.
    """
    spaces: Any = require("gymnasium.spaces", "rl")
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return (int(space.shape[0]), int(space.shape[1]), int(space.shape[2]))
    try:
        return int(spaces.flatdim(space))
    except (NotImplementedError, ValueError):
        raise InputError(f"{name}: observation space {space}; expected one that gymnasium can flatten") from None


class Reader:
    """Writes observations of a space into a flat array of float64."""

    def __init__(self, space: Any, target: Array) -> None:
        spaces: Any = require("gymnasium.spaces", "rl")
        box = isinstance(space, spaces.Box)
        self.space = space
        self.view = target.reshape(space.shape) if box else target
        self._flatten = None if box else spaces.flatten

    def __call__(self, obs: Any) -> None:
        """Put ``obs`` into the array."""
        self.view[...] = obs if self._flatten is None else self._flatten(self.space, obs)

    def flat(self, obs: Any) -> Array:
        """``obs`` as a new flat array.

        Raises:
            InputError: its shape is not the space's.
        """
        try:
            out = np.asarray(obs if self._flatten is None else self._flatten(self.space, obs), np.float64)
        except (ValueError, TypeError, IndexError, KeyError):
            raise InputError(f"observation {obs!r:.80}; expected one of {self.space}") from None
        if out.shape != self.view.shape:
            raise InputError(f"observation of shape {out.shape}; expected {self.view.shape}. One at a time: obs[0]")
        return out.reshape(-1)


def episode_seed(seed: int, episode: int) -> int:
    """What an environment is reset with; evaluations count down from -1."""
    return int(np.random.SeedSequence([seed, 2 * episode if episode >= 0 else -2 * episode - 1]).generate_state(1)[0])
