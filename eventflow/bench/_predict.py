"""next-event prediction: CPU seconds and errors of exact forecasts, beside EasyTPP's thinning"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from eventflow.bench._terminal import console as terminal
from eventflow.bench._train import ALLOCATORS, _how_to_run_the_peer, _job, _peer, _Worker
from eventflow.bench._train_models import MODELS
from eventflow.errors import InputError, did_you_mean

#: Thinning as EasyTPP's example configurations set it; AttNHP's has fewer proposals.
THINNING = {"num_sample": 1, "num_exp": 500, "over_sample_rate": 5, "num_samples_boundary": 5, "dtime_max": 5}
PROPOSALS = {"attnhp": 50}
#: Ours with the weights that EasyTPP trained, and ours as it comes, trained as long.
OURS, OURS_OWN, PEER = "eventflow, its weights", "eventflow", "EasyTPP"
COLUMNS = {"rmse": "gap RMSE", "mae": "gap MAE", "accuracy": "accuracy"}


def run(
    *, out: Path | None = None, easytpp: Path | None = None, easytpp_python: Path | None = None, data: str = "taxi",
    model: list[str] | None = None, epochs: int = 5, repeats: int = 3, seed: int = 0,
) -> None:  # fmt: skip
    """Predict every test event from its past: mean and median gap and mark probabilities by quadrature here, one
    accepted draw of thinning there (EasyTPP's configuration), both trained a little first.

    One core, one thread, float32, in turn on the same core; CPU time of loading, encoding and predicting. "eventflow,
    its weights" is the same network with the weights that EasyTPP has just trained, where it has a twin here;
    "eventflow" is ours as it comes, trained for as many epochs.

    Args:
        out: folder for predict.json.
        easytpp: folder of an EasyTPP checkout (https://github.com/ant-research/EasyTemporalPointProcess).
        easytpp_python: the Python that runs it, with torch and omegaconf; default: this one.
        data: dataset to train on and to predict.
        model: which models; nhp, thp, rmtpp and attnhp if left out.
        epochs: of training before, each half by its own code; 0 predicts with untrained weights.
        repeats: predictions of all test events; the median CPU time counts.
        seed: of the initial weights, of the order and of EasyTPP's draws.
    """
    if epochs < 0 or repeats < 1:
        raise InputError(f"bench predict: epochs={epochs}, repeats={repeats}; expected at least 0 and at least 1")
    names = model or ["nhp", "thp", "rmtpp", "attnhp"]
    for name in names:
        if name not in MODELS:
            raise InputError(f"bench predict: model {name!r}; {did_you_mean(name, MODELS)}")
    peer = _peer(easytpp, easytpp_python)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shared = {**_job(data, Path(folder), seed), "epochs": epochs}
        for name in names:
            results[name] = _race(_setting(name, shared), peer, repeats)
            _show(name, results[name], data)
    if peer is None:
        _how_to_run_the_peer("predict")
    if out is not None:
        _write(out, {"data": data, "seed": seed, "epochs": epochs, "thinning": THINNING, "models": results})


def _setting(name: str, shared: dict[str, Any]) -> dict[str, Any]:
    job = {**shared, **MODELS[name].job()}
    thinning = {**THINNING, "num_exp": PROPOSALS.get(name, THINNING["num_exp"])}
    return {**job, "config": {**job["config"], "thinning": thinning}}


def _race(job: dict[str, Any], peer: list[str] | None, repeats: int) -> dict[str, Any]:
    """name -> {"parameters", "passes": [{"cpu", "wall", "events", "rmse", "mae", "accuracy"}, ...]}."""
    module = [sys.executable, "-m", "eventflow.bench._predict_worker"]
    workers: dict[str, _Worker] = {}
    extra = ALLOCATORS["default"]
    try:
        if peer is not None:
            script = [peer[0], str(Path(__file__).with_name("_predict_peer.py"))]
            workers[PEER] = _Worker(script, {**job, "easytpp": peer[1]}, extra)
            if job["twin"] is not None:
                workers[OURS] = _Worker(module, {**job, "weights": job["initial"]}, extra)
        workers[OURS_OWN] = _Worker(module, {**job, "weights": None}, extra)
        for _ in range(repeats):
            for worker in workers.values():
                worker.epochs.append(worker.ask({}))
        return {name: {"parameters": w.parameters, "passes": w.epochs} for name, w in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()


def cpu(result: dict[str, Any]) -> float:
    """Median CPU seconds of a pass over the test events."""
    return statistics.median(said["cpu"] for said in result["passes"])


def _show(model: str, results: dict[str, Any], data: str) -> None:
    from rich.table import Table

    events = int(results[OURS_OWN]["passes"][0]["events"])
    table = Table(title=f"{MODELS[model].ours}: the next event, {events:,} times ({data}, test); one core, float32")
    for heading in ("", "CPU s", "µs / event", "ratio", *COLUMNS.values()):
        table.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        ratio = f"{cpu(results[PEER]) / cpu(result):.1f}x" if PEER in results else "-"
        errors = (f"{statistics.fmean(said[key] for said in result['passes']):.4f}" for key in COLUMNS)
        table.add_row(name, f"{cpu(result):.3f}", f"{1e6 * cpu(result) / events:.1f}", ratio, *errors)
    terminal().print(table)


def _write(out: Path, report: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / "predict.json.part"
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(part, out / "predict.json")
