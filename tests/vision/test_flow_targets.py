"""Targets of 100 Hz from maps of 10 Hz; steps of event counts and their cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eventflow._assets import ROOT
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import open_recording, write_events
from eventflow.ops import event_count
from eventflow.vision import DsecSequence, load_sequences
from eventflow.vision._flow_frames import Frames, keep_all
from eventflow.vision._flow_targets import Stretch, Targets, compose_flow, stretches
from eventflow.vision._scene import Motion, Plane, Scene
from eventflow.vision._sim_flow import Recipe, write_recording
from eventflow.vision._simulator import Camera

SAMPLE = ROOT / "datasets/sim_flow/sample"


def constant(u: float, v: float, size: tuple[int, int] = (6, 8)) -> tuple[np.ndarray, np.ndarray]:
    return np.broadcast_to(np.array([u, v], np.float32), (*size, 2)).copy(), np.ones(size, bool)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> DsecSequence:
    """Half a second of one plane that travels 10 pixels in 100 ms; exact DSEC layout."""
    scene = Scene((Plane(Motion(velocity=(-100.0, 40.0)), seed=5),), 32, 48)
    out = tmp_path_factory.mktemp("dsec") / "train" / "moving"
    write_recording(Recipe(scene, Camera(), duration=0.5, exact_hz=0), out)
    return DsecSequence(out)


def test_a_composed_flow_by_hand() -> None:
    before, now = constant(2, 0), constant(0, 4)
    now[0][:, 5:] = (8, 0)
    flow, valid = compose_flow(before, now, 0.5)
    # 1 px right with the first map, then half of what the second map says one pixel further on
    assert np.array_equal(flow[0, 0], [1, 2]) and np.array_equal(flow[0, 3], [1, 2])
    assert np.array_equal(flow[0, 4], [5, 0])
    assert valid[:, :7].all() and not valid[:, 7].any(), "what leaves the image has no second look-up"
    assert np.array_equal(flow[:, 7], np.zeros((6, 2)))


def test_at_the_interval_s_end_it_is_the_map_itself() -> None:
    now = constant(3, -2)
    now[1][2, 2] = False
    nothing = constant(0, 0)[0], np.zeros((6, 8), bool)
    flow, valid = compose_flow(nothing, now, 1.0)
    assert np.array_equal(valid, now[1]) and np.array_equal(flow[valid], now[0][valid])


def test_zero_flow_is_valid_and_unknown_flow_is_not() -> None:
    before, now = constant(0, 0), constant(0, 0)
    before[1][1, 1] = now[1][2, 2] = False
    flow, valid = compose_flow(before, now, 0.3)
    assert valid.sum() == 6 * 8 - 2 and not flow.any()


def test_a_window_is_a_part_of_the_whole() -> None:
    draw = np.random.default_rng(1)
    maps = [(draw.normal(0, 3, (20, 30, 2)).astype(np.float32), draw.random((20, 30)) > 0.2) for _ in range(2)]
    window = slice(4, 15), slice(7, 30)
    whole, part = compose_flow(*maps, 0.4), compose_flow(*maps, 0.4, window=window)
    assert np.array_equal(whole[0][window], part[0]) and np.array_equal(whole[1][window], part[1])


def test_a_share_outside_the_interval_is_refused() -> None:
    with pytest.raises(InputError, match="0 < share <= 1"):
        compose_flow(constant(0, 0), constant(0, 0), 1.5)


def test_composed_flow_is_near_the_exact_one(sequence: DsecSequence) -> None:
    stretch = stretches(sequence)[0]
    composed, exact = Targets(stretch, 10), Targets(stretch, 10, kind="exact")
    assert [e for e in range(60) if composed.known(e)] == list(range(10, 51))
    for step in (10, 13, 17, 20, 44):
        (flow, valid), (truth, _) = composed.at(step), exact.at(step)
        assert valid.mean() > 0.6
        assert np.abs(flow - truth)[:, valid].max() < 0.02, "a plane that travels evenly: rounding of the PNGs only"
        assert np.hypot(*truth).mean() == pytest.approx(10.77, rel=0.01)


def test_exact_flow_of_an_unknown_scene_is_refused(sequence: DsecSequence, tmp_path: Path) -> None:
    stretch = stretches(sequence)[0]
    real = Stretch("real", open_recording(sequence.events_file), stretch.edges, stretch.maps)
    with pytest.raises(InputError, match=r"Write: --data\.targets composed"):
        Targets(real, 10, kind="exact")
    with pytest.raises(InputError, match="did you mean 'composed'"):
        Targets(stretch, 10, kind="composd")


def test_a_gap_cuts_a_sequence_with_maps_and_is_run_through_in_a_test_sequence(
    sequence: DsecSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = np.array([[0, 100], [100, 200], [700, 800], [800, 900]]) * 1000
    monkeypatch.setattr(sequence, "timestamps", stamps)
    cut = stretches(sequence)
    assert [s.maps.tolist() for s in cut] == [[0, 1], [2, 3]]
    assert [s.edges.tolist() for s in cut] == [[0, 100_000, 200_000], [700_000, 800_000, 900_000]]
    monkeypatch.setattr(sequence, "maps", None)
    (whole,) = stretches(sequence)
    assert whole.maps.tolist() == [0, 1, -1, -1, -1, -1, -1, 2, 3]
    assert np.array_equal(np.diff(whole.edges), [100_000] * 9)
    far = stamps.copy()
    far[2:] += 5_000_000
    monkeypatch.setattr(sequence, "timestamps", far)
    assert [len(s) for s in stretches(sequence)] == [2, 2]


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_steps_are_the_counts_of_their_events(sequence: DsecSequence, bins: int, tmp_path: Path) -> None:
    """At 50, 100 and 150 Hz; kept or counted each time; each event in the step in which it came."""
    stretch = stretches(sequence)[0]
    frames, kept = Frames(stretch, bins), Frames(stretch, bins, cache=tmp_path)
    kept.keep()
    assert np.array_equal(frames.read(3, 2 * bins + 1), kept.read(3, 2 * bins + 1))
    assert np.array_equal(kept.read(2, 4, slice(3, 9), slice(5, 20)), kept.read(2, 4)[:, :, 3:9, 5:20])
    step = bins + 2
    start, end = (stretch.edges[1] + (stretch.edges[2] - stretch.edges[1]) * i / bins for i in (2, 3))
    events = stretch.recording.read((start, end))
    m = events.marks
    want = event_count(events.t, m["x"], m["y"], m["p"], bins=1, height=32, width=48, backend="naive")[0]
    assert np.array_equal(frames.read(step, step + 1)[0], want) and want.sum() == len(events.t) > 50


def test_voxels_share_an_event_between_its_step_and_the_next(tmp_path: Path) -> None:
    t = np.array([35_000, 112_500], np.int64)
    events = Events.of(
        t, span=(0, 200_000), schema=Schema(unit="us", height=4, width=5), x=np.array([1, 2], np.uint16),
        y=np.array([3, 0], np.uint16), p=np.array([1, 0], np.uint8),
    )  # fmt: skip
    write_events(events, tmp_path / "two.h5", format="dsec")
    (stretch,) = stretches(open_recording(tmp_path / "two.h5"))
    grid = Frames(stretch, 10, representation="voxel").read(0, 20)
    assert grid.shape == (20, 1, 4, 5)
    assert grid[3, 0, 3, 1] == pytest.approx(0.5) and grid[4, 0, 3, 1] == pytest.approx(0.5)
    assert grid[11, 0, 0, 2] == pytest.approx(-0.75) and grid[12, 0, 0, 2] == pytest.approx(-0.25)
    assert np.abs(grid).sum() == pytest.approx(2.0)


def test_distorted_pixels_are_moved_to_where_they_look(tmp_path: Path) -> None:
    scene = Scene((Plane(Motion(velocity=(60.0, 0.0)), seed=2),), 24, 32)
    write_recording(Recipe(scene, Camera(distortion=0.1), duration=0.2, exact_hz=0), tmp_path / "bent")
    sequence = DsecSequence(tmp_path / "bent")
    frames = Frames(stretches(sequence)[0], 2)
    item = sequence[0]
    want = event_count(
        item.events.t, item.events.marks["x"], item.events.marks["y"], item.events.marks["p"], bins=2, height=24,
        width=32, span=(item.start, item.end), interpolation="bilinear", rectify=sequence.rectify_map(),
        backend="naive",
    )  # fmt: skip
    np.testing.assert_allclose(frames.read(0, 2), want, rtol=1e-5, atol=1e-6)
    assert (want % 1 > 0).any()


def test_the_size_is_said_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = load_sequences(SAMPLE)
    frames = [Frames(s, 10, cache=tmp_path) for found in parts.values() for q in found for s in stretches(q)]
    due = sum(2 * int(np.prod(f.shape)) for f in frames)
    assert keep_all(frames) == pytest.approx(due, rel=0.01)
    assert f"3 stretches at 100 Hz, once: {due / 1000:.3g} kB" in capsys.readouterr().out
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) == pytest.approx(due, rel=0.01)
    assert keep_all(frames) == 0 and capsys.readouterr().out == ""


def test_a_full_disk_is_told_before_and_a_broken_file_when_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Frames(stretches(load_sequences(SAMPLE)["train"][0])[0], 10, cache=tmp_path)
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: usage)
        with pytest.raises(InputError, match=r"1 kB are free\. Write: --data\.cache FOLDER"):
            keep_all([frames])
    assert not list(tmp_path.iterdir())
    frames.keep()
    assert frames.path is not None
    content = frames.path.read_bytes()
    frames.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"broken or truncated .* Remove it"):
        frames.read(0, 1)
    with pytest.raises(InputError, match="did you mean 'voxel'"):
        Frames(frames.stretch, 10, representation="voxl")
