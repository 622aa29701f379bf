"""Errors of flow against the definition, pixel by pixel, in plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.testing import check_metric
from eventflow.vision import FlowErrors, angular_error, epe, npe

H, W = 4, 5


def definition(flow: Any, truth: Any, valid: Any, events: Any) -> dict[str, float]:
    """One pixel after another."""
    distances, angles = [], []
    for b, y, x in np.ndindex(len(flow), H, W):
        if (valid is None or valid[b, y, x]) and (events is None or events[b, y, x] > 0):
            (u, v), (a, c) = flow[b, :, y, x].tolist(), truth[b, :, y, x].tolist()
            distances.append(math.hypot(u - a, v - c))
            cosine = (u * a + v * c + 1) / math.sqrt((u * u + v * v + 1) * (a * a + c * c + 1))
            angles.append(math.degrees(math.acos(min(1.0, cosine))))
    if not distances:
        return dict.fromkeys(["epe", "ae", *(f"pe{n}" for n in range(1, 6))], math.nan)
    shares = {f"pe{n}": 100 * sum(d > n for d in distances) / len(distances) for n in range(1, 6)}
    return {"epe": math.fsum(distances) / len(distances), "ae": math.fsum(angles) / len(angles), **shares}


def maps(seed: int, batch: int = 2) -> tuple[Any, Any, Any, Any]:
    """Flow, truth, where it is valid, how many events."""
    draw = np.random.default_rng(seed)
    flow, truth = draw.normal(scale=3, size=(2, batch, 2, H, W))
    truth[:, :, 0] = 0.0  # an exactly vanishing flow is as valid as any
    return flow, truth, draw.random((batch, H, W)) < 0.7, draw.poisson(0.7, (batch, H, W))


@given(seed=st.integers(0, 999), masks=st.sampled_from(["both", "valid", "events", "none"]), kind=st.booleans())
def test_every_error_is_its_definition(seed: int, masks: str, kind: bool) -> None:
    flow, truth, valid, events = maps(seed)
    valid, events = (valid if masks in ("both", "valid") else None), (events if masks in ("both", "events") else None)
    want = definition(flow, truth, valid, events)
    if kind:
        flow, truth = torch.from_numpy(flow), torch.from_numpy(truth)
    seen = {"epe": epe(flow, truth, valid, events=events), "ae": angular_error(flow, truth, valid, events=events)}
    seen |= {f"pe{n}": npe(flow, truth, valid, n=n, events=events) for n in range(1, 6)}
    whole = FlowErrors().update(flow, truth, valid, events=events).compute()
    assert set(whole) == set(want) == set(seen)
    for name, value in want.items():
        assert float(seen[name]) == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert whole[name] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_known_errors() -> None:
    truth = torch.zeros(2, 1, 4)
    flow = torch.tensor([[3.0, 0.0, 0.0, 1.0], [4.0, 0.0, 2.0, 0.0]]).reshape(2, 1, 4)
    assert float(epe(flow, truth)) == 2.0  # 5, 0, 2, 1
    assert [float(npe(flow, truth, n=n)) for n in (1, 2, 4.5, 5)] == [50.0, 25.0, 25.0, 0.0]  # above, not at
    assert float(angular_error(flow, truth)[None][0]) == pytest.approx(
        (math.degrees(math.atan(5)) + 0 + math.degrees(math.atan(2)) + 45) / 4
    )
    assert epe(flow, flow) == 0 and angular_error(flow, flow) == 0 and npe(flow, flow, n=0) == 0


def test_no_pixel_is_nan_and_what_is_not_valid_never_matters() -> None:
    flow, truth, valid, events = maps(3)
    nothing = np.zeros_like(valid)
    assert all(math.isnan(f(flow, truth, nothing)) for f in (epe, npe, angular_error))
    assert FlowErrors().update(flow, truth, nothing) == FlowErrors()
    assert all(math.isnan(v) for v in FlowErrors().compute().values())
    spoilt = np.where(valid[:, None], truth, np.nan)
    assert epe(flow, spoilt, valid, events=events) == epe(flow, truth, valid, events=events)
    assert math.isnan(epe(flow, np.where(valid[:, None], np.nan, truth), valid))


def test_gradients_are_finite_and_those_of_the_seen_pixels() -> None:
    flow, truth, valid, _ = maps(1)
    for error in (epe, angular_error):
        x = torch.from_numpy(flow).requires_grad_()
        error(x, np.where(valid[:, None], truth, np.nan), valid).backward()
        assert x.grad is not None
        seen = torch.from_numpy(valid)[:, None].expand_as(x)
        assert x.grad[seen].isfinite().all() and (x.grad[seen] != 0).any()
        assert torch.autograd.gradcheck(lambda y, f=error: f(y, truth, valid), (x,))
    exact = torch.zeros(2, 2, 2, requires_grad=True)
    (epe(exact, torch.zeros(2, 2, 2)) + angular_error(exact, torch.zeros(2, 2, 2))).backward()
    assert exact.grad is not None and exact.grad.isfinite().all()


def test_small_angles_keep_their_digits() -> None:
    truth = torch.full((2, 1, 1), 100.0, dtype=torch.float64)
    flow = truth * (1 + 1e-9)
    want = math.degrees(1e-9 * 100 * math.sqrt(2) / (1 + 2 * 100**2))
    assert float(angular_error(flow, truth)) == pytest.approx(want, rel=1e-5)


def test_flipping_or_turning_both_changes_no_error() -> None:
    flow, truth, valid, events = maps(8)
    before = FlowErrors().update(flow, truth, valid, events=events).compute()
    for axes, sign in (((-1,), (-1, 1)), ((-2,), (1, -1)), ((-1, -2), (-1, -1))):
        moved = [np.flip(f, axes).copy() * np.array(sign)[:, None, None] for f in (flow, truth)]
        masks = [np.flip(m, axes).copy() for m in (valid, events)]
        assert FlowErrors().update(*moved, masks[0], events=masks[1]).compute() == pytest.approx(before, rel=1e-12)


def test_accumulated_errors_do_not_depend_on_how_work_was_shared() -> None:
    batches = [dict(zip(("flow", "truth", "valid", "events"), maps(i, batch=1 + i), strict=True)) for i in range(4)]
    check_metric(FlowErrors(), batches, rtol=1e-12)
    together = [np.concatenate([batch[k] for batch in batches]) for k in ("flow", "truth", "valid", "events")]
    errors = FlowErrors()
    for batch in batches:
        errors = errors.update(**batch)
    assert errors.compute() == pytest.approx(definition(*together), rel=1e-12)
    assert errors.pixels == int((together[2] & (together[3] > 0)).sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epe(np.zeros((H, W, 2)), np.zeros((H, W, 2))), r"epe: flow \(4, 5, 2\).*np.moveaxis\(flow, -1, -3\)"),
        (lambda: npe(np.zeros((2, H, W)), np.zeros((1, 2, H, W))), r"npe: flow \(2, 4, 5\), truth \(1, 2, 4, 5\)"),
        (lambda: npe(np.zeros((2, H, W)), np.zeros((2, H, W)), n=-1), r"npe: n=-1; expected pixels"),
        (lambda: npe(np.zeros((2, H, W)), np.zeros((2, H, W)), n=math.nan), r"npe: n=nan"),
        (lambda: angular_error(*np.zeros((2, 2, H, W)), np.ones((W, H))), r"valid is \(5, 4\); expected .*=\(4, 5\)"),
        (lambda: FlowErrors().update(*np.zeros((2, 2, H, W)), events=np.ones(H)), r"update: events is \(4,\)"),
    ],
)
def test_what_does_not_fit_is_told(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
