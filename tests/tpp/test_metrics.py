"""Metrics against their definitions, and the monoid law, which must hold to the last bit."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.tpp.metrics._next_event import (
    ExactSum,
    GapMAE,
    GapRMSE,
    Judged,
    MarkAccuracy,
    MarkECE,
    MarkNLLPerEvent,
    NextEventMetrics,
    NLLPerEvent,
    NLLPerSequence,
    TimeNLLPerEvent,
    gap_mae,
    gap_rmse,
    mark_accuracy,
    mark_ece,
)

finite = st.floats(-1e12, 1e12, allow_nan=False, width=64)


def _case(rows: int, seed: int = 0, num_marks: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-6, 6, rows)  # a wide range: a float sum in another order would differ
    return {
        "nll": rng.normal(size=rows) * scale,
        "predicted": rng.exponential(size=rows) * scale,
        "dt": rng.exponential(size=rows) * scale,
        "probs": rng.dirichlet(np.ones(num_marks), rows),
        "mark": rng.integers(0, num_marks, rows),
    }


def _updates(case: dict[str, np.ndarray], rows: slice) -> dict[str, tuple]:
    """Fresh metric name -> arguments of its update for these rows."""
    c = {name: column[rows] for name, column in case.items()}
    return {
        "GapRMSE": (c["predicted"], c["dt"]),
        "GapMAE": (c["predicted"], c["dt"]),
        "MarkAccuracy": (c["probs"], c["mark"]),
        "MarkECE": (c["probs"], c["mark"]),
        "NLLPerEvent": (c["nll"],),
        "NLLPerSequence": (c["nll"],),
        "TimeNLLPerEvent": (c["nll"],),
        "MarkNLLPerEvent": (c["nll"],),
    }


FRESH = {
    type(m).__name__: m
    for m in (
        GapRMSE(), GapMAE(), MarkAccuracy(), MarkECE(), NLLPerEvent(), NLLPerSequence(), TimeNLLPerEvent(),
        MarkNLLPerEvent(),
    )
}  # fmt: skip


@given(st.lists(finite, max_size=60), st.randoms(use_true_random=False))
def test_exact_sum_is_exact_in_any_order(values, random):
    from fractions import Fraction

    total = ExactSum().add(np.array(values))
    assert sum(map(Fraction, total.parts), Fraction()) == sum(map(Fraction, values), Fraction())
    random.shuffle(values)
    cut = random.randint(0, len(values))
    apart = ExactSum().add(np.array(values[:cut])).merge(ExactSum().add(np.array(values[cut:])))
    assert apart.compute() == total.compute()


def test_exact_sum_keeps_what_float_addition_loses():
    assert ExactSum().add(np.array([1e16, 1.0])).add(np.array([-1e16])).compute() == 1.0
    assert sum([1e16, 1.0, -1e16]) != 1.0


@pytest.mark.parametrize("name", FRESH)
@given(data=st.data())
def test_merge_equals_one_pass_to_the_last_bit(name, data):
    n = data.draw(st.integers(1, 40))
    case = _case(n, seed=data.draw(st.integers(0, 5)))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    pieces = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    parts = [FRESH[name].update(*_updates(case, piece)[name]) for piece in pieces]
    merged = FRESH[name]
    for i in data.draw(st.permutations(range(len(parts)))):
        merged = merged.merge(parts[i])
    whole = FRESH[name].update(*_updates(case, slice(None))[name])
    assert merged.compute() == whole.compute()
    folded = FRESH[name]
    for piece in pieces:
        folded = folded.update(*_updates(case, piece)[name])
    assert folded.compute() == whole.compute()


@pytest.mark.parametrize("name", FRESH)
def test_fresh_is_neutral_and_computes_to_nan(name):
    case = _case(9)
    seen = FRESH[name].update(*_updates(case, slice(None))[name])
    assert seen.merge(FRESH[name]).compute() == seen.compute() == FRESH[name].merge(seen).compute()
    assert math.isnan(FRESH[name].compute())
    assert pickle.loads(pickle.dumps(seen)) == seen


def test_values_against_definitions():
    c = _case(500)
    error = c["predicted"] - c["dt"]
    assert gap_rmse(c["predicted"], c["dt"]) == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    assert gap_mae(c["predicted"], c["dt"]) == pytest.approx(np.abs(error).mean(), rel=1e-12)
    assert mark_accuracy(c["probs"], c["mark"]) == np.mean(c["probs"].argmax(1) == c["mark"])
    tails = np.array([0.5, 2.0])
    metric = NLLPerEvent().update(c["nll"], tail_nll=tails)
    assert metric.compute() == pytest.approx((c["nll"].sum() + 2.5) / 500, rel=1e-12)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_ece_against_a_loop(bins):
    rng = np.random.default_rng(3)
    probs, mark = rng.dirichlet(np.ones(3), 400), rng.integers(0, 3, 400)
    top, correct = probs.max(1), probs.argmax(1) == mark
    expected = 0.0
    for b in range(bins):
        inside = (top > b / bins) & (top <= (b + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - top[inside].mean())
    assert mark_ece(probs, mark, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_ece_of_calibrated_and_of_overconfident_marks():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(3), 200_000)
    mark = (rng.random((200_000, 1)) > probs.cumsum(1)).sum(1).clip(max=2)
    assert mark_ece(probs, mark) < 0.01  # 15 bins of ~13,000 events: noise below 4 sigma = 0.004 a bin
    sure = np.eye(3)[probs.argmax(1)]
    assert mark_ece(sure, mark) == pytest.approx(1 - np.mean(probs.argmax(1) == mark), abs=1e-12)


def test_masked_values_never_matter_and_torch_equals_numpy():
    c = _case(12)
    mask = np.arange(12) % 3 > 0
    dirty = {k: v.astype(np.float64).copy() for k, v in c.items()}
    for name in ("nll", "predicted", "dt", "probs"):
        dirty[name][~mask] = np.nan
    for array in (np.asarray, torch.from_numpy):
        assert gap_rmse(array(dirty["predicted"]), array(c["dt"]), array(mask)) == gap_rmse(
            c["predicted"][mask], c["dt"][mask]
        )
        assert mark_ece(array(dirty["probs"]), array(c["mark"]), array(mask)) == mark_ece(
            c["probs"][mask], c["mark"][mask]
        )
        assert NLLPerEvent().update(array(dirty["nll"]), array(mask)).count == mask.sum()


def test_nan_and_inf_are_seen_never_swallowed():
    assert math.isnan(gap_rmse([1.0, math.nan], [1.0, 1.0]))
    assert NLLPerEvent().update([1.0, math.inf]).update([2.0]).compute() == math.inf
    assert math.isnan(mark_accuracy([[0.2, 0.8], [math.nan, math.nan]], [1, 0]))
    assert math.isnan(mark_ece([[0.2, 0.8], [math.nan, math.nan]], [1, 0]))


def test_gradients_and_float32_tensors_are_accepted():
    predicted = torch.ones(3, requires_grad=True)
    assert gap_mae(predicted * 2, torch.zeros(3)) == 2.0


def _judged(case: dict[str, np.ndarray], shape: tuple[int, int]) -> tuple[Judged, dict[str, np.ndarray]]:
    grid = {k: v.reshape(shape + v.shape[1:]) for k, v in case.items()}
    judged = Judged(grid["nll"], grid["dt"], grid["predicted"], grid["predicted"], grid["probs"])
    return judged, grid


def test_next_event_metrics_are_its_parts():
    judged, grid = _judged(_case(40), (5, 8))
    mask = np.arange(8)[None] < np.array([8, 3, 1, 0, 5])[:, None]
    tail = np.arange(5.0)
    seen = NextEventMetrics().update(judged, dt=grid["dt"], mark=grid["mark"], mask=mask, tail_nll=tail)
    got = seen.compute()
    total = (judged.time_nll + judged.mark_nll)[mask].sum() + tail.sum()
    assert got["nll_per_event"] == pytest.approx(total / mask.sum(), rel=1e-9)
    assert got["nll_per_sequence"] == pytest.approx(total / 5, rel=1e-9)
    assert got["time_nll_per_event"] + got["mark_nll_per_event"] == pytest.approx(got["nll_per_event"], rel=1e-9)
    assert got["mark_accuracy"] == mark_accuracy(grid["probs"], grid["mark"], mask)
    assert got["gap_rmse"] == gap_rmse(grid["predicted"], grid["dt"], mask)
    assert list(got) == [
        "nll_per_event", "nll_per_sequence", "time_nll_per_event", "mark_nll_per_event", "mark_accuracy", "mark_ece",
        "gap_rmse", "gap_mae",
    ]  # fmt: skip


def test_next_event_metrics_do_not_depend_on_the_batching():
    judged, grid = _judged(_case(40), (5, 8))
    mask, tail = np.ones((5, 8), dtype=bool), np.arange(5.0)
    every = NextEventMetrics().update(judged, dt=grid["dt"], mark=grid["mark"], mask=mask, tail_nll=tail)
    merged = NextEventMetrics()
    for rows in ([3, 1], [0], [4, 2]):
        some = Judged(*(leaf[rows] for leaf in judged))
        part = NextEventMetrics().update(
            some, dt=grid["dt"][rows], mark=grid["mark"][rows], mask=mask[rows], tail_nll=tail[rows]
        )
        merged = part.merge(merged)
    assert merged.compute() == every.compute()


def test_mistakes_are_refused():
    with pytest.raises(InputError, match=r"shape \(3,\), true gaps \(2,\)"):
        gap_rmse(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="expected bool"):
        gap_rmse(np.zeros(3), np.zeros(3), np.ones(3))
    with pytest.raises(InputError, match="same metric"):
        GapRMSE().merge(GapMAE())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other bins"):
        MarkECE().merge(MarkECE.with_bins(3))
    with pytest.raises(InputError, match="at least 1"):
        MarkECE.with_bins(0)
    with pytest.raises(InputError, match=r"\(\.\.\., K\)"):
        mark_accuracy(np.zeros((4, 2)), np.zeros(3, dtype=int))
