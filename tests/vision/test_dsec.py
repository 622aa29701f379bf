"""The reader of DSEC's layout, on simulated folders of that layout; and the command that writes them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.ops import event_count, voxel_grid
from eventflow.vision import Camera, DsecSequence, Recipe, Scene, VoxelGrid, random_scene, simulate, write_recording

H, W = 48, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dsec") / "seq"
    camera = Camera(distortion=-0.04)
    write_recording(Recipe(random_scene(7, height=H, width=W, speed=200), camera, duration=0.31), path)
    return path


def test_every_item_has_the_events_and_the_flow_of_its_interval(folder) -> None:
    sequence, scene = DsecSequence(folder), Scene.load(folder / "scene.json")
    everything = simulate(scene, Camera(distortion=-0.04), duration=0.31)
    assert len(sequence) == 3
    for i, item in enumerate(sequence):
        want = everything.slice(i * 100_000, (i + 1) * 100_000)
        np.testing.assert_array_equal(item.events.t - item.start, want.t - i * 100_000)
        for name in "xyp":
            np.testing.assert_array_equal(item.events.marks[name], want.marks[name])
        assert item.end - item.start == 100_000 and item.events.schema.height == H
        flow, _ = scene.flow(i * 0.1, (i + 1) * 0.1)
        assert np.abs(item.flow - flow)[item.valid].max() < 0.005


def test_rectification_brings_events_to_where_the_flow_is(folder) -> None:
    """Warped by the exact flow, events at rectified positions are sharper than at raw ones."""
    sequence, scene = DsecSequence(folder), Scene.load(folder / "scene.json")
    table, item = sequence.rectify_map(), sequence[0]
    t = (item.events.t - item.start) * 1e-6
    x, y = item.events.marks["x"], item.events.marks["y"]

    def sharpness(u, v):
        warped = np.stack([u, v], -1)
        for k in np.unique((t * 1000).astype(int)):
            now = (t * 1000).astype(int) == k
            warped[now] += scene.flow(t[now].mean(), 0.05, u[now], v[now])[0]
        image = event_count(t, *warped.T, item.events.marks["p"], bins=1, height=H, width=W, interpolation="bilinear")[
            0
        ]
        return (image[0] - image[1])[6:-6, 6:-6].var()

    rectified = table[y, x].astype(float)
    assert sharpness(rectified[:, 0], rectified[:, 1]) > 1.1 * sharpness(x.astype(float), y.astype(float))
    grid = VoxelGrid(bins=5, height=H, width=W, interpolation="trilinear", rectify=table)(item.events)
    span = (item.start, item.end)
    c = item.events.t, x, y, item.events.marks["p"]
    how = {"bins": 5, "height": H, "width": W, "interpolation": "trilinear", "span": span}
    np.testing.assert_allclose(grid, voxel_grid(*c, rectify=table, **how), atol=2e-5)
    np.testing.assert_allclose(grid, voxel_grid(c[0], *rectified.T, c[3], **how), atol=2e-5)


def test_what_is_missing_is_named(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="events.h5: no such file"):
        DsecSequence(tmp_path)
    shutil.copytree(folder, tmp_path / "seq")
    (tmp_path / "seq/flow/forward/000004.png").unlink()
    with pytest.raises(InputError, match="2 maps and 3 lines"):
        DsecSequence(tmp_path / "seq")
    apart = DsecSequence(tmp_path / "seq", flow=folder / "flow")
    assert len(apart) == 3


def test_the_command_writes_it(tmp_path, capsys) -> None:
    from eventflow.cli import main

    words = "--duration 0.12 --height 32 --width 40 --speed 100 --planes 2".split()
    assert main(["data", "simulate", "sim_flow", str(tmp_path / "out"), *words]) == 0
    assert "1 flow maps at 10 Hz and 3 at 100 Hz" in capsys.readouterr().out
    assert len(DsecSequence(tmp_path / "out")[0].events.t) > 100
    assert main(["data", "simulate", "sim_flow", str(tmp_path / "out"), *words]) == 2
    assert "something already" in capsys.readouterr().err
