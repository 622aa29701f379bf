"""The eventflow half of ``eventflow bench predict``: exact forecasts of all test events, once per line of input."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

from eventflow import tpp
from eventflow.bench._train_worker import _events, _model, _say, _step
from eventflow.events import Events, PaddedBatch, pad
from eventflow.nn import map_state


def main() -> None:
    """Serve until standard input ends; the protocol is that of ``_predict_peer``."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    train, test = (_events(job, split) for split in ("train", "test"))
    model = _model(job, train)
    if job["weights"] is None:
        _train(job, model, train)
    _forecast(model, pad(test, np.arange(1)))  # compiles
    _say({"ready": True, "parameters": sum(p.numel() for p in model.parameters())})
    for _ in sys.stdin:
        _say(_predicted(model, test, job["batch"]))


def _train(job: dict[str, Any], model: tpp.PointProcess, train: Events) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=job["lr"])
    rng = np.random.default_rng(job["seed"])
    for _ in range(job["epochs"]):
        order = rng.permutation(len(train))
        for i in range(0, len(order), job["batch"]):
            _step(model, optimiser, train, order[i : i + job["batch"]])


@torch.no_grad()
def _forecast(model: tpp.PointProcess, batch: PaddedBatch) -> tpp.Prediction:
    """Of every scored event of a batch, from the state before it."""
    left, _ = model.left_states(batch)
    rows = batch.scored.flatten().nonzero()[:, 0]
    return model.predict_next(map_state(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), left))


def _predicted(model: tpp.PointProcess, test: Events, size: int) -> dict[str, float]:
    cpu, wall, said = time.process_time(), time.perf_counter(), []
    for i in range(0, len(test), size):
        batch = pad(test, np.arange(i, min(i + size, len(test))))
        said.append((batch, _forecast(model, batch)))
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    gap, mark = (torch.cat([getattr(batch, name)[batch.scored] for batch, _ in said]) for name in ("dt", "mark"))
    mean, median, probs, _ = (torch.cat(leaves) for leaves in zip(*(out for _, out in said), strict=True))
    return {
        **spent, "events": len(gap), "rmse": float((mean - gap).double().square().mean().sqrt()),
        "mae": float((median - gap).double().abs().mean()),
        "accuracy": float((probs.argmax(-1) == mark).double().mean()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
