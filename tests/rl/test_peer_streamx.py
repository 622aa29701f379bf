"""The authors' own classes, run from a checkout (EVENTFLOW_STREAMING_DRL), on the same transitions, in float64."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.ops.streamx.naive import matrices
from eventflow.rl import Settings, StreamAC, StreamQ

pytestmark = pytest.mark.peer


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their modules, made to compute in float64 (they say torch.float)."""
    folder = os.environ.get("EVENTFLOW_STREAMING_DRL", "")
    if not (Path(folder) / "optim.py").is_file():
        pytest.skip("EVENTFLOW_STREAMING_DRL is not a checkout of https://github.com/mohmdelsayed/streaming-drl")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    monkeypatch.setattr(torch, "float", torch.float64)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def modules(net: Any) -> list[Any]:
    return [m for m in net.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]


def compare(ours: Any, k: int, theirs: list[tuple[Any, Any]], copy: bool) -> float:
    """Copy our weights into theirs, or the largest difference."""
    worst = 0.0
    for (weight, bias), (w, b) in zip(
        matrices(ours.learner.networks[k], torch.from_numpy(ours.learner.weights(k))), theirs, strict=True
    ):
        if weight.dim() == 2 and weight.shape[1] == 1024:  # their map is flattened filter by filter
            weight = weight.reshape(-1, 64, 16).permute(0, 2, 1).reshape(-1, 1024)
        if copy:
            w.copy_(weight)
            b.copy_(bias)
        worst = max(worst, float((weight - w).abs().max()), float((bias - b).abs().max()))
    return worst


@torch.no_grad()
def test_actor_critic_on_half_cheetah(official: None) -> None:
    agent = StreamAC("HalfCheetah-v4", seed=0, compat="official", settings=Settings(dtype="float64"))
    peer = import_module("stream_ac_continuous").StreamAC(n_obs=18, n_actions=6)
    actor, critic = modules(peer.policy_net), modules(peer.value_net)

    def check(copy: bool) -> float:
        (w, b) = matrices(agent.learner.networks[0], torch.from_numpy(agent.learner.weights(0)))[-1]
        worst = 0.0
        for half, layer in ((slice(0, 6), actor[2]), (slice(6, 12), actor[3])):
            if copy:
                layer.weight.copy_(w[half])
                layer.bias.copy_(b[half])
            worst = max(worst, float((layer.weight - w[half]).abs().max()), float((layer.bias - b[half]).abs().max()))
        body = matrices(agent.learner.networks[0], torch.from_numpy(agent.learner.weights(0)))[:-1]
        for (weight, bias), layer in zip(body, actor[:2], strict=True):
            if copy:
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
            worst = max(worst, float((weight - layer.weight).abs().max()), float((bias - layer.bias).abs().max()))
        return max(worst, compare(agent, 1, [(m.weight, m.bias) for m in critic], copy))

    check(copy=True)
    stats = import_module("normalization_wrappers")
    follow(agent, peer, stats, check, lambda s, a, r, n, over: peer.update_params(s, a, r, n, over, 0.01), time=True)


@torch.no_grad()
def test_q_on_breakout(official: None) -> None:
    settings = Settings(dtype="float64", epsilon_end=0.3, exploration_steps=500)
    agent = StreamQ("MinAtar/Breakout-v1", seed=0, compat="official", settings=settings)
    peer = import_module("stream_q_minatar").StreamQ(n_channels=4, n_actions=3)
    layers = [(m.weight, m.bias) for m in modules(peer.network)]
    compare(agent, 0, layers, copy=True)
    stats = import_module("normalization_wrappers")

    def update(s: Any, a: Any, r: float, n: Any, over: bool) -> None:
        peer.update_params(s, a, r, n, over, explored[0])

    explored = [False]
    follow(agent, peer, stats, lambda copy: compare(agent, 0, layers, copy), update, time=False, explored=explored)


def follow(
    agent: Any, peer: Any, stats: Any, check: Any, update: Any, *, time: bool, explored: list[bool] | None = None
) -> None:
    """1,000 interactions of ours; theirs learns from the same, behind their own statistics."""
    obs_stats, reward_stats, trace, length = (
        stats.SampleMeanStd(agent.observation_space.shape),
        stats.SampleMeanStd(),
        0.0,
        0,
    )

    def normal(obs: Any, clock: float) -> Any:
        x = np.asarray(obs, np.float64)
        obs_stats.update(x)
        x = (x - obs_stats.mean) / np.sqrt(obs_stats.var + 1e-8)
        return np.append(x, clock) if time else x

    env, current, worst, ended = agent.env, None, 0.0, 0
    first = agent.learner.params[0].copy()

    class Spy:
        def reset(self, **kwargs: Any) -> Any:
            nonlocal current, length
            obs, info = env.reset(**kwargs)
            current, length = normal(obs, -0.5), 0
            return obs, info

        def step(self, action: Any) -> Any:
            self.raw = agent.learner.action.copy() if time else action
            if explored is not None:
                explored[0] = bool(agent.learner.memory[6])
            self.result = env.step(action)
            return self.result

    spy = Spy()
    agent.env = spy
    for _ in range(1000):
        agent.learn(1)
        obs, reward, terminated, truncated, _ = spy.result
        over = bool(terminated or truncated)
        ended += over
        trace = trace * 0.99 * (1 - over) + reward
        reward_stats.update(np.array(trace))
        scaled = float(reward / np.sqrt(reward_stats.var + 1e-8))
        after = normal(obs, length / 1000 - 0.5)
        length += 1
        with torch.enable_grad():
            update(current, spy.raw, scaled, after, over)
        current = after
        worst = max(worst, check(False))
    assert ended and np.abs(agent.learner.params[0] - first).max() > 1e-3
    assert worst < 1e-12, worst
