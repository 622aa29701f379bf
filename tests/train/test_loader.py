"""The order of batches: from (seed, epoch) alone, shared exactly among processes, resumable at any step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.tpp import Hawkes
from eventflow.train import EventLoader


def sequences(lengths: list[int]) -> Events:
    rows = [{"t": np.linspace(0.1, 0.9, n), "mark": np.arange(n) % 3} for n in lengths]
    return Events.from_sequences(rows, span=(0.0, 1.0), schema=Schema(num_marks=3))


LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 7), st.booleans(), st.integers(0, 3))
def test_an_epoch_holds_every_sequence_once(lengths: list[int], size: int, shuffle: bool, epoch: int) -> None:
    loader = EventLoader(sequences(lengths), batch_size=size, shuffle=shuffle)
    loader.set_epoch(epoch)
    assert sorted(np.concatenate(loader.plan())) == list(range(len(lengths)))
    assert [len(batch) for batch in loader] == [len(step) for step in loader.plan()]
    assert len(loader) == len(loader.plan())


@given(LENGTHS, st.integers(1, 4), st.integers(2, 4))
def test_processes_share_the_steps_of_one_with_a_larger_batch(lengths: list[int], size: int, world: int) -> None:
    events = sequences(lengths)
    whole = EventLoader(events, batch_size=size * world, shuffle=True, seed=5)
    parts = [EventLoader(events, batch_size=size, shuffle=True, seed=5, rank=r, world=world) for r in range(world)]
    assert all(len(part) == len(whole) for part in parts)
    for step, *shares in zip(whole.plan(), *(part.plan() for part in parts), strict=True):
        mine = [part.share(share) for part, share in zip(parts, shares, strict=True)]
        assert sorted(np.concatenate(mine)) == sorted(step)
        assert max(map(len, mine)) <= size


@given(LENGTHS, st.integers(1, 5), st.data())
def test_it_goes_on_where_it_stood(lengths: list[int], size: int, data: st.DataObject) -> None:
    events = sequences(lengths)
    loader = EventLoader(events, batch_size=size, shuffle=True)
    cut = data.draw(st.integers(0, len(loader)))
    first, running = [], iter(loader)
    for _ in range(cut):
        first.append(next(running))
    resumed = EventLoader(events, batch_size=size, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    rest = [] if cut == len(loader) else list(resumed)  # a finished epoch resumes with the next one, from its start
    for seen, expected in zip(first + rest, EventLoader(events, batch_size=size, shuffle=True), strict=True):
        assert torch.equal(seen.t, expected.t) and torch.equal(seen.mark, expected.mark)
    assert cut != len(loader) or len(list(resumed)) == len(loader)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    events = sequences([3] * 30)

    def order(seed: int, epoch: int) -> list[int]:
        loader = EventLoader(events, batch_size=4, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return np.concatenate(loader.plan()).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_sequences_of_a_length_share_a_batch() -> None:
    lengths = list(np.random.default_rng(0).integers(0, 100, 512))
    loader = EventLoader(sequences(lengths), batch_size=16, shuffle=True)
    spread = [np.ptp(np.asarray(lengths)[step]) for step in loader.plan()]
    assert max(spread) < 15  # of 100: drawn at random, a batch of 16 would spread over about 88


def test_a_batch_of_nothing_counts_for_nothing() -> None:
    events = sequences([4, 2, 3])
    loaders = [EventLoader(events, batch_size=1, rank=rank, world=2) for rank in (0, 1)]
    last = [list(loader)[-1] for loader in loaders]
    assert [batch.num_scored for batch in last] == [2, 0]
    model = Hawkes(3)
    nothing = model.log_prob(last[1])
    assert nothing.tolist() == [0.0]
    nothing.sum().backward()  # every weight takes part, as DistributedDataParallel wants it, with no gradient
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


def test_gaps_come_in_float64() -> None:
    batch = next(iter(EventLoader(sequences([5]), batch_size=1)))
    assert batch.dt.dtype == torch.float64
    assert torch.equal(batch.dt, pad(sequences([5]), dtype=torch.float64).dt)


def test_an_empty_batch_size_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size=0"):
        EventLoader(sequences([1]), batch_size=0)
