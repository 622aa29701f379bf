"""The simulator: pixels, exact flow, noise, and the folder that it writes."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.ops import event_count
from eventflow.vision import (
    Camera,
    Motion,
    Plane,
    Recipe,
    Scene,
    encode_flow,
    random_scene,
    read_flow_png,
    simulate,
    simulate_chunks,
    write_flow_png,
    write_recording,
)
from eventflow.vision._pixels import homographies
from eventflow.vision._scene import motion_table, pixel_grid
from eventflow.vision._simulator import seen

H, W = 96, 128


def pixel(x, y):
    return np.asarray(y, np.int64) * W + np.asarray(x, np.int64)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return random_scene(1, height=H, width=W, speed=300)


@pytest.mark.parametrize(
    "camera", [Camera(), Camera(leak_hz=20.0), Camera(refractory_us=300.0), Camera(distortion=0.1)]
)
def test_log_intensity_never_leaves_the_threshold_about_the_reference(scene, camera) -> None:
    rng = np.random.default_rng(camera.seed)
    up, down = (np.clip(rng.normal(0.2, 0.02, (H, W)), 0.05, None) for _ in range(2))
    count, last = 0, -1.0
    for chunk in simulate_chunks(scene, camera, duration=0.05):
        gap = chunk.image - chunk.reference
        assert (gap < up + 1e-9).all() and (gap > -down - 1e-9).all()
        assert (np.diff(chunk.when) >= 0).all()
        assert not len(chunk.when) or (last <= chunk.when[0] and chunk.when[-1] <= chunk.end)
        last, count = chunk.end, count + len(chunk.t)
    assert count > 2000


def test_events_are_the_crossings_of_a_signal_that_is_known() -> None:
    """Without motion nothing fires; a pixel's events add up to what it has seen change, threshold by threshold."""
    assert simulate(Scene((Plane(),), H, W), duration=0.02).num_events == 0
    scene = Scene((Plane(Motion(velocity=(400.0, 0.0))),), H, W)
    parts = list(simulate_chunks(scene, Camera(threshold_noise=0.0), duration=0.03))
    first = next(iter(simulate_chunks(scene, duration=1e-9))).image
    steps = np.zeros(H * W)
    for c in parts:
        np.add.at(steps, pixel(c.x, c.y), 2.0 * c.p - 1)
    np.testing.assert_allclose(parts[-1].reference, first + 0.2 * steps.reshape(H, W), atol=1e-6)


def test_halving_the_step_moves_times_by_less_than_a_microsecond(scene) -> None:
    def run(step):
        parts = list(simulate_chunks(scene, duration=0.03, max_step=step))
        where = np.concatenate([pixel(c.x, c.y) for c in parts])
        when = np.concatenate([c.when for c in parts])
        return np.lexsort((when, where)), where, when

    (o1, w1, t1), (o2, w2, t2) = run(0.25), run(0.125)
    same = np.bincount(w1, minlength=H * W) == np.bincount(w2, minlength=H * W)
    assert same.mean() > 0.99
    moved = np.abs(t1[o1][same[w1[o1]]] - t2[o2][same[w2[o2]]])
    assert len(moved) > 3000 and np.median(moved) < 1.0


def test_exact_flow_sharpens_the_image_of_warped_events(scene) -> None:
    events = simulate(scene, Camera(), duration=0.04)
    t, x, y = events.t * 1e-6, events.marks["x"].astype(float), events.marks["y"].astype(float)
    warped = np.stack([x, y], -1)
    for k in np.unique(events.t // 500):
        now = events.t // 500 == k
        warped[now] += scene.flow(t[now].mean(), 0.02, x[now], y[now])[0]

    def sharpness(u, v):
        image = event_count(events.t, u, v, np.ones(len(u)), bins=1, height=H, width=W, interpolation="bilinear").sum(
            (0, 1)
        )
        return image[10:-10, 10:-10].var()

    backwards = 2 * np.stack([x, y], -1) - warped
    assert sharpness(*warped.T) > 1.5 * sharpness(x, y) > 1.5 * sharpness(*backwards.T) * 0.9


def test_flow_is_that_of_the_nearest_plane_and_composes() -> None:
    still = Plane(Motion())
    patch = Plane(Motion(velocity=(-100.0, 50.0)), radii=(20.0, 15.0))
    scene = Scene((still, patch), H, W)
    flow, visible = scene.flow(0.0, 0.1)
    layer = scene.layer(0.0)
    assert 0.05 < layer.mean() < 0.15
    # the texture passes by at (-100, 50) px/s: the patch itself, and its picture, move the other way
    np.testing.assert_allclose(flow[layer == 1], np.tile([10.0, -5.0], (layer.sum(), 1)), atol=1e-9)
    assert np.abs(flow[layer == 0]).max() == 0
    hidden = (layer == 0) & ~visible
    np.testing.assert_array_equal(hidden, (layer == 0) & (scene.layer(0.1) == 1))
    assert hidden.sum() > 20
    tilted = random_scene(4, height=H, width=W, planes=1)
    x, y = np.array([10.0, 100.5]), np.array([80.25, 3.0])
    there, _ = tilted.flow(0.2, 0.5, x, y)
    back, _ = tilted.flow(0.5, 0.2, x + there[:, 0], y + there[:, 1])
    np.testing.assert_allclose(there + back, 0, atol=1e-9)
    half, _ = tilted.flow(0.2, 0.3, x, y)
    rest, _ = tilted.flow(0.3, 0.5, x + half[:, 0], y + half[:, 1])
    np.testing.assert_allclose(half + rest, there, atol=1e-9)


def test_a_near_plane_hides_the_far_one() -> None:
    """Inside the patch the image and the events are those of the patch alone, outside it those of the background."""
    far = Plane(Motion(velocity=(-200.0, 30.0)), seed=3)
    near = Plane(Motion(velocity=(120.0, 0.0), spin=0.3), seed=4, radii=(25.0, 18.0))
    both, lone = Scene((far, near), H, W), Scene((far,), H, W)
    patch = Scene((Plane(near.motion, seed=4),), H, W)
    inside = np.all([both.coverage(1, t, *pixel_grid(H, W)) == 1 for t in np.linspace(0, 0.02, 9)], 0)
    outside = np.all([both.coverage(1, t, *pixel_grid(H, W)) == 0 for t in np.linspace(0, 0.02, 9)], 0)
    assert inside.sum() > 500 and outside.sum() > 5000

    def seen(scene, where):
        *_, last = simulate_chunks(scene, duration=0.02)
        events = simulate(scene, duration=0.02)
        keep = where[events.marks["y"], events.marks["x"]]
        return last.image[where], events.t[keep], pixel(events.marks["x"], events.marks["y"])[keep]

    for hidden, where in ((patch, inside), (lone, outside)):
        (image, t, place), (want, want_t, want_place) = seen(both, where), seen(hidden, where)
        np.testing.assert_allclose(image, want, atol=1e-9)
        assert len(t) > 200 and abs(len(t) / len(want_t) - 1) < 0.01  # the steps of the two scenes differ
        assert np.abs(np.bincount(place, minlength=H * W) - np.bincount(want_place, minlength=H * W)).sum() < 20


@pytest.mark.parametrize("distortion", [0.0, 0.1, -0.1])
def test_the_compiled_retina_sees_what_the_scene_says(distortion) -> None:
    """Its homographies are the definition's, and what it leaves out of a row (boxes) is nothing."""
    for seed in range(4):
        scene, camera = random_scene(seed, height=H, width=W, planes=4), Camera(distortion=distortion)
        place = np.moveaxis(camera.rectify_map(H, W).astype(float), -1, 0)
        for k, chunk in enumerate(simulate_chunks(scene, camera, duration=0.005)):
            t = chunk.end * 1e-6
            lie = homographies(motion_table(scene), t, ((W - 1) / 2, (H - 1) / 2))
            np.testing.assert_allclose(lie, [scene.homography(k, t) for k in range(4)], atol=1e-9)
            if k % 3 == 0:
                np.testing.assert_allclose(chunk.image, seen(scene, t, np.ascontiguousarray(place)), atol=1e-9)


def test_threads_change_nothing(scene) -> None:
    camera = Camera(leak_hz=5.0, refractory_us=200.0, shot_noise_hz=20.0)
    one, three = (simulate(scene, camera, duration=0.02, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.t, three.t)
    for name in "xyp":
        np.testing.assert_array_equal(one.marks[name], three.marks[name])


def test_a_burst_larger_than_any_room_is_kept() -> None:
    """A contrast of 40 thresholds at every pixel within one step."""
    scene = Scene((Plane(Motion(velocity=(3000.0, 0.0)), contrast=8.0),), 64, 80)
    parts = list(simulate_chunks(scene, Camera(threshold_noise=0.0), duration=0.004, max_step=20.0))
    steps = np.zeros(64 * 80)
    for c in parts:
        np.add.at(steps, np.asarray(c.y, np.int64) * 80 + c.x, 2.0 * c.p - 1)
    first = seen(scene, 0.0, np.stack(pixel_grid(64, 80)))
    assert max(len(c.t) for c in parts) > 1 << 14
    np.testing.assert_allclose(parts[-1].reference, first + 0.2 * steps.reshape(64, 80), atol=1e-6)


def test_noise_has_the_rate_that_was_asked_for() -> None:
    still = Scene((Plane(),), H, W)
    shot = simulate(still, Camera(shot_noise_hz=5.0, seed=3), duration=0.5)
    expected = 5.0 * 0.5 * H * W
    assert abs(shot.num_events - expected) < 5 * expected**0.5
    assert abs(shot.marks["p"].mean() - 0.5) < 5 * 0.5 / expected**0.5
    leak = simulate(still, Camera(leak_hz=10.0, threshold_noise=0.0), duration=0.55)
    assert leak.marks["p"].all() and leak.num_events == 5 * H * W
    hot = simulate(still, Camera(hot_pixels=3, hot_hz=1000.0), duration=0.5)
    assert len(np.unique(pixel(hot.marks["x"], hot.marks["y"]))) == 3 and abs(hot.num_events - 1500) < 5 * 1500**0.5


def test_the_refractory_time_separates_a_pixels_events(scene) -> None:
    events = simulate(scene, Camera(refractory_us=4000.0), duration=0.05)
    ideal = simulate(scene, duration=0.05)
    where = pixel(events.marks["x"], events.marks["y"])
    order = np.lexsort((events.t, where))
    gaps = np.diff(events.t[order])[np.diff(where[order]) == 0]
    assert gaps.min() >= 3999 and events.num_events < 0.9 * ideal.num_events


def test_the_same_seed_gives_the_same_events(scene) -> None:
    a, b = (simulate(scene, Camera(shot_noise_hz=3.0, seed=8), duration=0.01) for _ in range(2))
    np.testing.assert_array_equal(a.t, b.t)
    np.testing.assert_array_equal(a.marks["x"], b.marks["x"])
    assert a.schema.unit == "us" and a.span.tolist() == [[0, 10_000]]


def test_the_folder_is_laid_out_as_dsec(tmp_path, scene) -> None:
    recipe = Recipe(scene, Camera(distortion=0.05), duration=0.32)
    out = tmp_path / "seq"
    count = write_recording(recipe, out)
    with h5py.File(out / "events/left/events.h5") as file:
        t, index = file["events/t"][:], file["ms_to_idx"][:]
        assert len(t) == count and t.dtype == np.uint32 and file["events/x"].dtype == np.uint16
        assert int(file["t_offset"][()]) == recipe.t_offset
        for ms in range(len(index)):
            assert (t[index[ms] :] >= ms * 1000).all() and (t[: index[ms]] < ms * 1000).all()
        assert len(index) == 321
    with h5py.File(out / "events/left/rectify_map.h5") as file:
        np.testing.assert_array_equal(file["rectify_map"][:], recipe.camera.rectify_map(H, W))
    times = np.loadtxt(out / "flow/forward_timestamps.txt", delimiter=",", dtype=np.int64)
    maps = sorted((out / "flow/forward").glob("*.png"))
    assert [m.name for m in maps] == ["000002.png", "000004.png", "000006.png"] and times.shape == (3, 2)
    for path, (start, end) in zip(maps, times - recipe.t_offset, strict=True):
        flow, valid = read_flow_png(path)
        want, _ = Scene.load(out / "scene.json").flow(start * 1e-6, end * 1e-6)
        assert valid.all() and np.abs(flow - want).max() <= 0.5 / 128 + 1e-6
    with h5py.File(out / "flow/exact.h5") as file:
        assert file["flow"].shape == (23, H, W, 2) and (np.diff(file["from_us"][:]) == 10_000).all()
        want, visible = scene.flow(0.01, 0.11)
        np.testing.assert_allclose(file["flow"][1], want, atol=1e-4)
        np.testing.assert_array_equal(file["visible"][1], visible)
    assert json.loads((out / "scene.json").read_text())["height"] == H
    assert [p.name for p in tmp_path.iterdir()] == ["seq"]


def test_png_of_every_filter_and_what_is_broken(tmp_path) -> None:
    rng = np.random.default_rng(0)
    flow = rng.uniform(-250, 250, (11, 7, 2))
    valid = rng.random((11, 7)) < 0.7
    path = tmp_path / "flow.png"
    write_flow_png(path, flow, valid)
    got, kept = read_flow_png(path)
    np.testing.assert_array_equal(kept, valid)
    np.testing.assert_allclose(got[valid], flow[valid], atol=0.5 / 128)
    assert path.read_bytes()[24] == 16  # bits per channel
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        read_flow_png(path)
    path.write_bytes(b"GIF89a..")
    with pytest.raises(InputError, match="not a PNG"):
        read_flow_png(path)
    with pytest.raises(InputError, match="16 bits hold"):
        encode_flow(np.full((2, 2, 2), 300.0), np.ones((2, 2)))


def test_png_filters_agree_with_pillow_on_the_high_bytes(tmp_path) -> None:
    """Pillow reads the high byte of each channel: an independent decoder, and an independent encoder of filters."""
    image_module = pytest.importorskip("PIL.Image")
    from eventflow.vision._png16 import read_png16, write_png16

    x, y = np.meshgrid(np.arange(40), np.arange(30))
    image = np.stack([x * 1500, y * 2000, (x * y) % 65536], -1).astype(np.uint16)
    write_png16(tmp_path / "a.png", image)
    with image_module.open(tmp_path / "a.png") as seen:
        np.testing.assert_array_equal(np.asarray(seen.convert("RGB")), image >> 8)
    np.testing.assert_array_equal(read_png16(tmp_path / "a.png"), image)


@pytest.mark.parametrize("kind", range(5))
def test_each_png_filter_is_undone(kind) -> None:
    from eventflow.vision._unfilter import unfilter

    rng = np.random.default_rng(kind)
    rows = rng.integers(0, 256, (6, 24)).astype(np.int64)
    lines = np.zeros((6, 25), np.uint8)
    lines[:, 0] = kind
    for r in range(6):
        for k in range(24):
            a, b = rows[r, k - 6] if k >= 6 else 0, rows[r - 1, k] if r else 0
            c = rows[r - 1, k - 6] if r and k >= 6 else 0
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            lines[r, k + 1] = (rows[r, k] - [0, a, b, (a + b) // 2, near][kind]) % 256
    np.testing.assert_array_equal(unfilter(lines), rows)


def test_mistakes_are_named(tmp_path, scene) -> None:
    with pytest.raises(InputError, match="first plane is the background"):
        Scene((Plane(radii=(3.0, 3.0)),), H, W)
    with pytest.raises(InputError, match="expected positive"):
        simulate(scene, duration=0.0)
    with pytest.raises(InputError, match="divisor"):
        Recipe(scene, exact_hz=7)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(InputError, match="something already"):
        write_recording(Recipe(scene), tmp_path / "full")
    (tmp_path / "scene.json").write_text("{}")
    with pytest.raises(InputError, match="not a scene"):
        Scene.load(tmp_path / "scene.json")
