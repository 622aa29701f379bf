"""Pictures and films of recordings: what is drawn where, in which colour, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import ReadWarning, read_events, write_events
from eventflow.vision import Look, data_render, random_scene, simulate
from eventflow.vision._render import COLOURS, enlarged, frame, frames

image_module = pytest.importorskip("PIL.Image")
H, W = 20, 30


def events(t, x, y, p, end=100_000) -> Events:
    return Events.of(t, x=x, y=y, p=p, span=(0, end), schema=Schema(unit="us", height=H, width=W))


@pytest.fixture
def recording(tmp_path):
    """A short simulated recording as text, t x y p."""
    ev = simulate(random_scene(0, height=H, width=W, speed=400), duration=0.05)
    lines = [f"{a / 1e6:.6f} {b} {c} {d}" for a, b, c, d in zip(ev.t, *(ev.marks[k] for k in "xyp"), strict=True)]
    path = tmp_path / "rec.txt"
    path.write_text("# t x y p\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("style", ["polarity", "surface"])
def test_signs_have_their_colours_and_silence_the_background(style, colours) -> None:
    picture = frame(events([99_999, 99_999], [3, 7], [2, 5], [1, 0]), Look(style=style, colours=colours, tau_ms=1e3))
    background, negative, positive = COLOURS[colours]
    assert picture.shape == (H, W, 3) and picture.dtype == np.uint8
    assert tuple(picture[2, 3]) == positive and tuple(picture[5, 7]) == negative
    rest = np.ones((H, W), bool)
    rest[2, 3] = rest[5, 7] = False
    assert (picture[rest] == background).all()


def test_a_surface_remembers_and_fades() -> None:
    windows = events([10_000, 60_000], [3, 7], [2, 5], [1, 1]).window(dt=50_000)
    first, second = frames(windows, Look(style="surface", colours="grey"))
    assert 128 < second[2, 3, 0] < first[2, 3, 0] < 255 and second[5, 7, 0] > second[2, 3, 0]
    assert first[5, 7, 0] == 128


def test_voxel_slices_lie_side_by_side() -> None:
    picture = frame(events([0, 99_999], [3, 7], [2, 5], [1, 0]), Look(style="voxels", bins=3, colours="grey"))
    assert picture.shape == (H, 3 * W + 4, 3)
    assert picture[2, 3, 0] == 255 and picture[5, 2 * (W + 2) + 7, 0] == 0
    assert enlarged(picture, 3).shape == (3 * H, 3 * (3 * W + 4), 3)


@pytest.mark.parametrize("style", ["polarity", "surface", "voxels"])
def test_png(recording, tmp_path, style, capsys) -> None:
    data_render(str(recording), tmp_path / "a.png", style=style, window_ms=10, scale=2)
    with image_module.open(tmp_path / "a.png") as seen:
        picture = np.asarray(seen)
    assert picture.shape[0] >= 2 * 19 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    assert "one window of 10 ms" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "rec.txt"]


def test_a_still_is_of_the_busiest_window(tmp_path, capsys) -> None:
    t = [*range(0, 90_000, 1000), *range(50_000, 52_000, 10)]
    ev = events(sorted(t), np.zeros(len(t), int), np.zeros(len(t), int), np.ones(len(t), int))
    write_events(ev, tmp_path / "rec.npz")
    data_render(str(tmp_path / "rec.npz"), tmp_path / "a.png", window_ms=4)
    assert f"{200 + 4} events" in capsys.readouterr().out


def test_gif_and_mp4_have_a_frame_for_each_window(recording, tmp_path) -> None:
    data_render(str(recording), tmp_path / "b.gif", window_ms=10, end_ms=400)
    with image_module.open(tmp_path / "b.gif") as seen:
        assert seen.n_frames <= 6  # not the silence after the last event
    data_render(str(recording), tmp_path / "a.gif", window_ms=10, fps=10, end_ms=40)
    with image_module.open(tmp_path / "a.gif") as seen:
        assert seen.n_frames in (4, 5) and seen.info["duration"] == 100
    imageio = pytest.importorskip("imageio")
    pytest.importorskip("imageio_ffmpeg")
    data_render(str(recording), tmp_path / "a.mp4", window_ms=10, scale=4)
    with imageio.get_reader(tmp_path / "a.mp4") as film:
        assert film.count_frames() in (5, 6)


def test_a_recording_that_is_cut_off_is_drawn_on_request(recording, tmp_path, capsys) -> None:
    write_events(read_events(recording), tmp_path / "whole.raw")
    cut = tmp_path / "cut.raw"
    cut.write_bytes((tmp_path / "whole.raw").read_bytes()[:-7])
    with pytest.raises(InputError, match="byte .*--recover"):
        data_render(str(cut), tmp_path / "a.png", window_ms=10)
    with pytest.warns(ReadWarning, match="reading ended at byte"):
        data_render(str(cut), tmp_path / "a.png", window_ms=10, recover=True)
    assert (tmp_path / "a.png").exists() and "one window of 10 ms" in capsys.readouterr().out
    with pytest.raises(InputError, match="header says evt3"):
        data_render(str(cut), tmp_path / "b.png", format="evt2")


def test_mistakes_are_named(recording, tmp_path) -> None:
    with pytest.raises(InputError, match="unknown kind of picture '.jpg'"):
        data_render(str(recording), tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no events from"):
        data_render(str(recording), tmp_path / "a.png", start_ms=900, end_ms=901)
    with pytest.raises(InputError, match="no folder"):
        data_render(str(recording), tmp_path / "no" / "a.png")
    with pytest.raises(InputError, match="did you mean 'surface'"):
        Look(style="surfaces")
    assert [p.name for p in tmp_path.iterdir()] == ["rec.txt"]
