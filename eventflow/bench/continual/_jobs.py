"""What is to be run: words become jobs, resolved and checked before anything starts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflow.bench.continual._cell import ASKED, Job, Stream, network_of, new_learner, result_file, stream_of
from eventflow.bench.leaderboard._plan import plan
from eventflow.bench.leaderboard._store import read_json
from eventflow.errors import InputError, did_you_mean
from eventflow.io import card, list_datasets
from eventflow.tpp.continual import LEARNERS, Steps, parse_learner

#: Learners whose word is "all".
EVERY = tuple(LEARNERS)


def jobs_of(
    data: Sequence[str], model: Sequence[str], learner: Sequence[str], *, config: Sequence[str],
    shared: Mapping[str, Any], as_large_as: str | None,
) -> list[Job]:  # fmt: skip
    """One job for every dataset, model and learner, as yet without seed, order and place; ``shared`` are steps, tasks,
    sequences and blocks.

    Raises:
        InputError: an unknown name or key, a name given twice; data that cannot be cut; a model that is no process.
    """
    Steps(**shared["steps"])
    learners = [word for given in learner for word in (EVERY if given == "all" else (given,))]
    for word in learners:
        parse_learner(word)
    _once("learner", learners)
    found: list[Job] = []
    for pair in plan(data, model, config=config):
        _check_cut(pair.name, shared["tasks"])
        network = (pair.asked["model"].get("init_args") or {}).get("network")
        if network is None:
            raise InputError(f"--model {pair.model}: no point process, which is what this bench teaches")
        spec = {"class_path": network} if isinstance(network, str) else dict(network)
        here = {"data": pair.data, "name": pair.name, "model": pair.model, "network": spec}
        found.append({"kind": "continual", **shared, **here})
    if as_large_as is not None:
        found = _as_large(found, as_large_as)
    return [{**each, "learner": word} for each in found for word in learners]


def placed(jobs: Sequence[Job], out: Path, *, seeds: Sequence[int], orders: int, reordered: Sequence[str]) -> list[Job]:
    """The jobs of every seed in the order of time, then with the first seed in ``orders`` others.

    First all learners with the first seed, so that an early table has them all.
    """
    where = {"out": str(out), "cwd": os.getcwd()}
    timely: list[Job] = [{**job, **where, "seed": seed, "order": 0} for seed in seeds for job in jobs]
    others = [job for job in jobs if not reordered or job["learner"] in reordered]
    timely += [{**job, **where, "seed": seeds[0], "order": order} for order in range(1, orders + 1) for job in others]
    return timely


def check(jobs: Sequence[Job]) -> None:
    """Refuse what cannot be learned, and a folder in which other cells lie."""
    streams: dict[str, Stream] = {}
    tried = set()
    for job in jobs:
        key = job["name"]
        if key not in streams:
            streams[key] = stream_of(job)
        if (key, job["model"], job["learner"]) not in tried:
            tried.add((key, job["model"], job["learner"]))
            new_learner(job, streams[key])
        before = read_json(result_file(job)).get("asked")
        now = {name: job[name] for name in ASKED}
        other = [f"{k} was {before.get(k)!r}, is now {v!r}" for k, v in now.items() if before and before.get(k) != v]
        if other:
            raise InputError(f"{result_file(job)} was asked for otherwise: {'; '.join(other)}. Give another --out")


def _check_cut(name: str, tasks: int | None) -> None:
    known = name in list_datasets() or (Path(name) / "card.yaml").is_file()
    if tasks is None and not (known and "tasks" in card(name).recipe):
        cut = ", ".join(each for each in list_datasets() if "tasks" in card(each).recipe)
        raise InputError(
            f"--data {name}: its card does not say how it is cut into tasks, as those of {cut} do. "
            "Give --tasks 10 for ten windows of equal length"
        )


def _once(flag: str, words: Sequence[str]) -> None:
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise InputError(f"--{flag} {' '.join(words)}: {twice[0]!r} twice; a table has one row for each")


def _as_large(found: Sequence[Job], largest: str) -> list[Job]:
    """Every model with the hidden_size at which it has about as many parameters as ``largest`` on the same data."""
    names = [each["model"] for each in found]
    if largest not in names:
        raise InputError(f"--as-large-as {largest}: not among --model; {did_you_mean(largest, names)}")
    sized: list[Job] = []
    for each in found:
        stream = stream_of(each)
        goal = next(one for one in found if one["model"] == largest and one["data"] == each["data"])
        wanted = _count(goal["network"], stream)
        sized.append(each if each["model"] == largest else {**each, "network": _sized(each, wanted, stream)})
    return sized


def _sized(each: Mapping[str, Any], wanted: int, stream: Stream) -> dict[str, Any]:
    """The network whose number of parameters is nearest: sizes in fours, which heads divide; then in ones, where the
    model takes them."""
    arguments = each["network"].get("init_args") or {}
    if "hidden_size" not in arguments:
        raise InputError(f"--as-large-as: {each['model']} has no hidden_size to set")

    def of(size: int) -> dict[str, Any]:
        return {**each["network"], "init_args": {**arguments, "hidden_size": size}}

    def distance(size: int) -> float:
        try:
            return abs(_count(of(size), stream) - wanted)
        except InputError:
            return math.inf

    low, high = 1, 256
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _count(of(4 * middle), stream) <= wanted else (low, middle)
    return of(min(range(4 * low, 4 * high + 1), key=distance))


def _count(network: Mapping[str, Any], stream: Stream) -> int:
    return sum(p.numel() for p in network_of(network, stream, 0).parameters())
