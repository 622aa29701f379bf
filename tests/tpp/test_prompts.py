"""Prompts: causal and row by row, joint loss, two rates, and the time of the stream in batches and streams alike."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import Events, PaddedBatch, Schema, pad
from eventflow.nn import GRU, LSTM, SoftplusNetwork, WeibullMixture
from eventflow.testing import check_cell, check_point_process
from eventflow.tpp import NeuralPointProcess, PointProcess, PromptAttNHP, PromptCell, PromptNHP
from eventflow.tpp.models._prompt_pool import PromptPool

SMALL = {"prompts": 6, "retrieved": 2, "time_size": 4}


def wild(process: PointProcess, scale: float = 0.5) -> PointProcess:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * scale)
    return process


MODELS = {
    "nhp": lambda: PromptNHP(3, hidden_size=5, time_scale=2.0, quadrature=30, **SMALL),
    "lstm-weibull": lambda: NeuralPointProcess(
        3, PromptCell(LSTM(5, 6), discount=0.7, **SMALL), WeibullMixture(6, 3, components=3), time_scale=3.0
    ),
    "attnhp": lambda: PromptAttNHP(
        3, hidden_size=4, window=5, length=2, fastest=1.0, time_scale=2.0, quadrature=40, **SMALL
    ),
    "gru-softplus": lambda: NeuralPointProcess(
        3, PromptCell(GRU(5, 6), **SMALL), SoftplusNetwork(6, 3), quadrature=30, time_scale=0.5
    ),
}


@pytest.fixture(params=MODELS)
def process(request: pytest.FixtureRequest) -> PointProcess:
    return wild(MODELS[request.param]()).double()


def events(rows: int = 4, length: int = 12, start: float = 100.0, seed: int = 1) -> Events:
    """Sequences over [start, ...), of different lengths."""
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for n in range(length, length - rows, -1):
        gaps = torch.rand(n, generator=draw, dtype=torch.float64) + 0.1
        parts.append({"t": start + gaps.cumsum(0).numpy(), "mark": torch.randint(0, 3, (n,), generator=draw).numpy()})
    return Events.from_sequences(parts, span=(start, start + 2.0 * length), schema=Schema(num_marks=3))


def retrieved(process: PointProcess, batch: PaddedBatch, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """(B, 1 + T, N) which prompts each event retrieved, the beginning of the span first."""
    seen: list[Tensor] = []
    plain = PromptPool.retrieve

    def listening(pool: PromptPool, query: Tensor) -> tuple[Tensor, Tensor]:
        found = plain(pool, query)
        seen.append(found[0])
        return found

    monkeypatch.setattr(PromptPool, "retrieve", listening)
    with torch.no_grad():
        process.encode(batch)
    monkeypatch.setattr(PromptPool, "retrieve", plain)
    return torch.cat([found if found.dim() == 3 else found[:, None] for found in seen], 1)  # (of the start apart)


SLOW = [pytest.mark.slow]


@pytest.mark.parametrize(
    "name", ["nhp", "lstm-weibull", pytest.param("attnhp", marks=SLOW), pytest.param("gru-softplus", marks=SLOW)]
)
def test_every_law(name: str) -> None:
    """Among them: causality, a stream is its batch, a sequence alone is itself in a batch, checkpoints."""
    check_point_process(wild(MODELS[name]()))


@pytest.mark.slow
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_a_prompted_cell_is_a_cell(discount: float) -> None:
    cell = PromptCell(GRU(3, 4), discount=discount, **SMALL)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    check_cell(cell)


def test_what_is_retrieved_depends_on_the_past_and_the_row_alone(
    process: PointProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = pad(events(), dtype=torch.float64)
    whole = retrieved(process, batch, monkeypatch)
    assert len(whole.unique()) > 2, "different events retrieve different prompts"
    for i in range(len(batch)):
        n = int(batch.lengths[i])
        alone = retrieved(process, pad(events()[i], dtype=torch.float64), monkeypatch)
        assert torch.equal(alone[0, : 1 + n], whole[i, : 1 + n])
    later = torch.arange(batch.dt.shape[1]) >= 5
    changed = replace(
        batch, dt=torch.where(later, 3 * batch.dt, batch.dt),
        marks={"mark": torch.where(later, (batch.mark + 1) % 3, batch.mark)},
    )  # fmt: skip
    assert torch.equal(retrieved(process, changed, monkeypatch)[:, :6], whole[:, :6])
    assert not torch.equal(retrieved(process, changed, monkeypatch), whole)


def test_states_that_are_only_asked_are_those_that_go_on() -> None:
    """With gradients, queues and prompts of each event's own; without, all events look back on one table."""
    process = wild(MODELS["attnhp"]()).double()
    batch, u = pad(events(), dtype=torch.float64), torch.rand(4, 12, 3, dtype=torch.float64)
    said = []
    for taken in (True, False):
        with torch.set_grad_enabled(taken):
            left, last = process.left_states(batch)
            answers = process.intensity(left, u), process.intensity(last, u[:, 0]), process._match(left)
            said.append([answer.detach() for answer in (*answers, process._match(last))])
    torch.testing.assert_close(said[0], said[1])
    with torch.no_grad(), pytest.raises(InputError, match="asked, but not continued"):
        process.update(process.left_states(batch)[1], batch.mark[:, 0])


def test_the_time_is_that_of_the_stream(process: PointProcess) -> None:
    """A sequence knows when it began, also beyond the reach of float32, and shifting it changes what it says."""
    long_ago, now = events(start=0.0), events(start=3_000_000.0)
    assert (process.log_prob(now) - process.log_prob(long_ago)).abs().max() > 1e-3
    single = copy.deepcopy(process).float()
    torch.testing.assert_close(single.log_prob(now).double(), process.log_prob(now), rtol=1e-3, atol=1e-3)
    state = process.init_at(torch.full((1,), 3_000_000.0, dtype=torch.float64))
    one = pad(now[0], dtype=torch.float64)
    terms = []
    for j in range(one.dt.shape[1]):
        log_prob, state = process.step(state, one.mark[:, j], one.dt[:, j])
        terms.append(log_prob)
    torch.testing.assert_close(torch.stack(terms, 1), process.event_log_prob(one))


def test_the_match_is_trained_and_not_reported(process: PointProcess) -> None:
    pool, batch = process.prompts, pad(events(), dtype=torch.float64)
    assert pool is not None
    log_prob, auxiliary = process.fit_terms(batch)
    torch.testing.assert_close(log_prob, process.log_prob(batch))
    assert (auxiliary.abs() <= pool.match_weight * (1 + batch.lengths) * pool.retrieved).all() and auxiliary.all()
    keys, values = pool.keys, pool.values
    of_likelihood = torch.autograd.grad(log_prob.sum(), [keys, values], allow_unused=True, retain_graph=True)
    assert of_likelihood[0] is None and of_likelihood[1] is not None and of_likelihood[1].abs().max() > 0
    rest = [p for p in process.parameters() if p is not keys]
    of_match = torch.autograd.grad(auxiliary.sum(), [keys, *rest], allow_unused=True)
    assert of_match[0].abs().max() > 0 and all(gradient is None for gradient in of_match[1:])


def test_the_match_by_its_definition() -> None:
    """-alpha x the sum of cosines, event by event, from queries made by a loop."""
    process = wild(PromptNHP(3, hidden_size=4, match_weight=0.3, **SMALL)).double()
    cell, one = process.cell, pad(events(1), dtype=torch.float64)
    marks = [process.num_marks, *one.mark[0].tolist()]
    times = (one.start[0] + torch.cat([one.t.new_zeros(1), one.t[0]])).tolist()
    frequencies = (cell.fastest, 10000.0 ** (2 / cell.time_size - 1))
    total = 0.0
    for i, t in enumerate(times):
        mean = process.embedding.weight[marks[: i + 1]].detach().mean(0)
        code = [f(torch.tensor(w * t, dtype=torch.float64)) for w in frequencies for f in (torch.sin, torch.cos)]
        query = torch.cat([mean, torch.stack(code)])
        cosines = [torch.dot(query, key) / (query.norm() * key.norm()) for key in cell.pool.keys.detach()]
        total -= 0.3 * sum(sorted(float(c) for c in cosines)[-2:])
    torch.testing.assert_close(float(process.fit_terms(one)[1].detach()), total)


def test_pool_and_encoder_move_at_their_own_rates(process: PointProcess) -> None:
    """Every parameter moves in the steps that are its own, and in no other; also under Adam, whose moments go on."""
    pool = process.prompts
    assert pool is not None
    pool.pool_every, pool.encoder_every = 2, 3
    own = {id(p) for p in pool.parameters()}
    optimizer = torch.optim.Adam(process.parameters(), lr=1e-2)
    batch = pad(events(), dtype=torch.float64)
    for step in range(7):
        before = [p.detach().clone() for p in process.parameters()]
        optimizer.zero_grad()
        log_prob, auxiliary = process.fit_terms(batch)
        (auxiliary - log_prob).sum().backward()
        for parameter in process.resting(step):
            parameter.grad = None
        optimizer.step()
        for (name, parameter), old in zip(process.named_parameters(), before, strict=True):
            due = step % (2 if id(parameter) in own else 3) == 0
            assert due == (not torch.equal(parameter.detach(), old)), f"step {step}: {name}"


def test_wrong_sizes_are_told() -> None:
    with pytest.raises(InputError, match="retrieved <= prompts"):
        PromptNHP(3, prompts=3)
    with pytest.raises(InputError, match="even size"):
        PromptNHP(3, time_size=3)
    with pytest.raises(InputError, match="at least 1 step"):
        PromptNHP(3, encoder_every=0)
    with pytest.raises(InputError, match="discount"):
        PromptNHP(3, discount=1.5)
    with pytest.raises(InputError, match="match_weight"):
        PromptNHP(3, match_weight=-1.0)
