"""Flow networks on Lightning: samples, warm-up, truncation, judging; runs that resume; DSEC's layout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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
from eventflow.vision import EVFlowNet, LSTMFlowNet, load_flow, load_sequences, read_flow_png

SAMPLE = str(ROOT / "datasets/sim_flow/sample")
#: Two intervals are all that the sample's recordings have.
SHORT = ("--data", "sim_flow_small", "--data.name", SAMPLE, "--data.cache", "null", "--data.warm_up", "5",
         "--data.steps", "5", "--data.batch_size", "2")  # fmt: skip
TINY = ("--model.network.width", "2", "--model.network.depth", "2")


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
    seen = set()
    plain = None
    for seed in range(16):
        d = data(crop=(24, 32), seed=seed)
        (got,) = list(d.train_dataloader())
        (clip,) = d.clips("train")
        for end in range(11, 21):
            counts, flow = clip.frames.read(end - 10, end), clip.targets.at(end)
            for across in (False, True):
                for down in (False, True):
                    want = flipped(counts, flow[0][None], flow[1][None], across=across, down=down)
                    if np.array_equal(want[0], got.counts[0].numpy()):
                        seen.add((across, down))
                        assert np.array_equal(want[1], got.targets[0].numpy())
                        assert np.array_equal(want[2], got.valid[0].numpy())
        plain = got
    assert len(seen) == 4 and plain is not None


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


# -- runs ------------------------------------------------------------------------------------------------------------


def fit(cli: Callable[..., Any], *words: Any, model: str = "lstm_flownet") -> Any:
    return cli("fit", "--model", model, *SHORT, *TINY, "--trainer.max_epochs", "2", *words)


def test_a_run_a_test_and_a_resume(cli: Callable[..., Any]) -> None:
    assert fit(cli, "--out", "straight").code == 0
    assert fit(cli, "--trainer.max_epochs", "1", "--out", "cut").code == 0
    resumed = cli("fit", "--ckpt_path", "cut", "--trainer.max_epochs", "2")
    assert resumed.code == 0, resumed.err
    one, two = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("straight", "cut"))
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    assert Path("cut/metrics.csv").read_text() == Path("straight/metrics.csv").read_text()
    answer = cli("test", "--ckpt_path", "straight")
    assert answer.code == 0, answer.err
    assert "against exact flow" in answer.out and "AEE px" in answer.out and "no motion" in answer.out
    report = json.loads(Path("straight/metrics.json").read_text())
    assert report["model"] == "lstm_flownet" and report["metrics"]["num_parameters"] > 1000
    assert report["metrics"]["epe_10hz_reset"] == report["metrics"]["epe_10hz"], "one interval"
    loaded = load_flow("straight/checkpoints/best.ckpt")
    assert isinstance(loaded.network, LSTMFlowNet) and loaded.bins == 10 and loaded.schema.height == 24
    answer = cli("test", "--ckpt_path", "straight", "--model.network.width", "3")
    assert answer.code == 2 and "width is 2 there, 3 here" in answer.err


@pytest.mark.parametrize("model", ["efficient_spike_flownet", "evflownet", "compact_flownet"])
def test_every_network_trains_and_says_what_a_step_costs(cli: Callable[..., Any], model: str) -> None:
    answer = fit(cli, "--trainer.max_epochs", "1", "--trainer.precision", "bf16-mixed", "--out", "run", model=model)
    assert answer.code == 0, answer.err
    answer = cli("test", "--ckpt_path", "run")
    assert answer.code == 0, answer.err
    assert "M MAC" in answer.out and ("spikes per neuron" in answer.out) == (model == "efficient_spike_flownet")


def folder_without_truth(path: Path) -> Path:
    for split, sequences in load_sequences(SAMPLE).items():
        (path / split).mkdir(parents=True)
        for sequence in sequences:
            shutil.copy(sequence.events_file, path / split / f"{sequence.name}.h5")
    return path


def test_recordings_without_truth_are_learned_from_by_contrast(cli: Callable[..., Any], tmp_path: Path) -> None:
    plain = folder_without_truth(tmp_path / "plain")
    words = ("--data.name", plain, "--data.warm_up", "10", "--data.steps", "1")
    answer = fit(cli, *words, "--out", "wrong")
    assert answer.code == 2 and "Write: --model.loss contrast" in answer.err
    answer = fit(cli, *words, "--model.loss", "contrast", "--out", "run")
    assert answer.code == 0, answer.err
    assert "val/loss" in answer.out and "nan" not in answer.out
    answer = cli("test", "--ckpt_path", "run")
    assert answer.code == 2 and "no ground truth that is public" in answer.err


def real_layout(root: Path) -> Path:
    """The sample as DSEC's archives unpack it, under the names of its sequences; test without flow, as DSEC's is."""
    parts = load_sequences(SAMPLE)
    for split, names in (("train", ["zurich_city_01_a", "thun_00_a"]), ("test", ["interlaken_00_b"])):
        for name in names:
            source = parts["test" if split == "test" else "train"][0]
            shutil.copytree(source.folder / "events", root / f"dsec/{split}_events/{name}/events")
            if split == "train":
                shutil.copytree(source.folder / "flow", root / f"dsec/train_optical_flow/{name}/flow")
            else:
                stamps = root / "dsec/test_forward_optical_flow_timestamps"
                stamps.mkdir(parents=True)
                rows = [f"{a}, {b}, {10 * i}" for i, (a, b) in enumerate(source.timestamps.tolist())]
                (stamps / f"{name}.csv").write_text("\n".join(["from_timestamp_us, to_timestamp_us, index", *rows]))
    return root


def test_dsec_is_trained_on_unchanged(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data datasets/dsec`: the card's sequences, here the few that a folder in DSEC's layout holds."""
    import eventflow.train._flow_data as module

    monkeypatch.setenv("EVENTFLOW_DATA", str(real_layout(tmp_path / "data")))
    own = module.load_sequences

    def few(name: Any) -> Any:
        import eventflow.vision._sequences as sequences

        entry = sequences.card(name)
        names = {"train": ("zurich_city_01_a",), "val": ("thun_00_a",), "test": ("interlaken_00_b",)}
        assert all(set(found) <= set(entry.recordings[split]) for split, found in names.items())
        with monkeypatch.context() as patch:
            patch.setattr(sequences, "card", lambda _: type(entry)(**{**_fields(entry), "recordings": names}))
            return own(name)

    monkeypatch.setattr(module, "load_sequences", few)
    words = ("--data", ROOT / "datasets/dsec", "--model", "lstm_flownet", *TINY, "--data.warm_up", "5", "--data.steps",
             "5", "--data.cache", "cache", "--data.crop", "[16, 24]", "--trainer.max_epochs", "1")  # fmt: skip
    answer = cli("fit", *words, "--out", "run")
    assert answer.code == 0, answer.err
    assert "counting events of 3 stretches at 100 Hz, once" in answer.out and "val/epe_10hz" in answer.out
    answer = cli("test", "--ckpt_path", "run")
    assert answer.code == 2 and "eventflow predict" in answer.err and "80/20" in answer.err
    answer = cli("predict", "--ckpt_path", "run", "--out", "submission")
    assert answer.code == 0, answer.err
    (png,) = Path("submission").rglob("*.png")
    assert png.as_posix() == "submission/interlaken_00_b/000000.png" and read_flow_png(png)[0].shape == (24, 32, 2)


def _fields(entry: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {f.name: getattr(entry, f.name) for f in fields(entry)}


def test_the_authors_protocol_cuts_every_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    d = data(warm_up=0, steps=1)
    d.protocol = "80/20"
    stretch = d.found["train"][0]
    long = type(stretch)(stretch.name, stretch.source, np.arange(21) * 100_000, np.zeros(20, np.int64))
    monkeypatch.setattr(d, "found", {"train": [long], "val": [], "test": []})
    cuts = {split: [(c.first, c.last) for c in d.clips(split)] for split in ("train", "val", "test")}
    assert cuts == {"train": [(0, 14)], "val": [(14, 16)], "test": [(16, 20)]}
    clip = d.clips("test")[0]
    assert not clip.known(169) and clip.known(170) and clip.known(200), "nothing before the cut is asked"


@pytest.mark.parametrize("rate", [50, 150])
def test_other_rates(rate: int) -> None:
    d = data(rate=rate, warm_up=2, steps=3)
    b = next(iter(d.train_dataloader()))
    assert b.counts.shape[1] == 5 and d.bins == rate // 10 and b.valid.any()
    with pytest.raises(InputError, match=rf"Write: --model\.network\.bins {d.bins}"):
        FlowTask(lambda channels: EVFlowNet(2, 2, channels=channels), bins=d.bins)


def test_mistakes_are_told(cli: Callable[..., Any], tmp_path: Path) -> None:
    for words, said in (
        (("--data.rate", "105"), "Write: --data.rate 100"),
        (("--data.crop", "[64, 64]"), "Write: --data.crop [24, 32]"),
        (("--data.supervise", "evrey"), "known: all, last"),
        (("--data.protocol", "8020"), "did you mean '80/20'?"),
        (("--data.warm_upp", "3"), "did you mean 'warm_up'?"),
        (("--data.warm_up", "30"), "Write: --data.warm_up 0"),
        (("--model.loss", "contrst"), "did you mean 'contrast'?"),
        (("--model.scales", "[]"), "Write: --model.scales [1.0]"),
        (("--model.bptt", "0"), "expected at least 1 step"),
        (("--data.name", "nowhere"), "nowhere"),
        (("--data.targets", "exakt"), "did you mean 'exact'?"),
    ):  # fmt: skip
        answer = fit(cli, *words, "--out", "run")
        assert answer.code == 2 and said in answer.err, (words, answer.err)
        assert not Path("run").exists(), words


def test_a_truncated_recording_is_told(cli: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "broken")
    maps = tmp_path / "broken/train/seed_0000/flow/forward/000002.png"
    maps.write_bytes(maps.read_bytes()[:60])
    answer = fit(cli, "--data.name", tmp_path / "broken", "--out", "run")
    assert answer.code == 2 and "000002.png" in answer.err


@pytest.mark.slow
def test_two_processes_keep_one_network(tmp_path: Path) -> None:
    """DDP over gloo: the weights that a process saves are those of both, and judging is that of one process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EVENTFLOW_DEBUG": "1"}
    words = ("--model", "lstm_flownet", *SHORT, *TINY, "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu",
             "--trainer.strategy", "ddp", "--trainer.devices", "2", "--data.batch_size", "1",
             "--out", "two")  # fmt: skip

    def run(*given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eventflow", *given], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    done = run("fit", *words)
    assert done.returncode == 0, done.stderr
    alone = run("validate", "--ckpt_path", "two/checkpoints/last.ckpt")
    assert alone.returncode == 0, alone.stderr
    last = (tmp_path / "two/metrics.csv").read_text().splitlines()
    logged = float(dict(zip(last[0].split(","), last[-1].split(","), strict=True))["val/loss"])
    assert float(alone.stdout.split("val/loss")[1].split()[0]) == pytest.approx(logged, rel=1e-4)


@pytest.mark.parametrize("name", ["evflownet", "lstm_flownet", "efficient_spike_flownet"])
def test_the_paper_s_recipes_fit_their_classes(cli: Callable[..., Any], name: str) -> None:
    """Everything but the data, which is put elsewhere, and the network's size."""
    words = (*SHORT[2:], "--data.crop", "[16, 16]", *TINY, "--trainer.max_epochs", "1", "--out", "run")
    answer = cli("fit", "--config", f"vision/dsec_{name}", *words)
    assert answer.code == 0, answer.err
