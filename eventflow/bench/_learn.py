"""learning runs of streaming agents: environments x rules x seeds, resumable, in parallel, with curves

The return of a run is the mean undiscounted return of the episodes that ended in its last tenth, exploration included.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from eventflow.errors import InputError, did_you_mean, require

Job = Mapping[str, Any]


def run(
    *, model: str, env: list[str], steps: int, out: Path, rule: list[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2), settings: list[str] | None = None,
    executor: Literal["serial", "processes", "ray"] = "serial", workers: int | None = None, publish: bool = False,
) -> None:  # fmt: skip
    """Let an agent learn in every environment by every rule with every seed; write a table and learning curves.

    A run that is done is not run again; one that was cut goes on from its last saved episode, with the same numbers.

      eventflow bench learn --model stream_ac --env HalfCheetah-v4 --rule obgd stream2026 --steps 1000000 \\
        --executor processes --out learned

    Exit code 1 if a run failed.

    Args:
        model: an agent under models/.
        env: environments of gymnasium, by name.
        steps: interactions of each run.
        out: gets a folder for each environment, learned.md and a picture of each environment; again: continues.
        rule: obgd, stream2026 or intentional; by default obgd. With -official behind it: as the authors' scripts of
            2024 do where they differ from us.
        seeds: of weights, exploration and environments.
        settings: key=value of eventflow.rl.Settings, such as exploration_steps=200000.
        executor: runs one after the other, in processes of this machine, or on a Ray cluster (extra ray).
        workers: runs at once; by default one for each CPU.
        publish: write models/<model>/results/<env>.yaml, the pictures, and the table of the model's card.

    Raises:
        InputError: an unknown name or setting; runs there that were asked for otherwise; an extra not installed.
    """
    from eventflow.bench.leaderboard import _store

    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: expected different numbers, none below 0")
    for name, value in (("steps", steps), ("workers", workers)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected at least 1")
    require("matplotlib", "viz")
    given = _settings(settings or [])
    shared = {"kind": "learn", "out": str(out.resolve()), "cwd": os.getcwd(), "model": model, "steps": steps}
    jobs: list[Job] = [
        {**shared, "env": e, "rule": r, "compat": c, "settings": given, "seed": seed}
        for seed, e, (r, c) in product(seeds, dict.fromkeys(env), map(_rule, dict.fromkeys(rule or ["obgd"])))
    ]
    _check(jobs, publish)
    with _store.alone(out.resolve()):
        _perform(jobs, executor, 1 if executor == "serial" else workers or os.cpu_count() or 1)
        _write(out, jobs)
        if publish:
            from eventflow.bench._learn_results import publish as write_results

            write_results(_results(jobs))
    _tell_failures(jobs)


def _rule(word: str) -> tuple[str, str | None]:
    """Rule, and what the agent is compatible with."""
    rule, dash, compat = word.partition("-")
    return rule, compat if dash else None


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """key=value, each a setting of another value than its default."""
    from dataclasses import fields

    import yaml

    from eventflow.rl import Settings

    known, found = {f.name: f.default for f in fields(Settings)}, {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise InputError(f"--settings {word}: expected key=value; {did_you_mean(key, known)}")
        found[key], default = yaml.safe_load(value), known[key]
        kinds = {bool: (bool,), type(None): (bool, type(None)), float: (int, float)}.get(
            type(default), (type(default),)
        )
        if type(found[key]) not in kinds:
            raise InputError(f"--settings {word}: expected a value like {default!r}")
    return {key: value for key, value in found.items() if value != known[key]}


def _check(jobs: Sequence[Job], publish: bool) -> None:
    """Refuse what cannot be run, and a folder in which other runs lie, before anything starts."""
    from eventflow.bench._learn_cell import asked, new_agent, result_file
    from eventflow.bench.leaderboard._store import read_json
    from eventflow.train._run import commit

    for job in jobs:
        if job["seed"] == jobs[0]["seed"]:
            new_agent(job)
        before = read_json(result_file(job)).get("asked", asked(job))
        other = [f"{k}: {before.get(k)!r}, now {v!r}" for k, v in asked(job).items() if before.get(k) != v]
        if other:
            raise InputError(f"{result_file(job)} was asked for with {'; '.join(other)}. Give another --out")
    if publish and commit().endswith("+"):
        raise InputError("--publish: files differ from the last commit; results name a commit that holds them. Commit")


def _perform(jobs: Sequence[Job], executor: str, workers: int) -> None:
    """Run what is not done yet."""
    from eventflow.bench._learn_cell import result_file, variant
    from eventflow.bench.leaderboard import _executors, _progress
    from eventflow.bench.leaderboard._store import read_json, write_json

    left = [job for job in jobs if read_json(result_file(job)).get("state") != "done"]
    tasks = {
        id(job): _progress.Task(f"{job['env']}, {variant(job)}, seed {job['seed']}", result_file(job)) for job in left
    }
    columns = {"step": _shown("step"), "return": _shown("return")}
    with _progress.Progress(list(tasks.values()), what="runs", columns=columns) as progress:

        def finished(job: Job, died: str | None) -> None:
            if died:  # what it saved stays, and the next call goes on from there
                write_json(result_file(job), {**read_json(result_file(job)), "state": "failed", "error": died})
            progress.done(tasks[id(job)])

        _executors.execute(left, finished, executor=executor, workers=workers)


def _shown(key: str) -> Any:
    def text(state: Mapping[str, Any]) -> str:
        value = state.get(key)
        return "" if value is None else f"{value:,.0f}" if key == "step" else f"{value:.1f}"

    return text


def _results(jobs: Sequence[Job]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """environment -> variant -> the results of its seeds, where all are done."""
    from eventflow.bench._learn_cell import result_file, variant
    from eventflow.bench.leaderboard._store import read_json

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for job in jobs:
        found.setdefault(job["env"], {}).setdefault(variant(job), []).append(read_json(result_file(job)))
    for each in found.values():
        for name in [name for name, results in each.items() if any(r.get("state") != "done" for r in results)]:
            del each[name]
    return {env: each for env, each in found.items() if each}


def _write(out: Path, jobs: Sequence[Job]) -> None:
    """learned.md and a picture of each environment, of the runs that were asked for."""
    from eventflow.bench._learn_cell import slug
    from eventflow.bench._learn_results import picture, rows, table
    from eventflow.bench._report import write

    found = _results(jobs)
    text = table([line for env, each in found.items() for line in rows(env, each)])
    write(text + "\n", out / "learned.md")
    for env, each in found.items():
        picture(each, out / f"{slug(env)}.png")
    print(text)
    print(f"written: {out}/learned.md, *.png")


def _tell_failures(jobs: Sequence[Job]) -> None:
    from eventflow.bench._learn_cell import result_file
    from eventflow.bench.leaderboard._store import read_json

    states = {result_file(job): read_json(result_file(job)) for job in jobs}
    failed = [f"  {path}: {s.get('error', 'no result')}" for path, s in states.items() if s.get("state") != "done"]
    if failed:
        print("\n".join([f"{len(failed)} of {len(jobs)} runs failed:", *failed]))
        raise SystemExit(1)
