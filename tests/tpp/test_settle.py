"""Enough nodes between events: few are told from many, whatever a model hides between them."""

from __future__ import annotations

import pytest
import torch

from eventflow.events import Events, PaddedBatch, Schema, pad
from eventflow.tpp import NHP, RMTPP, PointProcess
from eventflow.tpp._settle import TOLERANCE, Settled, nll_per_event, settle


class Spiky(RMTPP):
    """One whose integral, by n nodes, is off by a known number of nats an event."""

    def log_prob(self, events: Events | PaddedBatch, *, compat: str | None = None) -> torch.Tensor:
        exact = super().log_prob(events, compat=compat)
        assert isinstance(events, PaddedBatch)
        return exact + events.scored.sum(1) * 8.0 / self.quadrature**2


def spiky() -> PointProcess:
    process = Spiky(2, hidden_size=4).double()
    process.quadrature = 10
    return process


def batches(count: int = 3) -> list[PaddedBatch]:
    draw = torch.Generator().manual_seed(0)
    parts = [
        {"t": torch.rand(9, generator=draw).double().cumsum(0).numpy(), "mark": [0, 1] * 4 + [0]} for _ in range(6)
    ]
    whole = Events.from_sequences(parts, span=(0.0, 12.0), schema=Schema(num_marks=2))
    return [pad(whole[i : i + 2], dtype=torch.float64) for i in range(0, 2 * count, 2)]


def nll(process: PointProcess, nodes: int) -> float:
    process.quadrature = nodes
    with torch.no_grad():
        total = sum(float(process.log_prob(batch).sum()) for batch in batches())
    return -total / sum(int(batch.scored.sum()) for batch in batches())


def settled_on(process: PointProcess, judged: list[PaddedBatch]) -> Settled:
    return settle(process, lambda: nll_per_event(process, judged))


def test_it_doubles_until_nothing_changes() -> None:
    process = spiky()
    settled = settled_on(process, batches())
    # 8 / n^2 (1 - 1 / 4) <= 5e-4 from n = 160 on
    assert (settled.trained, settled.nodes, process.quadrature) == (10, 160, 10)
    assert settled.rough == pytest.approx(nll(process, 10)) and settled.nll == pytest.approx(nll(process, 160))
    assert settled.nll - settled.rough == pytest.approx(8 / 100 - 8 / 160**2)
    assert abs(settled.left) <= TOLERANCE


def test_enough_stays_as_it_is() -> None:
    torch.manual_seed(0)
    process = NHP(2, hidden_size=8, quadrature=20).double()
    settled = settled_on(process, batches())
    assert settled.nodes == settled.trained == 20 and settled.rough == settled.nll
    assert settled.left == pytest.approx(nll(process, 40) - nll(process, 20), abs=1e-12)


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventflow.tpp._settle.MOST", 40)
    settled = settled_on(spiky(), batches())
    assert settled.nodes == 20 and settled.left > TOLERANCE
    assert settled_on(spiky(), []).nll == 0.0  # nothing to judge
