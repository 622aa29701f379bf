"""models/*/golden.npz: tiny weights, an input and what came out of it once, so that no change of a number goes unseen.

``pytest tests/test_golden.py --update-golden`` writes them anew; the diff of a card or a change log has to say why.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_learners import LEARNERS, agent_outputs, build_agent

from eventflow._assets import ROOT
from eventflow.events import Events, Schema, pad
from eventflow.tpp import PointProcess
from eventflow.train._keys import import_class
from eventflow.train._references import load_yaml, names
from eventflow.vision import FlowNetwork

SMALL = {"hidden_size": 4, "embedding_size": 3, "components": 3}


def build(name: str, weights: dict[str, np.ndarray] | None) -> PointProcess:
    """A tiny model of the folder's class, in float64: fresh weights from a seed, or the given ones."""
    network = load_yaml(ROOT / "models" / name / "model.yaml")["init_args"]["network"]
    kind = import_class(network if isinstance(network, str) else network["class_path"], name)
    small = {key: value for key, value in SMALL.items() if key in inspect.signature(kind).parameters}
    torch.manual_seed(4)
    model = kind(3, time_scale=0.5, **small).double()
    with torch.no_grad():
        for weight in model.parameters():  # away from special starts such as zeros
            weight += 0.1 * torch.randn_like(weight)
    if weights is not None:
        model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval()


def golden_events() -> Events:
    rows = [
        {"t": [0.1, 0.4, 0.4, 1.9, 2.0], "mark": [0, 2, 1, 1, 0]},
        {"t": [], "mark": []},
        {"t": [3.5], "mark": [2]},
    ]
    return Events.from_sequences(rows, span=(0.0, 4.0), schema=Schema(num_marks=3))


def outputs(model: PointProcess) -> dict[str, np.ndarray]:
    """What is remembered: likelihoods (ours and EasyTPP's), and forecasts and intensities after every event."""
    events = golden_events()
    batch = pad(events, dtype=torch.float64)
    with torch.no_grad():
        states = model.encode(batch)
        said = model.predict_next(states)
        return {
            "log_prob": model.log_prob(events).numpy(),
            "event_log_prob": model.event_log_prob(batch).numpy(),
            "easytpp_log_prob": model.log_prob(events, compat="easytpp").numpy(),
            "intensity": model.intensity(states, torch.full(batch.dt.shape, 0.3, dtype=torch.float64)).numpy(),
            "mean": said.mean.numpy(), "median": said.median.numpy(), "mark_probs": said.mark_probs.numpy(),
        }  # fmt: skip


def task(name: str) -> str:
    """The task that a folder's model.yaml names."""
    return load_yaml(ROOT / "models" / name / "model.yaml")["class_path"].rpartition(".")[2]


def build_flow(name: str, weights: dict[str, np.ndarray] | None) -> FlowNetwork:
    """A tiny flow network in float64 and eval, its batch-norms as if trained."""
    network = load_yaml(ROOT / "models" / name / "model.yaml")["init_args"]["network"]
    kind: Any = import_class(network["class_path"], name)
    torch.manual_seed(4)
    model = kind(1 if name == "lstm_flownet" else 2, 2).double()  # files of less than 100 kB
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value += 0.1 * torch.rand_like(value) if key.endswith("running_var") else 0.1 * torch.randn_like(value)
    if weights is not None:
        model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval()


def flow_outputs(model: FlowNetwork) -> dict[str, np.ndarray]:
    """What is remembered: flows after every step, one start over, and the coarse scales of one more step."""
    draw = torch.Generator().manual_seed(3)
    counts = torch.poisson(torch.full((2, 12, 2, 8, 12), 0.8, dtype=torch.float64), generator=draw)
    reset = torch.zeros(2, 12, dtype=torch.bool)
    reset[1, 4] = True
    with torch.no_grad():
        flows, state = model.scan(counts, reset=reset)
        scales, _ = model.step_scales(state, counts[:, 0])
    return {"flows": flows.numpy(), **{f"scale{i}": flow.numpy() for i, flow in enumerate(scales)}}


#: For each task: how the tiny model of a folder is built, and what is remembered of it.
KINDS: dict[str, tuple[Callable[..., Any], Callable[..., dict[str, np.ndarray]]]] = {
    "PointProcessTask": (build, outputs), "FlowTask": (build_flow, flow_outputs),
    "StreamTask": (build_agent, agent_outputs),
}  # fmt: skip
MODELS = {name: KINDS[task(name)] for name in names("model") if task(name) in KINDS} | LEARNERS


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_the_golden_ones(name: str, request: pytest.FixtureRequest) -> None:
    path, (make, asked) = ROOT / "models" / name / "golden.npz", MODELS[name]
    if request.config.getoption("--update-golden"):
        write(path, name)
    with np.load(path) as file:
        stored = dict(file)
    weights = {key.removeprefix("weight."): value for key, value in stored.items() if key.startswith("weight.")}
    model = make(name, weights)
    assert json.loads(str(stored["init_args"])) == model.init_args
    for key, value in asked(model).items():
        np.testing.assert_allclose(value, stored[key], rtol=1e-9, atol=1e-12, err_msg=key)


def write(path: Path, name: str) -> None:
    make, asked = MODELS[name]
    model = make(name, None)
    weights = {f"weight.{key}": value.numpy() for key, value in model.state_dict().items()}
    said: dict[str, Any] = {**weights, **asked(model), "init_args": np.array(json.dumps(model.init_args))}
    np.savez_compressed(path, **said)
