"""Recurrent temporal differences: the compiled sensitivities are autograd through the whole history."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.nn import DiagSSM
from eventflow.ops.rtrl import RTRLRule, RTRLStream, Sizes, rtrl_init, rtrl_scan
from eventflow.ops.rtrl.naive import state_of, value

SIZES = Sizes(3, 5, 4)


def weights(seed: int = 0, sizes: Sizes = SIZES) -> np.ndarray:
    draw = np.random.default_rng(seed)
    flat = draw.normal(size=sizes.parameters[-1])
    flat[: sizes.states] = np.log(draw.uniform(0.02, 1.0, sizes.states))
    return flat


def stream(length: int, seed: int = 1, resets: tuple[int, ...] = ()) -> RTRLStream:
    draw = np.random.default_rng(seed)
    dt = draw.exponential(size=length) * (draw.random(length) > 0.1)
    ends = draw.random(length) > 0.05
    return RTRLStream(
        draw.normal(size=(length, 3)), dt, draw.normal(size=length), np.exp(-0.3 * dt) * ends,
        np.isin(np.arange(length), resets),
    )  # fmt: skip


def part(s: RTRLStream, rows: slice) -> RTRLStream:
    return RTRLStream(*(column[rows] for column in s))


@pytest.mark.parametrize("rule", [RTRLRule(1.0, 2.0, 0.8), RTRLRule(1e-3, 0.0, 0.95)])
def test_compiled_is_autograd_through_the_history(rule: RTRLRule) -> None:
    """Weights move at every event, and each past step counts with its own; resets cut."""
    s = stream(60, resets=(40,))
    ours, theirs = (rtrl_scan(s, rtrl_init(weights(), SIZES), rule, SIZES, backend=b) for b in ("auto", "naive"))
    assert abs(ours.state.weight - weights()).max() > 1e-2
    for mine, definition in zip((*ours[:2], *ours.state[:3]), (*theirs[:2], *theirs.state[:3]), strict=True):
        np.testing.assert_allclose(mine, definition, rtol=1e-10, atol=1e-10)


def test_the_trace_is_the_exact_gradient_of_a_long_history() -> None:
    """Weights stand still, lambda is 0: the trace after 1,000 events is the gradient through 999 of them."""
    s, flat = stream(1000), weights(3)
    still = RTRLRule(1e-300, 0.0, 0.0)
    found = rtrl_scan(s, rtrl_init(flat, SIZES), still, SIZES).state
    leaf = torch.tensor(flat, requires_grad=True)
    history = [(s.x[t], float(s.dt[t]), leaf.detach()) for t in range(999)]
    gradient = torch.autograd.grad(value(leaf, state_of(leaf, history, SIZES), SIZES), leaf)[0].numpy()
    np.testing.assert_allclose(found.trace, gradient, rtol=1e-11, atol=1e-12 * abs(gradient).max())
    assert abs(gradient[: 2 * SIZES.states]).max() > 1e-3


@given(cuts=st.lists(st.integers(0, 40), max_size=3), seed=st.integers(0, 50))
@settings(max_examples=15)
def test_any_chunks_give_the_same_bits(cuts: list[int], seed: int) -> None:
    s, state, values = stream(40, seed, (13,)), rtrl_init(weights(seed), SIZES), []
    whole = rtrl_scan(s, state, RTRLRule(), SIZES)
    edges = [0, *sorted(cuts), 40]
    for low, high in zip(edges, edges[1:], strict=False):
        answer = rtrl_scan(part(s, slice(low, high)), state, RTRLRule(), SIZES)
        values.append(answer.value)
        state = answer.state
    np.testing.assert_array_equal(np.concatenate(values), whole.value)
    for mine, theirs in zip(state, whole.state, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_state_is_the_cells() -> None:
    """The recurrence is DiagSSM's: the same numbers as ``Cell.scan``, resets included."""
    torch.manual_seed(0)
    cell, s = DiagSSM(3, 4, num_states=5).double(), stream(50, resets=(20,))
    names = ("log_rate", "frequency", "weight_in", "weight_out", "bias")
    parts = [cell.get_parameter(name).detach().numpy().ravel() for name in names]
    state = rtrl_init(np.concatenate([*parts, np.zeros(5)]), SIZES)
    found = rtrl_scan(s, state, RTRLRule(1e-300, 0.0, 0.0), SIZES).state
    x, dt, reset = (torch.from_numpy(column)[None] for column in (s.x, s.dt, s.reset))
    last = cell.scan(x, dt, reset=reset)[1]
    np.testing.assert_allclose(found.h, last.x[0].detach().numpy(), rtol=1e-12)


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(InputError, match=r"expected \(T, D\)=\(5, 3\)"):
        s = stream(5)
        rtrl_scan(s._replace(x=s.x[:, :2]), rtrl_init(weights(), SIZES), RTRLRule(), SIZES)
    with pytest.raises(InputError, match="has 89 parameters"):
        rtrl_init(np.zeros(7), SIZES)
    with pytest.raises(InputError, match="start with a reset"):
        after = rtrl_scan(stream(5), rtrl_init(weights(), SIZES), RTRLRule(), SIZES).state
        rtrl_scan(stream(5), after, RTRLRule(), SIZES, backend="naive")
