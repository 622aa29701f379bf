"""continual learning: models x learners go through a drifting stream; what each task keeps, loses and passes on"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eventflow.errors import InputError, require

if TYPE_CHECKING:
    from eventflow.bench.continual._cell import Job

#: Seconds between two writings of the tables while cells are run.
RENEW = 60.0


def run(
    *, data: list[str], model: list[str], out: Path, learner: list[str] | None = None,
    config: list[str] | None = None, seeds: Sequence[int] = (0, 1, 2), orders: int = 0,
    reorder: list[str] | None = None, tasks: int | None = None, sequences: int | None = None,
    blocks: int = 3, epochs: int = 5, batch_size: int = 8, lr: float = 0.01, as_large_as: str | None = None,
    executor: Literal["serial", "processes", "ray"] = "serial", workers: int | None = None, publish: bool = False,
) -> None:  # fmt: skip
    """Let every learner take every model through every stream, task by task, and write continual.md, .html and .json.

    A stream is a dataset cut by time. After each task all tasks are judged on test events: exact nll, RMSE of the gap,
    accuracy of the mark. From that: average performance, forgetting, forward and backward transfer. A second pass
    tests on each block of the training stream, then trains on it (prequential). A cell that is done is not run again.

      eventflow bench continual --data hawkes_drift --model nhp --learner fine-tune replay ewc --out drift

    Exit code 1 if a cell failed; the others are in the tables.

    Args:
        data: datasets, by name or folder.
        model: point processes, by name or folder.
        out: the folder of this comparison; the same one again continues it.
        learner: of eventflow.tpp.continual.LEARNERS, with arguments if any: ewc:strength=10 replay:capacity=50; by
            default all.
        config: configurations on top, as of `eventflow bench tpp`; of their model section.
        seeds: of the initial weights, the order of sequences and the learners' draws.
        orders: random orders of the tasks, learned with the first seed, beside that of time; judged by nll.
        reorder: the learners to which orders are given; by default all.
        tasks: windows of equal length; by default as the dataset's card says.
        sequences: the first ones only, so many to learn from and so many to judge by; by default all.
        blocks: blocks of a task in the prequential pass.
        epochs: passes over a task, or over a block.
        batch_size: sequences a step.
        lr: of Adam.
        as_large_as: a model of --model; the others get the hidden_size at which they have as many parameters.
        executor: cells one after the other, in processes of this machine, or on a Ray cluster (extra ray).
        workers: cells at once; by default one for each CPU.
        publish: write datasets/<data>/results/continual.yaml and its picture, and the tables of
            datasets/continual.md, from the cells of this command.

    Raises:
        InputError: an unknown name or key; a dataset that cannot be cut; cells there that were asked for otherwise.
    """
    from eventflow.bench.continual import _jobs
    from eventflow.bench.leaderboard import _store

    _check_numbers(
        seeds, {"orders": (orders, 0), "sequences": (sequences, 1), "blocks": (blocks, 1), "workers": (workers, 1)}
    )
    require("matplotlib", "viz")
    steps = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    shared = {"tasks": tasks, "sequences": sequences, "blocks": blocks, "steps": steps}
    pairs = _jobs.jobs_of(
        data, model, learner or ["all"], config=config or (), shared=shared, as_large_as=as_large_as
    )
    _check_reorder(reorder or [], [job["learner"] for job in pairs], orders)
    out = out.resolve()
    jobs = _jobs.placed(pairs, out, seeds=seeds, orders=orders, reordered=reorder or [])
    _jobs.check(jobs)
    if publish:
        from eventflow.bench.continual._publish import check

        check(jobs)
    with _store.alone(out):
        _perform(out, jobs, {"executor": executor, "workers": _workers(executor, workers)})
        write_tables(out)
        if publish:
            from eventflow.bench.continual._publish import publish as write_results

            write_results(out, jobs)
    print(f"written: {out}/continual.md, .html, .json")
    _tell_failures(jobs)


def write_tables(out: Path) -> None:
    """Write continual.md, .json and .html of what lies in the folder, each whole or not at all."""
    from eventflow.bench._report import write_three
    from eventflow.bench.continual import _board, _page, _text
    from eventflow.train._run import provenance

    write_three(_board.board(out), out / "continual", made=provenance(), text=_text, page=_page)


def _check_numbers(seeds: Sequence[int], numbers: dict[str, tuple[int | None, int]]) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: expected different numbers, none below 0")
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: expected at least {least}")


def _check_reorder(reorder: Sequence[str], learners: Sequence[str], orders: int) -> None:
    from eventflow.errors import did_you_mean

    for word in reorder:
        if word not in learners:
            raise InputError(f"--reorder {word}: not among --learner; {did_you_mean(word, dict.fromkeys(learners))}")
    if reorder and not orders:
        raise InputError(f"--reorder {' '.join(reorder)}: nothing is reordered. Give --orders 10")


def _workers(executor: str, workers: int | None) -> int:
    return 1 if executor == "serial" else workers or os.cpu_count() or 1


def _perform(out: Path, jobs: Sequence[Job], how: dict[str, Any]) -> None:
    """Run what is not done yet."""
    from eventflow.bench.continual import _cell
    from eventflow.bench.leaderboard import _executors, _progress
    from eventflow.bench.leaderboard._store import read_json, write_json

    for job in {job["data"]: job for job in jobs}.values():
        _cell.write_facts(job)
    left = [job for job in jobs if read_json(_cell.result_file(job)).get("state") != "done"]
    tasks = {id(job): _progress.Task(_name(job), _cell.result_file(job)) for job in left}
    ticker = _progress.Ticker(RENEW)
    columns = {"tasks": lambda state: str(state.get("task", 0))}
    with _progress.Progress(list(tasks.values()), what="cells", columns=columns) as progress:

        def finished(job: Job, died: str | None) -> None:
            if died:
                write_json(_cell.result_file(job), {"state": "failed", "asked": _cell.asked(job), "error": died})
            progress.done(tasks[id(job)])
            if ticker.due():
                write_tables(out)

        _executors.execute(left, finished, **how)


def _name(job: Job) -> str:
    order = f", order {job['order']}" if job["order"] else ""
    return f"{job['learner']}, {job['model']} on {job['data']}, seed {job['seed']}{order}"


def _tell_failures(jobs: Sequence[Job]) -> None:
    from eventflow.bench.continual._cell import result_file
    from eventflow.bench.leaderboard._store import read_json

    states = {result_file(job): read_json(result_file(job)) for job in jobs}
    failed = [f"  {path}: {s.get('error', 'no result')}" for path, s in states.items() if s.get("state") != "done"]
    if failed:
        print("\n".join([f"{len(failed)} of {len(jobs)} cells failed:", *failed]))
        print("the same command again tries them anew")
        raise SystemExit(1)
