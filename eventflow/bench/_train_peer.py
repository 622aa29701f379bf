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
    _save(model, job["initial"])
    train, test = (_loader(job, split) for split in ("train", "test"))
    trainer = SimpleNamespace(gpu=-1, optimizer="adam", learning_rate=job["lr"], use_tfb=False)
    wrapper = wrapped.TorchModelWrapper(
        model, SimpleNamespace(model_id="NHP"), SimpleNamespace(is_training=True), trainer
    )
    loss, count = model.loglike_loss(next(iter(train(list(range(job["batch"]))))).values())
    (loss / count).backward()  # touches the memory, as ours did
    wrapper.opt.zero_grad()
    _say({"ready": True, "parameters": sum(p.numel() for p in model.parameters())})
    for line in sys.stdin:
        cpu, wall, events = time.process_time(), time.perf_counter(), 0
        for batch in train(json.loads(line)):
            events += int(wrapper.run_batch(batch, phases.TRAIN)[1])
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        with torch.no_grad():
            parts = [model.loglike_loss(batch.values()) for batch in test(None)]
        likelihood = -float(sum(loss for loss, _ in parts)) / sum(int(n) for _, n in parts)
        _say({**spent, "events": events, "test": likelihood})


def _model(job: dict[str, Any]) -> Any:
    parse = import_module("easy_tpp.config_factory").ModelConfig.parse_from_yaml_config
    marks = job["num_marks"]
    return import_module("easy_tpp.model").TorchNHP(
        parse(
            {"hidden_size": job["hidden"], "loss_integral_num_sample_per_step": job["points"], "num_event_types": marks,
             "num_event_types_pad": marks + 1, "event_pad_index": marks, "gpu": -1, "thinning": {}, "training": True}
        )
    )  # fmt: skip


def _save(model: Any, path: str) -> None:
    linear, head = model.rnn_cell.linear_layer, model.layer_intensity
    named = {"embedding": model.layer_type_emb.weight, "gates_weight": linear.weight, "gates_bias": linear.bias}
    named |= {"head_weight": head[0].weight, "head_bias": head[0].bias, "head_log_beta": head[1].log_beta}
    np.savez(path, **{name: value.detach().numpy() for name, value in named.items()})


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
