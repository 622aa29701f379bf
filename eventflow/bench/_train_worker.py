"""The eventflow half of ``eventflow bench train``: trains NHP, an epoch per line of standard input.

Protocol, JSON lines: the first line in is the job; then one line of sequence numbers per epoch, in their order; out
comes {"ready", "parameters"}, then {"cpu", "wall", "events", "test"} per epoch. ``_train_peer`` speaks the same.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

from eventflow.events import Events, Schema, pad
from eventflow.tpp import NHP


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    train, test = (_events(job, split) for split in ("train", "test"))
    model = _model(job, train)
    optimiser = torch.optim.Adam(model.parameters(), lr=job["lr"])
    _loss(model, train, np.arange(min(job["batch"], len(train)))).backward()  # compiles, and touches the memory
    _say({"ready": True, "parameters": sum(p.numel() for p in model.parameters())})
    for line in sys.stdin:
        order = np.array(json.loads(line))
        cpu, wall, events = time.process_time(), time.perf_counter(), 0
        for i in range(0, len(order), job["batch"]):
            events += _step(model, optimiser, train, order[i : i + job["batch"]])
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        with torch.no_grad():
            likelihood = float(model.log_prob(test, compat="easytpp").sum()) / test.num_scored
        _say({**spent, "events": events, "test": likelihood})


def _step(model: NHP, optimiser: torch.optim.Optimizer, events: Events, rows: Any) -> int:
    loss = _loss(model, events, rows)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return events[rows].num_scored


def _loss(model: NHP, events: Events, rows: Any) -> torch.Tensor:
    batch = pad(events, rows)
    return -model.log_prob(batch).sum() / batch.num_scored


def _events(job: dict[str, Any], split: str) -> Events:
    with np.load(job["data"]) as data:
        t, mark, offsets = (data[f"{split}_{name}"] for name in ("t", "mark", "offsets"))
    return Events.of(t, offsets=offsets, schema=Schema(num_marks=job["num_marks"]), mark=mark)


def _model(job: dict[str, Any], train: Events) -> NHP:
    """Ours as it comes, or with the peer's initial weights (and then its unscaled time, and no beginning mark)."""
    torch.manual_seed(job["seed"])
    size = {"hidden_size": job["hidden"], "quadrature": job["points"]}
    if job["weights"] is None:
        return NHP(job["num_marks"], time_scale=float(train.gaps[train.gaps > 0].mean()), **size)
    model = NHP(job["num_marks"], bos=False, **size)
    with np.load(job["weights"]) as saved, torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(saved["embedding"][: job["num_marks"]]))
        model.cell.gates.weight.copy_(torch.from_numpy(saved["gates_weight"]))
        model.cell.gates.bias.copy_(torch.from_numpy(saved["gates_bias"]))
        model.head.weight.copy_(torch.from_numpy(saved["head_weight"]))
        model.head.bias.copy_(torch.from_numpy(saved["head_bias"]))
        model.head.log_scale.copy_(-torch.from_numpy(saved["head_log_beta"]))
    return model


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
