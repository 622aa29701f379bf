"""softplus along lines and decays: compiled == definition, gradients too; against the integral itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.quadrature import gauss_legendre_graded
from eventflow.ops.softplus_integral import softplus_decay, softplus_line


def curves(seed: int, shape: tuple[int, ...], scale: float, dtype: torch.dtype) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b, rate = (torch.randn(shape, generator=g, dtype=torch.float64) * scale for _ in range(3))
    return [x.to(dtype) for x in (a, b, rate.abs())]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(
    seed=st.integers(0, 999), rows=st.integers(0, 40), marks=st.integers(1, 5), scale=st.sampled_from([0.1, 3.0, 60.0])
)
@settings(deadline=None, max_examples=40)
def test_compiled_is_the_definition(dtype: torch.dtype, seed: int, rows: int, marks: int, scale: float) -> None:
    rule = gauss_legendre_graded(12)
    rtol = 1e-12 if dtype == torch.float64 else 3e-5
    for op, count in ((softplus_line, 2), (softplus_decay, 3)):
        results = []
        for backend in ("numba", "naive"):
            given = [x.requires_grad_() for x in curves(seed, (rows, marks), scale, dtype)[:count]]
            value = op(*given, rule, backend=backend)
            assert value.dtype == dtype and value.shape == (rows, marks)
            grads = torch.autograd.grad((value * torch.arange(1, marks + 1)).sum(), given)
            results.append((value.detach(), grads))
        torch.testing.assert_close(results[0], results[1], rtol=rtol, atol=rtol * max(scale, 1) ** 2)


def test_arguments_broadcast_and_gradients_sum() -> None:
    rule = gauss_legendre_graded(8)
    a, b, rate = curves(1, (5, 3), 1.0, torch.float64)
    a, b, rate = a.requires_grad_(), b[:1].clone().requires_grad_(), rate[:, :1].clone().requires_grad_()
    pairs = [torch.autograd.grad(softplus_decay(a, b, rate, rule, backend=k).sin().sum(), (a, b, rate))
             for k in ("numba", "naive")]  # fmt: skip
    torch.testing.assert_close(*pairs)


def test_a_curve_alone_is_the_same_curve_in_a_batch() -> None:
    rule = gauss_legendre_graded(20)
    a, b, rate = curves(2, (50,), 2.0, torch.float32)
    together = softplus_decay(a, b, rate, rule), softplus_line(a, b, rule)
    for i in (0, 17, 49):
        part = slice(i, i + 1)
        assert torch.equal(softplus_decay(a[part], b[part], rate[part], rule), together[0][part])
        assert torch.equal(softplus_line(a[part], b[part], rule), together[1][part])


def test_the_mean_of_softplus_along_a_line_is_a_difference_of_dilogarithms() -> None:
    """int_0^1 softplus(a + b x) dx = (Li2(-e^a) - Li2(-e^(a + b))) / b, by scipy's spence(1 - z) = Li2(z)."""
    special = pytest.importorskip("scipy.special")
    a, b, _ = curves(3, (200,), 2.0, torch.float64)
    ends = [torch.from_numpy(special.spence(1 + torch.exp(x).numpy())) for x in (a, a + b)]
    torch.testing.assert_close(
        softplus_line(a, b, gauss_legendre_graded(20)), (ends[0] - ends[1]) / b, rtol=1e-8, atol=1e-8
    )


def test_an_unknown_backend() -> None:
    with pytest.raises(InputError, match="did you mean 'numba'"):
        softplus_line(torch.zeros(1), torch.zeros(1), gauss_legendre_graded(4), backend="nubma")
