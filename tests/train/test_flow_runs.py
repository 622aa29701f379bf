"""Flow networks from the command line: runs that resume, DSEC's layout, recordings without truth, mistakes."""

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
import yaml

from eventflow._assets import ROOT
from eventflow.errors import InputError
from eventflow.train import FlowData, FlowTask
from eventflow.train._flow_judge import Judgement, run_clips
from eventflow.train._flow_loader import FlowLoader
from eventflow.train._references import load_yaml
from eventflow.vision import EVFlowNet, LSTMFlowNet, load_flow, load_sequences, read_flow_png
from eventflow.vision._png16 import write_flow_png
from eventflow.vision._sim_flow import recipe_of, write_recording

SAMPLE = str(ROOT / "datasets/sim_flow/sample")
#: Two intervals are all that the sample's recordings have.
SHORT = ("--data", "sim_flow_small", "--data.name", SAMPLE, "--data.cache", "null", "--data.warm_up", "5",
         "--data.steps", "5", "--data.batch_size", "2")  # fmt: skip
TINY = ("--model.network.width", "2", "--model.network.depth", "2", "--model.schedule", "constant")


def data(**changes: Any) -> FlowData:
    return FlowData(SAMPLE, **{"cache": None, "warm_up": 5, "steps": 5, "batch_size": 2, "seed": 0, **changes})


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


@pytest.mark.parametrize(
    "model",
    ["efficient_spike_flownet", *(pytest.param(m, marks=pytest.mark.slow) for m in ("evflownet", "compact_flownet"))],
)
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


def only(monkeypatch: pytest.MonkeyPatch, names: dict[str, tuple[str, ...]]) -> None:
    """Of DSEC's card these sequences."""
    import eventflow.train._flow_data as module
    import eventflow.vision._sequences as sequences

    own = module.load_sequences

    def few(name: Any) -> Any:
        entry = sequences.card(name)
        assert all(set(found) <= set(entry.recordings[split]) for split, found in names.items())
        with monkeypatch.context() as patch:
            patch.setattr(sequences, "card", lambda _: type(entry)(**{**_fields(entry), "recordings": names}))
            return own(name)

    monkeypatch.setattr(module, "load_sequences", few)


def test_dsec_is_trained_on_unchanged(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data datasets/dsec`: the card's sequences, here the few that a folder in DSEC's layout holds."""
    monkeypatch.setenv("EVENTFLOW_DATA", str(real_layout(tmp_path / "data")))
    only(monkeypatch, {"train": ("zurich_city_01_a",), "val": ("thun_00_a",), "test": ("interlaken_00_b",)})
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


def test_a_dataset_that_is_not_there_is_simulated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = load_yaml(ROOT / "datasets/sim_flow/card.yaml")
    plain |= {"name": "tiny", "recordings": {"train": ["seed_0000"], "val": ["seed_0001"], "test": ["seed_0002"]}}
    plain["recipe"] |= {"duration": 0.2, "height": 16, "width": 24, "planes": 1}
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/card.yaml").write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))  # where it is not, as far as recordings go
    monkeypatch.setattr("eventflow.train._flow_data.data_folder", lambda: tmp_path / "elsewhere")
    words = {"cache": str(tmp_path / "cache"), "warm_up": 5, "steps": 5}
    for said in ("simulating 3 recordings of 0.2 s of tiny into", ""):
        d = FlowData(str(tmp_path / "tiny"), **words)
        assert (said in capsys.readouterr().out) if said else not capsys.readouterr().out
        assert [len(d.clips(split)) for split in ("train", "val", "test")] == [1, 1, 1]
    with pytest.raises(InputError, match=r"write_dataset\(.*name='sim_flow_small'"):
        FlowData("sim_flow_small", cache=None)


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


def test_the_middle_is_judged_where_that_is_wanted() -> None:
    d = data(judged=(8, 16))
    ((clip,),) = list(d.test_dataloader())
    whole, (moment, *_) = d.clips("test")[0], list(run_clips(Still(2, 2), [clip], device=torch.device("cpu")))
    assert clip.size == (8, 16) and whole.size == (24, 32)
    assert np.array_equal(moment.counts[0].numpy(), whole.frames.read(0, 1)[0, :, 8:16, 8:24])
    judged = Judgement(10, warm_up=5)
    judged.add(Still(2, 2), [clip], torch.device("cpu"))
    flow, valid = whole.targets.at(10)
    want = np.hypot(*flow)[8:16, 8:24][valid[8:16, 8:24]].mean()
    assert judged.compute()["epe_10hz"] == pytest.approx(want, rel=1e-6)
    assert [c.size for group in d.predict_dataloader() for c in group] == [(24, 32)], "a submission is whole"


class Still(LSTMFlowNet):
    """No motion."""

    def step(self, state: Any, x: Any) -> Any:
        return torch.zeros(len(x), 2, *x.shape[-2:]), state


@pytest.mark.parametrize("rate", [50, 150])
def test_other_rates(rate: int) -> None:
    d = data(rate=rate, warm_up=2, steps=3)
    b = next(iter(d.train_dataloader()))
    assert b.counts.shape[1] == 5 and d.bins == rate // 10 and b.valid.any()
    with pytest.raises(InputError, match=rf"Write: --model\.network\.bins {d.bins}"):
        FlowTask(lambda channels: EVFlowNet(2, 2, channels=channels), bins=d.bins)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 105}, "Write: --data.rate 100"),
        ({"crop": (64, 64)}, r"Write: --data.crop \[24, 32\]"),
        ({"judged": (20, 40)}, r"Write: --data.judged \[20, 32\]"),
        ({"supervise": "evrey"}, "known: all, last"),
        ({"protocol": "8020"}, "did you mean '80/20'"),
        ({"warm_up": 30}, "Write: --data.warm_up 0"),
        ({"batch_size": 0}, "at least 1 sample"),
        ({"flips": 2.0}, "a probability"),
        ({"representation": "counts"}, "did you mean 'count'"),
        ({"targets": "exakt"}, "did you mean 'exact'"),
    ],
)
def test_mistakes_in_the_data_are_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        data(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "contrst"}, "did you mean 'contrast'"), ({"scales": ()}, r"Write: --model.scales \[1.0\]"),
        ({"bptt": 0}, "expected at least 1 step"), ({"schedule": "one-cylce"}, "did you mean 'one-cycle'"),
    ],
)  # fmt: skip
def test_mistakes_in_the_model_are_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        FlowTask(lambda channels: LSTMFlowNet(2, 2, channels=channels), **changes)


def test_a_mistake_leaves_no_run_behind(cli: Callable[..., Any]) -> None:
    for words, said in ((("--data.warm_upp", "3"), "did you mean 'warm_up'?"), (("--data.name", "nowhere"), "nowhere")):
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


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """DDP over gloo: its step is the gradient of the mean over the pixels of both processes, however unlike their
    numbers; batch-norm normalises each process's own samples, so here they are run one by one."""
    for i, seed in enumerate((3, 4, 5)):
        split = ("train", "train", "val")[i]
        write_recording(
            recipe_of(seed, height=24, width=32, duration=0.3, planes=2, exact_hz=0), tmp_path / f"d/{split}/s{seed}"
        )
    known = tmp_path / "d/train/s3/flow/forward/000004.png"
    flow, valid = read_flow_png(known)
    valid[:, 10:] = False  # one sample knows fewer pixels than the other
    write_flow_png(known, flow, valid)
    words = ("--data", "sim_flow_small", "--data.name", "d", "--data.cache", "null", "--data.warm_up", "5",
             "--data.steps", "5", "--data.batch_size", "1", "--model", "lstm_flownet", *TINY, "--seed_everything", "0",
             "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.accelerator", "cpu",
             "--model.optimizer", "torch.optim.SGD")  # fmt: skip

    def fit(name: str, lr: str, *given: str) -> dict[str, torch.Tensor]:
        asked = [*words, "--model.optimizer.init_args.lr", lr, *given, "--out", name]
        done = subprocess.run(
            [sys.executable, "-m", "eventflow", "fit", *asked], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "EVENTFLOW_DEBUG": "1"}, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]

    start, after = fit("start", "0.0"), fit("two", "1.0", "--trainer.strategy", "ddp", "--trainer.devices", "2")
    task = FlowTask(lambda channels: LSTMFlowNet(2, 2, channels=channels))
    fresh = {k: v for k, v in task.state_dict().items() if "running" in k or "tracked" in k}
    fresh = {k: v.clone() for k, v in fresh.items()}
    loaded = FlowData(
        str(tmp_path / "d"), cache=None, warm_up=5, steps=5, batch_size=1, supervise="all", seed=0
    ).clips("train")
    how = data(supervise="all").sampling
    batches = [next(iter(FlowLoader(loaded, how, batch_size=1, seed=0, rank=r, world=2))) for r in (0, 1)]
    pixels = [int(batch.valid.sum()) for batch in batches]
    assert pixels[0] != pixels[1] and min(pixels) > 0
    for batch in batches:
        task.load_state_dict({**start, **fresh})
        (task.loss(batch).total / sum(pixels)).backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
        torch.testing.assert_close(start[name] - after[name], parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_paper_s_protocol_on_dsec(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DSEC's layout, the authors' recipe and their 80/20 with the middle of the image; only the network is small."""
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    for i, name in enumerate(("zurich_city_01_a", "thun_00_a")):
        recipe = recipe_of(i, height=300, width=400, duration=1.5, planes=1, exact_hz=0)
        write_recording(recipe, tmp_path / "once")
        shutil.move(tmp_path / "once/events", tmp_path / f"dsec/train_events/{name}/events")
        shutil.move(tmp_path / "once/flow", tmp_path / f"dsec/train_optical_flow/{name}/flow")
        shutil.rmtree(tmp_path / "once")
    only(monkeypatch, {"train": ("zurich_city_01_a",), "val": ("thun_00_a",)})
    words = ("--config", "vision/dsec_lstm_flownet", "--config", "vision/dsec_80_20", *TINY, "--data.cache", "cache",
             "--trainer.max_epochs", "1", "--data.batch_size", "4", "--trainer.limit_train_batches", "2")  # fmt: skip
    answer = cli("fit", *words, "--out", "run")
    assert answer.code == 0, answer.err
    answer = cli("test", "--ckpt_path", "run")
    assert answer.code == 0, answer.err
    report = json.loads(Path("run/metrics.json").read_text())
    assert report["recordings"] == 2 and report["config"]["data"]["init_args"]["judged"] == [288, 384]
    assert "against flow composed from the maps of 10 Hz" in answer.out and report["metrics"]["epe_10hz_reset"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dsec_evflownet", "dsec_lstm_flownet", "dsec_efficient_spike_flownet", "sim_compact_flownet"]
)
def test_the_recipes_fit_their_classes(cli: Callable[..., Any], name: str) -> None:
    """Everything but the data, which is put elsewhere, and the network's size."""
    words = (*SHORT[2:], "--data.crop", "[16, 16]", *TINY, "--trainer.max_epochs", "1", "--out", "run")
    answer = cli("fit", "--config", f"vision/{name}", *words)
    assert answer.code == 0, answer.err
