"""Stacks of latent linear Hawkes layers: compiled == definition, with gradients; against the differential equation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops.latent_hawkes import Gap, Layer, Stack, _chunk, llh_compensator, llh_intensity, llh_signal, naive
from eventflow.ops.quadrature import gauss_legendre_graded

WIDE, STATES, MARKS = 32, 16, 3


def made(rows: int, layers: int, dtype: torch.dtype, *, hold: bool = False) -> tuple[Gap, Tensor, Stack, Tensor]:
    g = torch.Generator().manual_seed(rows + layers)

    def r(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    stack = []
    for i in range(layers):
        parts = [0.5 * r(STATES).exp(), 5 * r(STATES), 0.3 * r(WIDE, 2 * STATES)]
        if i:
            parts += [0.2 * r(2 * STATES, WIDE), 0.2 * r(2 * STATES), r(WIDE)]
            parts += [0.2 * r(WIDE), 1 + 0.1 * r(WIDE), r(WIDE)]
        stack.append(Layer(*(x.to(dtype) for x in parts)))
    head = 0.2 * r(MARKS, WIDE), 0.3 * r(MARKS), 0.2 * r(MARKS)
    x, step, held = r(rows, layers, 2 * STATES), r(rows, layers, STATES).exp(), r(rows, layers, 2 * STATES)
    gap = Gap(x.to(dtype), step.to(dtype), held.to(dtype) if hold else None)
    keep = (torch.rand(rows, layers, WIDE, generator=g) < 0.9).to(dtype) / 0.9
    dt = r(rows).abs().to(dtype)
    dt[1:2] = 0
    weight, bias, scale = (x.to(dtype) for x in head)
    return gap, dt, Stack(tuple(stack), (weight, bias, scale)), keep


def leaves(gap: Gap, dt: Tensor, stack: Stack) -> list[Tensor]:
    found = [dt, *(x for x in gap if x is not None), *stack.head]
    found += [part for layer in stack.layers for part in layer if part is not None]
    return [x.requires_grad_() for x in found]


CASES = [(False, True, True), (False, False, False), (True, True, False)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("hold", "dropout", "alike"), CASES)
@pytest.mark.parametrize("rows", [0, 7, 250])
def test_compiled_is_the_definition(rows: int, hold: bool, dropout: bool, alike: bool, dtype: torch.dtype) -> None:
    gap, dt, stack, keep = made(rows, 3, dtype, hold=hold)
    rule, wanted = gauss_legendre_graded(5), leaves(gap, dt, stack)
    weights = torch.ones(rows, dtype=dtype) if alike else torch.linspace(-1, 2, rows, dtype=dtype)
    results = []
    for backend in ("numba", "naive"):
        value = llh_compensator(gap, dt, stack, rule, keep=keep if dropout else None, backend=backend)
        grads = torch.autograd.grad((value * weights).sum(), wanted, allow_unused=True)
        results.append((value, [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, grads, strict=True)]))
    rtol = 1e-11 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(results[0][0], results[1][0], rtol=rtol, atol=rtol)
    for seen, expected in zip(results[0][1], results[1][1], strict=True):
        bound = rtol * max(float(expected.abs().max()), 1.0) if expected.numel() else rtol
        torch.testing.assert_close(seen, expected, rtol=rtol, atol=bound)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize(("rows", "times"), [(0, 3), (4, 0), (1, 1), (3, 700), (1500, 2)])
def test_compiled_intensities_are_the_definition(rows: int, times: int, hold: bool, dtype: torch.dtype) -> None:
    gap, _, stack, _ = made(rows, 3, dtype, hold=hold)
    u = torch.linspace(0, 9, rows * times, dtype=dtype).view(rows, times)
    u.view(-1)[5:12] = torch.tensor([0, 1e-9, 50, 1e4, 1e9, 1e15, torch.inf])[: max(rows * times - 5, 0)]
    with torch.no_grad():
        seen, expected = (llh_intensity(gap, u, stack, backend=backend) for backend in ("numba", "naive"))
        assert torch.equal(llh_intensity(gap, u, stack), seen)
    rtol = 1e-11 if dtype == torch.float64 else 3e-4
    torch.testing.assert_close(seen, expected, rtol=rtol, atol=rtol)


def test_memory_that_was_made_in_inference_mode_serves_outside() -> None:
    _chunk._rooms.cache_clear()
    gap, dt, stack, _ = made(3, 2, torch.float64)
    with torch.inference_mode():
        seen = llh_intensity(gap, dt[:, None], stack, backend="numba")
    with torch.no_grad():
        assert torch.equal(llh_intensity(gap, dt[:, None], stack, backend="numba"), seen)
    wanted = leaves(gap, dt, stack)
    torch.autograd.grad(llh_compensator(gap, dt, stack, gauss_legendre_graded(1), backend="numba").sum(), wanted)


def test_intensities_with_a_gradient_are_the_definition() -> None:
    gap, dt, stack, _ = made(3, 2, torch.float64)
    dt.requires_grad_()
    assert torch.autograd.grad(llh_intensity(gap, dt[:, None], stack).sum(), dt)[0].abs().min() > 0


@pytest.mark.parametrize("first", [True, False])
def test_signals_of_rows(first: bool) -> None:
    _, _, stack, _ = made(2, 2, torch.float64)
    layer, g = stack.layers[0 if first else 1], torch.Generator().manual_seed(0)
    y, below = (torch.randn(9, WIDE, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    keep = (torch.rand(9, WIDE, generator=g) < 0.5).double()
    pairs = []
    for backend in ("numba", "naive"):
        out = llh_signal(y, None if first else below, layer, keep=keep, backend=backend)
        wanted = (y,) if first else (y, below)
        pairs.append((out, torch.autograd.grad((out * y.detach().cos()).sum(), wanted)))
    torch.testing.assert_close(*pairs)


def test_a_held_input_solves_the_differential_equation() -> None:
    """d x' / du = lambda step (x + b): a thousand small steps of Runge and Kutta."""
    gap, _, stack, _ = made(4, 2, torch.float64, hold=True)
    layer, held = stack.layers[1], gap.hold
    assert held is not None
    x, b, step = gap.x[:, 1], held[:, 1], gap.step[:, 1]
    u = torch.full((4,), 0.3, dtype=torch.float64)
    turn = torch.complex(-layer.rate, layer.frequency) * step

    def slope(z: Tensor) -> Tensor:
        return turn * (z + torch.complex(*b.chunk(2, -1)))

    z, h = torch.complex(*x.chunk(2, -1)), 0.3 / 1000
    for _ in range(1000):
        k1 = slope(z)
        k2 = slope(z + h / 2 * k1)
        k3 = slope(z + h / 2 * k2)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(z + h * k3))
    seen = naive.moved(x, b, naive.decay(step, u, layer))
    torch.testing.assert_close(seen, torch.cat([z.real, z.imag], -1), rtol=1e-7, atol=1e-7)


def test_intensities_integrate_to_the_compensator() -> None:
    gap, dt, stack, _ = made(5, 3, torch.float64)
    dt = 0.3 * dt
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    lam = llh_intensity(gap, dt[:, None] * grid, stack).sum(-1)
    seen = llh_compensator(gap, dt, stack, gauss_legendre_graded(60))
    torch.testing.assert_close(seen, dt * torch.trapezoid(lam, grid), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("backend", "width", "words"), [("numbr", 32, "numba"), ("numba", 6, "multiples of 16")])
def test_mistakes_are_told(backend: str, width: int, words: str) -> None:
    _, _, stack, _ = made(2, 1, torch.float32)
    layer: Any = stack.layers[0]._replace(weight_out=torch.zeros(width, 2 * STATES))
    with pytest.raises(InputError, match=words):
        llh_signal(torch.zeros(2, width), None, layer, backend=backend)
