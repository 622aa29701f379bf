"""Compiled now or loaded from numba's cache, a stream gives the same bits: a killed run may go on in another process.

The two could differ: what a kernel inlines is optimised again with it, and where sums may be taken in any order the
copies need not agree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_ALL = '''
import sys
import numpy as np
import torch
from eventflow import rl, tpp
from eventflow.events import Events, Schema
from eventflow.vision import CompactFlowNet, EfficientSpikeFlowNet, LSTMFlowNet, live

found, rng = {}, np.random.default_rng(0)
for i, agent in enumerate((rl.StreamAC("Pendulum-v1"), rl.StreamQ("MinAtar/Breakout-v1"),
                           rl.StreamQ("CartPole-v1", rule="stream2026", hidden=(40, 20)),
                           rl.StreamAC("CartPole-v1", rule="intentional"))):
    agent.learn(300)
    found[f"{i} {type(agent).__name__}"] = [agent.learner.weights(0)]
gaps, marks = rng.exponential(size=(2, 30)), rng.integers(0, 3, (2, 30))
t = np.cumsum(gaps[0])
events = Events.of(t, span=(0.0, float(t[-1]) + 1.0), schema=Schema(num_marks=3), mark=marks[0])
for name in ("Hawkes RMTPP NHP SAHP THP AttNHP IFTPP FullyNN ODETPP ANHN S2P2 Mamba PromptNHP").split():
    torch.manual_seed(0)
    model, out = getattr(tpp, name)(3).eval(), []
    state = model.init(2)
    with torch.no_grad():
        for mark, dt in zip(torch.from_numpy(marks.T), torch.from_numpy(gaps.T).float(), strict=True):
            log_prob, state = model.step(state, mark, dt)
            out.append(log_prob)
        forecast = model.predict_next(state)
        out += [forecast.mean, forecast.median, model.log_prob(events)]
    found[name] = out
for network in (CompactFlowNet(), EfficientSpikeFlowNet(16), LSTMFlowNet(8)):
    torch.manual_seed(0)
    channels = 2 * getattr(network, "bins", 1)
    with torch.no_grad():
        found[type(network).__name__] = [live(network.eval()).scan(torch.rand(1, 3, channels, 64, 64))[0]]
np.savez(sys.argv[1], **{k: np.concatenate([np.ravel(x).astype(float) for x in v]) for k, v in found.items()})
'''


@pytest.mark.slow
def test_the_process_that_compiles_and_the_next_agree(tmp_path: Path) -> None:
    script = tmp_path / "all.py"
    script.write_text(_ALL)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    runs = []
    for k in range(2):
        out = tmp_path / f"{k}.npz"
        subprocess.run([sys.executable, str(script), str(out)], check=True, env=environment)
        runs.append(dict(np.load(out)))
    assert runs[0].keys() == runs[1].keys() and len(runs[0]) > 15
    unlike = [name for name in runs[0] if not np.array_equal(runs[0][name], runs[1][name], equal_nan=True)]
    assert not unlike
