"""Whole sequences in one compiled pass against the definition: log-densities, last states, every gradient, padding."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops.ctlstm import ctlstm_log_prob, ctlstm_scan, ctlstm_sequence
from eventflow.ops.quadrature import gauss_legendre_graded

TOLERANCE = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-11, "atol": 1e-12}}
DTYPES = [torch.float32, torch.float64]


class Sequences(NamedTuple):
    """Inputs of ``ctlstm_sequence``: table, weight, gaps, state, head; marks and flags."""

    leaves: list[Tensor]
    mark: Tensor
    mask: Tensor
    scored: Tensor


def sequences(batch: int, length: int, hidden: int, marks: int, dtype: torch.dtype) -> Sequences:
    g = torch.Generator().manual_seed(11)
    table, weight = (torch.randn(7 * n, hidden, dtype=dtype, generator=g) / hidden**0.5 for n in (marks, hidden))
    dt = 2 * torch.rand(batch, length, dtype=dtype, generator=g)
    state = [torch.randn(batch, hidden, dtype=dtype, generator=g) for _ in range(2)]
    state += [torch.rand(batch, hidden, dtype=dtype, generator=g) for _ in range(2)]
    head = torch.randn(marks, hidden, dtype=dtype, generator=g) / hidden**0.5
    bias, log_scale = (torch.randn(marks, dtype=dtype, generator=g) / 2 for _ in range(2))
    mark = torch.randint(marks, (batch, length), generator=g)
    mask = torch.arange(length) < torch.randint(length + 1, (batch, 1), generator=g)
    scored = torch.rand(batch, length, generator=g) < 0.8
    return Sequences([table.view(marks, -1), weight, dt, *state, head, bias, log_scale], mark, mask, scored)


def run_sequences(given: Sequences, backend: str, above: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """(log-densities and last states; gradients of every input)."""
    leaves = [x.clone().requires_grad_() for x in given.leaves]
    events, rule = (given.mark, leaves[2], given.mask, given.scored), gauss_legendre_graded(20)
    state, head = tuple(leaves[3:7]), tuple(leaves[7:])
    terms, last = ctlstm_sequence((leaves[0], leaves[1]), events, state, head, rule, backend=backend)
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, dtype=x.dtype, generator=g) for x in last]
    loss = (terms * above).sum() + sum((x * w).sum() for x, w in zip(last, weights, strict=True))
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [terms.detach(), *(x.detach() for x in last)], grads


@pytest.mark.parametrize("batch,length,hidden,marks", [(1, 1, 1, 1), (3, 5, 4, 2), (17, 9, 16, 5), (33, 90, 18, 10)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uniform", [True, False])
def test_sequences_are_their_definition(
    batch: int, length: int, hidden: int, marks: int, dtype: torch.dtype, uniform: bool
) -> None:
    given = sequences(batch, length, hidden, marks, dtype)
    above = torch.linspace(-1, 1, batch * length, dtype=dtype).view(batch, length)
    above = torch.full_like(above, -0.3) if uniform else above
    values, grads = run_sequences(given, "numba", above)
    expected, expected_grads = run_sequences(given, "naive", above)
    tolerance = TOLERANCE[dtype]
    for a, b in zip([*values, *grads], [*expected, *expected_grads], strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance["rtol"], atol=tolerance["atol"] * (1 + float(b.abs().max())))
    assert not values[0][~(given.mask & given.scored)].any()


def test_sequences_have_the_gradients_of_their_values() -> None:
    given = sequences(3, 4, 2, 3, torch.float64)
    rule = gauss_legendre_graded(4)

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        events = (given.mark, leaves[2], given.mask, given.scored)
        terms, last = ctlstm_sequence(leaves[:2], events, leaves[3:7], leaves[7:], rule, backend="numba")
        return (terms, *last)

    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in given.leaves])


def test_sequences_are_scans_and_densities_to_the_last_bit_in_any_batch() -> None:
    table, weight, dt, *rest = sequences(21, 6, 18, 5, torch.float32).leaves
    _, mark, mask, scored = sequences(21, 6, 18, 5, torch.float32)
    state, head, rule = tuple(rest[:4]), tuple(rest[4:]), gauss_legendre_graded(20)
    terms, last = ctlstm_sequence((table, weight), (mark, dt, mask, scored), state, head, rule)
    states, scan_last = ctlstm_scan(table[mark], dt, weight, state, mask=mask)
    before = tuple(torch.cat([a[:, None], b[:, :-1]], 1).flatten(0, 1) for a, b in zip(state, states, strict=True))
    each = ctlstm_log_prob(before, dt.flatten(), mark.flatten(), head, rule).view(21, 6)
    assert torch.equal(terms, torch.where(mask & scored, each, 0))
    assert all(torch.equal(a, b) for a, b in zip(last, scan_last, strict=True))
    some = [20, 3, 3]
    alone = tuple(x[some] for x in (mark, dt, mask, scored))
    again, _ = ctlstm_sequence((table, weight), alone, tuple(x[some] for x in state), head, rule)
    assert torch.equal(again, terms[some])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_in_the_padding_reaches_the_log_densities(dtype: torch.dtype) -> None:
    given = sequences(20, 7, 6, 4, dtype)
    above = torch.ones(20, 7, dtype=dtype)
    clean = run_sequences(given, "numba", above)
    given.leaves[2][~given.mask], given.mark[~given.mask] = float("nan"), -1
    dirty = run_sequences(given, "numba", above)
    for a, b in zip([*clean[0], *clean[1]], [*dirty[0], *dirty[1]], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("batch,length", [(0, 3), (3, 0), (0, 0)])
def test_sequences_of_nothing(batch: int, length: int) -> None:
    given = sequences(batch, length, 4, 3, torch.float32)
    values, grads = run_sequences(given, "numba", torch.ones(batch, length))
    assert values[0].shape == (batch, length) and [x.shape for x in values[1:]] == [(batch, 4)] * 4
    assert [x.shape for x in grads] == [x.shape for x in given.leaves]


def test_sequences_may_go_back_twice() -> None:
    given = sequences(5, 6, 4, 3, torch.float64)
    leaves = [x.clone().requires_grad_() for x in given.leaves]
    events = (given.mark, leaves[2], given.mask, given.scored)
    rule = gauss_legendre_graded(5)
    terms, _ = ctlstm_sequence((leaves[0], leaves[1]), events, tuple(leaves[3:7]), tuple(leaves[7:]), rule)
    once = torch.autograd.grad(terms.sum(), leaves, retain_graph=True)
    again = torch.autograd.grad(terms.sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_wrong_shapes_are_named() -> None:
    leaves, mark, mask, scored = sequences(2, 3, 4, 3, torch.float32)
    cell, state, head = (leaves[0], leaves[1]), tuple(leaves[3:7]), tuple(leaves[7:])
    with pytest.raises(InputError, match=r"scored is \(2, 2\), dt \(2, 3\)"):
        ctlstm_sequence(cell, (mark, leaves[2], mask, scored[:, :2]), state, head, gauss_legendre_graded(3))
    with pytest.raises(InputError, match=r"leaf of state is \(2, 3\)"):
        ctlstm_sequence(
            cell, (mark, leaves[2], mask, scored), (*state[:3], state[3][:, :3]), head, gauss_legendre_graded(3)
        )
