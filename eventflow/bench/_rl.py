"""streaming reinforcement learning: microseconds per interaction, beside the authors' own classes"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.bench._report import write
from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError

#: task -> the aim in microseconds (learner alone, or the whole loop with the environment).
AIMS = {
    "learner alone, HalfCheetah shape": 20.0, "AC Pendulum-v1": 35.0, "AC HalfCheetah-v4": 75.0,
    "Q MinAtar/Breakout-v1": 85.0, "TD, 7 inputs": 10.0,
}  # fmt: skip
#: Interactions timed together, ours and theirs.
CHUNK, OFFICIAL_CHUNK = 500, 50
Run = Callable[[int], None]


def run(*, out: Path | None = None, official: Path | None = None, seconds: float = 3.0) -> None:
    """Time one interaction (act, environment, normalise, learn), float32, one thread: ours and the authors'.

    CPU time in chunks, the contenders in turn; the median of the chunks, and the fastest one. The authors' classes run
    from a checkout of their repository, behind their own wrappers.

    Args:
        out: folder for rl.json.
        official: checkout of https://github.com/mohmdelsayed/streaming-drl.
        seconds: to spend on each task and contender.

    Raises:
        InputError: no such checkout.
    """
    import torch

    if not seconds > 0:
        raise InputError(f"bench rl: seconds={seconds}; expected more than 0")
    if official is not None and not (official / "stream_ac_continuous.py").is_file():
        raise InputError(
            f"--official {official}: no stream_ac_continuous.py in it. Write: git clone "
            "https://github.com/mohmdelsayed/streaming-drl"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = {task: _race(task, official, seconds) for task in AIMS}
    finally:
        torch.set_num_threads(threads)
    _show(rows)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = {"unit": "us of CPU time per interaction", "dtype": "float32", "machine": platform.processor()}
        write(json.dumps({**report, "rows": rows}, indent=1) + "\n", out / "rl.json")


def _race(task: str, official: Path | None, seconds: float) -> dict[str, dict[str, float]]:
    """contender -> median and fastest chunk in microseconds per interaction."""
    contenders: dict[str, tuple[Run, int]] = {"ours": (ours(task), CHUNK)}
    if official is not None:
        contenders["official"] = (theirs(task, official), OFFICIAL_CHUNK)
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for go, count in contenders.values():
        go(count)  # compiles, and fills the caches
    end = time.perf_counter() + seconds * len(contenders)
    while time.perf_counter() < end or len(samples["ours"]) < 3:
        for name, (go, count) in contenders.items():
            start = time.process_time()
            go(count)
            samples[name].append((time.process_time() - start) / count * 1e6)
    return {name: {"median": statistics.median(v), "best": min(v)} for name, v in samples.items()}


def ours(task: str) -> Run:
    """Our contender: a function that does so many interactions."""
    from eventflow.rl import StreamAC, StreamQ, StreamTD

    if task.startswith("learner"):
        return _learner_alone()
    if task.startswith("TD"):
        td, x = StreamTD(7), np.random.default_rng(0).normal(size=(CHUNK, 7))
        td.begin(x[0])

        def predict(count: int) -> None:
            for i in range(count):
                td.step(0.5, x[i])

        return predict
    word, env = task.split(" ")
    agent = (StreamAC if word == "AC" else StreamQ)(env, compat="official" if word == "AC" else None)
    return lambda count: agent._interact(count)


def _learner_alone() -> Run:
    """Normalise, scale, learn and act, without an environment: 18 inputs (17 and the clock), 6 actions."""
    from eventflow.ops.streamx import AC, Network, Options, Rule, new_learner, steps

    nets = Network(18, (128, 128), 12), Network(18, (128, 128), 1)
    made = new_learner(nets, (Rule(kappa=3.0), Rule()), options=Options(), features=17, actions=6, continuous=True)
    rng = np.random.default_rng(0)
    for k in range(2):
        made.weights(k)[:] = rng.normal(size=nets[k].length) * 0.05
    step, x, noise = steps(made), rng.normal(size=(CHUNK, 17)), made.noise
    step.begin(AC, 0.0, 0.0)

    def go(count: int) -> None:
        for i in range(count):
            made.io[:17] = x[i]
            rng.standard_normal(out=noise)
            step.ac(0.5, False, False, 0.0)

    return go


def theirs(task: str, checkout: Path) -> Run:
    """The authors' contender, their classes behind their wrappers."""
    sys.path.insert(0, str(checkout))
    try:
        if task.startswith("learner"):
            return _their_learner()
        if task.startswith("TD"):
            return _their_td()
        return _their_loop(*task.split(" "))
    finally:
        sys.path.remove(str(checkout))


def _their_learner() -> Run:
    from importlib import import_module

    agent = import_module("stream_ac_continuous").StreamAC(n_obs=18, n_actions=6)
    x = np.random.default_rng(0).normal(size=(CHUNK, 18))

    def go(count: int) -> None:
        for i in range(count):
            action = agent.sample_action(x[i])
            agent.update_params(x[i], action, 0.5, x[i + 1], False, 0.01)

    return go


def _their_td() -> Run:
    from importlib import import_module

    agent = import_module("stream_td").StreamTD(n_obs=7, gamma=0.99, lamda=0.8)
    x = np.random.default_rng(0).normal(size=(CHUNK, 7))

    def go(count: int) -> None:
        for i in range(count):
            agent.update_params(x[i], 0.5, x[i + 1], False)
            agent.predict(x[i + 1])

    return go


def _their_loop(word: str, name: str) -> Run:
    from importlib import import_module

    import gymnasium as gym

    from eventflow.rl._environment import make_env

    wrappers = import_module("normalization_wrappers")
    env: Any = make_env(name)[0]
    if word == "AC":
        # their wrappers look for num_envs, which gymnasium has dropped; they set it where it is missing
        env = wrappers.NormalizeObservation(wrappers.ScaleReward(gym.wrappers.ClipAction(env), gamma=0.99))
        env.get_wrapper_attr("num_envs")
        env = import_module("time_wrapper").AddTimeInfo(env)
        space = env.observation_space.shape[0], env.action_space.shape[0]
        agent: Any = import_module("stream_ac_continuous").StreamAC(n_obs=space[0], n_actions=space[1])
    else:
        env = wrappers.ScaleReward(wrappers.NormalizeObservation(env), gamma=0.99)
        shape = env.observation_space.shape[-1], env.action_space.n
        agent = import_module("stream_q_minatar").StreamQ(n_channels=shape[0], n_actions=shape[1])
    current = env.reset(seed=0)[0]

    def go(count: int) -> None:
        nonlocal current
        for _ in range(count):
            chosen = agent.sample_action(current)
            action, explored = chosen if word == "Q" else (chosen, None)
            after, reward, terminated, truncated, _ = env.step(action)
            ends = terminated or truncated
            agent.update_params(current, action, reward, after, ends, explored if word == "Q" else 0.01)
            current = env.reset()[0] if ends else after

    return go


def _show(rows: dict[str, dict[str, dict[str, float]]]) -> None:
    from rich.table import Table

    table = Table(title="One interaction, float32, one thread, us of CPU time: median (fastest chunk)")
    for heading in ("", "official", "ours", "gain", "aim"):
        table.add_column(heading, justify="right" if heading else "left")
    for task, row in rows.items():
        cells = [f"{row[n]['median']:.1f} ({row[n]['best']:.1f})" if n in row else "-" for n in ("official", "ours")]
        gain = f"{row['official']['median'] / row['ours']['median']:.0f}x" if "official" in row else "-"
        table.add_row(task, *cells, gain, f"{AIMS[task]:.0f}")
    console = terminal()
    console.print(table)
    if not any("official" in row for row in rows.values()):
        console.print(
            "The authors' classes were not run. Write: git clone https://github.com/mohmdelsayed/streaming-drl && "
            "eventflow bench rl --official streaming-drl",
            soft_wrap=True,
        )
