"""The compiled continuous-time LSTM against its definition: values, last state, every gradient; padding, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eventflow.errors import InputError
from eventflow.nn import CTLSTM
from eventflow.nn._cell import fold
from eventflow.ops.ctlstm import (
    ctlstm_compensator,
    ctlstm_intensity,
    ctlstm_log_prob,
    ctlstm_scan,
    ctlstm_step,
)
from eventflow.ops.quadrature import gauss_legendre_graded

TOLERANCE = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-11, "atol": 1e-12}}
DTYPES = [torch.float32, torch.float64]
LENGTHS = [1, 2, 63, 64, 65, pytest.param(1000, marks=pytest.mark.slow)]


def states_of(rows: int, hidden: int, dtype: torch.dtype, seed: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    c, target = (torch.randn(rows, hidden, dtype=dtype, generator=g) for _ in range(2))
    decay, out = (torch.rand(rows, hidden, dtype=dtype, generator=g) for _ in range(2))
    return [c, target, 2 * decay, out]


def scan_inputs(batch: int, length: int, hidden: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    gates = torch.randn(batch, length, 7 * hidden, dtype=dtype, generator=g)
    dt = 2 * torch.rand(batch, length, dtype=dtype, generator=g)
    weight = torch.randn(7 * hidden, hidden, dtype=dtype, generator=g) / hidden**0.5
    return [gates, dt, weight, *states_of(batch, hidden, dtype, seed), *states_of(batch, hidden, dtype, seed + 1)]


def run_scan(inputs: list[Tensor], backend: str, **flags: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """(all states and last states; gradients of every input of a random projection of them)."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    gates, dt, weight, *rest = leaves
    states, last = ctlstm_scan(gates, dt, weight, tuple(rest[:4]), init=tuple(rest[4:]), backend=backend, **flags)
    out = [*states, *last]
    g = torch.Generator().manual_seed(9)
    loss = sum((x * torch.randn(x.shape, dtype=x.dtype, generator=g)).sum() for x in out)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [x.detach() for x in out], list(grads)


def assert_same_scan(inputs: list[Tensor], **flags: Tensor | None) -> None:
    values, grads = run_scan(inputs, "numba", **flags)
    expected, expected_grads = run_scan(inputs, "naive", **flags)
    tolerance = TOLERANCE[inputs[0].dtype]
    for a, b in zip(values, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    for a, b in zip(grads, expected_grads, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=tolerance["rtol"], atol=tolerance["atol"] * (1 + scale))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scan_is_its_definition_at_every_length(length: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(length)
    reset, mask = torch.rand(3, length, generator=g) < 0.1, torch.rand(3, length, generator=g) < 0.8
    assert_same_scan(scan_inputs(3, length, 5, dtype))
    assert_same_scan(scan_inputs(3, length, 5, dtype), reset=reset, mask=mask)


@pytest.mark.parametrize("batch,hidden", [(1, 1), (15, 16), (16, 17), (17, 8), (33, 64)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scan_is_its_definition_at_every_block_and_tile_edge(batch: int, hidden: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(batch)
    lengths = torch.randint(0, 8, (batch, 1), generator=g)
    assert_same_scan(scan_inputs(batch, 7, hidden, dtype), mask=torch.arange(7) < lengths)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_in_the_padding_reaches_values_or_gradients(dtype: torch.dtype) -> None:
    inputs = scan_inputs(20, 9, 6, dtype)
    mask = torch.rand(20, 9, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[3], mask[:, 4] = False, False
    reset = torch.ones(20, 9, dtype=torch.bool) & ~mask  # a reset in the padding is padding
    clean = run_scan(inputs, "numba", mask=mask)
    inputs[0][~mask], inputs[1][~mask] = float("nan"), float("inf")
    dirty = run_scan(inputs, "numba", mask=mask, reset=reset)
    for a, b in zip([*clean[0], *clean[1]], [*dirty[0], *dirty[1]], strict=True):
        assert torch.equal(a, b)
    assert not dirty[1][0][~mask].any() and not dirty[1][1][~mask].any()


@pytest.mark.parametrize("batch,length", [(0, 3), (3, 0), (0, 0)])
def test_scan_of_nothing(batch: int, length: int) -> None:
    inputs = scan_inputs(batch, length, 4, torch.float32)
    values, grads = run_scan(inputs, "numba")
    assert [x.shape for x in values] == [(batch, length, 4)] * 4 + [(batch, 4)] * 4
    assert [x.shape for x in grads] == [x.shape for x in inputs]
    if length == 0:
        assert all(torch.equal(a, b) for a, b in zip(values[4:], inputs[3:7], strict=True))


def test_scan_has_the_gradients_of_its_values() -> None:
    inputs = [x.requires_grad_() for x in scan_inputs(2, 3, 2, torch.float64)]
    reset = torch.tensor([[False, True, False], [False, False, False]])
    mask = torch.tensor([[True, True, True], [True, False, True]])

    def function(gates: Tensor, dt: Tensor, weight: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        states, last = ctlstm_scan(gates, dt, weight, rest[:4], init=rest[4:], reset=reset, mask=mask, backend="numba")
        return (*states, *last)

    assert torch.autograd.gradcheck(function, inputs)


def test_gradients_flow_where_only_some_are_wanted_and_twice() -> None:
    gates, dt, weight, *rest = scan_inputs(3, 4, 5, torch.float64)
    weight.requires_grad_()
    states, _ = ctlstm_scan(gates, dt, weight, tuple(rest[:4]), backend="numba")
    once = torch.autograd.grad(states[0].sum(), weight, retain_graph=True)[0]
    again = torch.autograd.grad(states[0].sum(), weight)[0]
    assert torch.equal(once, again) and once.abs().sum() > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_scan_is_folded_step_to_the_last_bit_in_any_batch(dtype: torch.dtype) -> None:
    gates, dt, weight, *rest = scan_inputs(37, 6, 20, dtype)
    states, last = ctlstm_scan(gates, dt, weight, tuple(rest[:4]), backend="numba")
    now = tuple(rest[:4])
    for t in range(6):
        left, now = ctlstm_step(gates[:, t], dt[:, t], weight, now, backend="numba")
        assert all(torch.equal(a[:, t], b) for a, b in zip(states, now, strict=True))
    rows = [0, 5, 17, 36]
    before = [leaf[rows, 4] for leaf in states]
    for n, row in enumerate(rows):
        alone = ctlstm_step(gates[row : row + 1, 5], dt[row : row + 1, 5], weight, tuple(x[n : n + 1] for x in before))
        assert torch.equal(alone[0][0], left[row])
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone[1], last, strict=True))


def test_the_cell_is_its_operation() -> None:
    torch.manual_seed(0)
    cell = CTLSTM(3, 6).double()
    x, dt = torch.randn(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    folded, _ = fold(cell, x, dt)
    scanned, _ = cell.scan(x, dt)
    weights = list(cell.parameters())  # the recurrent weight is a strided part of one of them
    slopes = [torch.autograd.grad(sum(leaf.square().sum() for leaf in s), weights) for s in (folded, scanned)]
    for a, b in zip([*folded, *slopes[0]], [*scanned, *slopes[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


# -- intensity, compensator, log-density ------------------------------------------------------------------------------


def head_of(marks: int, hidden: int, dtype: torch.dtype, seed: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(marks, hidden, dtype=dtype, generator=g) / hidden**0.5
    bias, log_scale = (torch.randn(marks, dtype=dtype, generator=g) for _ in range(2))
    return [weight, bias, log_scale / 2]


def row_inputs(rows: int, hidden: int, marks: int, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    g = torch.Generator().manual_seed(5)
    dt = 2 * torch.rand(rows, dtype=dtype, generator=g)
    dt[::5] = 0.0
    mark = torch.randint(marks, (rows,), generator=g)
    return [dt, *states_of(rows, hidden, dtype, 2), *head_of(marks, hidden, dtype)], mark


def run_rows(
    inputs: list[Tensor], mark: Tensor | None, above: Tensor, backend: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    dt, state, head = leaves[0], tuple(leaves[1:5]), tuple(leaves[5:])
    rule = gauss_legendre_graded(20)
    if mark is None:
        value = ctlstm_compensator(state, dt, head, rule, backend=backend)
    else:
        value = ctlstm_log_prob(state, dt, mark, head, rule, backend=backend)
    return value.detach(), torch.autograd.grad(value, leaves, above)


@pytest.mark.parametrize("rows,hidden,marks", [(1, 1, 1), (15, 3, 4), (33, 17, 5), (40, 64, 10), (17, 20, 100)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uniform", [True, False])
def test_densities_are_their_definition(rows: int, hidden: int, marks: int, dtype: torch.dtype, uniform: bool) -> None:
    inputs, mark = row_inputs(rows, hidden, marks, dtype)
    above = torch.full((rows,), -0.3, dtype=dtype) if uniform else torch.linspace(-1, 1, rows, dtype=dtype)
    for given_mark in (mark, None):
        value, grads = run_rows(inputs, given_mark, above, "numba")
        expected, expected_grads = run_rows(inputs, given_mark, above, "naive")
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(value, expected, **tolerance)
        for a, b in zip(grads, expected_grads, strict=True):
            atol = tolerance["atol"] * (1 + float(b.abs().max()))
            torch.testing.assert_close(a, b, rtol=tolerance["rtol"], atol=atol)


def test_densities_have_the_gradients_of_their_values() -> None:
    inputs, mark = row_inputs(3, 2, 3, torch.float64)
    rule = gauss_legendre_graded(4)
    leaves = [x.requires_grad_() for x in inputs]

    def log_prob(dt: Tensor, *parts: Tensor) -> Tensor:
        return ctlstm_log_prob(parts[:4], dt, mark, parts[4:], rule, backend="numba")

    def compensator(dt: Tensor, *parts: Tensor) -> Tensor:
        return ctlstm_compensator(parts[:4], dt, parts[4:], rule, backend="numba")

    def intensity(dt: Tensor, *parts: Tensor) -> Tensor:
        return ctlstm_intensity(parts[:4], dt[:, None] * torch.tensor([0.5, 1.0]), parts[4:], backend="numba")

    for function in (log_prob, compensator, intensity):
        assert torch.autograd.gradcheck(function, leaves)


def test_padded_rows_of_no_gap_leave_the_head_alone() -> None:
    """Upstream 1 for real rows and 0 for padding of gap 0: one factor for all that count, so nothing is run again."""
    inputs, _ = row_inputs(10, 8, 3, torch.float64)
    above = (inputs[0] != 0).double()
    _, grads = run_rows(inputs, None, above, "numba")
    _, expected = run_rows(inputs, None, above, "naive")
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("queries", [0, 1, 7, 8, 16, 20])
def test_intensity_is_its_definition(queries: int, dtype: torch.dtype) -> None:
    state, head = tuple(states_of(19, 18, dtype, 2)), tuple(head_of(6, 18, dtype))
    u = 3 * torch.rand(19, queries, dtype=dtype)
    lam = ctlstm_intensity(state, u, head, backend="numba")
    assert lam.shape == (19, queries, 6)
    torch.testing.assert_close(lam, ctlstm_intensity(state, u, head, backend="naive"), **TOLERANCE[dtype])


@given(data=st.data())
def test_rows_do_not_see_the_batch(data: st.DataObject) -> None:
    """Bit for bit: any rows, in any order and number, alone or together; queries too."""
    dtype = data.draw(st.sampled_from(DTYPES))
    (dt, *parts), mark = row_inputs(50, 18, 5, dtype)
    state, head, rule = parts[:4], tuple(parts[4:]), gauss_legendre_graded(20)
    u = dt[:, None] * torch.linspace(0, 1, 24, dtype=dtype)
    rows = data.draw(st.lists(st.integers(0, 49), min_size=1, max_size=40))
    queries = data.draw(st.integers(1, 24))
    some = tuple(x[rows] for x in state)
    whole = ctlstm_intensity(tuple(state), u, head)
    assert torch.equal(ctlstm_intensity(some, u[rows][:, :queries], head), whole[rows][:, :queries])
    whole = ctlstm_log_prob(tuple(state), dt, mark, head, rule)
    assert torch.equal(ctlstm_log_prob(some, dt[rows], mark[rows], head, rule), whole[rows])
    whole = ctlstm_compensator(tuple(state), dt, head, rule)
    assert torch.equal(ctlstm_compensator(some, dt[rows], head, rule), whole[rows])


def test_values_with_and_without_gradient_are_the_same() -> None:
    (dt, *parts), mark = row_inputs(21, 18, 5, torch.float32)
    rule, state, head = gauss_legendre_graded(20), tuple(parts[:4]), tuple(parts[4:])
    plain = ctlstm_log_prob(state, dt, mark, head, rule)
    tracked = ctlstm_log_prob(state, dt.clone().requires_grad_(), mark, head, rule)
    assert torch.equal(plain, tracked.detach())


@pytest.mark.parametrize("backend", ["numba", "naive"])
def test_an_intensity_that_underflows_still_has_a_logarithm_and_a_slope(backend: str) -> None:
    state, head = tuple(states_of(2, 3, torch.float32, 0)), head_of(2, 3, torch.float32)
    bias = torch.full((2,), -500.0, requires_grad=True)
    mark, dt = torch.tensor([0, 1]), torch.ones(2)
    value = ctlstm_log_prob(
        state, dt, mark, (head[0] * 0, bias, head[2] * 0), gauss_legendre_graded(5), backend=backend
    )
    torch.testing.assert_close(value.detach(), torch.full((2,), -500.0))
    value.sum().backward()
    torch.testing.assert_close(bias.grad, torch.ones(2))


def test_densities_of_no_rows() -> None:
    inputs, mark = row_inputs(0, 4, 3, torch.float32)
    for given_mark in (mark, None):
        value, grads = run_rows(inputs, given_mark, torch.zeros(0), "numba")
        assert value.shape == (0,) and not any(g.any() for g in grads)


def test_the_compensator_is_the_integral_of_the_intensity() -> None:
    state, head = tuple(states_of(4, 8, torch.float64, 0)), tuple(head_of(3, 8, torch.float64))
    dt = torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64)
    fine = torch.linspace(0, 1, 4001, dtype=torch.float64)
    lam = ctlstm_intensity(state, dt[:, None] * fine, head).sum(-1)
    expected = torch.trapezoid(lam, dt[:, None] * fine, dim=1)
    value = ctlstm_compensator(state, dt, head, gauss_legendre_graded(20))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


# -- the user's mistakes ----------------------------------------------------------------------------------------------


def test_wrong_shapes_are_named() -> None:
    gates, dt, weight, *rest = scan_inputs(2, 3, 4, torch.float32)
    state = tuple(rest[:4])
    with pytest.raises(InputError, match=r"dt is \(3, 2\)"):
        ctlstm_scan(gates, dt.T, weight, state)
    with pytest.raises(InputError, match=r"weight_h \(4, 28\)"):
        ctlstm_scan(gates, dt, weight.T, state)
    with pytest.raises(InputError, match=r"leaf of state is \(2, 3\)"):
        ctlstm_scan(gates, dt, weight, (*state[:3], state[3][:, :3]))
    with pytest.raises(InputError, match=r"mask is \(2,\)"):
        ctlstm_scan(gates, dt, weight, state, mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match="did you mean 'numba'"):
        ctlstm_step(gates[:, 0], dt[:, 0], weight, state, backend="number")
