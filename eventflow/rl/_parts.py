"""What goes in and out of a streaming agent, and what may be done while it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from eventflow.errors import InputError

if TYPE_CHECKING:
    from eventflow.rl._agent import Agent


class Transition(NamedTuple):
    """One interaction. ``terminated``: nothing comes after; ``truncated``: what comes after is not seen."""

    obs: Any
    action: Any
    reward: float
    next_obs: Any
    terminated: bool = False
    truncated: bool = False


class Episode(NamedTuple):
    """A finished episode: its number, the steps of the agent by then, its length and its undiscounted return."""

    number: int
    step: int
    length: int
    total: float


class Callback:
    """Something to do every so many steps of :meth:`Agent.learn`; override ``__call__``.

    Args:
        every: steps between two calls.
        whole: wait for the end of the episode.
    """

    def __init__(self, every: int, *, whole: bool = False) -> None:
        if every < 1:
            raise InputError(f"{type(self).__name__}(every={every}): expected at least 1")
        self.every, self.whole = every, whole

    def __call__(self, agent: Agent) -> bool | None:
        """Return False to stop learning."""
        raise NotImplementedError


def check_steps(total_steps: Any, callbacks: Any) -> int:
    """The number of steps.

    Raises:
        InputError: it is no whole number, or something else than callbacks was given.
    """
    if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 0:
        raise InputError(f"learn({total_steps!r}): expected a whole number of steps. Write: agent.learn(100_000)")
    given = list(callbacks) if isinstance(callbacks, Sequence) else [None]
    for callback in given:
        if not isinstance(callback, Callback):
            raise InputError(
                f"learn(callbacks={callbacks!r}): expected a list of Callback. Write: callbacks=[Evaluation(10_000)], "
                "or a subclass of Callback with your own __call__"
            )
    return total_steps


def check_transition(given: Any) -> Transition:
    """The transition.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, Transition):
        raise InputError(
            f"partial_fit({type(given).__name__}): expected a Transition. Write: partial_fit(Transition(obs, action, "
            "reward, next_obs, terminated, truncated))"
        )
    return given
