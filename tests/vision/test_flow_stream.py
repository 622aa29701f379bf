"""A flow network run live: a recording's fields are those of all of it at once; killed and resumed; from a camera."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eventflow._assets import ROOT
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import open_recording, open_sink, write_events
from eventflow.io.live._stream import CameraStream
from eventflow.ops import event_count, voxel_grid
from eventflow.vision import CompactFlowNet, EVFlowNet, FlowNetwork, flow_colours, load_flow, save_flow
from eventflow.vision._flow_picture import Scale, side_by_side, wheel
from eventflow.vision._flow_sinks import open_fields
from eventflow.vision._flow_stream import FlowStreamOptions, FlowSummary, run_flow

H, W, STEPS = 20, 28, 13  # no multiples of 8: padded
SCHEMA = Schema(unit="us", height=H, width=W)


def events(length: int, *, seed: int = 0, rate: int = 40, start: int = 5_000) -> dict[str, Any]:
    """``rate`` events a step on average, and none in the fourth step."""
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, length * 10_000, rate * length))
    t = t[t // 10_000 != 3]
    columns = {"x": draw.integers(0, W, len(t)), "y": draw.integers(0, H, len(t)), "p": draw.integers(0, 2, len(t))}
    return {"t": t + start, **{k: v.astype(np.uint16 if k != "p" else np.uint8) for k, v in columns.items()}}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "rec.h5"
    span = (5_000, 5_000 + STEPS * 10_000 + 1_000)
    write_events(Events.from_sequences([events(STEPS)], span=span, schema=SCHEMA), path)
    return path


def checkpoint(folder: Path, *, representation: str = "count", kind: Any = CompactFlowNet, bins: int = 10) -> Path:
    torch.manual_seed(0)
    options = {"bins": bins} if kind is EVFlowNet else {}
    network: FlowNetwork = kind(8, 3, channels=2 if representation == "count" else 1, **options)
    for name, weight in network.named_parameters():
        weight.data *= 100 if "heads" in name else 1  # flows of some pixels
    path = folder / "flow.ckpt"
    save_flow(network, path, schema=SCHEMA, bins=bins, representation=representation)
    return path


def streamed(path: Path, source: Path, sink: str, **given: Any) -> FlowSummary:
    """As ``eventflow stream`` does it; ``stop_after``: steps."""
    stop_after = given.pop("stop_after", None)
    options = FlowStreamOptions(snapshot=given.pop("snapshot", None), every=100)
    fields = open_fields(sink, rate=100, resumable=options.snapshot is not None)
    asked = iter(range(1 << 30))
    stop = (lambda: False) if stop_after is None else (lambda: next(asked) + 1 >= stop_after)
    try:
        return run_flow(load_flow(path), open_recording(source), fields, options, stop=stop, **given)
    finally:
        fields.close()


def at_once(path: Path, *, bins: int = 10) -> np.ndarray:
    """The flows by the network that was saved, of the whole recording at once."""
    loaded, e = load_flow(path), events(STEPS)
    total = STEPS * bins // 10
    e = {k: v[e["t"] < 5_000 + STEPS * 10_000] for k, v in e.items()}
    if loaded.representation == "count":
        span = (5_000, 5_000 + STEPS * 10_000)
        grid = event_count(*e.values(), bins=total, height=H, width=W, span=span, backend="naive")
    else:
        span = (5_000, 5_000 + STEPS * 10_000)
        grid = voxel_grid(*e.values(), bins=total + 1, height=H, width=W, span=span, backend="naive")[:-1, None]
    x = torch.nn.functional.pad(torch.from_numpy(grid), (0, 32 - W, 0, 24 - H))
    with torch.no_grad():
        return loaded.network.scan(x[None])[0][0, :, :, :H, :W].numpy()


@pytest.mark.parametrize("representation", ["count", "voxel"])
def test_a_stream_gives_the_fields_of_the_whole_recording(tmp_path: Path, recording: Path, representation: str) -> None:
    path = checkpoint(tmp_path, representation=representation)
    summary = streamed(path, recording, str(tmp_path / "flow.npz"))
    want = at_once(path)
    with np.load(tmp_path / "flow.npz") as got:
        assert set(got) == {"t", "events", "flow", "interval"} and int(got["interval"]) == 100_000
        np.testing.assert_array_equal(got["t"], 5_000 + 10_000 * np.arange(1, STEPS + 1))
        np.testing.assert_allclose(got["flow"], want, rtol=1e-4, atol=1e-4)
        seen = events(STEPS)["t"]
        np.testing.assert_array_equal(got["events"], np.bincount((seen - 5_000) // 10_000, minlength=STEPS))
        assert got["events"][3] == 0 and got["flow"].std() > 0.05
    assert summary.fields == summary.counters.steps == STEPS and summary.ended and summary.behind is None
    assert not list(tmp_path.glob("*.part"))


def test_steps_of_a_rate_that_does_not_divide_100_ms(tmp_path: Path, recording: Path) -> None:
    path = checkpoint(tmp_path, bins=30)  # 300 Hz
    streamed(path, recording, str(tmp_path / "flow.npz"))
    want = at_once(path, bins=30)
    with np.load(tmp_path / "flow.npz") as got:
        np.testing.assert_allclose(got["flow"][: len(want)], want, rtol=1e-4, atol=1e-4)
        assert set(np.diff(got["t"])) == {3333, 3334}


@pytest.mark.parametrize("sink", ["flow.npz", "flow.jsonl"])
@pytest.mark.parametrize("kind", [CompactFlowNet, EVFlowNet])
def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path, recording: Path, sink: str, kind: Any) -> None:
    path = checkpoint(tmp_path, kind=kind)
    streamed(path, recording, str(tmp_path / f"whole-{sink}"))
    out, folder = tmp_path / sink, tmp_path / "state"
    notes: list[str] = []
    first = streamed(path, recording, str(out), snapshot=folder, stop_after=5)
    assert not first.ended and first.fields == 5
    with out.open("ab") if sink == "flow.jsonl" else out.with_name("flow.npz.part").open("ab") as torn:
        torn.write(b"torn by a crash")  # behind the snapshot
    second = streamed(path, recording, str(out), snapshot=folder, stop_after=4, note=notes.append)
    third = streamed(path, recording, str(out), snapshot=folder)
    assert second.fields == 4 and third.fields == STEPS - 9 and third.ended and notes == ["resumed behind 5 fields"]
    if sink == "flow.npz":
        with np.load(out) as got, np.load(tmp_path / "whole-flow.npz") as want:
            for name in want:
                np.testing.assert_array_equal(got[name], want[name])
    else:
        assert out.read_bytes() == (tmp_path / "whole-flow.jsonl").read_bytes()
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(lines) == STEPS and lines[3]["flow"] is None and lines[3]["events"] == 0
        assert all(line["top"] >= 0 for line in lines)


def test_another_checkpoint_does_not_go_on(tmp_path: Path, recording: Path) -> None:
    path, folder = checkpoint(tmp_path), tmp_path / "state"
    streamed(path, recording, str(tmp_path / "a.npz"), snapshot=folder, stop_after=2)
    torch.manual_seed(1)
    save_flow(CompactFlowNet(8, 3), path, schema=SCHEMA, bins=10)
    with pytest.raises(InputError, match="another checkpoint"):
        streamed(path, recording, str(tmp_path / "a.npz"), snapshot=folder)


def test_a_camera_gets_a_field_every_step(tmp_path: Path) -> None:
    """Events at their own pace, a pause without any, events again; silence ends it."""
    path, sent = checkpoint(tmp_path), events(12)
    camera = open_recording(f"udp://127.0.0.1:0?format=t64&width={W}&height={H}&idle=0.3")
    assert isinstance(camera, CameraStream)
    host, port = camera.address
    schedule = Events.from_sequences([sent], schema=SCHEMA)

    def send() -> None:
        time.sleep(0.3)  # the network warms up
        out = open_sink(f"udp://{host}:{port}?format=t64")
        begin = time.monotonic()
        for i in range(24):  # in pieces of 5 ms
            part = schedule.slice(5_000 + 5_000 * i, 10_000 + 5_000 * i)
            time.sleep(max(0.0, begin + 0.005 * (i + 1) - time.monotonic()))
            if part.num_events:
                out.send(part)  # type: ignore[attr-defined]
        out.close()

    sender = threading.Thread(target=send)
    fields = open_fields(str(tmp_path / "flow.npz"), rate=100, resumable=False)
    sender.start()
    options = FlowStreamOptions(max_lag=30.0)  # none is left out, however busy the machine
    summary = run_flow(load_flow(path), camera, fields, options)
    sender.join()
    camera.close()
    fields.close()
    with np.load(tmp_path / "flow.npz") as got:
        assert (np.diff(got["t"]) == 10_000).all() and got["t"][0] == int(sent["t"][0]) + 10_000
        assert got["events"].sum() + summary.counters.late == len(sent["t"]) and len(got["t"]) >= 12
    assert summary.behind is not None and 0 < summary.behind[0] and not summary.lost


def test_fields_that_would_be_late_are_left_out_and_told(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    camera = open_recording(f"udp://127.0.0.1:0?format=t64&width={W}&height={H}&idle=0.2")
    assert isinstance(camera, CameraStream)
    host, port = camera.address
    fields = open_fields(str(tmp_path / "flow.jsonl"), rate=100, resumable=False)
    out = open_sink(f"udp://{host}:{port}?format=t64")
    out.send(Events.from_sequences([events(6)], schema=SCHEMA))  # type: ignore[attr-defined]
    out.close()
    summary = run_flow(load_flow(path), camera, fields, FlowStreamOptions(max_lag=1e-9))
    camera.close()
    assert summary.counters.skipped == summary.counters.steps >= 5 and summary.fields == 0


def test_the_command(tmp_path: Path, recording: Path, cli: Any) -> None:
    pytest.importorskip("PIL.Image")
    path = checkpoint(tmp_path)
    answer = cli("stream", "--checkpoint", path, "--source", recording, "--sink", tmp_path / "f.jsonl",
                 "--view_to", tmp_path / "pictures")  # fmt: skip
    assert answer.code == 0, answer.err
    assert f"{STEPS}  fields to" in answer.err and "bytes of state" in answer.err
    assert len((tmp_path / "f.jsonl").read_text().splitlines()) == STEPS
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert [int(p.stem) for p in pictures] == [15_000, 115_000]  # ten a second


def test_another_sensor_is_told_and_run(tmp_path: Path, cli: Any) -> None:
    other = ROOT / "datasets/sim_flow/sample/train/seed_0000/events/left/events.h5"
    answer = cli("stream", "--checkpoint", checkpoint(tmp_path), "--source", other, "--sink", tmp_path / "f.npz")
    assert answer.code == 0, answer.err
    assert answer.err.count("a sensor of 24x32 (height x width); the checkpoint was trained on 20x28") == 1
    with np.load(tmp_path / "f.npz") as got:
        assert got["flow"].shape == (20, 2, 24, 32)


def test_gifs_to_look_at(tmp_path: Path, recording: Path, cli: Any) -> None:
    """As a sink and beside one: events, flow and the wheel, ten a second."""
    image = pytest.importorskip("PIL.Image")
    words = ("--checkpoint", checkpoint(tmp_path), "--source", recording)
    answer = cli("stream", *words, "--sink", tmp_path / "a.gif", "--view_to", tmp_path / "b.gif")
    assert answer.code == 0, answer.err
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    film, scale = image.open(tmp_path / "a.gif"), Scale()
    assert film.n_frames == 2 and film.info["loop"] == 0 and not list(tmp_path.glob(".*"))
    for i, flow in enumerate(at_once(tmp_path / "flow.ckpt")[::10]):
        film.seek(i)
        seen = np.asarray(film.convert("RGB"), int)
        want = flow_colours(flow, largest=scale.follow(flow)).astype(int)
        assert film.info["duration"] == 100 and seen.shape == (H, 2 * W + 2, 3)
        assert np.abs(seen[:, W + 2 :] - want).mean() < 12, "a palette of 256 colours"


def test_a_film(tmp_path: Path, recording: Path, cli: Any) -> None:
    imageio = pytest.importorskip("imageio")
    pytest.importorskip("imageio_ffmpeg")
    answer = cli("stream", "--checkpoint", checkpoint(tmp_path), "--source", recording, "--sink", tmp_path / "f.mp4")
    assert answer.code == 0, answer.err
    frames = [frame for frame in imageio.get_reader(tmp_path / "f.mp4", format="FFMPEG")]  # noqa: C416
    assert len(frames) == 4 and frames[0].shape == (H, 2 * W + 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["flow.npz", "flow.jsonl"])
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path, sink: str) -> None:
    """`kill -9` in the middle, wherever that is; twice."""
    length = 3_000
    source, path = tmp_path / "long.h5", checkpoint(tmp_path)
    long = events(length, rate=400)
    write_events(Events.from_sequences([long], span=(5_000, 5_000 + length * 10_000), schema=SCHEMA), source)
    command = [sys.executable, "-m", "eventflow", "stream", "--checkpoint", path, "--source", source, "--sink", sink]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command[:-1], f"whole-{sink}"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    resumable = [*command, "--snapshot", "state", "--every", "20000"]
    growing = tmp_path / (sink if sink.endswith("jsonl") else f"{sink}.part")
    for share in (1, 2):
        size, killed = (2 * H * W * 4 + 16 if sink.endswith("npz") else 60) * share * length // 3, False
        child = subprocess.Popen(resumable, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        while child.poll() is None and not killed:
            if growing.is_file() and growing.stat().st_size > size:
                child.send_signal(signal.SIGKILL)
                killed = True
            time.sleep(0.002)
        assert child.wait() == -signal.SIGKILL and not (tmp_path / "flow.npz").exists()
    done = subprocess.run(resumable, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "resumed behind" in done.stderr
    if sink.endswith("jsonl"):
        assert growing.read_bytes() == (tmp_path / f"whole-{sink}").read_bytes()
        return
    with np.load(tmp_path / sink) as got, np.load(tmp_path / f"whole-{sink}") as want:
        assert len(want["t"]) == length
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.slow
def test_ten_thousand_steps_take_no_more_memory_than_a_thousand(tmp_path: Path) -> None:
    length, source, path = 10_000, tmp_path / "long.h5", checkpoint(tmp_path)
    write_events(Events.from_sequences([events(length)], span=(5_000, 5_000 + length * 10_000), schema=SCHEMA), source)
    held: list[int] = []

    class Watch:
        what = "memory"

        def show(self, field: Any) -> None:
            if field.t in (5_000 + 1_000 * 10_000, 5_000 + length * 10_000):
                held.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())

        def close(self) -> None: ...

    summary = streamed(path, source, str(tmp_path / "f.jsonl"), view=Watch())
    assert summary.fields == length
    assert held[1] - held[0] < 0.01 * 9_000 * summary.state_bytes, "a state kept at one step of a hundred"


@pytest.mark.slow
def test_a_file_for_rerun(tmp_path: Path, recording: Path, cli: Any) -> None:
    pytest.importorskip("rerun")
    answer = cli("stream", "--checkpoint", checkpoint(tmp_path), "--source", recording, "--sink", tmp_path / "f.npz",
                 "--view_to", tmp_path / "f.rrd")  # fmt: skip
    assert answer.code == 0, answer.err
    assert (tmp_path / "f.rrd").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source", "nothing.raw", "--sink", "f.npz"), r"nothing\.raw"),
        (("--source", "empty.npz", "--sink", "f.npz"), r"empty\.npz: no events, so no flow"),
        (("--source", "rec.h5", "--sink", "f.avi"), r"fields \(\.npz\), a film \(\.mp4, \.gif\)"),
        (("--source", "rec.h5", "--sink", "none/f.npz"), r"the folder none does not exist"),
        (("--source", "rec.h5", "--sink", "f.mp4", "--snapshot", "s"), r"a film cannot be gone on with"),
        (("--source", "rec.h5", "--sink", "f.npz", "--start", "3"), r"--start is for models of events"),
        (("--source", "rec.h5", "--sink", "f.npz", "--view_to", "rec.h5"), r"is a file; expected a folder"),
        (("--source", "rec.h5", "--sink", "f.npz", "--view_to", "none/f.gif"), r"the folder none does not exist"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    tmp_path: Path, recording: Path, cli: Any, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path)
    none = Events.from_sequences([{k: v[:0] for k, v in events(1).items()}], span=(0, 50_000), schema=SCHEMA)
    write_events(none, Path("empty.npz"))
    before = {path.name for path in tmp_path.iterdir()}
    answer = cli("stream", "--checkpoint", "flow.ckpt", *words)
    assert answer.code == 2 and answer.err.count("eventflow:") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(answer.err)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"s"}


def test_a_recording_that_breaks_off_leaves_nothing_behind(tmp_path: Path, cli: Any) -> None:
    path, source = checkpoint(tmp_path), tmp_path / "rec.raw"
    write_events(Events.from_sequences([events(STEPS)], schema=SCHEMA), source)
    source.write_bytes(source.read_bytes()[:-1])
    before = set(tmp_path.iterdir())
    answer = cli("stream", "--checkpoint", path, "--source", source, "--sink", tmp_path / "f.npz")
    assert answer.code == 2 and answer.err.count("eventflow:") == 1 and "cut off" in answer.err
    assert set(tmp_path.iterdir()) == before


def test_what_is_shorter_than_a_step_or_has_no_size_is_told(tmp_path: Path, cli: Any) -> None:
    path, source = checkpoint(tmp_path), tmp_path / "short.npz"
    short = {name: column[:20] for name, column in events(1).items()}
    for schema, said in ((SCHEMA, "no field: "), (Schema(unit="us"), "does not say how large its sensor is: 20x28")):
        write_events(Events.from_sequences([short], span=(5_000, 14_000), schema=schema), source)
        answer = cli("stream", "--checkpoint", path, "--source", source, "--sink", tmp_path / "f.jsonl")
        assert answer.code == 0 and said in answer.err, answer.err
        assert "is shorter than a step of 10 ms" in answer.err and not (tmp_path / "f.jsonl").read_text()


def test_view_is_for_flow(tmp_path: Path, cli: Any) -> None:
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    answer = cli("stream", "--checkpoint", tmp_path / "a.ckpt", "--view")
    assert answer.code == 2 and "not one of eventflow's" in answer.err


def test_colours_are_those_of_the_wheel() -> None:
    flow = np.zeros((2, 2, 3), np.float32)
    flow[:, 0, 0], flow[:, 0, 1], flow[:, 0, 2] = (4, 0), (-4, 0), (2, 0)
    flow[:, 1, 0], flow[:, 1, 1] = (np.nan, 0), (8, 0)
    colours = flow_colours(flow, largest=4.0)
    assert colours[0].tolist() == [[255, 0, 0], [0, 255, 255], [255, 128, 128]]
    assert colours[1].tolist() == [[128, 128, 128], [255, 0, 0], [255, 255, 255]]
    assert flow_colours(flow[:, 1:, 2:], background=0.0).tolist() == [[[0, 0, 0]]]
    disc = wheel(9)
    assert disc[4, 8, 0] == 255 and disc[4, 8, 1] < 60 and disc[0, 0].tolist() == [255, 255, 255]
    picture = side_by_side(np.eye(3, dtype=np.float32)[None].repeat(2, 0)[:1], np.zeros((2, 3, 3)), largest=1.0)
    assert picture.shape == (4, 8, 3) and picture[0, 0].tolist() == [214, 69, 45] and (picture[:, 5:] == 255).all()
    with pytest.raises(InputError, match=r"expected \(2, height, width\)"):
        flow_colours(np.zeros((3, 3, 2)))
