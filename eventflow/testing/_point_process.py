"""The laws of a point process, for ours and for yours: ``check_point_process`` names the one that breaks."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state, state_leaves
from eventflow.nn._recorded import rebuild
from eventflow.tpp import PointProcess, naive

#: Relative error allowed to a quadrature; closed forms are held to EXACT.
QUADRATURE, EXACT = 1e-3, 1e-8


def check_point_process(process: PointProcess, *, seed: int = 0, samples: int = 4000) -> None:
    """Check every law of a :class:`PointProcess`, in float64, on random sequences.

    Args:
        process: any model; it is copied, never changed. Weights far from zero make the test sharper.
        seed: of the sequences and draws.
        samples: draws for the sampler's law (Kolmogorov-Smirnov; it raises a false alarm once in a million).

    Raises:
        AssertionError: names the law that broke, and by how much.
    """
    subject = copy.deepcopy(process).double().eval()
    generator = torch.Generator().manual_seed(seed)
    events = _sequences(subject, np.random.default_rng(seed))
    for law in (
        _causality, _likelihood_is_the_definition, _stream_equals_batch, _padding_and_batch, _evolution,
        _shift_and_scale, _density_integrates_to_one, _prediction, _gradients, _rebuilt,
    ):  # fmt: skip
        law(subject, events)
    _sampler(subject, generator, samples)


def _sequences(process: PointProcess, rng: np.random.Generator) -> Events:
    scale, parts = process.time_scale, []
    for length in (5, 0, 1, 12, 3):
        gaps = rng.exponential(scale, length) * rng.choice([0.01, 1.0, 3.0], length)
        parts.append({"t": 10 * scale + np.cumsum(gaps), "mark": rng.integers(0, process.num_marks, length)})
    end = max((p["t"][-1] for p in parts if len(p["t"])), default=0.0) + 2 * scale
    schema = Schema(num_marks=process.num_marks)
    return Events.from_sequences(parts, span=(10 * scale - 0.5 * scale, end), schema=schema)


def _close(law: str, seen: Tensor, expected: Tensor, rtol: float = EXACT, atol: float = 1e-9) -> None:
    bad = ~torch.isclose(seen, expected, rtol=rtol, atol=atol, equal_nan=False)
    bad &= ~((seen == expected) & seen.isinf())
    if bad.any():
        i = tuple(bad.nonzero()[0].tolist())
        raise AssertionError(
            f"{law}: {int(bad.sum())} of {bad.numel()} values differ, first at {i}: {seen[i].item():.9g}, "
            f"expected {expected[i].item():.9g}"
        )


def _tolerance(process: PointProcess) -> float:
    return 1e-5 if process.closed_form else QUADRATURE  # 1e-5 is the dense grid's own error at a jump


@torch.no_grad()
def _likelihood_is_the_definition(process: PointProcess, events: Events) -> None:
    law = "log_prob(events) == the definition, event by event (first event and survival term included)"
    _close(law, process.log_prob(events), naive.log_prob(process, events), _tolerance(process), 1e-4)
    given = replace(events, schema=replace(events.schema, given_first=True))
    law = "log_prob of sequences whose first event is given"
    _close(law, process.log_prob(given), naive.log_prob(process, given), _tolerance(process), 1e-4)


@torch.no_grad()
def _stream_equals_batch(process: PointProcess, events: Events) -> None:
    batch = pad(events, dtype=torch.float64)
    together = process.event_log_prob(batch)
    tails = process.tail_log_prob(batch)
    for i, n in enumerate(batch.lengths.tolist()):
        state = process.init_at(batch.start[i : i + 1])
        for j in range(n):
            one, state = process.step(state, batch.mark[i : i + 1, j], batch.dt[i : i + 1, j])
            _close("step by step == event_log_prob of the whole batch", one, together[i : i + 1, j])
        tail = -process.compensator(state, batch.tail[i : i + 1])
        _close("the state after the last step gives the same survival term", tail, tails[i : i + 1])
    _close("log_prob == event terms + survival term", process.log_prob(batch), together.sum(1) + tails)


@torch.no_grad()
def _padding_and_batch(process: PointProcess, events: Events) -> None:
    whole = process.log_prob(events)
    single = torch.cat([process.log_prob(events[i]) for i in range(len(events))])
    _close("a sequence alone == the same sequence in a batch", single, whole)
    batch = pad(events, dtype=torch.float64)
    junk = torch.where(batch.mask, batch.dt, torch.nan)
    dirty = replace(batch, dt=junk, t=torch.where(batch.mask, batch.t, torch.nan))
    _close("what lies in padding (NaN) never matters", process.log_prob(dirty), whole)


@torch.no_grad()
def _causality(process: PointProcess, events: Events) -> None:
    batch = pad(events[3], dtype=torch.float64)
    before = process.event_log_prob(batch)
    cut = 6
    later = torch.arange(batch.dt.shape[1]) >= cut
    changed = replace(
        batch, dt=torch.where(later, batch.dt * 1.7 + 0.1 * process.time_scale, batch.dt),
        marks={"mark": torch.where(later, (batch.mark + 1) % process.num_marks, batch.mark)},
    )  # fmt: skip
    law = "causality: changing events from the 7th on leaves the log-density of the first six as it was"
    _close(law, process.event_log_prob(changed)[:, :cut], before[:, :cut])
    other = replace(batch, marks={"mark": torch.where(later, (batch.mark + 1) % process.num_marks, batch.mark)})
    left = [process.left_states(b)[0] for b in (batch, other)]
    here = [map_state(lambda leaf: leaf[:, cut], s) for s in left]
    law = "causality: the intensity just before an event does not depend on its mark"
    seen, expected = (process.intensity(s, batch.dt[:, cut]) for s in here)
    _close(law, seen, expected)


def _states(process: PointProcess, events: Events) -> Any:
    return process.left_states(pad(events, dtype=torch.float64))[1]


@torch.no_grad()
def _evolution(process: PointProcess, events: Events) -> None:
    state = _states(process, events)
    a, b = (torch.full_like(state.elapsed, x * process.time_scale) for x in (0.3, 0.9))
    same = process.evolve(state, torch.zeros_like(a))
    for x, y in zip(state_leaves(same), state_leaves(state), strict=True):
        assert torch.equal(x, y), "evolve(s, 0) == s, bit for bit"
    later = process.evolve(state, a)
    _close(
        "intensity(evolve(s, a), b) == intensity(s, a + b)",
        process.intensity(later, b),
        process.intensity(state, a + b),
    )
    _close(
        "compensators add up: [0, a) + [a, a + b) == [0, a + b)",
        process.compensator(state, a) + process.compensator(later, b), process.compensator(state, a + b),
        _tolerance(process),
    )  # fmt: skip
    many = torch.stack([a, b], -1)
    _close(
        "intensity with query axes == one by one",
        process.intensity(state, many)[..., 1, :],
        process.intensity(state, b),
    )
    _close(
        "compensator with query axes == one by one",
        process.compensator(state, many)[..., 0],
        process.compensator(state, a),
    )
    assert (process.intensity(state, many) >= 0).all(), "intensities are never negative"
    _close(
        "compensator == the dense integral of the intensity", process.compensator(state, b),
        naive.compensator(process, state, b), _tolerance(process), 1e-6,
    )  # fmt: skip


@torch.no_grad()
def _shift_and_scale(process: PointProcess, events: Events) -> None:
    moved = replace(events, t=events.t + 1000.0, span=events.span + 1000.0)
    law = "shifting all times and spans changes nothing"
    if process.prompts is None:
        _close(law, process.log_prob(moved), process.log_prob(events), 1e-6, 1e-6)
    else:
        heard = not torch.allclose(process.log_prob(moved), process.log_prob(events), rtol=1e-6, atol=1e-6)
        assert heard, "prompts know the stream's time: shifting all times and spans changes something"
    if "time_scale" not in process.init_args:
        return
    c = 60.0
    stretched = replace(events, t=events.t * c, span=events.span * c)
    slow = copy.deepcopy(process)
    slow.time_scale = process.time_scale * c
    shift = torch.as_tensor(events.lengths) * math.log(c)
    law = "times and time_scale multiplied by c change the log-likelihood by -log c an event"
    _close(law, slow.log_prob(stretched), process.log_prob(events) - shift, 1e-6, 1e-6)


@torch.no_grad()
def _density_integrates_to_one(process: PointProcess, events: Events) -> None:
    state = _states(process, events)
    horizon, grid = 60.0 * process.time_scale, torch.linspace(0, 1, 20_001, dtype=torch.float64) ** 3
    for i in range(len(events)):
        row = naive.queried_row(state, i)
        t = grid * horizon
        total = process.intensity(row, t[None]).sum(-1)[0]
        survival = torch.exp(-process.compensator(row, t[None])[0])
        mass = torch.trapezoid(torch.where(survival > 0, total * survival, 0), t) + survival[-1]
        law = "the density of the next event integrates to 1 (with the survival beyond the grid)"
        _close(law, mass, torch.ones_like(mass), 2e-3)


@torch.no_grad()
def _prediction(process: PointProcess, events: Events) -> None:
    state = _states(process, events)
    fast = process.predict_next(state)
    slow = naive.predict_next(process, state, horizon=fast.median * 300, points=100_001)
    sums = fast.mark_probs.sum(-1)
    _close("mark probabilities sum to 1", sums, torch.ones_like(sums))
    proper = (fast.never == 0) & (slow.never == 0)
    for name in ("mean", "median", "mark_probs"):
        law = f"predict_next(...).{name} == the dense grid's"
        _close(law, getattr(fast, name)[proper], getattr(slow, name)[proper], 5e-3, 1e-6)


def _gradients(process: PointProcess, events: Events) -> None:
    subject = copy.deepcopy(process)
    log_prob, auxiliary = subject.fit_terms(pad(events, dtype=torch.float64))
    (auxiliary - log_prob).sum().backward()
    for name, parameter in subject.named_parameters():
        assert parameter.grad is not None, f"gradients: parameter {name} takes no part in what is trained"
        assert parameter.grad.isfinite().all(), f"gradients: {name} has a gradient that is not finite"


@torch.no_grad()
def _rebuilt(process: PointProcess, events: Events) -> None:
    entry = {"class_path": process.class_path, "init_args": process.init_args}
    twin = rebuild(entry, PointProcess).double().eval()
    buffer = io.BytesIO()
    torch.save(process.state_dict(), buffer)
    buffer.seek(0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    law = "rebuilt from class_path, init_args and weights == itself"
    _close(law, twin.log_prob(events), process.log_prob(events))


@torch.no_grad()
def _sampler(process: PointProcess, generator: torch.Generator, samples: int) -> None:
    start = process.init(samples)
    marks = torch.randint(0, process.num_marks, (samples,), generator=generator)
    _, state = process.step(start, marks, torch.full_like(start.elapsed, 0.4 * process.time_scale))
    gap, mark = process.sample_next(state, generator=generator)
    came = gap.isfinite()
    hazard = process.compensator(state, torch.where(came, gap, 1e6 * process.time_scale))
    uniform = (-torch.expm1(-hazard))[came].sort().values
    never = torch.exp(-hazard)[~came]
    assert (never > 1e-9).all(), "sample_next: 'never' drawn where the process does not die out"
    if not came.all():  # given that one comes, the law is truncated
        uniform = uniform / (1 - never.mean())
    n = len(uniform)
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    distance = torch.maximum((steps - uniform).abs().max(), (uniform - steps + 1 / n).abs().max())
    limit = math.sqrt(-0.5 * math.log(0.5e-6) / n)  # two-sided, false alarm 1e-6
    assert distance < limit, (
        f"sample_next: Kolmogorov-Smirnov distance {distance:.4f} from its own law; limit {limit:.4f}"
    )
    expected = _mark_law(process, state, gap, came)
    counts = torch.bincount(mark[came], minlength=process.num_marks).double()
    spread = 5.2 * torch.sqrt((expected * (1 - expected / max(n, 1))).clamp_min(1.0))
    assert ((counts - expected).abs() <= spread).all(), (
        f"sample_next: marks {counts.tolist()}, expected {expected.tolist()}"
    )


def _mark_law(process: PointProcess, state: Any, gap: Tensor, came: Tensor) -> Tensor:
    lam = process.intensity(state, torch.where(came, gap, 0.0))[came]
    return (lam / lam.sum(-1, keepdim=True)).sum(0)
