"""bench flow: what it times is right, and wrong arguments are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eventflow.bench import _flow
from eventflow.vision import CompactFlowNet, EfficientSpikeFlowNet


def test_the_table_and_its_file(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flow, "NETWORKS", {"CompactFlowNet": lambda: CompactFlowNet(4, 3)})
    monkeypatch.setattr(_flow, "CompactFlowNet", lambda: CompactFlowNet(4, 3))
    answer = cli("bench", "flow", "--seconds", "0.05", "--height", "32", "--width", "48", "--steps", "40", "--out", "o")
    assert answer.code == 0, answer.err
    report = json.loads((Path("o") / "flow.json").read_text())
    rows = report["networks"]["CompactFlowNet"]
    assert set(rows) >= {"as trained", "live"} and all(0 < row["best"] <= row["median"] for row in rows.values())
    assert report["memory"]["state bytes"] == 4 * (4 * 16 * 24 + 8 * 8 * 12)
    assert all(row["counting"] < row["median"] for row in report["from events"]["CompactFlowNet"].values())
    assert "git clone" in answer.out and "flows a second" in answer.out


def test_the_spiking_network_fires_as_a_trained_one_does() -> None:
    """What the live form passes over is what a use would have it pass over: no layer is silent, none is busy."""
    torch.manual_seed(0)
    network = _flow.settled(EfficientSpikeFlowNet(8, 3))
    x = torch.poisson(torch.full((1, 2, 64, 96), _flow.EVENTS))
    with torch.inference_mode():
        rate, state = _flow._firing(network, x), network.init(1, 64, 96)
        for _ in range(5):
            _, state = network.step(state, x)
    assert not network.training and 0.1 < rate < 0.3
    assert all(0.05 < float(share) < 0.4 for share in network.firing_rates(state).values())


def test_nothing_wrong_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = CompactFlowNet(4, 3).eval()
    other = CompactFlowNet(4, 3).eval()
    with torch.no_grad(), pytest.raises(AssertionError, match="bench flow: it, live"):
        _flow._check("it", {"as trained": network, "live": other})


def test_memory_that_grows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []
    stepping = _flow._stepping

    def leaking(network: Any, x: torch.Tensor) -> Any:
        step = stepping(network, x)
        return lambda: (step(), kept.append(bytearray(b"x" * 1_000_000)))

    monkeypatch.setattr(_flow, "CompactFlowNet", lambda: CompactFlowNet(4, 3))
    with torch.inference_mode():
        assert _flow._memory(100)["grown bytes"] < 5e6
        monkeypatch.setattr(_flow, "_stepping", leaking)
        assert _flow._memory(100)["grown bytes"] > 80e6


def test_mistakes_are_told(cli: Any) -> None:
    answer = cli("bench", "flow", "--official", "nowhere")
    assert answer.code == 2 and "git clone" in answer.err
    assert cli("bench", "flow", "--seconds", "0").code == 2
    answer = cli("bench", "flow", "--networks", "PWCNet")
    assert answer.code == 2 and "LSTMFlowNet" in answer.err
