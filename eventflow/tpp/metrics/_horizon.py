"""Long horizons: what a model says of the next many events, from positions all along the test sequences.

The protocol is HoTPP's (Karpukhin, Shipilov & Savchenko 2024): positions every few events, where as many events follow
as are asked for; the model's next events one after another, each at the expected time with the likeliest mark
(:func:`eventflow.tpp._continue.expect_from`); OTD on the first few of them, T-mAP on those within the horizon,
scored by log p(mark | time). With ``samples`` the model's own continuations are drawn instead, and the one that is
nearest to all others in OTD is the forecast (minimum Bayes risk, as Mei, Qin & Eisner 2019 decode).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events, pad
from eventflow.nn import map_state
from eventflow.ops.event_match import transport_distance
from eventflow.tpp._continue import Continuations, Forecast, expect_from, score_along
from eventflow.tpp._process import PointProcess
from eventflow.tpp.metrics._events_ahead import OTD, TMAP

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Events whose states are held at once: attention keeps a window of its past for each.
CHUNK = 2048


@runtime_checkable
class Forecaster(Protocol):
    """What can be asked for sequences of future events without being a point process: the baselines."""

    def forecast(self, events: Events, rows: Index, *, steps: int) -> Forecast:
        """The ``steps`` events that are expected after each of ``events``' rows (V,), given those up to it."""
        ...


def horizon_positions(events: Events, *, every: int, ahead: int) -> Index:
    """(V,) rows of ``events``: the events numbered ``every``, 2 ``every``, ... of each sequence, counted from 0, that
    ``ahead`` more events follow."""
    if every < 1 or ahead < 1:
        raise InputError(f"horizon_positions(every={every}, ahead={ahead}): expected at least 1")
    place = np.arange(events.num_events) - events.offsets[:-1][events.sequence]
    chosen = (place > 0) & (place % every == 0) & (place + ahead < events.lengths[events.sequence])
    if not chosen.any():
        longest = int(events.lengths.max(initial=0))
        raise InputError(
            f"no position to predict from: the longest sequence has {longest} events, a position needs {every} before "
            f"it and {ahead} behind it. Ask for fewer: every=..., max_events=..., otd_steps=..."
        )
    return np.flatnonzero(chosen)


def forecast(
    model: PointProcess | Forecaster, events: Events, rows: Index, *, steps: int, samples: int = 0, seed: int = 0,
    otd: OTD | None = None,
) -> Forecast:  # fmt: skip
    """The ``steps`` events that ``model`` expects after each row of ``events``.

    Args:
        model: a point process, or a baseline.
        events: the sequences; only events up to a row are seen.
        rows: (V,) rows of ``events``, in order.
        steps: events ahead.
        samples: 0 for the expected chain; else the number of continuations among which the forecast is chosen.
        seed: of the continuations.
        otd: its costs say what near means; needed with ``samples``.
    """
    if not isinstance(model, PointProcess):
        if samples:
            raise InputError("samples > 0 needs a point process; a baseline has one forecast")
        return model.forecast(events, rows, steps=steps)
    if samples and otd is None:
        raise InputError("forecast(samples=...): give the costs too: otd=OTD(insert=..., delete=...)")
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for state in _states(model, events, rows):
        if otd is None or not samples:
            parts.append(expect_from(model, state, steps=steps))
            continue
        drawn = model.continue_from(state, steps=steps, num_samples=samples, generator=generator)
        parts.append(score_along(model, state, _most_central(drawn, otd)))
    return Forecast(*(torch.cat(leaves) for leaves in zip(*parts, strict=True)))


@torch.no_grad()
def _states(model: PointProcess, events: Events, rows: Index) -> Iterator[object]:
    """The states just after the events at ``rows``, in parts."""
    first = 0
    while first < len(events):
        last = first + 1
        while last < len(events) and events.offsets[last + 1] - events.offsets[first] <= CHUNK:
            last += 1
        low, high = np.searchsorted(rows, events.offsets[[first, last]])
        if high > low:
            inside = rows[low:high]
            sequence = torch.from_numpy(np.searchsorted(events.offsets, inside, side="right") - 1 - first)
            place = torch.from_numpy(inside - events.offsets[events.sequence[inside]])
            device = next(model.parameters()).device
            states = model.encode(pad(events[first:last], dtype=model.dtype).to(device))
            yield map_state(lambda leaf, s=sequence, p=place: leaf[s.to(leaf.device), p.to(leaf.device)], states)
        first = last


def _most_central(drawn: Continuations, otd: OTD) -> Continuations:
    """Of M continuations (V, M, N) of each position, the one with the least total distance to the others."""
    t, mark = drawn.t.cpu().numpy(), drawn.mark.cpu().numpy()
    count = t.shape[1]
    total = np.zeros(t.shape[:2])
    for i in range(count):
        for j in range(count):
            if i != j:
                pair = (t[:, i], mark[:, i]), (t[:, j], mark[:, j])
                total[:, i] += transport_distance(*pair, insert=otd.insert, delete=otd.delete)
    best = torch.from_numpy(total.argmin(1)).to(drawn.t.device)[:, None, None].expand(-1, 1, drawn.t.shape[2])
    return Continuations(drawn.t.gather(1, best)[:, 0], drawn.mark.gather(1, best)[:, 0])


def evaluate_horizon(
    model: PointProcess | Forecaster, events: Events, *, horizon: float, max_events: int = 32, every: int = 4,
    otd_steps: int = 5, otd_cost: float, map_deltas: Sequence[float], samples: int = 0, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """OTD, T-mAP and next-k errors of ``model``'s forecasts, by HoTPP's protocol.

    Args:
        model: a point process, or a baseline (``fit_baselines(train).forecasters(horizon=...)``).
        events: test sequences; positions are their events ``every``, 2 ``every``, ... that enough events follow.
        horizon: of T-mAP, in units of time.
        max_events: predicted from each position, and true ones looked at; should cover the horizon.
        every: events between positions.
        otd_steps: events of the OTD and of next-k.
        otd_cost: of an insertion, and of a deletion, in units of time.
        map_deltas: reaches of T-mAP, in units of time.
        samples: 0: the expected chain; else so many continuations are drawn, and the most central one is the forecast.
        seed: of the draws.

    Returns:
        "otd", "tmap" (mean over marks), "tmap_weighted" (by their counts), "next_k_accuracy": share of the first
        ``otd_steps`` events whose mark is right at its place; "next_k_mae": mean |predicted - true| time from the
        position, place by place; "positions": how many; "targets": true events within the horizon, a position.
    """
    ahead = max(max_events, otd_steps)
    rows = horizon_positions(events, every=every, ahead=ahead)
    otd, tmap = OTD(otd_cost, otd_cost), TMAP(horizon, tuple(map_deltas))
    said = forecast(model, events, rows, steps=ahead, samples=samples, seed=seed, otd=otd)
    t_true, mark_true = _true(events, rows, ahead)
    near = said.t[:, :otd_steps].cpu().numpy(), said.mark[:, :otd_steps].cpu().numpy()
    came = t_true[:, :otd_steps], mark_true[:, :otd_steps]
    listed = said if ahead == max_events else Forecast(*(leaf[:, :max_events] for leaf in said))
    tmap = tmap.update(listed, (t_true[:, :max_events], mark_true[:, :max_events]))
    return {
        "otd": otd.update(near, came).compute(),
        "tmap": tmap.compute(),
        "tmap_weighted": tmap.compute_weighted(),
        "next_k_accuracy": float(np.mean(near[1] == came[1])),
        "next_k_mae": float(np.mean(np.abs(near[0] - came[0]))),
        "positions": float(len(rows)),
        "targets": float(np.mean((t_true[:, :max_events] < horizon).sum(1))),
    }


def _true(events: Events, rows: Index, ahead: int) -> tuple[Array, Index]:
    """Times from the position and marks of the events that followed, (V, ``ahead``)."""
    after = rows[:, None] + np.arange(1, ahead + 1)
    mark = events.marks["mark"] if "mark" in events.marks else np.zeros(events.num_events, dtype=np.int64)
    return (events.t[after] - events.t[rows][:, None]).astype(np.float64), mark[after].astype(np.int64)
