"""Predicted against true events: the compiled paths against every pairing there is, and against a general solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from eventflow.errors import InputError
from eventflow.ops.event_match import match_within, transport_distance


def _case(seed: int, rows: int, many: int, true: int, marks: int, grid: bool = False):
    rng = np.random.default_rng(seed)
    t, t_true = rng.uniform(0, 4, (rows, many)), rng.uniform(0, 4, (rows, true))
    if grid:  # ties and distances of exactly delta
        t, t_true = np.round(2 * t) / 2, np.round(2 * t_true) / 2
    t[rng.random(t.shape) < 0.2] = np.inf
    mark, mark_true = rng.integers(-1, marks, t.shape), rng.integers(-1, marks, t_true.shape)
    return (t, mark), (t_true, mark_true), rng.normal(size=(rows, many, marks))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), many=st.integers(0, 4), true=st.integers(0, 4), grid=st.booleans())
def test_the_compiled_paths_are_the_definitions(seed, many, true, grid):
    predicted, came, score = _case(seed, 4, many, true, 2, grid)
    costs = {"insert": 0.7, "delete": 1.1}
    fast = transport_distance(predicted, came, **costs)
    np.testing.assert_allclose(fast, transport_distance(predicted, came, **costs, backend="naive"), rtol=1e-12)
    found = match_within((predicted[0], score), came, delta=0.5)
    slow = match_within((predicted[0], score), came, delta=0.5, backend="naive")
    np.testing.assert_array_equal(found, slow)


@pytest.mark.parametrize("seed", range(5))
def test_distance_of_equally_many_is_hotpps_assignment(seed):
    """HoTPP clips the cost of a pair at insert + delete, gives that to pairs of different marks, and assigns."""
    (t, mark), (t_true, mark_true), _ = _case(seed, 30, 8, 8, 3)
    t, mark, mark_true = np.where(np.isinf(t), 5.0, t), np.abs(mark), np.abs(mark_true)
    cost = np.minimum(np.abs(t[:, :, None] - t_true[:, None]), 1.8)
    cost[mark[:, :, None] != mark_true[:, None]] = 1.8
    expected = [c[linear_sum_assignment(c)].sum() for c in cost]
    np.testing.assert_allclose(transport_distance((t, mark), (t_true, mark_true), insert=0.9, delete=0.9), expected)


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_a_general_solver(seed):
    (t, _), (t_true, mark_true), score = _case(seed, 20, 12, 9, 2)
    found = match_within((t, score), (t_true, mark_true), delta=0.4)
    for i in range(len(t)):
        for k in range(2):
            near = (np.abs(t[i][:, None] - t_true[i]) <= 0.4) & (mark_true[i] == k)
            near &= np.isfinite(t[i])[:, None]
            cost = np.where(near, -score[i, :, k, None], 1000.0)  # a pair out of reach costs more than any swap gains
            rows, columns = linear_sum_assignment(cost)
            np.testing.assert_array_equal(np.flatnonzero(found[i, :, k]), np.sort(rows[near[rows, columns]]))


def test_distance_by_hand():
    def cost(predicted, true):
        times = [(np.array([[e[0] for e in side]]), np.array([[e[1] for e in side]])) for side in (predicted, true)]
        return float(transport_distance(times[0], times[1], insert=1.0, delete=2.0)[0])

    assert cost([(1.0, 0)], [(1.5, 0)]) == 0.5
    assert cost([(1.0, 0)], [(1.0, 1)]) == 3.0  # the wrong mark: out, and in
    assert cost([(0.0, 0)], [(9.0, 0)]) == 3.0  # too far: cheaper to drop it and add another
    assert cost([(1.0, 0), (2.0, 1)], [(2.2, 1), (1.1, 0)]) == pytest.approx(0.3)  # marks may cross
    assert cost([(1.0, 0), (np.inf, 0)], [(1.0, 0), (2.0, 0)]) == 1.0  # an absent prediction is an insertion


def test_more_pairs_come_before_higher_scores():
    """The best-scored prediction could take the only partner of another: it takes its other one instead."""
    t, true = np.array([[1.0, 2.0]]), (np.array([[1.5, 2.5]]), np.array([[0, 0]]))
    score = np.array([[[0.1], [0.9]]])
    assert match_within((t, score), true, delta=0.5).all()
    one = (np.array([[1.5]]), np.array([[0]]))
    np.testing.assert_array_equal(match_within((t, score), one, delta=0.5)[0, :, 0], [False, True])


def test_wrong_shapes_are_refused():
    good = np.zeros((2, 3)), np.zeros((2, 3), int)
    with pytest.raises(InputError, match="expected \\(N, P\\) both"):
        transport_distance((np.zeros((2, 3)), np.zeros((2, 2))), good, insert=1, delete=1)
    with pytest.raises(InputError, match="3 rows of predicted events and 2"):
        transport_distance((np.zeros((3, 3)), np.zeros((3, 3))), good, insert=1, delete=1)
    with pytest.raises(InputError, match="nan"):
        transport_distance((np.full((2, 3), np.nan), good[1]), good, insert=1, delete=1)
    with pytest.raises(InputError, match=">= 0"):
        match_within((np.zeros((2, 3)), np.zeros((2, 3, 1))), good, delta=-1)
    with pytest.raises(InputError, match="did you mean 'numba'"):
        match_within((np.zeros((2, 3)), np.zeros((2, 3, 1))), good, delta=1, backend="nunba")
