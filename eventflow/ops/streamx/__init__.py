"""One interaction of a streaming learner: normalise, scale, backpropagate, decay traces, move the weights, choose.

TD(lambda), Q(lambda), SARSA(lambda) and actor-critic(lambda) of Elsayed et al., *Streaming Deep Reinforcement Learning
Finally Works* (arXiv 2410.14606), with the rules ``obgd``, ``stream2026`` and ``intentional``. :func:`new_learner`
makes the memory, :func:`steps` binds the functions that change it, compiled or by definition.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from eventflow.errors import InputError, did_you_mean
from eventflow.ops.streamx._layout import RULES as RULES
from eventflow.ops.streamx._layout import Array as Array
from eventflow.ops.streamx._layout import Learner as Learner
from eventflow.ops.streamx._layout import Network as Network
from eventflow.ops.streamx._layout import Options as Options
from eventflow.ops.streamx._layout import Rule as Rule
from eventflow.ops.streamx._layout import new_learner as new_learner

#: What a learner is, for ``Steps.begin``.
TD, Q, AC = 0, 1, 2


class Steps(NamedTuple):
    """The interactions of one learner.

    All return -1, or what is not finite: the index of the feature, -2 for the reward (nothing has changed then). The
    raw observation is put into ``learner.observation`` before, random numbers into ``learner.noise``; terminated means
    that nothing comes after, truncated that it is only not seen.

    begin(kind, clock, epsilon): the first observation of an episode.
    td(reward, discount, decay, terminated, truncated): ``discount`` of this transition's bootstrap, ``decay`` of the
        trace up to it (gamma lambda where both are constant); the new value is ``memory[VALUE]``.
    q(reward, terminated, truncated, clock, epsilon, sarsa): the next action is ``memory[ACTION]``.
    ac(reward, terminated, truncated, clock): the next action is ``memory[ACTION]`` or ``learner.action``.
    """

    begin: Callable[[int, float, float], int]
    td: Callable[[float, float, float, bool, bool], int]
    q: Callable[[float, bool, bool, float, float, bool], int]
    ac: Callable[[float, bool, bool, float], int]


def steps(learner: Learner, *, backend: str = "numba") -> Steps:
    """The interactions of ``learner``, compiled (``numba``) or as defined (``naive``).

    Raises:
        InputError: an unknown backend.
    """
    if backend == "naive":
        from eventflow.ops.streamx import naive

        return Steps(*(partial(getattr(naive, name), learner) for name in Steps._fields))
    if backend != "numba":
        raise InputError(f"steps(backend={backend!r}): {did_you_mean(backend, ['numba', 'naive'])}")
    from eventflow.ops.streamx import numba

    arrays, features = learner.arrays, learner.features
    begin: Any = numba.begin
    rest = (partial(getattr(numba, name), *arrays, features) for name in ("td", "q", "ac"))
    return Steps(lambda kind, clock, epsilon: begin(kind, *arrays, features, clock, epsilon), *rest)
