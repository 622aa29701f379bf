"""The Mamba Hawkes process: every law, rows alone and in company, intensities by hand."""

from __future__ import annotations

import torch

from eventflow.events import Events, Schema, pad
from eventflow.testing import check_batch_invariant, check_point_process
from eventflow.tpp import Mamba


def make() -> Mamba:
    torch.manual_seed(3)
    process = Mamba(3, hidden_size=4, state_size=3, time_scale=0.5, quadrature=30)
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return process


def test_every_law() -> None:
    check_point_process(make())


def test_rows_are_the_same_in_any_batch() -> None:
    check_batch_invariant(make().double().eval(), rows=15, steps=4)


def test_intensities_are_those_of_the_cell_at_each_time() -> None:
    process = make().double()
    events = Events.of([0.3, 0.5, 1.4], mark=[0, 2, 1], span=(0.0, 3.0), schema=Schema(num_marks=3))
    with torch.no_grad():
        state = process.encode(pad(events, dtype=torch.float64))
        dt = torch.rand(1, 3, 6, dtype=torch.float64)
        seen = process.intensity(state, dt)
        for j in range(6):
            later = process.cell.evolve(state.cell, dt[..., j] / 0.5)
            torch.testing.assert_close(seen[:, :, j], process.head(process.cell.read(later)) / 0.5)
