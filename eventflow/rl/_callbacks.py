"""Things to do while an agent learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eventflow.rl._agent import Agent
from eventflow.rl._parts import Callback


class Evaluation(Callback):
    """Judge the agent in an environment of its own, normalisers frozen; keep the best one.

    Args:
        every: steps between two judgements.
        episodes: whole episodes a judgement.
        env: another environment than the agent's (by name or object).
        best: where to save the best agent so far.

    Attributes:
        history: (steps, mean return, standard deviation) of each judgement.
    """

    def __init__(
        self, every: int = 10_000, *, episodes: int = 5, env: Any = None, best: str | Path | None = None
    ) -> None:
        super().__init__(every)
        self.episodes, self.env, self.best = episodes, env, best
        self.history: list[tuple[int, float, float]] = []

    def __call__(self, agent: Agent) -> None:
        """Judge, and save if it is the best."""
        totals = agent.evaluate(self.episodes, env=self.env)
        mean = float(np.mean(totals))
        if self.best is not None and mean > max((m for _, m, _ in self.history), default=-np.inf):
            agent.save(self.best)
        self.history.append((agent.num_steps, mean, float(np.std(totals))))


class Checkpoint(Callback):
    """Save the agent at the end of the episode in which ``every`` steps are full, from where it resumes exactly.

    Args:
        every: steps.
        folder: gets ``step-<n>.npz``; the last ``keep`` of them stay.
        keep: how many.
    """

    def __init__(self, every: int, folder: str | Path, *, keep: int = 3) -> None:
        super().__init__(every, whole=True)
        self.folder, self.keep = Path(folder), keep
        self.saved: list[Path] = []

    def __call__(self, agent: Agent) -> None:
        """Save."""
        path = self.folder / f"step-{agent.num_steps}.npz"
        agent.save(path)
        self.saved.append(path)
        while len(self.saved) > max(self.keep, 1):
            self.saved.pop(0).unlink(missing_ok=True)
