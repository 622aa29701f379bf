"""One learning run of ``eventflow bench learn``: plain data in, files below the output folder out.

Below <env>/<model>-<variant>/ it leaves <seed>.json (what was asked, the state: running, done or failed, and at last
the result) and <seed>.log (what it printed). Meanwhile <seed>.npz, renewed at ends of episodes, holds the agent: a run
that was cut goes on from there with the same numbers.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflow._assets import ROOT
from eventflow.bench.leaderboard._jobs import logged, one_line
from eventflow.bench.leaderboard._store import read_json, write_json
from eventflow.errors import InputError, did_you_mean
from eventflow.rl import Agent, Callback, Episode, Settings
from eventflow.train._keys import import_class
from eventflow.train._references import load_yaml
from eventflow.train._run import provenance

#: Points of a learning curve, and of how often a run is saved.
POINTS = 100
#: What decides the numbers of a run.
ASKED = ("env", "model", "rule", "compat", "steps", "settings", "seed")


def slug(env: str) -> str:
    """An environment's name as that of a file."""
    return env.replace("/", "-").lower()


def variant(job: Mapping[str, Any]) -> str:
    """What tells the runs of a model in an environment apart."""
    return "-".join(filter(None, (job["rule"], job["compat"])))


def home(job: Mapping[str, Any]) -> Path:
    """The folder of all its seeds."""
    return Path(job["out"]) / slug(job["env"]) / f"{job['model']}-{variant(job)}"


def result_file(job: Mapping[str, Any]) -> Path:
    """State and result."""
    return home(job) / f"{job['seed']}.json"


def asked(job: Mapping[str, Any]) -> dict[str, Any]:
    """What decides its numbers."""
    return {name: job[name] for name in ASKED}


def agent_class(model: str) -> tuple[type[Agent], dict[str, Any]]:
    """The class of agents of models/<model>, and the arguments that its model.yaml gives it.

    Raises:
        InputError: there is no such folder, or it holds no agent.
    """
    agents = sorted(p.parent.name for p in (ROOT / "models").glob("*/model.yaml") if "agent" in _arguments(p))
    if model not in agents:
        raise InputError(f"--model {model}: no streaming agent; {did_you_mean(model, agents)}")
    told: Any = _arguments(ROOT / "models" / model / "model.yaml")["agent"]
    if isinstance(told, str):
        return import_class(told, model), {}
    return import_class(told["class_path"], model), dict(told.get("init_args") or {})


def new_agent(job: Mapping[str, Any]) -> Agent:
    """The agent of a job, before its first step.

    Raises:
        InputError: the environment, the rule or a setting is unknown, or the agent cannot act in the environment.
    """
    kind, arguments = agent_class(job["model"])
    given = {"rule": job["rule"], "compat": job["compat"], "seed": job["seed"], "settings": Settings(**job["settings"])}
    return kind(job["env"], **{**arguments, **given})


def learn(job: Mapping[str, Any]) -> None:
    """Do a job; its file says "running" until it says "done" or "failed"."""
    path, saved = result_file(job), result_file(job).with_suffix(".npz")
    with logged(path.with_suffix(".log")) as log:
        try:
            new_agent(job).learn(2)  # what is compiled is not charged to the run
            agent, spent = new_agent(job), 0.0
            if saved.is_file():
                agent = type(agent).load(saved)
                spent = float(read_json(path).get("cpu_s", 0.0))
            watch = _Watch(job, spent)
            watch.tell(agent)
            agent.learn(job["steps"] - agent.num_steps, callbacks=[watch])
            result = _result(job, agent.episodes, watch.cpu())
        except Exception as error:
            traceback.print_exc(file=log)
            failed = {"state": "failed", "asked": asked(job), "error": one_line(error)}
            write_json(path, failed)
            saved.unlink(missing_ok=True)
            return
    write_json(path, {"state": "done", "asked": asked(job), **result, **provenance()})
    saved.unlink(missing_ok=True)


class _Watch(Callback):
    """Saves the agent and says how far it is."""

    def __init__(self, job: Mapping[str, Any], spent: float) -> None:
        super().__init__(max(job["steps"] // POINTS, 1), whole=True)
        self.job, self.since, self.begun = job, time.time(), time.process_time() - spent

    def cpu(self) -> float:
        """Seconds of CPU time of all parts of the run."""
        return time.process_time() - self.begun

    def __call__(self, agent: Agent) -> None:
        """Save."""
        agent.save(result_file(self.job).with_suffix(".npz"))
        self.tell(agent)

    def tell(self, agent: Agent) -> None:
        """Write how far it is."""
        last = [episode.total for episode in agent.episodes[-10:]]
        state = {"state": "running", "asked": asked(self.job), "since": self.since, "cpu_s": self.cpu()}
        now = {"step": agent.num_steps, "return": sum(last) / len(last) if last else None}
        write_json(result_file(self.job), {**state, **now})


def _result(job: Mapping[str, Any], episodes: Sequence[Episode], cpu_s: float) -> dict[str, Any]:
    """The return of the last tenth, and the curve.

    Raises:
        InputError: no episode ended in the last tenth.
    """
    late = [episode.total for episode in episodes if episode.step > 0.9 * job["steps"]]
    if not late:
        raise InputError(f"--steps {job['steps']}: no episode of {job['env']} ended in the last tenth. Give more")
    mean = sum(late) / len(late)
    return {
        "text": f"return {mean:.1f}, {cpu_s / job['steps'] * 1e6:.0f} us a step",
        "metrics": {"return": mean, "steps": job["steps"], "cpu_us_per_step": cpu_s / job["steps"] * 1e6},
        "episodes": len(episodes),
        "curve": curve(episodes, job["steps"]),
    }


def curve(episodes: Sequence[Episode], steps: int) -> list[float | None]:
    """Mean return of the episodes that ended in each hundredth of the run; None where none did."""
    sums, counts = [0.0] * POINTS, [0] * POINTS
    for episode in episodes:
        at = min((episode.step - 1) * POINTS // steps, POINTS - 1)
        sums[at] += episode.total
        counts[at] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _arguments(path: Path) -> dict[str, Any]:
    return load_yaml(path).get("init_args") or {}
