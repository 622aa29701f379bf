"""The standard cells: all laws, torch's layers with the same weights, projected tables, nn.Module manners, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from eventflow.errors import InputError
from eventflow.nn import (
    CTLSTM,
    GRU,
    LIF,
    LSTM,
    RNN,
    Cell,
    DiagSSM,
    LinearCell,
    ProjectedCell,
    fold,
    map_state,
    state_leaves,
)
from eventflow.testing import check_cell

CELLS: dict[str, Any] = {
    "RNN": lambda: RNN(3, 4),
    "RNN relu": lambda: RNN(3, 4, nonlinearity="relu", bias=False),
    "LSTM": lambda: LSTM(3, 4),
    "LSTM without bias": lambda: LSTM(3, 4, bias=False),
    "GRU": lambda: GRU(3, 4),
    "CTLSTM": lambda: CTLSTM(3, 4),
    "LIF": lambda: LIF(3, 4, threshold=0.2),
    "DiagSSM": lambda: DiagSSM(3, 4, steps=(0.1, 2.0), learn_init=True),
    "DiagSSM real": lambda: DiagSSM(3, 4, num_states=6, real=True, steps=(0.1, 2.0)),
}


def make(name: str, *, spread: float = 2.0) -> Cell:
    """A cell with weights far from zero, the learned first state too."""
    torch.manual_seed(5)
    cell = CELLS[name]()
    with torch.no_grad():
        for key, parameter in cell.named_parameters():
            if key == "start":
                parameter.normal_()
            elif key not in ("log_rate", "frequency"):
                parameter.mul_(spread)
    return cell


@pytest.mark.parametrize("name", CELLS)
def test_all_laws(name: str) -> None:
    check_cell(make(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_scan_laws_at_length_1000(name: str) -> None:
    """Weights as initialised: a recurrence that amplifies would amplify rounding too."""
    check_cell(make(name, spread=1.0), lengths=(1000,), laws=["scan_values", "scan_final", "scan_gradients"])


@pytest.mark.parametrize("name", CELLS)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 23), max_size=5))
def test_hypothesis_draws_the_cuts(name: str, seed: int, cuts: list[int]) -> None:
    cell = make(name).double()
    g = torch.Generator().manual_seed(seed)
    x, dt = torch.randn(2, 23, 3, generator=g, dtype=torch.float64), torch.rand(2, 23, generator=g, dtype=torch.float64)
    reset, mask = torch.rand(2, 23, generator=g) < 0.1, torch.rand(2, 23, generator=g) < 0.8
    with torch.no_grad():
        whole, last = cell.scan(x, dt, reset=reset, mask=mask)
        state, pieces, edges = None, [], [0, *sorted(cuts), 23]
        for lo, hi in zip(edges, edges[1:], strict=False):
            part = slice(lo, hi)
            states, state = cell.scan(x[:, part], dt[:, part], state, reset=reset[:, part], mask=mask[:, part])
            pieces.append(states)
    together = map_state(lambda *leaves: torch.cat(leaves, 1), *pieces)
    for seen, expected in zip(state_leaves((together, state)), state_leaves((whole, last)), strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(RNN, nn.RNN, {}), (RNN, nn.RNN, {"nonlinearity": "relu"}), (LSTM, nn.LSTM, {}), (GRU, nn.GRU, {})],
    ids=["tanh", "relu", "lstm", "gru"],
)
def test_torch_layers_with_the_same_weights(ours: Any, theirs: Any, options: dict[str, Any], bias: bool) -> None:
    torch.manual_seed(0)
    layer = theirs(5, 7, batch_first=True, bias=bias, **options).double()
    cell = ours(5, 7, bias=bias, **options).double()
    cell.load_state_dict(layer.state_dict())  # strict: same names, same shapes
    x = torch.randn(3, 40, 5, dtype=torch.float64, requires_grad=True)
    states, last = cell.scan(x, torch.rand(3, 40, dtype=torch.float64))
    expected, final = layer(x)
    final = final if isinstance(final, tuple) else (final,)
    torch.testing.assert_close(cell.read(states), expected, rtol=1e-12, atol=1e-12)
    for seen, want in zip(last, final, strict=True):
        torch.testing.assert_close(seen, want[0], rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected)
    got = torch.autograd.grad((cell.read(states) * weights).sum(), [x, *cell.parameters()])
    want = torch.autograd.grad((expected * weights).sum(), [x, *layer.parameters()])
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "CTLSTM"])
def test_a_projected_table_can_be_looked_up(name: str) -> None:
    cell = make(name).double()
    assert isinstance(cell, ProjectedCell)
    torch.manual_seed(1)
    embedding = nn.Embedding(6, 3).double()
    mark, dt = torch.randint(0, 6, (4, 20)), torch.rand(4, 20, dtype=torch.float64)
    mask = torch.rand(4, 20) < 0.8
    reset = torch.rand(4, 20) < 0.1
    table = cell.project(embedding.weight)
    assert table.shape == (6, cell.gates_size)
    states, last = cell.scan_projected(table[mark], dt, reset=reset, mask=mask)
    expected, final = fold(cell, embedding(mark), dt, reset=reset, mask=mask)
    inputs = [embedding.weight, *cell.parameters()]
    for seen, want in zip(state_leaves((states, last)), state_leaves((expected, final)), strict=True):
        torch.testing.assert_close(seen, want, rtol=1e-9, atol=1e-12)
    got, want = (torch.autograd.grad(cell.read(s).square().sum(), inputs) for s in (states, expected))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_float32_is_as_accurate_as_the_loop(name: str) -> None:
    wide, narrow = make(name, spread=1.0).double(), make(name, spread=1.0)
    torch.manual_seed(2)
    x, dt = torch.randn(2, 300, 3), torch.rand(2, 300)
    with torch.no_grad():
        exact = wide.read(fold(wide, x.double(), dt.double())[0])
        loop = (narrow.read(fold(narrow, x, dt)[0]).double() - exact).abs().max()
        fast = (narrow.read(narrow.scan(x, dt)[0]).double() - exact).abs().max()
    assert fast <= 10 * loop + 1e-7


@pytest.mark.parametrize("name", ["DiagSSM", "DiagSSM real"])
def test_apply_is_both_the_transition_and_the_visitor_of_modules(name: str) -> None:
    cell = make(name)
    assert isinstance(cell, LinearCell)
    net = nn.Sequential(nn.Linear(2, 3), cell)
    seen: list[nn.Module] = []
    assert net.apply(seen.append) is net
    assert seen == [net[0], cell, net]
    assert cell.apply(lambda module: None) is cell  # type: ignore[arg-type]
    m = cell.lift(torch.randn(2, 3), torch.rand(2))
    torch.testing.assert_close(cell.apply(m, cell.init(2)), cell.apply(m, state=cell.init(2)))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'state'"):
        cell.apply(m)  # type: ignore[call-arg]


def test_a_subclass_may_extend_apply() -> None:
    class Doubled(DiagSSM):
        def apply(self, m: Any, state: Any) -> Any:  # type: ignore[override]
            once = super().apply(m, state)
            return once._replace(x=2 * once.x)

    cell = Doubled(3, 4)
    m, state = cell.lift(torch.randn(2, 3), torch.rand(2)), cell.init(2)
    torch.testing.assert_close(cell.apply(m, state).x, 2 * DiagSSM.apply(cell, m, state).x)
    assert nn.Sequential(cell).apply(lambda module: None)[0] is cell


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_modules(name: str) -> None:
    """Copies, pickles, dtypes and state_dict: nothing is lost, complex weights neither."""
    cell = make(name)
    twin = copy.deepcopy(cell)
    assert twin.load_state_dict(cell.state_dict()).missing_keys == []
    thawed = pickle.loads(pickle.dumps(cell))
    torch.manual_seed(3)
    x, dt = torch.randn(2, 5, 3), torch.rand(2, 5)
    expected = cell.read(cell.scan(x, dt)[0])
    for other in (twin, thawed):
        assert torch.equal(other.read(other.scan(x, dt)[0]), expected)
    wide = cell.to(torch.float64)
    assert all(p.dtype == torch.float64 for p in wide.parameters())
    torch.testing.assert_close(wide.read(wide.scan(x.double(), dt.double())[0]).float(), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RNN(2, 3, nonlinearity="tan"), "did you mean 'tanh'"),
        (lambda: DiagSSM(2, 3, steps=(0.1, 0.01)), "0 < lowest <= highest"),
        (lambda: DiagSSM(2, 3, steps=(0.0, 0.1)), "0 < lowest <= highest"),
        (lambda: LSTM(2, 3).scan_projected(torch.zeros(2, 5, 3), torch.zeros(2, 5)), r"expected \(B, T, 12\)"),
        (lambda: LSTM(2, 3).scan_projected(torch.zeros(2, 5, 12), torch.zeros(2, 4)), r"dt is \(2, 4\)"),
        (lambda: CTLSTM(2, 3).scan(torch.zeros(2, 5, 3), torch.zeros(2, 5)), "input_size=2"),
        (lambda: DiagSSM.hawkes(torch.ones(2), torch.ones(2, 2), torch.zeros(2)), "rate > 0"),
        (lambda: DiagSSM.hawkes(torch.ones(2), torch.ones(2, 3), torch.ones(2)), r"jump \(2, 3\)"),
    ],
)
def test_errors_name_what_was_seen(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize("make", [lambda: GRU(3, 0), lambda: LSTM(0, 3), lambda: CTLSTM(-1, 2)])
def test_sizes_below_one_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"_size=(0|-1)\): expected at least 1"):
        make()
