"""Flow networks on Lightning: what a sample is, what a step learns from it, how recordings are judged."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from eventflow._assets import ROOT
from eventflow.errors import InputError
from eventflow.nn import state_leaves
from eventflow.train import FlowData, FlowTask
from eventflow.train._flow_judge import Judgement, run_clips
from eventflow.train._flow_loader import FlowBatch, flipped
from eventflow.vision import LSTMFlowNet

SAMPLE = str(ROOT / "datasets/sim_flow/sample")


def data(**changes: Any) -> FlowData:
    return FlowData(SAMPLE, **{"cache": None, "warm_up": 5, "steps": 5, "batch_size": 2, "seed": 0, **changes})


def task(bins: int = 10, **changes: Any) -> FlowTask:
    torch.manual_seed(0)
    return FlowTask(lambda channels: LSTMFlowNet(2, 2, residual_blocks=0, channels=channels), bins=bins, **changes)


def batch(**changes: Any) -> FlowBatch:
    return next(iter(data(**changes).train_dataloader()))


# -- samples ---------------------------------------------------------------------------------------------------------


def test_a_sample_ends_where_its_truth_holds() -> None:
    """What is handed out is the stretch's own counts and truth, at the place that the plan says."""
    for supervise, count in (("last", 1), ("all", 5)):
        d = data(flips=0.0, supervise=supervise)
        (clip,), (got,) = d.clips("train"), list(d.train_dataloader())
        assert got.counts.shape == (1, 10, 2, 24, 32) and got.targets.shape == (1, count, 2, 24, 32)
        ends = [e for e in range(11, 21) if np.array_equal(clip.frames.read(e - 10, e), got.counts[0].numpy())]
        assert len(ends) == 1 and got.at.tolist() == list(range(10 - count, 10)) and int(got.warm_up) == 5
        for i in range(count):
            step = ends[0] - count + 1 + i
            if clip.known(step):
                flow, valid = clip.targets.at(step)
                assert np.array_equal(got.targets[0, i].numpy(), flow)
                assert np.array_equal(got.valid[0, i].numpy(), valid)
            else:
                assert not got.valid[0, i].any()
        assert got.valid[0, -1].any()


def test_flips_are_drawn_apart_and_change_the_flow_with_the_image() -> None:
    (clip,) = data().clips("train")
    known = [(clip.frames.read(end - 10, end), *(part[None] for part in clip.targets.at(end))) for end in range(11, 21)]
    seen = set()
    for seed in range(16):
        (got,) = list(data(crop=(24, 32), seed=seed).train_dataloader())
        found = 0
        for across, down in itertools.product((False, True), repeat=2):
            for want in (flipped(*sample, across=across, down=down) for sample in known):
                if np.array_equal(want[0], got.counts[0].numpy()):
                    seen.add((across, down))
                    found += 1
                    assert np.array_equal(want[1], got.targets[0].numpy())
                    assert np.array_equal(want[2], got.valid[0].numpy())
        assert found, "some end and flips"
    assert len(seen) == 4


def test_flipped_flow_by_hand() -> None:
    counts, flow = np.arange(4.0).reshape(1, 1, 2, 2), np.stack([np.full((2, 2), 3.0), np.full((2, 2), 5.0)])[None]
    valid = np.array([[[True, False], [True, True]]])
    c, f, v = flipped(counts, flow, valid, across=True, down=False)
    assert c.tolist() == [[[[1, 0], [3, 2]]]] and v.tolist() == [[[False, True], [True, True]]]
    assert (f[:, 0] == -3).all() and (f[:, 1] == 5).all() and (flow[:, 0] == 3).all()
    _, f, v = flipped(counts, flow, valid, across=False, down=True)
    assert (f[:, 0] == 3).all() and (f[:, 1] == -5).all() and v.tolist() == [[[True, True], [True, False]]]


def test_processes_share_a_step_and_an_epoch_is_resumed_within(monkeypatch: pytest.MonkeyPatch) -> None:
    d = data(flips=0.5, crop=(16, 16), warm_up=0, steps=1)
    clips = d.clips("train") * 5
    monkeypatch.setattr(d, "clips", lambda split: clips)
    loader = d.train_dataloader()
    loader.set_epoch(3)
    whole = list(loader)
    assert len(whole) == len(loader) == 3 and [len(b.counts) for b in whole] == [2, 2, 1]
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(d, "_place_in_world", lambda rank=rank: (rank, 2))
        d.batch_size = 1
        part = d.train_dataloader()
        part.set_epoch(3)
        parts.append(list(part))
    for i, step in enumerate(whole):
        for rank in (0, 1):
            mine = parts[rank][i]
            if rank < len(step.counts):
                assert torch.equal(mine.counts[0], step.counts[rank]) and bool(mine.real.all())
            else:
                assert not mine.real.any()
    again = type(loader)(clips, d.sampling, batch_size=2, seed=0)
    again.set_epoch(3)
    again.load_state_dict({"position": 2})
    (rest,) = list(again)
    assert torch.equal(rest.counts, whole[2].counts) and torch.equal(rest.targets, whole[2].targets)


# -- the task --------------------------------------------------------------------------------------------------------


def test_the_warm_up_gives_a_state_and_no_gradient() -> None:
    t, b = task().double(), batch()
    b = b._replace(counts=b.counts.double().requires_grad_())
    loss = t.loss(b)
    (gradient,) = torch.autograd.grad(loss.total, b.counts)
    assert not gradient[:, :5].any() and gradient[:, 5:].flatten(2).any(2).all()
    state = t._warm(b.counts[:, :5])
    t.model.eval()
    with torch.no_grad():
        _, want = t.model.scan(b.counts[:, :5])
    for a, c in zip(state_leaves(state), state_leaves(want), strict=True):
        assert torch.equal(a, c) and not a.requires_grad
    assert t.loss(b).total.requires_grad and not t.model.training
    fresh = task().double()
    fresh.loss(b)
    assert fresh.model.training, "the mode is as it was"


def test_the_gradient_reaches_back_as_far_as_it_is_let() -> None:
    reach = {}
    for bptt in (None, 2, 1):
        t, b = task(bptt=bptt).double(), batch()
        b = b._replace(counts=b.counts.double().requires_grad_())
        (gradient,) = torch.autograd.grad(t.loss(b).total, b.counts)
        reach[bptt] = gradient.flatten(2).any(2).any(0).tolist()
    assert reach[None] == [False] * 5 + [True] * 5
    assert reach[2] == [False] * 9 + [True]  # detached after 2 and 4 steps of 5
    assert reach[1] == [False] * 9 + [True]


def test_unknown_pixels_do_not_matter_in_a_step() -> None:
    b, losses = batch(supervise="all"), []
    for filling in (0.0, 1e6):
        t, b = task(), b._replace(targets=torch.where(b.valid[:, :, None], b.targets, filling))
        losses.append(t.loss(b))
    assert torch.equal(losses[0].total, losses[1].total) and losses[0].weight == b.valid.sum()
    nothing = t.loss(b._replace(real=torch.zeros_like(b.real)))
    assert nothing.weight == 0 and nothing.total == 0


@pytest.mark.parametrize("changes", [{"loss": "contrast"}, {"scales": (1.0, 0.5)}, {"loss": "mse"}])
def test_every_loss_falls(changes: dict[str, Any]) -> None:
    t, b = task(**changes), batch(warm_up=5, supervise="last")
    optimizer = torch.optim.Adam(t.parameters(), lr=0.02)
    losses = []
    for _ in range(12):
        loss = t.loss(b)
        optimizer.zero_grad()
        (loss.total / loss.weight).backward()
        optimizer.step()
        losses.append(float((loss.total / loss.weight).detach()))
    assert min(losses[-3:]) < 0.9 * losses[0], losses


def test_contrast_needs_the_steps_that_the_flow_spans() -> None:
    with pytest.raises(InputError, match=r"Write: --data\.warm_up 10"):
        task(loss="contrast").loss(batch(warm_up=2, steps=5))


# -- judging ---------------------------------------------------------------------------------------------------------


class Oracle(LSTMFlowNet):
    """Says what it is told to say."""

    def say(self, flows: dict[int, np.ndarray]) -> Oracle:
        self.flows, self.now = flows, 0
        return self

    def step(self, state: Any, x: Any) -> Any:
        self.now += 1
        flow = self.flows.get(self.now, np.zeros((2, *x.shape[-2:]), np.float32))
        return torch.from_numpy(flow)[None], state

    def update(self, state: Any, x: Any) -> Any:
        self.now += 1
        return state


def test_what_is_right_at_every_step_has_no_error_and_what_is_held_has() -> None:
    d = data()
    (clip,) = d.clips("test")
    assert clip.targets.kind == "exact"
    truth = {e: clip.targets.at(e)[0] for e in range(1, 11) if clip.known(e)}
    assert sorted(truth) == [10], "the sample's test recording has one interval"
    judged = Judgement(10, warm_up=5)
    judged.add(Oracle(2, 2, residual_blocks=0).say(truth), [clip], torch.device("cpu"))
    numbers = judged.compute()
    assert numbers["epe_dense"] == numbers["epe_10hz"] == 0 and judged.errors["dense"].pixels == 24 * 32
    (clip,) = d.clips("train")
    truth = {e: clip.targets.at(e)[0] for e in range(10, 21)}
    judged = Judgement(10, warm_up=5, thorough=True)
    judged.add(Oracle(2, 2, residual_blocks=0).say({e: truth[e] for e in (10, 20)}), [clip], torch.device("cpu"))
    numbers = judged.compute()
    assert numbers["epe_10hz"] == 0
    late = [np.hypot(*(truth[10 if e < 20 else 20] - truth[e]))[clip.targets.at(e)[1]] for e in range(10, 21)]
    assert numbers["epe_held"] == pytest.approx(np.concatenate(late).mean(), rel=1e-5)
    still = [np.hypot(*truth[e])[clip.targets.at(e)[1]] for e in range(10, 21)]
    assert numbers["epe_zero"] == pytest.approx(np.concatenate(still).mean(), rel=1e-5)
    between = np.concatenate(still[1:-1]).sum() / np.concatenate(still).size
    assert numbers["epe_dense"] == pytest.approx(between, rel=1e-5)


def test_clips_side_by_side_are_as_one_by_one() -> None:
    d, network = data(), task().model.eval()
    clips = d.clips("train") + d.clips("val") + d.clips("test")
    assert len({c.last for c in clips}) == 2, "of two lengths"
    together, apart = Judgement(10, warm_up=10, thorough=True), Judgement(10, warm_up=10, thorough=True)
    with torch.no_grad():
        together.add(network, clips, torch.device("cpu"))
        for clip in clips:
            apart.add(network, [clip], torch.device("cpu"))
    for name, value in apart.compute().items():
        assert together.compute()[name] == pytest.approx(value, rel=1e-5), name
    merged = Judgement(10, warm_up=10, thorough=True)
    merged.take(apart.sums())
    assert merged.compute() == apart.compute()


def test_a_reset_forgets_and_no_reset_does_not() -> None:
    d, network = data(), task().model.eval()
    (clip,) = d.clips("train")
    with torch.no_grad():
        kept = {m.step: m.flow for m in run_clips(network, [clip], device=torch.device("cpu"))}
        cut = {m.step: m.flow for m in run_clips(network, [clip], device=torch.device("cpu"), reset=True)}
        again, _ = network.scan(torch.from_numpy(clip.frames.read(10, 20))[None])
    assert sorted(cut) == [10, 20] and torch.equal(cut[10], kept[10]) and not torch.equal(cut[20], kept[20])
    torch.testing.assert_close(cut[20], again[:, -1])


def test_events_are_those_of_the_last_100_ms() -> None:
    d, network = data(), task().model.eval()
    (clip,) = d.clips("train")
    judged = Judgement(10, warm_up=10, thorough=True)
    with torch.no_grad():
        judged.add(network, [clip], torch.device("cpu"))
    with_events = [clip.frames.read(e - 10, e).sum((0, 1)) > 0 for e in range(10, 21)]
    valid = [clip.targets.at(e)[1] for e in range(10, 21)]
    assert judged.errors["dense_events"].pixels == sum((a & b).sum() for a, b in zip(with_events, valid, strict=True))
    assert judged.errors["10hz_events"].pixels == sum((with_events[i] & valid[i]).sum() for i in (0, 10))
