"""Row-wise products and sums: the definition to the last bit, in any batch, with its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.rowwise import rowwise_linear, rowwise_matmul, rowwise_sum

DTYPES = [torch.float32, torch.float64]


def _draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(n=st.integers(0, 9), d=st.integers(0, 13), o=st.integers(1, 19), seed=st.integers(0, 99))
def test_linear_is_its_definition_to_the_last_bit(dtype: torch.dtype, n: int, d: int, o: int, seed: int) -> None:
    x, weight, bias = (
        _draw(n, d, dtype=dtype, seed=seed),
        _draw(o, d, dtype=dtype, seed=seed + 1),
        _draw(o, dtype=dtype),
    )
    for offset in (bias, None):
        assert torch.equal(rowwise_linear(x, weight, offset), rowwise_linear(x, weight, offset, backend="naive"))
    torch.testing.assert_close(rowwise_linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_the_same_in_every_batch(dtype: torch.dtype) -> None:
    x, weight, bias = _draw(300, 67, dtype=dtype), _draw(45, 67, dtype=dtype, seed=1), _draw(45, dtype=dtype, seed=2)
    whole = rowwise_linear(x, weight, bias)
    for n in [*range(1, 40), 127, 128, 299]:
        assert torch.equal(rowwise_linear(x[:n], weight, bias), whole[:n])
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    assert torch.equal(rowwise_linear(x[order], weight, bias), whole[order])
    assert torch.equal(rowwise_linear(x.t().contiguous().t(), weight.t().contiguous().t(), bias), whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "left, right", [((5, 3, 7), (5, 7, 4)), ((2, 1, 3, 7), (6, 7, 4)), ((3, 7), (7, 4)), ((2, 3, 0), (2, 0, 4))]
)
def test_matmul_is_its_definition(dtype: torch.dtype, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = _draw(*left, dtype=dtype), _draw(*right, dtype=dtype, seed=1)
    assert torch.equal(rowwise_matmul(a, b), rowwise_matmul(a, b, backend="naive"))
    torch.testing.assert_close(rowwise_matmul(a, b), a @ b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 20), (2, 20), (3, 1), (4, 64), (7, 5), (2, 3, 0), (17,), (0, 4)])
def test_sum_is_its_definition(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = _draw(*shape, dtype=dtype)
    assert torch.equal(rowwise_sum(x), rowwise_sum(x, backend="naive"))
    torch.testing.assert_close(rowwise_sum(x), x.sum(-1))


def test_gradients_are_the_definitions() -> None:
    x, weight, bias = (v.requires_grad_() for v in (_draw(2, 3, 5), _draw(4, 5, seed=1), _draw(4, seed=2)))
    a, b = _draw(2, 1, 3, 5, seed=4).requires_grad_(), _draw(4, 5, 6, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(rowwise_linear, (x, weight, bias))
    assert torch.autograd.gradcheck(rowwise_matmul, (a, b))
    assert torch.autograd.gradcheck(rowwise_sum, (x,))
    for call, inputs in ((rowwise_linear, (x, weight, bias)), (rowwise_matmul, (a, b)), (rowwise_sum, (x,))):
        ours = torch.autograd.grad(call(*inputs).sin().sum(), inputs)
        theirs = torch.autograd.grad(call(*inputs, backend="naive").sin().sum(), inputs)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: rowwise_linear(_draw(2, 3), _draw(4, 5)), "(2, 3)"),
        (lambda: rowwise_linear(_draw(2, 3), _draw(4, 3), _draw(3)), "bias"),
        (lambda: rowwise_matmul(_draw(2, 3), _draw(4, 3)), "expected"),
        (lambda: rowwise_sum(torch.ones(3, dtype=torch.int64)), "int64"),
        (lambda: rowwise_sum(torch.ones(())), "scalar"),
        (lambda: rowwise_sum(_draw(3), backend="numbaa"), "did you mean 'numba'?"),
    ],
)
def test_mistakes_are_named(call, word: str) -> None:
    with pytest.raises(InputError, match=word.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")):
        call()
