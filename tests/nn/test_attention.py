"""Attention cells: every law, softmax and masked quadratic forms as oracles, blocks against states, with gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import Aaren, Cell, LinearAttention, SoftplusNetwork, WindowAttention, fold, map_state, state_leaves
from eventflow.testing import check_cell, check_point_process
from eventflow.tpp import NeuralPointProcess

CELLS: dict[str, Any] = {
    "window": lambda: WindowAttention(3, 4, window=5, heads=2),
    "window without decay": lambda: WindowAttention(3, 4, window=3, decay=False),
    "window of one": lambda: WindowAttention(3, 4, window=1),
    "window beyond the sequence": lambda: WindowAttention(3, 4, window=70, heads=4),
    "aaren": lambda: Aaren(3, 4, heads=2),
    "aaren without decay": lambda: Aaren(3, 4, decay=False),
    "linear": lambda: LinearAttention(3, 4, heads=2),
    "linear without decay": lambda: LinearAttention(3, 4, decay=False),
}
BLOCKS = [name for name in CELLS if not name.startswith("aaren")]


def make(name: str) -> Any:
    torch.manual_seed(7)
    cell = CELLS[name]().double()
    with torch.no_grad():
        for key, parameter in cell.named_parameters():
            if key != "log_rate":
                parameter.mul_(2)
            else:
                parameter.add_(1.5)
    return cell


def events(length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, gaps with ties, and a mask with holes."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(3, length, 3, generator=g, dtype=torch.float64)
    dt = torch.rand(3, length, generator=g, dtype=torch.float64) * (torch.rand(3, length, generator=g) > 0.2)
    return x, dt, torch.rand(3, length, generator=g) > 0.25


@pytest.mark.parametrize("name", CELLS)
def test_all_laws(name: str) -> None:
    check_cell(make(name))


def weighted(logits: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(logits, -1) @ value


@pytest.mark.parametrize("window", [4, 40])
def test_the_window_is_softmax_attention(window: int) -> None:
    """By definition, event by event and head by head; a window as long as the sequence is causal attention."""
    torch.manual_seed(0)
    cell = WindowAttention(3, 6, window=window, heads=2).double()
    assert cell.log_rate is not None
    x, dt, _ = events(20)
    t = dt.cumsum(1)
    query, key, value = cell.projection(x).chunk(3, -1)
    ahead = torch.tensor(0.7, dtype=torch.float64)
    states, _ = cell.scan(x, dt)
    seen = cell.read(cell.evolve(states, ahead.expand(3, 20)))
    for i in range(20):
        past = slice(max(i + 1 - window, 0), i + 1)
        for head, part in enumerate((slice(0, 3), slice(3, 6))):
            logits = (key[:, past, part] @ query[:, i, part, None])[..., 0] / math.sqrt(3)
            logits = logits - cell.log_rate[head].exp() * (t[:, i, None] + ahead - t[:, past])
            expected = weighted(logits[:, None], value[:, past, part])[:, 0]
            torch.testing.assert_close(seen[:, i, part], expected, rtol=1e-10, atol=1e-10)


def test_a_window_as_long_as_the_sequence_is_torchs_attention() -> None:
    torch.manual_seed(1)
    cell = WindowAttention(3, 8, window=30, heads=2, decay=False).double()
    x, dt, _ = events(30)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in cell.projection(x).chunk(3, -1))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(cell.attend(x, dt)[0], expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("decay", [True, False])
def test_aaren_is_softmax_attention_with_one_query(decay: bool) -> None:
    torch.manual_seed(2)
    cell = Aaren(3, 6, heads=2, decay=decay).double()
    x, dt, _ = events(25)
    t = dt.cumsum(1)
    key, value = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in cell.projection(x).chunk(2, -1))
    logits = torch.einsum("bhtd,hd->bht", key, cell.query) / math.sqrt(3)
    age = t[:, :, None] - t[:, None]
    rate = torch.zeros(2).double() if cell.log_rate is None else cell.log_rate.exp()
    full = logits[:, :, None] - rate[:, None, None] * age[:, None]
    full = full.masked_fill(torch.ones(25, 25, dtype=torch.bool).triu(1), -torch.inf)
    states, _ = cell.scan(x, dt)
    torch.testing.assert_close(cell.read(states), weighted(full, value).transpose(1, 2).flatten(2))


def test_aaren_survives_logits_that_overflow() -> None:
    """Later logits hundreds above the first: a maximum over the whole sequence would lose the first events."""
    cell = Aaren(1, 1, decay=False)
    with torch.no_grad():
        cell.projection.weight.copy_(torch.tensor([[1.0], [1.0]]))
        cell.projection.bias.zero_()
        cell.query.fill_(1.0)
    x = torch.tensor([[[-300.0], [0.0], [400.0]]])
    states, _ = cell.scan(x, torch.ones(1, 3))
    torch.testing.assert_close(cell.read(states), x)


def test_events_at_the_same_time_may_come_in_any_order() -> None:
    cell = make("aaren")
    x, _, _ = events(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    one, two = (cell.scan(e, torch.zeros(3, 9, dtype=torch.float64))[1] for e in (x, x[:, order]))
    torch.testing.assert_close(cell.read(one), cell.read(two))


@pytest.mark.parametrize("decay", [True, False])
def test_linear_attention_is_the_masked_quadratic_form(decay: bool) -> None:
    torch.manual_seed(3)
    cell = LinearAttention(3, 6, heads=2, decay=decay).double()
    x, dt, _ = events(25)
    t = dt.cumsum(1)
    q, k, v = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in cell.projection(x).chunk(3, -1))
    q, k = (torch.nn.functional.elu(part) + 1 for part in (q, k))
    rate = torch.zeros(2).double() if cell.log_rate is None else cell.log_rate.exp()
    weight = (q @ k.transpose(-1, -2)) * torch.exp(-rate[:, None, None] * (t[:, :, None] - t[:, None])[:, None])
    weight = weight.masked_fill(torch.ones(25, 25, dtype=torch.bool).triu(1), 0)
    expected = (weight / weight.sum(-1, keepdim=True)) @ v
    states, _ = cell.scan(x, dt)
    torch.testing.assert_close(cell.read(states), expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_attend_reads_the_states_of_scan(name: str, masked: bool) -> None:
    """In blocks (150 events span several), from a given state, gradients included."""
    cell = make(name)
    x, dt, mask = events(150, seed=4)
    given = mask if masked else None
    real = mask if masked else torch.ones_like(mask)
    with torch.no_grad():
        start = map_state(torch.clone, fold(cell, *events(4, seed=5)[:2])[1])
    weight = torch.randn(3, 150, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64) * real[..., None]
    results = []
    for fast in (True, False):
        e, g = x.clone().requires_grad_(), dt.clone().requires_grad_()
        if fast:
            y, last = cell.attend(e, g, start, mask=given)
        else:
            states, last = cell.scan(e, g, start, mask=given)
            y = cell.read(states)
        loss = (y * weight).sum() + sum(leaf.where(leaf.isfinite(), 0).sin().sum() for leaf in state_leaves(last))
        results.append(
            (
                y * real[..., None],
                last,
                torch.autograd.grad(loss, [e, g, *cell.parameters()], materialize_grads=True, allow_unused=True),
            )
        )
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_attend_grows_a_short_queue() -> None:
    cell = make("window")
    x, dt, _ = events(12)
    full, short = cell.init(3), cell.empty(3, 0)
    for n in (2, 3, 7):
        expected, full = cell.attend(x[:, :n], dt[:, :n], full)
        seen, short = cell.attend(x[:, :n], dt[:, :n], short)
        torch.testing.assert_close(seen, expected)
        assert short.age.shape[1] == min(5, short.age.isfinite().sum(1).max())


@pytest.mark.parametrize("name", ["window", "aaren", "linear"])
def test_cells_encode_the_past_of_a_point_process(name: str) -> None:
    cell: Cell = {
        "window": lambda: WindowAttention(5, 6, window=4, heads=2),
        "aaren": lambda: Aaren(5, 6, heads=2),
        "linear": lambda: LinearAttention(5, 6, heads=2),
    }[name]()
    torch.manual_seed(0)
    check_point_process(NeuralPointProcess(3, cell, SoftplusNetwork(6, 3), quadrature=30, time_scale=0.5))


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: WindowAttention(3, 4, window=0), r"window=0.*at least 1"),
        (lambda: WindowAttention(3, 4, window=2, heads=3), "heads=3.*divide"),
        (lambda: Aaren(3, 4, heads=0), "heads=0"),
        (lambda: LinearAttention(3, 5, heads=2), "hidden_size=5, heads=2"),
        (lambda: WindowAttention(3, 4, window=2).attend(torch.zeros(1, 2, 5), torch.zeros(1, 2)), "input_size=3"),
    ],
)
def test_wrong_arguments(make_it: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_it()
