"""What can be set about a streaming agent, and the papers' numbers for each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from eventflow.errors import InputError, did_you_mean
from eventflow.ops.streamx import RULES, Learner, Options, Rule
from eventflow.ops.streamx.naive import matrices
from eventflow.rl._obgd import layer_sparsities, sparse_init


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of an agent; the defaults are those of the authors' scripts.

    Args:
        discount: gamma.
        lambda_: of the traces.
        entropy: tau of StreamAC's entropy bonus.
        epsilon_start: share of random actions at first (StreamQ, StreamSARSA).
        epsilon_end: and at last.
        exploration_steps: steps over which it falls, linearly. The authors take 5 % of a run's steps, MinAtar 20 %.
        time_feature: append the episode's clock, t / limit - 0.5, to the observation. None: only with
            ``compat="official"`` and observations that are no images.
        normalise: observations by their running mean and variance.
        scale: rewards by the running deviation of their discounted sum.
        dtype: of weights and traces, float32 or float64.
        backend: numba, or naive (the definition, in torch).
    """

    discount: float = 0.99
    lambda_: float = 0.8
    entropy: float = 0.01
    epsilon_start: float = 1.0
    epsilon_end: float = 0.01
    exploration_steps: int = 25_000
    time_feature: bool | None = None
    normalise: bool = True
    scale: bool = True
    dtype: str = "float32"
    backend: str = "numba"

    def __post_init__(self) -> None:
        for f in fields(self):
            kinds = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}.get(
                str(f.type), (bool, type(None))
            )
            if type(getattr(self, f.name)) not in kinds:
                raise InputError(f"Settings({f.name}={getattr(self, f.name)!r}): expected {f.type}")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"Settings(dtype={self.dtype!r}): {did_you_mean(self.dtype, ['float32', 'float64'])}")
        if not (0 <= self.epsilon_end <= self.epsilon_start <= 1 and self.exploration_steps >= 1):
            raise InputError(
                f"Settings(epsilon_start={self.epsilon_start}, epsilon_end={self.epsilon_end}, exploration_steps="
                f"{self.exploration_steps}): expected 0 <= end <= start <= 1 and at least one step"
            )

    def options(self, official: bool) -> Options:
        """For the ops."""
        return Options(self.discount, self.lambda_, self.entropy, official, self.normalise, self.scale)


def as_settings(given: Any) -> Settings:
    """The settings, or the default ones.

    Raises:
        InputError: something else was given.
    """
    if given is not None and not isinstance(given, Settings):
        raise InputError(f"settings={given!r}: expected Settings. Write: settings=Settings(discount=0.99)")
    return given or Settings()


def as_seed(given: Any) -> int:
    """A seed.

    Raises:
        InputError: it is no whole number from 0 on.
    """
    if not hasattr(given, "__index__") or int(given) < 0:
        raise InputError(f"seed={given!r}: expected a whole number, 0 or more")
    return int(given)


def as_hidden(given: Any) -> tuple[int, ...] | None:
    """Sizes of hidden layers; None is left to the agent.

    Raises:
        InputError: no sizes.
    """
    if given is None:
        return None
    if not isinstance(given, Sequence) or not given or not all(hasattr(h, "__index__") for h in given):
        raise InputError(f"hidden={given!r}: expected sizes of at least one hidden layer. Write: hidden=(128, 128)")
    return tuple(int(h) for h in given)


#: rule -> (value network of TD and actor-critic, Q network, policy), as published.
_PAPER = {
    "obgd": (Rule(), Rule(), Rule(kappa=3.0)),
    "stream2026": (Rule("stream2026", lr=2e-4), Rule("stream2026", lr=2e-4), Rule("stream2026", lr=1e-4)),
    "intentional": (
        Rule("intentional", beta=0.999),
        Rule("intentional", beta=0.999, eta=0.25),
        Rule("intentional", beta=0.999, eta=0.05, divide=True),
    ),
}
VALUE, ACTION_VALUE, POLICY = range(3)


def paper_rule(rule: str | Rule, use: int) -> Rule:
    """The rule of that name with the paper's numbers for this use; a :class:`Rule` is taken as it is."""
    if isinstance(rule, Rule):
        return replace(rule, divide=use == POLICY) if rule.name == "intentional" else rule
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: {did_you_mean(rule, RULES)}")
    return _PAPER[rule][use]


def start(learner: Learner, rule: str, seed: int) -> None:
    """Fresh weights: 90 % zeros in each layer, or 95 % over all layers together (``stream2026``); biases zero."""
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for k, network in enumerate(learner.networks):
        weights += [weight for weight, _ in matrices(network, torch.from_numpy(learner.weights(k)))]
    shares = [0.9] * len(weights)
    if rule == "stream2026":
        shares = layer_sparsities([tuple(weight.shape) for weight in weights])
    for weight, share in zip(weights, shares, strict=True):
        sparse_init(weight, share, whole=rule == "stream2026", generator=generator)
