"""Streaming agents on Lightning: a chunk of interactions is one step of the trainer, learned from one by one."""

from __future__ import annotations

from typing import Any, Protocol

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from eventflow.errors import InputError
from eventflow.rl import Agent
from eventflow.train._references import known_as


class AgentCallable(Protocol):
    """A class of agents and its arguments, but for the environment, which the data supplies."""

    def __call__(self, env: Any) -> Agent:
        """The agent in this environment."""
        ...


class EnvironmentData(L.LightningDataModule):
    """An environment as data: an epoch is so many interactions, and the rest of the episode they end in.

    Args:
        env: name of a gymnasium environment.
        steps_per_epoch: interactions of an epoch, but for the rest of its last episode.
        chunk: interactions of one step of the trainer; changes no number, only how often it looks up.
        episodes: to judge an agent by, after every epoch, its normalisers frozen.

    Raises:
        InputError: a number below one.
    """

    def __init__(self, env: str, *, steps_per_epoch: int = 10_000, chunk: int = 1000, episodes: int = 5) -> None:
        super().__init__()
        for name, value in {"steps_per_epoch": steps_per_epoch, "chunk": chunk, "episodes": episodes}.items():
            if value < 1:
                raise InputError(f"EnvironmentData({name}={value}): expected at least 1")
        self.env, self.steps_per_epoch, self.chunk, self.episodes = env, steps_per_epoch, chunk, episodes

    @property
    def environment(self) -> str:
        """Its name, for the model."""
        return self.env

    @property
    def title(self) -> str:
        """What run folders call it."""
        return self.env.replace("/", "-").lower()

    def train_dataloader(self) -> list[int]:
        """The interactions of each step."""
        whole, rest = divmod(self.steps_per_epoch, self.chunk)
        return [self.chunk] * whole + [rest] * (rest > 0)

    def val_dataloader(self) -> list[int]:
        """The episodes of a judgement."""
        return [self.episodes]

    def test_dataloader(self) -> list[int]:
        """As for validation."""
        return [self.episodes]


class StreamTask(L.LightningModule):
    """An agent that learns from an environment. Epochs end between episodes, so that a resumed run is the same run.

    Logged: ``train/return``, the mean of the episodes that ended in the epoch, exploration included; ``val/return``,
    the mean of whole episodes played greedily with the normalisers frozen; ``train/steps``, interactions so far.

    Args:
        agent: as class_path and init_args; its ``env`` is the data's.
        environment: linked from the data.
    """

    #: What the command line links from the data, and what it watches.
    FROM_DATA = ("environment",)
    MONITOR = ("val/return", "max")

    def __init__(self, agent: AgentCallable, *, environment: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.agent = agent(env=environment)
        self._steps = torch.nn.Parameter(torch.zeros(1))  # the trainer counts the steps of an optimizer
        self._seen = 0

    @property
    def title(self) -> str:
        """What run folders call it."""
        return known_as(type(self.agent).__name__)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One that moves nothing: the agent has its own."""
        return torch.optim.SGD([self._steps], lr=0.0)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """So many interactions; the last step of an epoch plays its episode to the end."""
        if batch_idx == 0:
            self._seen = len(self.agent.episodes)
        self.agent.learn(int(batch))
        if batch_idx + 1 == self.trainer.num_training_batches:
            self.agent.finish_episode()
        optimizer: Any = self.optimizers()
        optimizer.step()

    def on_train_epoch_end(self) -> None:
        """Log the epoch."""
        returns = [episode.total for episode in self.agent.episodes[self._seen :]]
        self.log("train/return", float(np.mean(returns)) if returns else float("nan"), prog_bar=True)
        self.log("train/steps", float(self.agent.num_steps))

    def validation_step(self, batch: int, batch_idx: int) -> None:
        """Judge."""
        self.log("val/return", float(np.mean(self.agent.evaluate(int(batch)))), prog_bar=True, batch_size=1)

    def test_step(self, batch: int, batch_idx: int) -> None:
        """Judge."""
        self.log("test/return", float(np.mean(self.agent.evaluate(int(batch)))), batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the agent."""
        state = self.agent.state_dict()
        checkpoint["agent"] = {k: v if isinstance(v, str) else torch.from_numpy(v) for k, v in state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the agent over.

        Raises:
            InputError: the checkpoint holds none, or another.
        """
        if "agent" not in checkpoint:
            raise InputError("the checkpoint holds no streaming agent. Give the model it was trained as")
        state = checkpoint["agent"]
        self.agent.load_state_dict({k: v if isinstance(v, str) else v.numpy() for k, v in state.items()})
