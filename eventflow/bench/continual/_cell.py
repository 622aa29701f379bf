"""One cell of ``eventflow bench continual``: a learner goes through a stream once. Plain data in, a file out."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from eventflow.bench.leaderboard._jobs import Job, logged, one_line
from eventflow.bench.leaderboard._store import digest, read_json, write_json
from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io import card, list_datasets, load_dataset
from eventflow.nn._recorded import rebuild
from eventflow.tpp import PointProcess, truth
from eventflow.tpp.continual import (
    ContinualLearner,
    EvaluationMatrix,
    Steps,
    Task,
    cut_at,
    cut_by_time,
    evaluate,
    make_learner,
    prequential_blocks,
    task_log_prob,
    through_tasks,
)
from eventflow.train._run import provenance

#: What decides the numbers of a cell.
ASKED = ("data", "tasks", "sequences", "model", "network", "learner", "steps", "blocks", "order", "seed")


class Stream(NamedTuple):
    """A dataset cut into tasks: what is learned, what judges it, and what the reader is told."""

    train: list[Task]
    test: list[Task]
    unit: str
    num_marks: int
    time_scale: float


def slug(word: str) -> str:
    """A learner's name as that of a folder."""
    return word.replace(":", "-").replace("=", "-").replace(",", "-")


def result_file(job: Job) -> Path:
    """State and result of a job."""
    name = str(job["seed"]) if not job["order"] else f"{job['seed']}-order-{job['order']}"
    return Path(job["out"]) / "cells" / job["data"] / job["model"] / slug(job["learner"]) / f"{name}.json"


def facts_file(out: Path, data: str) -> Path:
    """What is known of a dataset, the oracle's numbers among it."""
    return out / "cells" / data / "stream.json"


def asked(job: Job) -> dict[str, Any]:
    """What decides the numbers of a job."""
    return {name: job[name] for name in ASKED}


def stream_of(job: Job) -> Stream:
    """The tasks of a job's dataset: of its card, or as many windows of equal length. The model's unit of time is the
    mean gap of the first task, since later ones are not known when learning starts.

    Raises:
        InputError: no such dataset, or none that can be cut; a task without scored events; fewer than two tasks.
    """
    name, events = job["name"], _events(job)
    times, history = _cut(job, events["train"])
    train, test = (cut_at(events[split], times, history=history) for split in ("train", "test"))
    if len(train) < 2:
        raise InputError(f"--data {name}: one task, so that nothing can be forgotten or passed on. Give --tasks 10")
    for split, cut in (("training", train), ("test", test)):
        for task in cut:
            if not task.num_scored:
                raise InputError(
                    f"--data {name}: task {task.name} over {task.span} has no scored {split} event. Give fewer --tasks"
                )
    gaps = train[0].events.gaps.astype(np.float64)[train[0].scored]
    schema = events["train"].schema
    return Stream(train, test, schema.unit, int(schema.num_marks or 1), float(gaps.mean()))


def blocks_of(job: Job) -> list[Task]:
    """Every task of the training stream in windows of equal length."""
    events, blocks = _events(job)["train"], job["blocks"]
    times, history = _cut(job, events)
    edges = [task.span for task in cut_at(events, times, history=history)]
    return cut_at(events, [a + (b - a) * i / blocks for a, b in edges for i in range(blocks)][1:], history=history)


def _events(job: Job) -> dict[str, Events]:
    """Training and test events, of as many sequences as are asked for."""
    found = load_dataset(job["name"], splits=["train", "test"])
    return {split: events[: job["sequences"]] for split, events in found.items()}


def _cut(job: Job, events: Events) -> tuple[list[float], str]:
    """Times, and what a task knows of the time before it."""
    if job["tasks"] is None:
        told = card(job["name"]).recipe["tasks"]
        return list(told["times"]), str(told["history"])
    return [float(task.span[1]) for task in cut_by_time(events, job["tasks"])[:-1]], "carried"


def network_of(spec: Mapping[str, Any], stream: Stream, seed: int) -> PointProcess:
    """The untrained model of a job."""
    torch.manual_seed(seed)
    arguments = {**(spec.get("init_args") or {}), "num_marks": stream.num_marks, "time_scale": stream.time_scale}
    return rebuild({"class_path": spec["class_path"], "init_args": arguments}, PointProcess)


def order_of(number: int, tasks: int) -> list[int]:
    """The tasks in another order: 0 is that of time; the same number is the same order for every learner."""
    return list(range(tasks)) if not number else np.random.default_rng(number).permutation(tasks).tolist()


def learn(job: Job) -> None:
    """Do a job; its file says "running" until it says "done" or "failed"."""
    path = result_file(job)
    write_json(path, {"state": "running", "asked": asked(job), "since": time.time()})
    with logged(path.with_suffix(".log")) as log:
        try:
            result = _result(job)
        except Exception as error:
            traceback.print_exc(file=log)
            write_json(path, {"state": "failed", "asked": asked(job), "error": one_line(error)})
            return
    write_json(path, {"state": "done", "asked": asked(job), **result, **provenance()})


def _result(job: Job) -> dict[str, Any]:
    stream = stream_of(job)
    order = order_of(job["order"], len(stream.train))
    with torch.random.fork_rng():  # what is compiled and loaded by the first step is not the learner's cost
        new_learner(job, stream).learn(blocks_of(job)[0])
    learner = _Watched(new_learner(job, stream), job)
    train, test = [stream.train[i] for i in order], [stream.test[i] for i in order]
    matrices = through_tasks(learner, train, test, forecasts=not job["order"])
    summaries = {name: matrix.summary() for name, matrix in matrices.items()}
    found = {
        "text": f"nll {summaries['nll_per_event']['average']:.4f}, "
        f"forgets {summaries['nll_per_event']['forgetting']:.4f}, {learner.cpu_s:.0f} s",
        "order": order,
        "matrices": {name: _plain(matrix) for name, matrix in matrices.items()},
        "summary": summaries,
        "num_parameters": sum(p.numel() for p in learner.model.parameters()),
        "train_cpu_s": learner.cpu_s, "state_bytes": learner.sizes,
        "score_cpu_us": score_cost(learner.model, test),
    }  # fmt: skip
    return found if job["order"] else {**found, "prequential": _prequential(job, stream)}


def new_learner(job: Job, stream: Stream) -> ContinualLearner:
    """The learner of a job, before its first task."""
    model = network_of(job["network"], stream, job["seed"])
    return make_learner(job["learner"], model, steps=Steps(**job["steps"], seed=job["seed"]))


def _prequential(job: Job, stream: Stream) -> list[dict[str, Any]]:
    """Test, then train: every block of the stream judged before it is learned."""
    blocks = prequential_blocks(new_learner(job, stream), blocks_of(job), forecasts=False)
    return [block._asdict() for block in blocks]


def score_cost(model: PointProcess, tasks: Sequence[Task]) -> float:
    """CPU microseconds to encode an event and give its likelihood, in batches on one thread: the best of three."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        with torch.no_grad():
            for task in tasks:
                task_log_prob(model, task)
        spent.append(time.process_time() - start)
    return min(spent) / sum(task.events.num_events for task in tasks) * 1e6


def write_facts(job: Job) -> None:
    """What a dataset's tables and pictures need besides its cells: tasks, and the oracle where the law is known."""
    path = facts_file(Path(job["out"]), job["data"])
    key = digest([job[name] for name in ("name", "tasks", "sequences", "blocks")])
    if read_json(path).get("hash") == key:
        return
    stream, blocks = stream_of(job), blocks_of(job)
    found: dict[str, Any] = {
        "hash": key, "unit": stream.unit, "spans": [task.span for task in stream.train],
        "train": [task.num_scored for task in stream.train], "test": [task.num_scored for task in stream.test],
    }  # fmt: skip
    if job["name"] in list_datasets() and card(job["name"]).truth:
        law = truth(job["name"]).process
        rows = [evaluate(law, task) for task in stream.test]
        found["oracle"] = {metric: [row[metric] for row in rows] for metric in rows[0]}
        found["oracle_blocks"] = [
            evaluate(law, block, forecasts=False)["nll_per_event"] for block in blocks if block.num_scored
        ]
    write_json(path, found)


def _plain(matrix: EvaluationMatrix) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(matrix).items()}


class _Watched:
    """A learner whose learning is timed and weighed, and told of in the cell's file."""

    def __init__(self, learner: ContinualLearner, job: Job) -> None:
        self.learner, self.job = learner, job
        self.cpu_s, self.sizes = 0.0, [len(pickle.dumps(vars(learner)))]
        self.since = time.time()

    @property
    def model(self) -> PointProcess:
        """What it has learned so far."""
        return self.learner.model

    def learn(self, task: Task) -> None:
        """Learn; then tell."""
        start = time.process_time()
        self.learner.learn(task)
        self.cpu_s += time.process_time() - start
        self.sizes.append(len(pickle.dumps(vars(self.learner))))
        told = {"state": "running", "asked": asked(self.job), "since": self.since, "task": len(self.sizes) - 1}
        write_json(result_file(self.job), told)
