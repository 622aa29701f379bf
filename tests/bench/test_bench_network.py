"""``bench network``: what it counts, and that a slow stream arrives whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eventflow.bench import _network
from eventflow.bench._network import Latency
from eventflow.errors import InputError


def test_latency_is_counted_in_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    latency = Latency()
    monkeypatch.setattr(_network.time, "time_ns", lambda: 10_000_000_000)
    latency.add(np.array([5_000_000 - 200] * 98 + [5_000_000 - 7000, 5_000_000 - 9000]), 5_000_000)
    assert latency.quantiles() == (200, 7000, 9000) and latency.events == 100


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"seconds": 11.0}, {"rate": 1.0}, {"seconds": 0.0}):
        with pytest.raises(InputError, match="expected 0 < seconds <= 10"):
            _network.run(**wrong)
    with pytest.raises(InputError, match="did you mean 'spif'"):
        _network.run(formats="spiff")


@pytest.mark.slow
def test_a_slow_stream_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network.importlib.util, "find_spec", lambda name: None)
    _network.run(out=tmp_path, rate=1e5, seconds=0.5, formats="t64,spif,evt3")
    rows = json.loads((tmp_path / "network.json").read_text())["rows"]
    assert [row["lost"] for row in rows] == [0, 0, 0, 0] and all(row["sent"] > 10_000 for row in rows)
