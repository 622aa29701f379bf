"""What a worker does: plain data in, a file below the output folder out. The same bits wherever it runs.

A cell is trained as ``eventflow fit`` trains and judged once as ``eventflow test`` judges. One that was cut goes on
from its last checkpoint, which is written after every epoch and continues exactly; one that failed starts anew.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from eventflow.bench.leaderboard._store import EPOCHS, TRAINED, Cell, baselines_file, epochs, read_json, write_json
from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io import card, list_datasets, load_dataset
from eventflow.tpp import (
    Forecaster,
    PointProcess,
    evaluate_horizon,
    ks_exponential,
    load_model,
    qq_exponential,
    time_rescaling_residuals,
)
from eventflow.train import Pass, command
from eventflow.train._data import mean_gap
from eventflow.train._evaluate import judged_baselines
from eventflow.train._references import find_checkpoint

Job = Mapping[str, Any]

#: Raised whenever the baselines say more or something else, so that boards made before get them anew.
BASELINES = 2


def perform(job: Job) -> None:
    """Do one job, in one thread, from the folder in which the bench was started; never raises what the job raised."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums must not depend on who computes them
    if os.path.isdir(job["cwd"]):
        os.chdir(job["cwd"])
    try:
        _KINDS[job["kind"]](job)
    finally:
        torch.set_num_threads(threads)


def cell_of(job: Job) -> Cell:
    """The cell that a job is about."""
    return Cell(Path(job["out"]), job["data"], job["model"], job["seed"])


def run_cell(job: Job) -> None:
    """Train and judge a cell; its result file says "running" until it says "done" or "failed"."""
    cell = cell_of(job)
    if not (cell.home / "config.yaml").is_file():
        return _not_shared(job)
    before = read_json(cell.result)
    anew = before.get("state") == "failed" and not before.get("died")
    write_json(cell.result, {"state": "running", "hash": job["hash"], "since": time.time(), "run": str(cell.run)})
    with logged(cell.log) as log:
        try:
            words = ["--config", str(cell.home / "config.yaml"), "--seed_everything", str(cell.seed)]
            train(cell.run, words, anew=anew)
            result = judge(cell.run, job)
        except Exception as error:
            traceback.print_exc(file=log)
            told = {"state": "failed", "hash": job["hash"], "error": one_line(error), "log": str(cell.log)}
            write_json(cell.result, told)
            return
    write_json(cell.result, {"state": "done", "hash": job["hash"], **result})


def train(run: Path, words: list[str], *, anew: bool = False, watch: Callable[[Pass], bool] | None = None) -> None:
    """``eventflow fit <words>`` into the folder ``run``, from where an earlier call was cut, if one was.

    Leaves EPOCHS, a line for each epoch, and TRAINED when it is over.
    """

    def tell(done: Pass) -> bool:
        line = {**done._asdict(), "pid": os.getpid()}
        with (run / EPOCHS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return watch is not None and watch(done)

    last = run / "checkpoints" / "last.ckpt"
    if anew or not (last.is_file() and (run / "config.yaml").is_file()):
        shutil.rmtree(run, ignore_errors=True)
        command("fit", [*words, "--out", str(run)], watch=tell)
    elif not (run / TRAINED).is_file() and not _stopped_early(last):
        command("fit", ["--ckpt_path", str(run)], watch=tell)
    write_json(run / TRAINED, {"epochs": len(epochs(run))})


def judge(run: Path, job: Job) -> dict[str, Any]:
    """``eventflow test`` on the best weights of a run, and what only the leaderboard asks of them."""
    passes: list[Pass] = []
    command("test", ["--ckpt_path", str(run)], watch=lambda done: bool(passes.append(done)))
    report = read_json(run / "metrics.json")
    model = load_model(find_checkpoint(str(run), resume=False)).model
    model.quadrature = report["quadrature"]["nodes"]
    numbers = sum(weights.numel() for weights in model.parameters())
    test = load_dataset(job["name"])["test"]
    residuals = time_rescaling_residuals(model.double(), test)
    count = len(epochs(run))
    return {
        "text": f"nll/event {report['metrics']['nll_per_event']:.4f} after {count} epochs",
        "report": report,
        "horizon": long_horizon(model, test, horizon_of(job["name"])),
        "num_parameters": numbers,
        "epochs": count,
        "train_events_per_cpu_s": train_speed(epochs(run)),
        "eval_events_per_cpu_s": passes[-1].events / max(passes[-1].cpu_s, 1e-9),
        "ks": ks_exponential(residuals)._asdict(),
        "qq": {name: [float(f"{x:.5g}") for x in xs] for name, xs in qq_exponential(residuals)._asdict().items()},
    }


def horizon_of(name: str) -> dict[str, Any]:
    """How long horizons are judged on a dataset: as its card says; else in units of g, the mean training gap.

    The horizon of T-mAP is 10 g, its reaches g/4 to 2 g; an insertion or a deletion costs the OTD g.
    """
    known = name in list_datasets() or (Path(name) / "card.yaml").is_file()
    told = getattr(card(name), "horizon", None) if known else None
    if told:
        return dict(told)
    gap = float(f"{mean_gap(load_dataset(name, splits=['train'])['train'], name):.4g}")
    deltas = [gap / 4, gap / 2, gap, 2 * gap]
    return {"horizon": 10 * gap, "max_events": 20, "every": 4, "otd_cost": gap, "map_deltas": deltas}


def long_horizon(model: PointProcess | Forecaster, test: Events, settings: Mapping[str, Any]) -> dict[str, float]:
    """OTD, T-mAP and next-k of forecasts of many events; {} where no test sequence is long enough to ask for them."""
    try:
        return evaluate_horizon(model, test, **settings)
    except InputError as error:
        print(f"without OTD and T-mAP: {str(error).partition('. ')[0]}")  # the rest is advice for callers in Python
        return {}


def train_speed(rows: list[dict[str, Any]]) -> float | None:
    """Median over epochs of scored events per CPU-second, without the first of each process, which loads kernels."""
    first = {row["pid"]: row["epoch"] for row in reversed(rows)}
    warm = [row for row in rows if first[row["pid"]] != row["epoch"]] or rows
    return statistics.median(row["events"] / max(row["cpu_s"], 1e-9) for row in warm) if warm else None


def one_line(error: BaseException) -> str:
    """An error's first line, with its type where it is none of ours."""
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def logged(path: Path) -> Iterator[Any]:
    """Standard output and error go to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield log


def _stopped_early(last: Path) -> bool:
    """Whether the training had ended by itself when its last checkpoint was written: one more epoch would be wrong."""
    callbacks = torch.load(last, map_location="cpu", weights_only=True).get("callbacks", {})
    states = [state for name, state in callbacks.items() if name.startswith("EarlyStopping")]
    return any(state["stopped_epoch"] or state["wait_count"] >= state["patience"] for state in states)


def _not_shared(job: Job) -> None:
    import platform

    cell = cell_of(job)
    why = f"{platform.node()} does not see {job['out']}: workers of other machines need --out on a shared file system"
    write_json(cell.result, {"state": "failed", "hash": job["hash"], "error": why, "log": str(cell.log)})


def run_trial(job: Job) -> None:
    """One trial of a search."""
    from eventflow.bench.leaderboard._tune import run_trial

    run_trial(job)


def run_baselines(job: Job) -> None:
    """The trivial baselines of a dataset, fitted on its training events, scored on its test events."""
    events = load_dataset(job["name"])
    test, settings = events["test"], horizon_of(job["name"])
    fitted, known = judged_baselines(events["train"], test)
    rows = {name: dict(row) for name, row in known.items()}
    forecasters: dict[str, PointProcess | Forecaster] = {**fitted.forecasters(horizon=settings["horizon"])}
    if fitted.hawkes is not None:
        forecasters["Hawkes"] = copy.deepcopy(fitted.hawkes).double()
    for name, each in forecasters.items():
        if not (found := long_horizon(each, test, settings)):
            break  # no test sequence is long enough, whoever forecasts it
        rows[name] = {**rows.get(name, {}), **found}
    content = {
        "state": "done", "hash": job["hash"], "name": job["name"], "unit": test.schema.unit,
        "test": {"sequences": len(test), "scored_events": test.num_scored},
        "rows": rows, "horizon": settings,
    }  # fmt: skip
    write_json(baselines_file(Path(job["out"]), job["data"]), content)


def run_learning(job: Job) -> None:
    """One run of ``eventflow bench learn``."""
    from eventflow.bench._learn_cell import learn

    learn(job)


def run_continual(job: Job) -> None:
    """One cell of ``eventflow bench continual``."""
    from eventflow.bench.continual._cell import learn

    learn(job)


_KINDS: dict[str, Callable[[Job], None]] = {
    "cell": run_cell, "trial": run_trial, "baselines": run_baselines, "learn": run_learning,
    "continual": run_continual,
}  # fmt: skip
