"""The EasyTPP half of ``eventflow bench peer``: its model, trained by its own step, an epoch per question.

Run as a script by any Python that imports torch and EasyTPP's needs; imports no eventflow. Protocol, JSON lines: the
job; out comes {"ready", "parameters"}. Then {"train": order} -> {"cpu", "train", "val"}, log-likelihoods per event;
{"save": path, "history": [...]} -> {}; {"restore": path} -> {"history"}; {"keep": path} -> {} (the weights, as its
runner saves them); {"test": path} -> {"test"}, by the weights kept there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from _train_peer import _likelihood, _loader, _model, _say, size


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    sys.path.insert(0, job["easytpp"])
    torch.set_num_threads(1)
    torch.manual_seed(job["seed"])
    fit = Fit(job)
    _say({"ready": True, "parameters": size(fit.model)})
    for line in sys.stdin:
        _say(fit.answer(json.loads(line)))


class Fit:
    """A model of EasyTPP's, its loaders and its optimiser."""

    def __init__(self, job: dict[str, Any]) -> None:
        wrapped = import_module("easy_tpp.torch_wrapper")
        self.train = import_module("easy_tpp.utils").RunnerPhase.TRAIN
        self.model = _model(job)
        self.loaders = {split: _loader(job, split) for split in ("train", "val", "test")}
        trainer = SimpleNamespace(gpu=-1, optimizer="adam", learning_rate=job["lr"], use_tfb=False)
        name = SimpleNamespace(model_id=job["peer"].removeprefix("Torch"))
        self.wrapper = wrapped.TorchModelWrapper(self.model, name, SimpleNamespace(is_training=True), trainer)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """See the module."""
        if "train" in question:
            cpu, fitted = time.process_time(), self._epoch(question["train"])
            return {"train": fitted, "val": self._judged("val"), "cpu": time.process_time() - cpu}
        if "save" in question:
            state = {"model": self.model.state_dict(), "optimiser": self.wrapper.opt.state_dict()}
            _save({**state, "history": question["history"]}, question["save"])
        elif "restore" in question:
            state = torch.load(question["restore"], weights_only=True)
            self.model.load_state_dict(state["model"])
            self.wrapper.opt.load_state_dict(state["optimiser"])
            return {"history": state["history"]}
        elif "keep" in question:
            _save(self.model.state_dict(), question["keep"])
        else:
            self.model.load_state_dict(torch.load(question["test"], weights_only=True))
            return {"test": self._judged("test")}
        return {}

    def _epoch(self, order: list[int]) -> float:
        """Mean log-likelihood per event, of each batch before its step."""
        self.model.train()
        parts = [self.wrapper.run_batch(batch, self.train)[:2] for batch in self.loaders["train"](order)]
        return -float(sum(loss for loss, _ in parts)) / sum(int(count) for _, count in parts)

    def _judged(self, split: str) -> float:
        return _likelihood(self.model, self.loaders[split](None))


def _save(state: Any, path: str) -> None:
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
