"""The EasyTPP half of ``eventflow bench predict``: trains as ``_train_peer`` does, then predicts by its thinning.

Run as a script by any Python that imports torch and EasyTPP's needs; imports no eventflow. Protocol: the job; out come
{"ready", "parameters"}, then {"cpu", "wall", "events", "rmse", "mae", "accuracy"} for every line in.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _train_peer import _loader, _model, _say, size


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    sys.path.insert(0, job["easytpp"])
    torch.set_num_threads(1)
    torch.manual_seed(job["seed"])
    model = _model(job)
    _train(job, model)
    np.savez(job["initial"], **{name: value.numpy() for name, value in model.state_dict().items()})
    model.eval()
    test = _loader(job, "test")
    _say({"ready": True, "parameters": size(model)})
    for _ in sys.stdin:
        _say(_predicted(model, test))


def _train(job: dict[str, Any], model: Any) -> None:
    wrapped, phases = import_module("easy_tpp.torch_wrapper"), import_module("easy_tpp.utils").RunnerPhase
    trainer = SimpleNamespace(gpu=-1, optimizer="adam", learning_rate=job["lr"], use_tfb=False)
    name = SimpleNamespace(model_id=job["peer"].removeprefix("Torch"))
    wrapper = wrapped.TorchModelWrapper(model, name, SimpleNamespace(is_training=True), trainer)
    train, rng = _loader(job, "train"), np.random.default_rng(job["seed"])
    for _ in range(job["epochs"]):
        for batch in train(rng.permutation(job["sequences"]).tolist()):
            wrapper.run_batch(batch, phases.TRAIN)


@torch.no_grad()
def _predicted(model: Any, test: Any) -> dict[str, float]:
    """The gap and mark of every event but the first of each sequence, as its own evaluation predicts them."""
    cpu, wall, said = time.process_time(), time.perf_counter(), []
    for batch in test(None):
        values = batch.values()
        said.append((values, model.predict_one_step_at_every_event(batch=values)))
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    there = [values[3][:, 1:].bool() for values, _ in said]
    gap = torch.cat([values[1][:, 1:][m] for (values, _), m in zip(said, there, strict=True)])
    mark = torch.cat([values[2][:, 1:][m] for (values, _), m in zip(said, there, strict=True)])
    gap_said, mark_said = (torch.cat([out[i][m] for (_, out), m in zip(said, there, strict=True)]) for i in (0, 1))
    error = (gap_said - gap).double()
    return {
        **spent, "events": len(gap), "rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean()),
        "accuracy": float((mark_said == mark).double().mean()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
