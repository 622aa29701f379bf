"""ops.scan against its definition, values and gradients; resets, NaNs, shapes, dtypes, kinds of array, errors."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops import scan

LENGTHS = [0, 1, 2, 63, 64, 65, 1000]
FAST = ["torch", "numba"]
TOLERANCE = {torch.float32: 2e-5, torch.complex64: 2e-5, torch.float64: 1e-9, torch.complex128: 1e-9}


class Case(NamedTuple):
    a: Tensor
    b: Tensor
    h0: Tensor
    reset: Tensor | None
    init: Tensor | None

    def leaves(self) -> list[Tensor]:
        return [x.requires_grad_() for x in (self.a, self.b, self.h0, self.init) if x is not None]

    def run(self, backend: str) -> Tensor:
        return scan(self.a, self.b, self.h0, reset=self.reset, init=self.init, backend=backend)


def draw(
    length: int, dtype: torch.dtype, resets: str = "none", *, batch: int = 3, width: tuple[int, ...] = (2, 3)
) -> Case:
    """Gates of modulus <= 1, everything else normal; ``resets``: none, zero (to zeros), init (to a drawn state)."""
    g = torch.Generator().manual_seed(length + 1)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    shape = (batch, length, *width)
    modulus = torch.rand(shape, generator=g, dtype=torch.float64)
    phase = torch.randn(shape, generator=g, dtype=torch.float64)
    a = torch.polar(modulus, phase) if dtype.is_complex else modulus * phase.sign()
    b = torch.randn(shape, generator=g, dtype=wide)
    h0, init = (torch.randn((batch, *width), generator=g, dtype=wide) for _ in range(2))
    reset = torch.rand(batch, length, generator=g) < 0.15
    reset[0, length // 2 : length // 2 + 1] = True
    return Case(
        a.to(dtype), b.to(dtype), h0.to(dtype), None if resets == "none" else reset,
        init.to(dtype) if resets == "init" else None,
    )  # fmt: skip


def loss(h: Tensor) -> Tensor:
    """Real, not symmetric in the states, with a subset of them left out."""
    kept = h.flip(1)[:, ::2]
    weight = torch.arange(1, kept.numel() + 1, dtype=torch.float64).reshape(kept.shape).sin()
    return (weight * (kept.real + 0.3 * kept.real * kept.imag if h.is_complex() else kept + kept**2)).sum()


@pytest.mark.parametrize("resets", ["none", "zero", "init"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("backend", FAST)
def test_fast_paths_are_the_definition(backend: str, length: int, dtype: torch.dtype, resets: str) -> None:
    case = draw(length, dtype, resets)
    leaves = case.leaves()
    want, got = case.run("naive"), case.run(backend)
    assert got.dtype == dtype
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    expected = torch.autograd.grad(loss(want), leaves, allow_unused=True, materialize_grads=True)
    gradients = torch.autograd.grad(loss(got), leaves, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradients, expected, rtol=10 * tolerance, atol=10 * tolerance)
    if length > 1:
        assert all(g.abs().sum() > 0 for g in expected)


@pytest.mark.parametrize("resets", ["none", "zero", "init"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("backend", FAST)
def test_derivatives_of_first_and_second_order(backend: str, dtype: torch.dtype, resets: str) -> None:
    case = draw(6, dtype, resets, batch=2, width=(2,))
    leaves = tuple(case.leaves())

    def run(a: Tensor, b: Tensor, h0: Tensor, init: Tensor | None = None) -> Tensor:
        return scan(a, b, h0, reset=case.reset, init=init, backend=backend)

    assert case.reset is None or case.reset.any()
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("with_init", [False, True])
@pytest.mark.parametrize("backend", ["naive", *FAST])
@pytest.mark.parametrize("cut", [0, 1, 5, 8])
def test_nothing_before_a_reset_leaks(cut: int, backend: str, with_init: bool) -> None:
    case = draw(9, torch.float64, "init")
    reset = torch.zeros(3, 9, dtype=torch.bool)
    reset[:, cut] = True
    a, b, h0 = case.a.clone(), case.b.clone(), case.h0.clone()
    a[:, :cut], b[:, :cut], h0[:] = float("nan"), float("inf"), float("nan")
    init = case.init if with_init else None
    dirty, clean = (
        Case(*(x.clone() for x in xs), reset, None if init is None else init.clone())
        for xs in ((a, b, h0), (case.a, case.b, case.h0))
    )
    results = []
    for which in (dirty, clean):
        leaves = which.leaves()
        after = which.run(backend)[:, cut:]
        gradients = torch.autograd.grad((after**2).sum(), leaves, allow_unused=True)
        results.append((after.detach(), gradients[0][:, cut:], gradients[1][:, cut:], *gradients[3:]))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_without_init_the_gate_of_a_reset_is_not_looked_at(backend: str) -> None:
    case = draw(7, torch.float64, "zero")
    assert case.reset is not None and case.reset.any()
    a = torch.where(case.reset[..., None, None], float("nan"), case.a).requires_grad_()
    h = scan(a, case.b, case.h0, reset=case.reset, backend=backend)
    torch.testing.assert_close(h, case.run("naive"))
    (grad,) = torch.autograd.grad(h.sum(), a)
    assert torch.isfinite(grad).all() and (grad[case.reset] == 0).all()


@given(st.integers(0, 2**31), st.lists(st.integers(0, 12), min_size=1, max_size=6), st.sampled_from(["naive", *FAST]))
def test_resets_pack_ragged_sequences(seed: int, lengths: list[int], backend: str) -> None:
    g = torch.Generator().manual_seed(seed)
    parts = [(torch.rand(1, n, 2, generator=g), torch.randn(1, n, 2, generator=g)) for n in lengths]
    init = torch.randn(1, 2, generator=g)
    a, b = (torch.cat([part[i] for part in parts], 1) for i in (0, 1))
    reset = torch.zeros(1, sum(lengths), dtype=torch.bool)
    reset[0, [sum(lengths[:i]) for i in range(len(lengths)) if lengths[i]]] = True
    packed = scan(a, b, torch.full((1, 2), 99.0), reset=reset, init=init, backend=backend)
    alone = [scan(x, y, init, backend=backend) for x, y in parts]
    torch.testing.assert_close(packed, torch.cat(alone, 1))


@given(st.integers(0, 2**31), st.lists(st.integers(0, 40), max_size=5), st.sampled_from(["naive", *FAST]))
def test_any_chunking_gives_the_same_numbers(seed: int, cuts: list[int], backend: str) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 40, 3, generator=g), torch.randn(2, 40, 3, generator=g)
    h = torch.randn(2, 3, generator=g)
    reset = torch.rand(2, 40, generator=g) < 0.1
    whole = scan(a, b, h, reset=reset, backend=backend)
    pieces, edges = [], [0, *sorted(cuts), 40]
    for lo, hi in zip(edges, edges[1:], strict=False):
        pieces.append(scan(a[:, lo:hi], b[:, lo:hi], h, reset=reset[:, lo:hi], backend=backend))
        h = pieces[-1][:, -1] if hi > lo else h
    if backend == "torch":
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
    else:
        assert torch.equal(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_rows_do_not_see_each_other(backend: str) -> None:
    case = draw(50, torch.float32, "zero")
    assert case.reset is not None
    whole = case.run(backend)
    for i in range(3):
        row = scan(
            case.a[i : i + 1], case.b[i : i + 1], case.h0[i : i + 1], reset=case.reset[i : i + 1], backend=backend
        )
        assert torch.equal(row[0], whole[i])


@pytest.mark.parametrize("backend", FAST)
def test_float32_is_as_accurate_as_the_loop(backend: str) -> None:
    wide = draw(1000, torch.float64)
    exact = wide.run("naive")
    narrow = Case(*(None if x is None else x.float() for x in wide))
    error = (narrow.run(backend).double() - exact).abs().max()
    assert error <= 10 * (narrow.run("naive").double() - exact).abs().max()


@pytest.mark.parametrize("backend", ["naive", *FAST])
@pytest.mark.parametrize(
    ("shape_a", "shape_b"),
    [
        ((2, 5), (2, 5, 3, 4)),
        ((2, 5, 3), (2, 5, 3, 4)),
        ((2, 5, 1, 4), (2, 5, 3, 1)),
        ((1, 5, 3), (2, 5, 3)),
        ((2, 5), (2, 5)),
    ],
)
def test_gates_broadcast(backend: str, shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(s, generator=g, dtype=torch.float64).requires_grad_() for s in (shape_a, shape_b))
    axes = max(len(shape_a), len(shape_b))
    full_a, full_b = (x.reshape(x.shape + (1,) * (axes - x.dim())) for x in (a, b))
    shape = torch.broadcast_shapes(full_a.shape, full_b.shape)
    want = scan(full_a.expand(shape), full_b.expand(shape), backend="naive")
    got = scan(a, b, backend=backend)
    torch.testing.assert_close(got, want)
    gradients, expected = (torch.autograd.grad((h**2).sum(), (a, b)) for h in (got, want))
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("backend", ["naive", *FAST])
def test_views_are_read_right_and_nothing_is_mutated(backend: str) -> None:
    g = torch.Generator().manual_seed(0)
    base = torch.randn(3, 4, 10, 2, generator=g, dtype=torch.complex128)
    a, b, h0 = base[0].conj().transpose(0, 1)[::2], base[1].transpose(0, 1)[1::2].imag * 1j, base[2, 0, :5].conj()
    reset = (torch.rand(4, 5, generator=g) < 0.3).T
    kept = [x.clone() for x in (a, b, h0, reset)]
    leaves = [x.detach().requires_grad_() for x in (a, b)]
    h = scan(leaves[0], leaves[1], h0, reset=reset, backend=backend)
    h.abs().sum().backward()
    torch.testing.assert_close(h, scan(*(x.resolve_conj().contiguous() for x in (a, b, h0)), reset=reset))
    for now, before in zip((a, b, h0, reset), kept, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("backend", ["naive", *FAST])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_numpy_in_numpy_out(backend: str, dtype: type) -> None:
    case = draw(20, torch.complex128 if np.dtype(dtype).kind == "c" else torch.float64, "init")
    a, b, h0, reset, init = (x.numpy() for x in case if x is not None)
    a, b, h0, init = (x.astype(dtype) for x in (a, b, h0, init))
    a.flags.writeable = False  # a read-only input is no reason for a warning
    got = scan(a, b[:, ::-1], h0, reset=reset, init=init, backend=backend)
    assert isinstance(got, np.ndarray) and got.dtype == dtype
    want = scan(case.a, case.b.flip(1), case.h0, reset=case.reset, init=case.init, backend="naive")
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-4)


def test_real_gates_of_complex_states_are_promoted() -> None:
    case = draw(9, torch.complex128)
    gates = case.a.abs().requires_grad_()
    h = scan(gates, case.b)
    assert h.dtype == torch.complex128
    (grad,) = torch.autograd.grad(h.real.sum(), gates)
    (want,) = torch.autograd.grad(scan(gates, case.b, backend="naive").real.sum(), gates)
    assert grad.dtype == torch.float64
    torch.testing.assert_close(grad, want)


def test_half_precision_falls_to_the_portable_path() -> None:
    case = draw(9, torch.float32)
    h = scan(case.a.bfloat16(), case.b.bfloat16())
    assert h.dtype == torch.bfloat16
    torch.testing.assert_close(h.float(), scan(case.a, case.b), rtol=0.1, atol=0.1)


def test_hawkes_intensity_and_lambda_return_are_this_recurrence() -> None:
    g = torch.Generator().manual_seed(3)
    t = torch.rand(60, generator=g, dtype=torch.float64).cumsum(0)
    decay = torch.exp(-1.9 * torch.diff(t, prepend=t[:1]))
    excitation = scan(decay[None], torch.ones_like(decay)[None])[0] - 1  # left limit: without the event itself
    brute = torch.stack([torch.exp(-1.9 * (t[i] - t[:i])).sum() for i in range(60)])
    torch.testing.assert_close(excitation, brute, rtol=1e-12, atol=1e-12)
    reward, value = torch.randn(2, 30, generator=g, dtype=torch.float64)
    gamma, lambda_ = 0.97, 0.8
    gate = torch.full((1, 30), gamma * lambda_, dtype=torch.float64)
    back = scan(gate, (reward + gamma * (1 - lambda_) * value).flip(0)[None], value[-1:])[0].flip(0)
    expected = value[-1]
    for i in reversed(range(30)):
        expected = reward[i] + gamma * ((1 - lambda_) * value[i] + lambda_ * expected)
        torch.testing.assert_close(back[i], expected)


A, B = torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scan(A, B, backend="nunba"), "did you mean 'numba'"),
        (lambda: scan(A, B[:, :4]), r"a is \(2, 5, 3\), b is \(2, 4, 3\)"),
        (lambda: scan(A, torch.zeros(3, 5, 3)), "do not broadcast"),
        (lambda: scan(A, torch.zeros(5)), "same T"),
        (lambda: scan(A.long(), B.long()), r"b\.float\(\)"),
        (lambda: scan(A, B, reset=torch.zeros(2, 5)), "reset is torch.float32"),
        (lambda: scan(A, B, reset=torch.zeros(2, 4, dtype=torch.bool)), r"\(2, 4\)"),
        (lambda: scan(A, B, torch.zeros(2, 4)), r"h0 is \(2, 4\); expected \(B, \*D\) = \(2, 3\)"),
        (lambda: scan(A, B, A[:, 0], reset=A[..., 0] > 0, init=torch.zeros(7, 3)), r"init is \(7, 3\)"),
        (lambda: scan(A, B.numpy()), "Tensor, ndarray"),  # type: ignore[arg-type]
        (lambda: scan(A.bfloat16(), B.bfloat16(), backend="numba"), "backend='auto'"),
    ],
)
def test_errors_name_what_was_seen(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_importing_the_room_loads_neither_torch_nor_numba() -> None:
    code = "import sys, eventflow.ops; bad = {'torch', 'numba'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
