"""General value functions: compiled == definition, forward view == backward view in irregular time, any chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.gvf import GVFState, GVFStream, GVFTerms, gvf_init, gvf_scan


def terms(questions: int, seed: int = 0) -> GVFTerms:
    """Every kind of question: discounted or not, bounded or not, ended or not; 4 signals, 2 stops."""
    draw = np.random.default_rng(seed)
    return GVFTerms(
        rate=draw.choice([0.0, 0.1, 1.0], questions), lambda_=draw.random(questions),
        trace_rate=draw.choice([0.0, 0.3], questions), step_size=0.02 * draw.random(questions),
        bound=draw.choice([0.0, 2.0], questions), signal=draw.integers(0, 4, questions),
        kind=draw.integers(0, 3, questions), stop=draw.integers(-1, 2, questions),
    )  # fmt: skip


def stream(length: int, features: int, seed: int = 1) -> GVFStream:
    draw = np.random.default_rng(seed)
    dt = draw.exponential(size=length) * draw.choice([0.0, 1.0, 20.0], length, p=[0.1, 0.85, 0.05])
    return GVFStream(
        draw.normal(size=(length, features)), dt, draw.normal(size=(length, 4)), draw.random((length, 2)) < 0.1,
        draw.random(length) < 0.02,
    )  # fmt: skip


def part(s: GVFStream, rows: slice) -> GVFStream:
    return GVFStream(*(column[rows] for column in s))


def test_compiled_is_the_definition_over_1000_events() -> None:
    s, asked, state = stream(1000, 5), terms(12), gvf_init(12, 5)
    ours, theirs = (gvf_scan(s, asked, state, backend=backend) for backend in ("auto", "naive"))
    for mine, definition in zip((*ours[:2], *ours.state), (*theirs[:2], *theirs.state), strict=True):
        np.testing.assert_allclose(mine, definition, rtol=1e-12, atol=1e-12)
    assert abs(ours.state.weight).max() > 0.1  # they have learned


@given(cuts=st.lists(st.integers(0, 60), max_size=4), seed=st.integers(0, 99))
def test_any_chunks_give_the_same_bits(cuts: list[int], seed: int) -> None:
    s, asked, state = stream(60, 3, seed), terms(6, seed), gvf_init(6, 3)
    whole = gvf_scan(s, asked, state)
    values, edges = [], [0, *sorted(cuts), 60]
    for low, high in zip(edges, edges[1:], strict=False):
        answer = gvf_scan(part(s, slice(low, high)), asked, state)
        values.append(answer.value)
        state = answer.state
    np.testing.assert_array_equal(np.concatenate(values), whole.value)
    for mine, theirs in zip(state, whole.state, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_reset_makes_independent_sequences() -> None:
    asked, one = terms(6), gvf_init(6, 3)._replace(weight=np.random.default_rng(3).normal(size=(6, 3)))
    first, second = (stream(20, 3, seed)._replace(reset=None) for seed in (5, 6))
    between = gvf_scan(first, asked, one).state
    fresh = GVFState(between.weight, np.zeros((6, 3)), np.zeros(6))
    apart = gvf_scan(second, asked, fresh)
    new = np.arange(40) == 20
    columns = [np.concatenate([getattr(first, name), getattr(second, name)]) for name in GVFStream._fields[:4]]
    together = gvf_scan(GVFStream(*columns, new), asked, one)
    np.testing.assert_allclose(together.value[20:], apart.value, rtol=1e-13)
    np.testing.assert_allclose(together.state.weight, apart.state.weight, rtol=1e-13)
    assert (together.error[20] == 0).all()


def lambda_returns(s: GVFStream, asked: GVFTerms, value: np.ndarray) -> np.ndarray:
    """(T, G): the forward view, one recursion from the end; value (T, G) are the predictions, which stay as they are.

    G_t = earned + gamma_t+1 ((1 - lambda_t+1) v_t+1 + lambda_t+1 G_t+1); the last event has no future: G = v.
    """
    assert s.stops is not None
    found = value.copy()
    for t in range(len(s.dt) - 2, -1, -1):
        dt, signal = s.dt[t + 1], s.signals[t + 1, asked.signal]
        gamma = np.exp(-asked.rate * dt)
        decayed = np.where(asked.rate > 0, -np.expm1(-asked.rate * dt) / np.where(asked.rate > 0, asked.rate, 1), dt)
        earned = signal * np.choose(asked.kind, [np.ones_like(gamma), gamma, decayed])
        ends = (asked.stop >= 0) & s.stops[t + 1, asked.stop]
        fade = asked.lambda_ * np.exp(-asked.trace_rate * dt)
        found[t] = earned + np.where(ends, 0, gamma) * ((1 - fade) * value[t + 1] + fade * found[t + 1])
    return found


def test_forward_view_is_backward_view() -> None:
    """With steps too small to move the predictions, the sum of all updates is sum_t (G^lambda_t - v_t) x_t."""
    alpha, asked = 1e-9, terms(40)
    asked = asked._replace(step_size=np.full(40, alpha), bound=np.zeros(40))
    s = stream(60, 4)._replace(reset=None)
    state = gvf_init(40, 4)._replace(weight=np.random.default_rng(2).normal(size=(40, 4)))
    moved = (gvf_scan(s, asked, state).state.weight - state.weight) / alpha
    value = s.features @ state.weight.T
    expected = np.einsum("tg,tf->gf", lambda_returns(s, asked, value) - value, s.features)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def test_the_bound_holds() -> None:
    """ObGD: where alpha overshoots, the weights move by at most 1 / kappa in the 1-norm."""
    asked = terms(8)._replace(step_size=np.full(8, 100.0), bound=np.full(8, 2.0))
    s, state, largest = stream(200, 4), gvf_init(8, 4), 0.0
    for i in range(200):
        after = gvf_scan(part(s, slice(i, i + 1)), asked, state).state
        largest = max(largest, abs(after.weight - state.weight).sum(1).max())
        state = after
    assert 0.4999 < largest < 0.5 + 1e-12


def test_inputs_are_not_changed_and_dtypes_kept() -> None:
    s, asked, state = stream(30, 3), terms(5), gvf_init(5, 3, dtype=np.float32)
    copies = [np.copy(column) for column in (*s, *asked, *state)]
    answer = gvf_scan(s, asked, state)
    assert all(np.array_equal(now, copy) for now, copy in zip((*s, *asked, *state), copies, strict=True))
    assert {column.dtype for column in (*answer[:2], *answer.state)} == {np.dtype(np.float32)}
    double = gvf_scan(s, asked, gvf_init(5, 3))
    np.testing.assert_allclose(answer.value, double.value, rtol=1e-4, atol=1e-5)


def test_a_nan_is_seen() -> None:
    s = stream(10, 3)
    s.signals[5] = np.nan
    answer = gvf_scan(s, terms(6), gvf_init(6, 3))
    assert np.isnan(answer.error[5]).all() and not np.isnan(answer.error[:5]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signal": np.full(5, 4)}, r"terms.signal in \[4, 4\]; expected \[0, 4\)"),
        ({"stop": np.full(5, -2)}, r"expected \[-1, 2\)"),
        ({"rate": np.zeros(4)}, r"terms.rate \(4,\); expected \(G,\)=\(5,\)"),
    ],
)
def test_wrong_terms_are_told(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gvf_scan(stream(4, 3), terms(5)._replace(**change), gvf_init(5, 3))


def test_wrong_streams_are_told() -> None:
    with pytest.raises(InputError, match=r"features \(4, 3\); expected \(T, F\)=\(4, 2\)"):
        gvf_scan(stream(4, 3), terms(5), gvf_init(5, 2))
    with pytest.raises(InputError, match="did you mean 'numba'"):
        gvf_scan(stream(4, 3), terms(5), gvf_init(5, 3), backend="nunba")
