"""FullyNN, ODETPP and ANHN, and the compiled ops beneath them: every law, definitions, EasyTPP's variants, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state
from eventflow.ops.ode_path import Field, ode_path
from eventflow.ops.pair_decay import Pairs, pair_decay
from eventflow.testing import check_point_process
from eventflow.tpp import ANHN, ODETPP, FullyNN, PointProcess

SMALL: dict[type[PointProcess], dict[str, Any]] = {
    FullyNN: {"hidden_size": 4, "embedding_size": 3},
    ODETPP: {"hidden_size": 4, "units": 5, "quadrature": 30},
    ANHN: {"hidden_size": 4, "quadrature": 30},
}


def make(kind: type[PointProcess], **options: Any) -> PointProcess:
    """A small model, away from special starts."""
    torch.manual_seed(3)
    process = kind(3, time_scale=0.5, **{**SMALL[kind], **options})  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return process


def sequences(lengths: tuple[int, ...] = (9, 0, 4, 13)) -> Events:
    rng = np.random.default_rng(1)
    parts = [{"t": np.cumsum(rng.exponential(0.5, n)), "mark": rng.integers(0, 3, n)} for n in lengths]
    return Events.from_sequences(parts, span=(0.0, 20.0), schema=Schema(num_marks=3))


@pytest.mark.parametrize(
    ("kind", "options"),
    [(FullyNN, {}), (FullyNN, {"compat": "easytpp"}), (ODETPP, {}), (ODETPP, {"compat": "easytpp"}),
     pytest.param(ANHN, {"window": 16}, marks=pytest.mark.slow), (ANHN, {"window": 3})],
    ids=str,
)  # fmt: skip
def test_every_law(kind: type[PointProcess], options: dict[str, Any]) -> None:
    check_point_process(make(kind, **options))


@pytest.mark.parametrize("kind", [ODETPP, ANHN])
def test_encoded_states_go_on_as_live_ones(kind: type[PointProcess]) -> None:
    process = make(kind).double()
    batch, row, at = pad(sequences(), dtype=torch.float64), 3, 6
    with torch.no_grad():
        whole = process.event_log_prob(batch)
        state = map_state(lambda leaf: leaf[row : row + 1, at], process.encode(batch))
        for j in range(at + 1, 13):
            seen, state = process.step(state, batch.mark[row : row + 1, j], batch.dt[row : row + 1, j])
            torch.testing.assert_close(seen, whole[row : row + 1, j])


# -- FullyNN ----------------------------------------------------------------------------------------------------------


def test_the_intensity_is_the_derivative_of_the_compensator() -> None:
    process = make(FullyNN).double()
    _, state = process.left_states(pad(sequences(), dtype=torch.float64))
    u = torch.tensor([0.01, 0.3, 2.0, 40.0], dtype=torch.float64).expand(4, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(process.compensator(state, u).sum(), u)
    with torch.no_grad():
        torch.testing.assert_close(process.intensity(state, u).sum(-1), slope)


def test_the_hazard_starts_at_zero_and_has_no_end() -> None:
    """EasyTPP's starts above 0 and saturates: its density integrates to next to nothing."""
    for compat, ends in ((None, False), ("easytpp", True)):
        process = make(FullyNN, compat=compat).double()
        state = process.init(2)
        far = process.compensator(state, torch.full((2,), 1e9, dtype=torch.float64))
        assert (process.compensator(state, torch.zeros(2, dtype=torch.float64)) == 0).all()
        assert (far < 1e3).all() if ends else (far > 1e6).all()
        gaps, marks = process.sample_next(process.init(500), generator=torch.Generator().manual_seed(0))
        assert bool(gaps.isinf().any()) is ends and bool((marks < 0).any()) is ends


def test_fullynn_trains_and_asks_without_autograd() -> None:
    process = make(FullyNN)
    with torch.inference_mode():
        assert process.predict_next(process.init(2)).mean.isfinite().all()
    process.log_prob(sequences()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in process.parameters())


# -- ODETPP -----------------------------------------------------------------------------------------------------------


def field(size: int, units: int, dtype: torch.dtype = torch.float64) -> tuple[Field, Tensor, Tensor]:
    """A field, a start and four jumps of three sequences."""
    torch.manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return (0.5 * torch.randn(*shape, dtype=dtype)).requires_grad_()

    weights = Field(draw(units, size), draw(units), draw(size, units), draw(size), draw(size, size))
    return weights, draw(3, size), draw(3, 4, size)


def compared(run: Callable[[str], Tensor], inputs: list[Tensor]) -> None:
    """Values and gradients of both backends."""
    found = []
    for backend in ("naive", "numba"):
        out = run(backend)
        by = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        found.append([out, *torch.autograd.grad((out * by).sum(), inputs)])
    for slow, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("size", "units"), [(5, 7), (16, 33)])
def test_the_compiled_path_is_the_definition(size: int, units: int) -> None:
    weights, start, jumps = field(size, units)
    times = torch.rand(3, 5, 6, dtype=torch.float64) * torch.tensor([0.0, 0.1, 1.0, 3.0, 0.5])[:, None]
    compared(lambda backend: ode_path(weights, start, jumps, times, backend=backend), [*weights, start, jumps])


def test_the_solver_is_of_fourth_order() -> None:
    weights, start, _ = field(5, 7)
    times, errors = torch.linspace(0.1, 3.0, 12, dtype=torch.float64).expand(3, 1, -1), []
    none = start.new_zeros(3, 0, 5)
    with torch.no_grad():
        exact = ode_path(weights, start, none, times, step=1 / 256)
        for step in (0.25, 0.125, 0.0625):
            errors.append((ode_path(weights, start, none, times, step=step) - exact).abs().max().item())
    assert errors[0] / errors[1] > 10 and errors[1] / errors[2] > 10 and errors[2] < 1e-5


def test_a_linear_field_is_solved_as_it_should_be() -> None:
    """dh/ds = c: a straight line in s = log(1 + t)."""
    process = ODETPP(2, hidden_size=3).double()
    with torch.no_grad():
        for parameter in (process.outer.weight, process.head.weight):  # type: ignore[union-attr]
            parameter.zero_()
        process.head.weight[0, 0] = 1.0
        state, t = process.init(1), torch.tensor([[0.0, 1.0, 1e6]], dtype=torch.float64)
        line = state.h[:, :1] + process.outer.bias[0] * torch.log1p(t)  # type: ignore[union-attr]
        expected = torch.nn.functional.softplus(line + process.head.bias[0])
        torch.testing.assert_close(process.intensity(state, t)[..., 0], expected)


# -- ANHN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 33])
def test_the_compiled_pairs_are_the_definition(size: int) -> None:
    torch.manual_seed(0)
    weight, value, slow, fast = (
        torch.randn(*shape, dtype=torch.float64).requires_grad_()
        for shape in ((2, 4, 6), (2, 6, size), (2, 6, size), (2, 4, size))
    )
    seen, age, ahead = (torch.rand(*shape, dtype=torch.float64) for shape in ((2, 4, 6), (2, 4, 6), (2, 4, 3)))
    pairs = Pairs(weight, seen > 0.3, torch.where(seen > 0.3, 3 * age, torch.nan))
    compared(lambda backend: pair_decay(pairs, ahead, value, slow, fast, backend=backend), [weight, value, slow, fast])


def test_the_bound_of_anhn_holds_for_ever() -> None:
    process = make(ANHN).double()
    with torch.no_grad():
        _, state = process.left_states(pad(sequences(), dtype=torch.float64))
        bound, _ = process._bound(state, torch.zeros_like(state.elapsed))
        ahead = torch.linspace(0, 15, 2001, dtype=torch.float64).expand(4, -1)
        total = process._intensity(map_state(lambda leaf: leaf[:, None], state), ahead).sum(-1)
    assert (total <= bound[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: FullyNN(3, compat="easytp"), "did you mean 'easytpp'"),
        (lambda: FullyNN(3, layers=0), "layers=0"),
        (lambda: ODETPP(3, compat="easytp"), "did you mean 'easytpp'"),
        (lambda: ODETPP(3, step=0.0), "step=0.0"),
        (lambda: ANHN(3, heads=5), "heads=5"),
        (lambda: ANHN(3, window=0), "window=0"),
        (lambda: ode_path(*field(2, 2), torch.zeros(3, 5, 1), backend="numb"), "did you mean 'numba'"),
    ],
)
def test_wrong_arguments(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
