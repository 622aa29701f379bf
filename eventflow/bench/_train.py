"""training speed: events per CPU-second of each model, beside EasyTPP's own code"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.bench._terminal import console as terminal
from eventflow.bench._train_models import DIFFERS, MODELS, THEIR_OBJECTIVE
from eventflow.errors import InputError, did_you_mean

#: glibc's malloc as it comes, and told to keep what is freed: page faults are much of a training step's time.
ALLOCATORS = {
    "default": {},
    "keeping": {"MALLOC_MMAP_THRESHOLD_": "17179869184", "MALLOC_TRIM_THRESHOLD_": "17179869184"},
}
#: Ours with EasyTPP's weights to begin with, and ours as it comes.
OURS, OURS_OWN, PEER = "eventflow, its start", "eventflow", "EasyTPP"


def run(
    *, out: Path | None = None, easytpp: Path | None = None, easytpp_python: Path | None = None, data: str = "taxi",
    model: list[str] | None = None, epochs: int = 5, batches: int | None = None, seed: int = 0,
) -> None:  # fmt: skip
    """Train models as EasyTPP configures them (batch 256, Adam 1e-3, its sizes), ours and theirs, epoch by epoch.

    One core, one thread, float32, all in turn on the same core; CPU time of loading, forward, backward and optimiser.
    The test log-likelihood after each epoch is EasyTPP's own definition for all. "eventflow, its start" is the same
    network with EasyTPP's initial weights, and sees the sequences in the same order; "eventflow" is ours as it comes.

    Args:
        out: folder for train.json.
        easytpp: folder of an EasyTPP checkout (https://github.com/ant-research/EasyTemporalPointProcess).
        easytpp_python: the Python that runs it, with torch and omegaconf; default: this one.
        data: dataset to train on.
        model: which models; nhp if left out.
        epochs: epochs per allocator setting; the median counts.
        batches: after which an epoch ends, for all (EasyTPP takes minutes for one of s2p2); default: all there are.
        seed: of the initial weights and of the order.
    """
    for what, count in (("epochs", epochs), ("batches", batches)):
        if count is not None and count < 1:
            raise InputError(f"bench train: {what}={count}; expected at least 1")
    names = model or ["nhp"]
    for name in names:
        if name not in MODELS:
            raise InputError(f"bench train: model {name!r}; {did_you_mean(name, MODELS)}")
    peer = _peer(easytpp, easytpp_python)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shared = _job(data, Path(folder), seed)
        for name in names:
            objective = "easytpp" if name in THEIR_OBJECTIVE else None
            job = shared | MODELS[name].job() | {"batches": batches, "objective": objective}
            results[name] = {kind: _race(job, peer, epochs, extra) for kind, extra in ALLOCATORS.items()}
            _show(name, results[name], peer, data)
    if peer is None:
        _how_to_run_the_peer("train")
    if out is not None:
        settings = {name: MODELS[name].job() for name in names}
        _write(out, {"data": data, "seed": seed, "batches": batches, "settings": settings, "models": results})


def _peer(checkout: Path | None, python: Path | None) -> list[str] | None:
    """The command that runs EasyTPP's half, and its folder; None where none was given; refuses what will not start."""
    if checkout is None:
        return None
    if not (checkout / "easy_tpp" / "model").is_dir():
        raise InputError(
            f"--easytpp {checkout}: no easy_tpp/model in it; expected a checkout. Write: git clone "
            "https://github.com/ant-research/EasyTemporalPointProcess"
        )
    command = str(python or sys.executable)
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    probe = [command, "-c", "import easy_tpp.model, easy_tpp.config_factory"]
    try:
        tried = subprocess.run(probe, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"--easytpp-python {command}: {error}") from error
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"{command} cannot import EasyTPP: {reason}\nWrite: pip install omegaconf   (or give another Python that "
            "has torch and EasyTPP's requirements with --easytpp-python)"
        )
    return [command, str(checkout.resolve())]


def _job(data: str, folder: Path, seed: int, splits: tuple[str, ...] = ("train", "test")) -> dict[str, Any]:
    from eventflow.io import load_dataset

    parts = load_dataset(data, splits=list(splits))
    arrays, marks = {}, parts["train"].schema.num_marks
    if marks is None:
        raise InputError(f"bench train: dataset {data!r} has no marks; these models need num_marks")
    for name, events in parts.items():
        if int(events.lengths.min(initial=2)) < 2:
            raise InputError(
                f"bench train: {data!r} has sequences of fewer than 2 events; EasyTPP cannot train on them"
            )
        arrays |= {f"{name}_t": events.t.astype(np.float64), f"{name}_mark": events.marks["mark"]}
        arrays[f"{name}_offsets"] = events.offsets
    np.savez(folder / "data.npz", **arrays)
    paths = {"data": str(folder / "data.npz"), "initial": str(folder / "initial.npz")}
    return {**paths, "num_marks": marks, "seed": seed, "sequences": len(parts["train"])}


def _race(job: dict[str, Any], peer: list[str] | None, epochs: int, extra: dict[str, str]) -> dict[str, Any]:
    """name -> {"parameters", "before": test log-likelihood, "epochs": [{"cpu", "wall", "events", "test"}, ...]}, the
    workers taking turns."""
    module = [sys.executable, "-m", "eventflow.bench._train_worker"]
    workers: dict[str, _Worker] = {}
    try:
        if peer is not None:
            script = [peer[0], str(Path(__file__).with_name("_train_peer.py"))]
            workers[PEER] = _Worker(script, {**job, "easytpp": peer[1]}, extra)
            if job["twin"] is not None:
                workers[OURS] = _Worker(module, {**job, "weights": job["initial"]}, extra)
        workers[OURS_OWN] = _Worker(module, {**job, "weights": None}, extra)
        rng = np.random.default_rng(job["seed"])
        for _ in range(epochs):
            order = rng.permutation(job["sequences"])[: (job["batches"] or job["sequences"]) * job["batch"]].tolist()
            for worker in workers.values():
                worker.epochs.append(worker.ask(order))
        return {n: {"parameters": w.parameters, "before": w.before, "epochs": w.epochs} for n, w in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()


class _Worker:
    """One half, in a process of its own on the first core we may use."""

    def __init__(self, command: list[str], job: dict[str, Any], extra: dict[str, str]) -> None:
        pin = None
        if hasattr(os, "sched_setaffinity"):
            core = min(os.sched_getaffinity(0))
            pin = ["-c", f"import os, sys; os.sched_setaffinity(0, {{{core}}}); os.execv(sys.argv[1], sys.argv[1:])"]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        whole = command if pin is None else [sys.executable, *pin, *command]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            whole, env={**os.environ, **threads, **extra}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.epochs: list[dict[str, float]] = []
        ready = self.ask(job)
        self.parameters, self.before = int(ready["parameters"]), ready.get("test")

    def ask(self, question: Any) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; why is said below
        for line in self.process.stdout:
            if line.startswith("{"):  # a peer may print on its own account
                return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"{self.process.args}: ended early\n{self.errors.read()[-2000:]}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def speed(result: dict[str, Any]) -> float:
    """Median events per CPU-second."""
    return statistics.median(epoch["events"] / epoch["cpu"] for epoch in result["epochs"])


def _show(model: str, results: dict[str, Any], peer: list[str] | None, data: str) -> None:
    from rich.table import Table

    console = terminal()
    said = MODELS[model]
    how = f"batch {said.batch}, Adam {said.lr:g}, {said.points} points a gap"
    table = Table(title=f"{said.ours} on {data}: {how}; one core, float32")
    for heading in ("malloc", "", "parameters", "events / CPU-s", "µs / event", "CPU s / epoch", "ratio"):
        table.add_column(heading, justify="left" if heading in ("malloc", "") else "right")
    for allocator, result in results.items():
        for name, row in result.items():
            ratio = f"{speed(row) / speed(result[PEER]):.1f}x" if peer else "-"
            cpu = statistics.median(epoch["cpu"] for epoch in row["epochs"])
            numbers = f"{row['parameters']:,}", f"{speed(row):,.0f}", f"{1e6 / speed(row):.2f}", f"{cpu:.3f}", ratio
            table.add_row(allocator, name, *numbers)
    console.print(table)
    differs = f". {OURS}: {DIFFERS[model]}" if OURS in results["default"] and model in DIFFERS else ""
    title = "Test log-likelihood per event after each epoch, EasyTPP's definition"
    table = Table(title=title, caption=f"0: before training{differs}")
    first = results["default"]
    for heading in ("epoch", *first):
        table.add_column(heading, justify="right")
    table.add_row("0", *(f"{row['before']:.4f}" for row in first.values()))
    for i, _ in enumerate(first[OURS_OWN]["epochs"]):
        table.add_row(str(i + 1), *(f"{row['epochs'][i]['test']:.4f}" for row in first.values()))
    console.print(table)


def _how_to_run_the_peer(bench: str) -> None:
    terminal().print(
        "EasyTPP was not run. Write: git clone https://github.com/ant-research/EasyTemporalPointProcess && "
        f"pip install omegaconf && eventflow bench {bench} --easytpp EasyTemporalPointProcess",
        soft_wrap=True,
    )


def _write(out: Path, report: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / "train.json.part"
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(part, out / "train.json")
