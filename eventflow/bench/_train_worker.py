"""The eventflow half of ``eventflow bench train``: trains a model, an epoch per line of standard input.

Protocol, JSON lines: the first line in is the job; then one line of sequence numbers per epoch, in their order; out
comes {"ready", "parameters", "test"}, then {"cpu", "wall", "events", "test"} per epoch, test being the test
log-likelihood per event by then. ``_train_peer`` speaks the same.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from typing import Any

import numpy as np
import torch

from eventflow import tpp
from eventflow.events import Events, Schema, pad


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    train, test = (_events(job, split) for split in ("train", "test"))
    model = _model(job, train)
    optimiser = torch.optim.Adam(model.parameters(), lr=job["lr"])
    objective = job["objective"] if job["weights"] is not None else None
    _loss(model, train, np.arange(min(job["batch"], len(train))), objective).backward()  # compiles, touches the memory
    parameters = sum(p.numel() for p in model.parameters())
    _say({"ready": True, "parameters": parameters, "test": _likelihood(model, test)})
    for line in sys.stdin:
        order = np.array(json.loads(line))
        cpu, wall, events = time.process_time(), time.perf_counter(), 0
        for i in range(0, len(order), job["batch"]):
            events += _step(model, optimiser, train, order[i : i + job["batch"]], objective)
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        _say({**spent, "events": events, "test": _likelihood(model, test)})


def _step(
    model: tpp.PointProcess, optimiser: torch.optim.Optimizer, events: Events, rows: Any, objective: str | None = None
) -> int:
    loss = _loss(model, events, rows, objective)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return events[rows].num_scored


def _loss(model: tpp.PointProcess, events: Events, rows: Any, objective: str | None) -> torch.Tensor:
    batch = pad(events, rows)
    return -model.log_prob(batch, compat=objective).sum() / batch.num_scored


def _likelihood(model: tpp.PointProcess, events: Events) -> float:
    """EasyTPP's number: per event, without dropout."""
    model.eval()
    with torch.no_grad():
        likelihood = float(model.log_prob(events, compat="easytpp").sum()) / events.num_scored
    model.train()
    return likelihood


def _events(job: dict[str, Any], split: str) -> Events:
    with np.load(job["data"]) as data:
        t, mark, offsets = (data[f"{split}_{name}"] for name in ("t", "mark", "offsets"))
    return Events.of(t, offsets=offsets, schema=Schema(num_marks=job["num_marks"]), mark=mark)


def _model(job: dict[str, Any], train: Events) -> tpp.PointProcess:
    """Ours as it comes, or with the peer's initial weights (and then its unscaled time, and no beginning mark)."""
    torch.manual_seed(job["seed"])
    make, own = getattr(tpp, job["ours"]), job["weights"] is None
    options = dict(job["network"] if own else job["twin"])
    if "quadrature" in inspect.signature(make).parameters:
        options["quadrature"] = job["points"]
    if own:
        return make(job["num_marks"], time_scale=float(train.gaps[train.gaps > 0].mean()), **options)
    model = make(job["num_marks"], **options)
    with np.load(job["weights"]) as saved:
        tpp.load_easytpp(model, dict(saved))
    return model


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
