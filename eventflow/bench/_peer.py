"""EasyTPP's own models and code, trained to convergence on a dataset's files, for the `theirs` of a results file"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.bench._terminal import console as terminal
from eventflow.bench._train import ALLOCATORS, _job, _peer, _Worker
from eventflow.bench._train_models import MODELS
from eventflow.errors import InputError, did_you_mean

#: What must be as it was for a cell to go on.
ASKED = ("data", "epochs", "patience", "seed", "settings")


def run(
    *, out: Path, easytpp: Path, easytpp_python: Path | None = None, data: str = "taxi", model: list[str] | None = None,
    seeds: list[int] | None = None, epochs: int = 200, patience: int = 20, batch: int = 256, lr: float = 1e-3,
) -> None:  # fmt: skip
    """Train EasyTPP's own models with its own code, and judge by its own definition the weights that were best on val.

    Its sizes, batch 256, Adam 1e-3 and 200 epochs are those of its example configurations; here the order of sequences
    is drawn anew for each epoch, and training ends when ``patience`` epochs have brought nothing on val. A finished
    cell (model, seed) is not run again, an interrupted one goes on with its next epoch. Where a model here takes its
    weights (``tpp.load_easytpp``), they are judged exactly, too.

    Args:
        out: folder for peer.json and, for each model and seed, the weights as EasyTPP's runner saves them.
        easytpp: folder of an EasyTPP checkout (https://github.com/ant-research/EasyTemporalPointProcess).
        easytpp_python: the Python that runs it, with torch and omegaconf; default: this one.
        data: dataset to train on.
        model: which models; all if left out.
        seeds: of the initial weights and of the orders; 0 if left out.
        epochs: at most.
        patience: epochs without a better log-likelihood on val before training ends.
        batch: sequences.
        lr: of Adam.
    """
    names, numbers = model or list(MODELS), seeds or [0]
    _check(names, epochs, patience, batch)
    peer = _peer(easytpp, easytpp_python)
    assert peer is not None
    cells: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for seed in numbers:
            shared = _job(data, Path(folder), seed, splits=("train", "val", "test"))
            for name in names:
                job = {**shared, **MODELS[name].job(), "batch": batch, "lr": lr, "easytpp": peer[1]}
                asked = {"data": _digest(job["data"]), "epochs": epochs, "patience": patience, "seed": seed,
                         "settings": {**MODELS[name].job(), "batch": batch, "lr": lr}}  # fmt: skip
                cells[name].append(_cell(out / name / str(seed), job, asked, peer[0]))
                _write(out / "peer.json", {"data": data, "models": {k: _summary(v) for k, v in cells.items() if v}})
    _show(cells, data)


def _check(names: list[str], epochs: int, patience: int, batch: int) -> None:
    for name in names:
        if name not in MODELS:
            raise InputError(f"bench peer: model {name!r}; {did_you_mean(name, MODELS)}")
    if min(epochs, patience, batch) < 1:
        said = f"epochs={epochs}, patience={patience}, batch={batch}"
        raise InputError(f"bench peer: {said}; expected at least 1 of each")


def _digest(path: str) -> str:
    """Of the arrays, whatever the file around them."""
    with np.load(path) as arrays:
        parts = [arrays[name].tobytes() for name in sorted(arrays.files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _cell(folder: Path, job: dict[str, Any], asked: dict[str, Any], python: str) -> dict[str, Any]:
    """The result of one model and seed: the one that is there, or a new one."""
    done = folder / "result.json"
    if done.is_file():
        result = json.loads(done.read_text(encoding="utf-8"))
        _same(folder, result["asked"], asked)
        return result
    _start(folder, asked)
    script = [python, str(Path(__file__).with_name("_peer_worker.py"))]
    worker = _Worker(script, job, ALLOCATORS["keeping"])
    try:
        history = fit(worker, folder, job["sequences"], asked)
        said = worker.ask({"test": str(folder / "saved_model")})
    finally:
        worker.close()
    best = max(range(len(history)), key=lambda i: history[i]["val"])
    result = {
        "asked": asked, "parameters": worker.parameters, "epochs": len(history), "best_epoch": best + 1,
        "cpu": sum(epoch["cpu"] for epoch in history), "train": history[best]["train"], "val": history[best]["val"],
        "test": said["test"], "history": history, **_exactly(folder / "saved_model", job),
    }  # fmt: skip
    _write(done, result)
    (folder / "last.pt").unlink()
    return result


def fit(worker: Any, folder: Path, sequences: int, asked: dict[str, Any]) -> list[dict[str, float]]:
    """Epoch by epoch until nothing gets better on val; ``saved_model`` has the best weights, ``last.pt`` what it takes
    to go on."""
    last, history = folder / "last.pt", []
    if last.is_file():
        history = worker.ask({"restore": str(last)})["history"]
    best = max((epoch["val"] for epoch in history), default=-math.inf)
    while len(history) < asked["epochs"] and not _settled(history, asked["patience"]):
        order = np.random.default_rng([asked["seed"], len(history)]).permutation(sequences).tolist()
        history.append(worker.ask({"train": order}))
        if not math.isfinite(history[-1]["val"]):
            raise InputError(f"{folder}: val is {history[-1]['val']} after epoch {len(history)}; try a smaller --lr")
        if history[-1]["val"] > best:
            best = history[-1]["val"]
            worker.ask({"keep": str(folder / "saved_model")})
        worker.ask({"save": str(last), "history": history})
    return history


def _settled(history: list[dict[str, float]], patience: int) -> bool:
    values = [epoch["val"] for epoch in history]
    return bool(values) and len(values) - 1 - values.index(max(values)) >= patience


def _start(folder: Path, asked: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asked.json"
    if path.is_file():
        _same(folder, json.loads(path.read_text(encoding="utf-8")), asked)
    else:
        _write(path, asked)


def _same(folder: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name in ASKED:
        if then[name] != now[name]:
            raise InputError(
                f"{folder} was begun with {name} {then[name]}, now it is {now[name]}. Write: another --out, or remove "
                "the folder"
            )


def _exactly(weights: Path, job: dict[str, Any]) -> dict[str, float]:
    """The exact nll of these weights here, and EasyTPP's number of them once more, where a model here takes them."""
    if job["twin"] is None:
        return {}
    import torch

    from eventflow import tpp
    from eventflow.events import Events, Schema

    with np.load(job["data"]) as data:
        t, mark, offsets = (data[f"test_{name}"] for name in ("t", "mark", "offsets"))
    test = Events.of(t, offsets=offsets, schema=Schema(num_marks=job["num_marks"]), mark=mark)
    make, options = getattr(tpp, job["ours"]), dict(job["twin"])
    if "window" in inspect.signature(make).parameters:  # theirs look back on all there is
        options["window"] = int(test.lengths.max()) + 1
    model = make(job["num_marks"], **options).eval()
    tpp.load_easytpp(model, weights)
    with torch.no_grad():
        exact, compat = (float(model.log_prob(test, compat=how).sum()) / test.num_scored for how in (None, "easytpp"))
    return {"exact_nll_per_event": -exact, "easytpp_nll_per_event": -compat}


def _summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of the test log-likelihood over seeds, and what each cell said."""
    tests = [cell["test"] for cell in cells]
    spread = statistics.stdev(tests) if len(tests) > 1 else None
    return {"test": {"mean": statistics.fmean(tests), "std": spread}, "seeds": cells}


def _show(cells: dict[str, list[dict[str, Any]]], data: str) -> None:
    from rich.table import Table

    table = Table(title=f"EasyTPP's own code on {data}: log-likelihood per event, its own definition")
    for heading in ("", "seed", "epoch", "CPU s", "train", "val", "test", "exact nll"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, seeds in cells.items():
        for cell in seeds:
            exact = f"{cell['exact_nll_per_event']:.4f}" if "exact_nll_per_event" in cell else "."
            table.add_row(
                name, str(cell["asked"]["seed"]), f"{cell['best_epoch']}/{cell['epochs']}", f"{cell['cpu']:.0f}",
                f"{cell['train']:.4f}", f"{cell['val']:.4f}", f"{cell['test']:.4f}", exact,
            )  # fmt: skip
    terminal().print(table)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
