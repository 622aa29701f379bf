"""SelectiveSSM: every law of a cell, and its differential equation."""

from __future__ import annotations

import torch
from torch.nn import functional

from eventflow.nn import SelectiveSSM
from eventflow.testing import check_cell


def make() -> SelectiveSSM:
    torch.manual_seed(0)
    cell = SelectiveSSM(3, 4, state_size=3)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return cell


def test_every_law() -> None:
    check_cell(make())


def test_one_event_by_hand() -> None:
    """x = delta B v, decayed by exp(-rate delta dt); read as (C x + skip v) silu(z)."""
    cell = make().double()
    features, gap = torch.randn(1, 3, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    v, z = cell.enter(features)[0].chunk(2)
    v = functional.silu(v)
    delta = functional.softplus(cell.delta(v))
    into, select = cell.choose(v).chunk(2)
    expected = torch.zeros(4, dtype=torch.float64)
    for h in range(4):
        for n in range(3):
            x = delta[h] * into[n] * v[h] * torch.exp(-cell.log_rate[h, n].exp() * delta[h] * gap[0])
            expected[h] += select[n] * x
    expected = (expected + cell.skip * v) * functional.silu(z)
    state = cell.evolve(cell.update(cell.init(1), features), gap)
    torch.testing.assert_close(cell.read(state)[0], expected)


def test_what_is_read_ahead_is_what_is_read_later() -> None:
    cell = make().double()
    x, dt = torch.randn(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    _, state = cell.scan(x, dt)
    ahead = torch.rand(2, 4, dtype=torch.float64) * 3
    one_by_one = torch.stack([cell.read(cell.evolve(state, gap)) for gap in ahead.unbind(1)], 1)
    torch.testing.assert_close(cell.read_ahead(state, ahead), one_by_one)
