"""The checkpoint that ships with models/compact_flownet: it loads, runs live, and sees the direction of a motion."""

from __future__ import annotations

import numpy as np
import torch

from eventflow._assets import ROOT
from eventflow.vision import CompactFlowNet, load_flow

CHECKPOINT = ROOT / "models" / "compact_flownet" / "checkpoint.ckpt"


def moving_dots(shift: int, steps: int = 40, size: int = 64) -> torch.Tensor:
    """Counts (steps, 2, size, size) of dots that go ``shift`` pixels to the right in 100 ms, a step of 10 ms each."""
    draw = np.random.default_rng(0)
    x, y = draw.uniform(0, size, 150), draw.integers(0, size, 150)
    frames = np.zeros((steps, 2, size, size), np.float32)
    for step in range(steps):
        column = np.floor(x + step * shift / 10).astype(int) % size
        np.add.at(frames[step, 1], (y, column), 1)
        np.add.at(frames[step, 0], (y, (column - np.sign(shift)) % size), 1)
    return torch.from_numpy(frames)


def test_it_loads_and_tells_left_from_right() -> None:
    loaded = load_flow(CHECKPOINT)
    assert isinstance(loaded.network, CompactFlowNet) and CHECKPOINT.stat().st_size < 5_000_000
    mean = {}
    for shift in (-8, 8):
        network = loaded.network.eval()
        state = network.init(1, 64, 64)
        with torch.no_grad():
            for frame in moving_dots(shift):
                flow, state = network.step(state, frame[None])
        mean[shift] = float(flow[0, 0].mean())
    assert mean[-8] < 0 < mean[8], mean
