"""Inside ``batch_invariant`` a row has the same bits in any batch, and what cannot promise that is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toy_operator import Counting, Toy

from eventflow.errors import InputError
from eventflow.online import batch_invariant
from eventflow.testing import check_batch_invariant

ROWS = 300
SIZES = [*range(1, 40), 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300]
_WEIGHT = torch.randn(9, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
_VECTOR = _WEIGHT[0].clone()

_GRU = nn.GRUCell(10, 3).double()

Function = Callable[[Tensor], Tensor]

ELEMENTWISE: dict[str, Function] = {
    "exp": torch.exp, "tanh": torch.tanh, "log": lambda x: x.abs().log(), "log1p": lambda x: x.abs().log1p(),
    "expm1": torch.expm1, "sqrt": lambda x: x.abs().sqrt(), "sin": torch.sin, "cos": torch.cos, "erf": torch.erf,
    "sigmoid": torch.sigmoid, "method sigmoid": lambda x: x.sigmoid(), "softplus": functional.softplus,
    "softplus of its own threshold": lambda x: functional.softplus(x, threshold=35.0), "silu": functional.silu,
    "gelu": functional.gelu, "elu": functional.elu, "logsigmoid": functional.logsigmoid, "sinh": torch.sinh,
    "square": lambda x: x**2, "cube": lambda x: x**3, "power": lambda x: x.abs() ** 1.7, "two to the": lambda x: 2.0**x,
    "in place": lambda x: x.clone().sigmoid_(), "alpha": lambda x: torch.sub(x, x * 1.1, alpha=0.3),
    "logaddexp": lambda x: torch.logaddexp(x, x * 0.3), "lerp": lambda x: torch.lerp(x, x * 3, x * 0.3),
    "hypot with a scalar": lambda x: torch.hypot(x, torch.tensor(1.3, dtype=x.dtype)),
    "arithmetic": lambda x: ((x * 1.1 + 0.3) / (x.abs() + 0.7) - x.reciprocal()).clamp(-5, 5),
}  # fmt: skip

REDUCTIONS: dict[str, Function] = {
    "sum": lambda x: x.sum(-1), "sum of all but the first": lambda x: x.unflatten(1, (2, 5)).sum((1, 2)),
    "sum over the middle": lambda x: x.unflatten(1, (2, 5)).sum(1, keepdim=True), "mean": lambda x: x.mean(1),
    "softmax": lambda x: x.softmax(-1), "functional softmax": lambda x: functional.softmax(x, dim=1),
    "softmax over the middle": lambda x: x.unflatten(1, (2, 5)).softmax(1), "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1), "cumsum": lambda x: x.cumsum(-1), "var": lambda x: x.var(-1),
    "std": lambda x: torch.std(x, -1, correction=0), "norm": lambda x: x.norm(dim=-1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "layer_norm": lambda x: functional.layer_norm(x, (10,), _VECTOR.to(x.dtype), _VECTOR.to(x.dtype)),
    "rms_norm": lambda x: functional.rms_norm(x, (10,)),
}  # fmt: skip

PRODUCTS: dict[str, Function] = {
    "linear": lambda x: functional.linear(x, _WEIGHT.to(x.dtype), _VECTOR[:9].to(x.dtype)),
    "matmul": lambda x: x @ _WEIGHT.T.to(x.dtype), "vector": lambda x: x @ _VECTOR.to(x.dtype),
    "mm": lambda x: torch.mm(x, _WEIGHT.T.to(x.dtype)), "from the left": lambda x: (_WEIGHT.to(x.dtype) @ x.T).T,
    "addmm": lambda x: torch.addmm(_VECTOR[:9].to(x.dtype), x, _WEIGHT.T.to(x.dtype)),
    "bmm": lambda x: torch.bmm(x[:, None], x[:, :, None]).squeeze(-1),
    "three axes": lambda x: x.unflatten(1, (5, 2)) @ x.unflatten(1, (2, 5)),
    "einsum": lambda x: torch.einsum("nd,od->no", x, _WEIGHT.to(x.dtype)),
    "einsum of one": lambda x: torch.einsum("nij->nj", x.unflatten(1, (2, 5))),
    "outer": lambda x: torch.einsum("ni,nj->nij", x, x),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [*ELEMENTWISE, *REDUCTIONS, *PRODUCTS])
def test_a_row_has_the_same_bits_in_any_batch(name: str, dtype: torch.dtype) -> None:
    function = {**ELEMENTWISE, **REDUCTIONS, **PRODUCTS}[name]
    x = torch.randn(ROWS, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(3).to(dtype)
    torch.testing.assert_close(
        _inside(function, x), function(x), rtol=2e-5 if dtype == torch.float32 else 1e-11, atol=1e-5
    )
    alone = torch.cat([_inside(function, x[i : i + 1]) for i in range(ROWS)])
    for size in SIZES:
        assert torch.equal(_inside(function, x[:size].clone()), alone[:size]), f"{size} rows"
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
    assert torch.equal(_inside(function, x[order]), alone[order]), "gathered"
    assert torch.equal(_inside(function, x.t().contiguous().t()), alone), "transposed"
    assert torch.equal(_inside(function, x.repeat(1, 2)[:, :10]), alone), "strided"


def _inside(function: Function, x: Tensor) -> Tensor:
    with torch.inference_mode(), batch_invariant():
        return function(x)


def test_large_batches_on_two_threads() -> None:
    x = torch.randn(8192, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for function in (torch.sigmoid, torch.exp, functional.softplus, PRODUCTS["matmul"], REDUCTIONS["sum"]):
            assert torch.equal(_inside(function, x)[:7], _inside(function, x[:7]))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "function, word",
    [
        (lambda x: torch.rand_like(x), "depends on who else"),
        (lambda x: functional.dropout(x, 0.5, True), "model.eval"),
        (lambda x: functional.batch_norm(x, None, None, training=True), "layer_norm"),
        (lambda x: _GRU(x), "linear, sigmoid and tanh"),
        (lambda x: torch.linalg.solve(x[:10], x[:10]), "not known to give a row the same bits"),
        (lambda x: torch.einsum("...d,...d->...", x, x), "named axes"),
        (lambda x: x.norm(p=3, dim=-1), "p=1 or p=2"),
        (lambda x: torch.complex(x, x) * 2, "complex"),
        (lambda x: torch.sum(x, -1, out=x.new_empty(20)), "take its result"),
        (lambda x: torch.atan2(x, other=x), "pass it by position"),
    ],
)
def test_what_depends_on_the_batch_is_refused_by_name(function: Function, word: str) -> None:
    with pytest.raises(InputError, match=word):
        _inside(function, torch.randn(20, 10, dtype=torch.float64))


def test_allowed_by_name() -> None:
    x = torch.randn(5, 5, dtype=torch.float64)
    with batch_invariant(allow=["linalg_det"]):
        assert torch.linalg.det(x).shape == ()


def test_dropout_of_a_model_that_is_live_passes() -> None:
    x = torch.randn(3, 10, dtype=torch.float64)
    assert torch.equal(_inside(nn.Dropout(0.5).eval(), x), x)


def test_a_changed_weight_is_seen() -> None:
    layer = nn.Linear(4, 3).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad(), batch_invariant(layer):
        before = layer(x)
        layer.weight.mul_(2.0)
        after = layer(x)
    torch.testing.assert_close(after - layer.bias, 2 * (before - layer.bias))


def test_gradients_pass_through_the_routes() -> None:
    layer, x = nn.Linear(4, 3).double(), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return (
            functional.softplus(layer(x)).softmax(-1) @ torch.ones(3, dtype=torch.float64) * layer(x).mean(-1)
        ).sum()

    expected = torch.autograd.grad(loss(), [x, layer.weight])
    with batch_invariant(layer):
        value = loss()
    for ours, theirs in zip(torch.autograd.grad(value, [x, layer.weight]), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_check_batch_invariant_passes_on_operators_that_are() -> None:
    check_batch_invariant(Toy())
    check_batch_invariant(Counting())


class _BlindLoop(Counting):
    """Iterates until the slowest row of the batch is done: control flow that the mode cannot see."""

    def observe(self, state: Any, marks: Any, dt: Tensor) -> Any:
        x = dt.clone()
        while (x > 1).any():
            x = x * 0.5
        return {"nll": x}, state


class _Centred(Counting):
    def observe(self, state: Any, marks: Any, dt: Tensor) -> Any:
        return {"nll": dt - dt.mean()}, state


class _Leaky(Counting):
    """The answers are each row's own, but the state is not."""

    def observe(self, state: Any, marks: Any, dt: Tensor) -> Any:
        answers, (count, total) = super().observe(state, marks, dt)
        return {"nll": dt}, (count, total + 1e-9 * len(dt))


@pytest.mark.parametrize(
    "broken, word", [(_BlindLoop, "nll of row"), (_Centred, "nll of row"), (_Leaky, "leaf 1 of the state")]
)
def test_check_batch_invariant_fires(broken: type[Counting], word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_batch_invariant(broken())
