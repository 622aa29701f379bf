"""The Hawkes process as a baseline: exponential kernels, fitted by maximum likelihood (Ogata 1978; Ozaki 1979)."""

from __future__ import annotations

import numpy as np
import torch

from eventflow.errors import InputError
from eventflow.events import Events, pad
from eventflow.nn import map_state
from eventflow.tpp._process import CHUNK
from eventflow.tpp.models._hawkes import Hawkes

#: (events of a batch, padding included) x K^2 that may be held at once, a number each.
ROOM = 1 << 25


def hawkes_fits(*parts: Events) -> bool:
    """Whether a Hawkes process of these sequences' marks stays within memory, which grows with their square."""
    longest = max(CHUNK, *(int(events.lengths.max(initial=1)) for events in parts))
    return longest * _num_marks(parts[0]) ** 2 <= ROOM


def fit_hawkes(train: Events, *, steps: int = 200, batch: int = 64, lr: float = 0.3, seed: int = 0) -> Hawkes:
    """The Hawkes process of highest likelihood on the training sequences, by Adam with a falling step.

    Seconds for ten marks; a step's memory is ``batch`` x length x K^2, for which ``batch`` is lowered where it would
    be too much. More ``steps`` come nearer to the maximum.

    Raises:
        InputError: no scored event.
    """
    if not train.num_scored:
        raise InputError("fit_hawkes: no scored event in the training sequences")
    num_marks = _num_marks(train)
    filled = np.flatnonzero(train.lengths > 0)
    batch = max(1, min(batch, ROOM // (int(train.lengths.max()) * num_marks**2)))
    length = float((train.span[:, 1] - train.span[:, 0]).sum())
    model = Hawkes(num_marks, time_scale=max(length, 1e-300) / train.num_events)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    order = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < min(batch, len(filled)):
            order = rng.permutation(filled)
        chosen, order = order[:batch], order[batch:]
        part = pad(train, np.sort(chosen), dtype=model.dtype)
        optimiser.zero_grad()
        (-model.log_prob(part).sum() / max(part.num_scored, 1)).backward()
        optimiser.step()
        schedule.step()
    return model.requires_grad_(False)


def _num_marks(events: Events) -> int:
    return events.schema.num_marks or (int(events.marks["mark"].max(initial=0)) + 1 if "mark" in events.marks else 1)


@torch.no_grad()
def hawkes_scores(model: Hawkes, test: Events) -> dict[str, float]:
    """The columns of a baseline's row, of a fitted process: exact likelihood, marks given the time, forecasts."""
    nll, mark_nll, hits, wrong, compat, later = 0.0, 0.0, 0.0, [], 0.0, 0
    for batch in model._batches(test):
        left, _ = model.left_states(batch)
        rows = batch.scored.flatten().nonzero()[:, 0]
        state = map_state(lambda leaf, r=rows: leaf.flatten(0, 1).index_select(0, r), left)
        mark, dt = batch.mark.flatten()[rows], batch.dt.flatten()[rows]
        lam, said = model.intensity(state, dt.to(model.dtype)), model.predict_next(state)
        nll -= float(model.log_prob(batch).double().sum())
        mark_nll += float((lam.sum(-1).log() - lam.gather(-1, mark[:, None])[:, 0].log()).double().sum())
        compat -= float(model.log_prob(batch, compat="easytpp").double().sum())
        later += int(batch.mask[:, 1:].sum())
        hits += float((said.mark_probs.argmax(-1) == mark).double().sum())
        wrong.append(torch.stack([said.mean - dt, said.median - dt]).double())
    error, count = torch.cat(wrong, 1), test.num_scored
    return {
        "nll_per_event": nll / count, "accuracy": hits / count, "rmse": float(error[0].square().mean().sqrt()),
        "mae": float(error[1].abs().mean()), "time_nll_per_event": (nll - mark_nll) / count,
        "mark_nll_per_event": mark_nll / count, "easytpp_nll_per_event": compat / max(later, 1),
    }  # fmt: skip
