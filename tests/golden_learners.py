"""Tiny streaming learners for test_golden: what they say before and after some steps that are pushed to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from eventflow.nn import DiagSSM
from eventflow.ops.rtrl import RTRLStream
from eventflow.rl import (
    EventGVFs,
    Observed,
    RecurrentTD,
    Settings,
    StreamAC,
    StreamQ,
    StreamSARSA,
    StreamTD,
    Transition,
)

#: folder -> class and environment: of flat observations, discrete actions and continuous ones.
AGENTS = {
    "stream_q": (StreamQ, "CartPole-v1"), "stream_sarsa": (StreamSARSA, "CartPole-v1"),
    "stream_ac": (StreamAC, "Pendulum-v1"),
}  # fmt: skip
STEPS = 40


class Golden:
    """A learner as test_golden sees it: the arguments it was made of, and its weights."""

    def __init__(self, learner: Any, init_args: dict[str, Any], weights: dict[str, Tensor]) -> None:
        self.learner, self.init_args, self.weights = learner, init_args, weights

    def state_dict(self) -> dict[str, Tensor]:
        """The weights it starts with."""
        return {name: value.clone() for name, value in self.weights.items()}


def _with_weights(learner: Any, init_args: dict[str, Any], given: dict[str, np.ndarray] | None) -> Golden:
    """Weights away from special starts such as zeros, or the given ones. What pads a row stays zero."""
    params = learner.learner.params
    if given is not None:
        params[0] = given["params"]
    else:
        from eventflow.ops.streamx.naive import matrices

        draw = torch.Generator().manual_seed(4)
        for k, network in enumerate(learner.learner.networks):
            for part in (p for pair in matrices(network, torch.from_numpy(learner.learner.weights(k))) for p in pair):
                part += 0.3 * torch.randn(part.shape, generator=draw, dtype=part.dtype)
    return Golden(learner, init_args, {"params": torch.from_numpy(params[0].copy())})


def build_agent(name: str, weights: dict[str, np.ndarray] | None) -> Golden:
    """The agent of a folder, in float64."""
    pytest.importorskip("gymnasium")
    kind, env = AGENTS[name]
    settings = Settings(dtype="float64", exploration_steps=20)
    agent = kind(env, seed=4, hidden=(6, 5), settings=settings)
    return _with_weights(agent, {"env": env, "hidden": [6, 5], "settings": asdict(settings)}, weights)


def agent_outputs(golden: Golden) -> dict[str, np.ndarray]:
    """Errors and actions of pushed transitions with both kinds of end, then the weights and what is done afterwards."""
    agent, draw = golden.learner, np.random.default_rng(5)
    obs = draw.normal(size=(STEPS + 1, *agent.observation_space.shape))
    rewards, ends = draw.normal(size=STEPS), draw.random(STEPS)
    errors = []
    for i in range(STEPS):
        action = int(draw.integers(2)) if agent.action_space.shape == () else draw.normal(size=agent.action_space.shape)
        step = Transition(obs[i], action, float(rewards[i]), obs[i + 1], bool(ends[i] < 0.1), bool(ends[i] > 0.9))
        errors.append(agent.partial_fit(step).learner.memory[7])
    acts = [agent.predict(row)[0] for row in obs]
    return {"errors": np.array(errors), "acts": np.array(acts), "after": agent.learner.params[0].copy()}


def build_td(name: str, weights: dict[str, np.ndarray] | None) -> Golden:
    """StreamTD by the rule of 2026, in float64."""
    settings = Settings(dtype="float64")
    td = StreamTD(3, rule="stream2026", seed=4, hidden=(6, 5), settings=settings)
    return _with_weights(
        td, {"inputs": 3, "rule": "stream2026", "hidden": [6, 5], "settings": asdict(settings)}, weights
    )


def td_outputs(golden: Golden) -> dict[str, np.ndarray]:
    """Predictions after each step of uneven discounts, and of rows unseen."""
    td, draw = golden.learner, np.random.default_rng(6)
    obs, values = draw.normal(size=(STEPS + 1, 3)), []
    for i in range(STEPS):
        ends = draw.random() < 0.1
        seen = Observed(obs[i], float(draw.normal()), obs[i + 1], ends, discount=float(draw.random()))
        values.append(td.partial_fit(seen).value)
    return {"values": np.array(values), "said": np.array([td.predict(row) for row in obs])}


def build_recurrent(name: str, weights: dict[str, np.ndarray] | None) -> Golden:
    """RecurrentTD on a small DiagSSM."""
    torch.manual_seed(4)
    learner = RecurrentTD(DiagSSM(2, 6, num_states=3).double())
    start = learner.init()
    flat = weights["weight"] if weights is not None else start.weight + 0.1 * torch.randn(len(start.weight)).numpy()
    learner = _Started(learner, start._replace(weight=np.array(flat, np.float64)))
    return Golden(learner, {"cell": [2, 6, 3]}, {"weight": torch.from_numpy(np.array(flat, np.float64))})


class _Started:
    def __init__(self, learner: RecurrentTD, state: Any) -> None:
        self.learner, self.state = learner, state


def recurrent_outputs(golden: Golden) -> dict[str, np.ndarray]:
    """Values and errors over events with uneven gaps and a reset."""
    draw = np.random.default_rng(7)
    reset = np.zeros(STEPS, bool)
    reset[25] = True
    stream = RTRLStream(
        draw.normal(size=(STEPS, 2)), draw.exponential(size=STEPS), draw.normal(size=STEPS), draw.random(STEPS), reset
    )
    found = golden.learner.learner.scan(stream, golden.learner.state)
    return {"value": found.value, "error": found.error, "after": found.state.weight}


def build_gvfs(name: str, weights: dict[str, np.ndarray] | None) -> Golden:
    """The default questions about three marks; it starts with nothing learned."""
    operator = EventGVFs(3, horizons=(1.0, 10.0))
    return Golden(operator, operator.init_args, {})


def gvfs_outputs(golden: Golden) -> dict[str, np.ndarray]:
    """Answers to two keys' events."""
    draw, state = torch.Generator().manual_seed(8), golden.learner.init(2)
    said = []
    for _ in range(STEPS):
        gaps = torch.rand(2, generator=draw, dtype=torch.float64)
        marks = {"mark": torch.randint(3, (2,), generator=draw)}
        answer, state = golden.learner.observe(state, marks, gaps)
        said.append(torch.stack([answer["value"], answer["error"]]).numpy())
    return {"said": np.stack(said)}


#: Folders without a model.yaml: learners that are pushed step by step.
LEARNERS = {
    "stream_td": (build_td, td_outputs), "recurrent_td": (build_recurrent, recurrent_outputs),
    "event_gvfs": (build_gvfs, gvfs_outputs),
}  # fmt: skip
