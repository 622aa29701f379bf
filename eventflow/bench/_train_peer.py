"""The EasyTPP half of ``eventflow bench train``: its loader, model and training step, driven as ``_train_worker`` is.

Run as a script by any Python that imports torch and EasyTPP's needs (omegaconf, pandas, ...); imports no eventflow.
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


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    sys.path.insert(0, job["easytpp"])
    torch.set_num_threads(1)
    wrapped, phases = import_module("easy_tpp.torch_wrapper"), import_module("easy_tpp.utils").RunnerPhase
    torch.manual_seed(job["seed"])
    model = _model(job)
    np.savez(job["initial"], **{name: value.numpy() for name, value in model.state_dict().items()})
    train, test = (_loader(job, split) for split in ("train", "test"))
    trainer = SimpleNamespace(gpu=-1, optimizer="adam", learning_rate=job["lr"], use_tfb=False)
    wrapper = wrapped.TorchModelWrapper(
        model, SimpleNamespace(model_id=job["peer"].removeprefix("Torch")), SimpleNamespace(is_training=True), trainer
    )
    loss, count = model.loglike_loss(next(iter(train(list(range(min(job["batch"], job["sequences"])))))).values())
    (loss / count).backward()  # touches the memory, as ours did
    wrapper.opt.zero_grad()
    _say({"ready": True, "parameters": size(model), "test": _likelihood(model, test(None))})
    for line in sys.stdin:
        cpu, wall, events = time.process_time(), time.perf_counter(), 0
        for batch in train(json.loads(line)):
            events += int(wrapper.run_batch(batch, phases.TRAIN)[1])
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        _say({**spent, "events": events, "test": _likelihood(model, test(None))})


def size(model: Any) -> int:
    """Real numbers among its parameters: a complex one is two."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def _likelihood(model: Any, batches: Any) -> float:
    """Mean log-likelihood per event, without dropout; FullyNN's intensities are gradients."""
    model.eval()
    with torch.set_grad_enabled(type(model).__name__ == "FullyNN"):
        parts = [(float(loss), int(count)) for loss, count in (model.loglike_loss(batch.values()) for batch in batches)]
    model.train()
    return -sum(loss for loss, _ in parts) / sum(count for _, count in parts)


def _model(job: dict[str, Any]) -> Any:
    parse = import_module("easy_tpp.config_factory").ModelConfig.parse_from_yaml_config
    marks = job["num_marks"]
    common = {"loss_integral_num_sample_per_step": job["points"], "num_event_types": marks, "gpu": -1, "thinning": {},
              "num_event_types_pad": marks + 1, "event_pad_index": marks, "pad_token_id": marks, "use_ln": False,
              "training": True}  # fmt: skip
    config = parse({**common, **job["config"]})
    for name, value in _gaps(job).items():
        setattr(config, name, value)
    return getattr(import_module("easy_tpp.model"), job["peer"])(config)


def _gaps(job: dict[str, Any]) -> dict[str, float]:
    """What its runner tells a model of the training data: mean and deviation of gaps, under the names it gives them."""
    with np.load(job["data"]) as data:
        gaps = np.concatenate([np.diff(t) for t in np.split(data["train_t"], data["train_offsets"][1:-1])])
    return {"mean_log_inter_time": float(gaps.mean()), "std_log_inter_time": float(gaps.std())}


def _loader(job: dict[str, Any], split: str) -> Any:
    """Their DataLoader over their dataset and tokenizer, in a given order of sequences (None: as they come)."""
    config, loading = import_module("easy_tpp.config_factory.data_config"), import_module("easy_tpp.preprocess.dataset")
    tokenizing = import_module("easy_tpp.preprocess.event_tokenizer")
    with np.load(job["data"]) as data:
        t, mark, offsets = (data[f"{split}_{name}"] for name in ("t", "mark", "offsets"))
    cuts = offsets[1:-1]
    times = [x - x[0] for x in np.split(t, cuts)]
    rows = {
        "time_seqs": [x.tolist() for x in times],
        "time_delta_seqs": [np.diff(x, prepend=0.0).tolist() for x in times],
        "type_seqs": [x.tolist() for x in np.split(mark, cuts)],
    }
    marks = job["num_marks"]
    specs = config.DataSpecConfig(
        num_event_types=marks, pad_token_id=marks, padding_side="right", truncation_side="right"
    )
    dataset, tokenizer = loading.TPPDataset(rows), tokenizing.EventTokenizer(specs)
    return lambda order: loading.get_data_loader(dataset, "torch", tokenizer, batch_size=job["batch"], sampler=order)


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
