"""Datasets of recordings with flow: sim_flow and its sample, DSEC's layouts, slicing in constant memory."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml

from eventflow._assets import ROOT
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import card, load_dataset, open_recording, write_events
from eventflow.vision import DsecSequence, load_sequences, simulate, write_dataset
from eventflow.vision._sim_dataset import recording_of
from eventflow.vision._sim_flow import recipe_of

SAMPLE = ROOT / "datasets" / "sim_flow" / "sample"


def test_the_sample_is_small_and_is_what_its_recipe_makes() -> None:
    assert sum(p.stat().st_size for p in SAMPLE.rglob("*") if p.is_file()) <= 50_000
    parts = load_sequences("datasets/sim_flow/sample")
    assert {split: [s.name for s in found] for split, found in parts.items()} == {
        "train": ["seed_0000"], "val": ["seed_1000"], "test": ["seed_2000"],
    }  # fmt: skip
    for sequences in parts.values():
        seq = sequences[0]
        recipe = recipe_of(int(seq.name[5:]), height=24, width=32, duration=0.1 * len(seq), planes=2, speed=60.0)
        assert recipe.scene == seq.scene
        want, got = simulate(recipe.scene, recipe.camera, duration=recipe.duration), seq.recording.read()
        assert got.num_events == want.num_events > 300
        assert np.abs(got.t - recipe.t_offset - want.t).max() <= 1  # whole us, by another machine's sines
        for item in seq:
            exact, _ = seq.exact_flow(item.start, item.end)
            assert item.flow is not None and np.abs(item.flow - exact)[item.valid].max() <= 1 / 128
            assert len(item.events.t) > 100


def test_what_follows_from_the_card() -> None:
    entry = card("sim_flow")
    names = [name for split in entry.recordings.values() for name in split]
    assert len(set(names)) == len(names) == 56
    one, two = (recording_of(entry.recipe, name) for name in ("seed_0000", "seed_2007"))
    assert one.scene != two.scene and one.camera.seed == 0 and two.camera.seed == 2007
    assert one.scene.height == entry.schema.height == 128 and one.exact_hz == 0 and one.duration == 2.0
    assert recording_of(entry.recipe, "seed_0000") == one


def test_the_whole_dataset_is_written_once(tmp_path, monkeypatch, capsys) -> None:
    plain = yaml.safe_load((ROOT / "datasets/sim_flow/card.yaml").read_text())
    plain |= {"name": "tiny", "recordings": {"train": ["seed_0000", "seed_0001"], "test": ["seed_0002"]}}
    plain["recipe"] |= {"duration": 0.1, "height": 20, "width": 24, "planes": 2}
    (tmp_path / "cards/tiny").mkdir(parents=True)
    (tmp_path / "cards/tiny/card.yaml").write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path / "data"))
    with pytest.raises(InputError, match=r'Write: python -c "') as missing:
        load_sequences(tmp_path / "cards/tiny")
    line = str(missing.value).split('python -c "')[1].split('"\n')[0]
    exec(line.replace("name=", "threads=2, name="))  # what the user is told to write
    parts = load_sequences(tmp_path / "cards/tiny")
    assert [len(found) for found in parts.values()] == [2, 1] and len(parts["test"][0][0].events.t) > 50
    (tmp_path / "data/tiny/train/.seed_0009-killed/events").mkdir(parents=True)  # a simulation that was killed
    assert [len(found) for found in load_sequences(tmp_path / "data/tiny").values()] == [2, 1]
    shutil.rmtree(tmp_path / "data/tiny/train/seed_0001")
    with pytest.raises(InputError, match="seed_0001: missing, although"):
        load_sequences(tmp_path / "cards/tiny")
    capsys.readouterr()
    write_dataset(tmp_path / "data/tiny", name=str(tmp_path / "cards/tiny"))
    assert "1 recordings simulated" in capsys.readouterr().out and len(load_sequences(tmp_path / "data/tiny")) == 2


def dsec(root: Path, split: str, name: str, form: str) -> None:
    """A simulated sequence under the names that DSEC's archives give."""
    source = SAMPLE / "train/seed_0000"
    theirs = "train" if split == "val" else split
    events, flow = {
        "archives": (f"{theirs}_events/{name}/events/left", f"{theirs}_optical_flow/{name}/flow"),
        "together": (f"{theirs}/{name}/events/left", f"{theirs}/{name}/flow"),
        "eraft": (f"{theirs}/{name}/events_left", f"{theirs}/{name}/flow"),
        "single": (f"{theirs}/{name}/{name}_events_left", f"{theirs}/{name}"),
    }[form]
    shutil.copytree(source / "events/left", root / events)
    if split == "test":
        stamps = {"archives": f"test_forward_optical_flow_timestamps/{name}.csv", "single": f"test/{name}/{name}.csv"}
        path = root / stamps.get(form, f"test/{name}/test_forward_flow_timestamps.csv")
        path.parent.mkdir(exist_ok=True)
        offset = 49_599_300_523
        path.write_text(f"# from_timestamp_us, to_timestamp_us, file_index\n{offset}, {offset + 100_000}, 820\n")
    elif form == "single":
        shutil.copytree(source / "flow/forward", root / flow / f"{name}_optical_flow_forward_event")
        shutil.copy(source / "flow/forward_timestamps.txt", root / flow / f"{name}_optical_flow_forward_timestamps.txt")
    else:
        shutil.copytree(source / "flow", root / flow)


@pytest.mark.parametrize("form", ["archives", "together", "eraft", "single"])
def test_dsec_is_found_however_it_was_unpacked(form, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    for split, names in card("dsec").recordings.items():
        for name in names:
            dsec(tmp_path / "dsec", split, name, form)
    parts = load_sequences("dsec")
    assert {split: len(found) for split, found in parts.items()} == {"train": 13, "val": 5, "test": 7}
    want = DsecSequence(SAMPLE / "train/seed_0000")
    for split, found in parts.items():
        item, seq = found[-1][0], found[-1]
        np.testing.assert_array_equal(item.events.t, want[0].events.t)
        assert seq.rectify_map().shape == (24, 32, 2) and seq.name in card("dsec").recordings[split]
        if split == "test":
            assert item.flow is None and item.valid is None and seq.indices.tolist() == [820] and len(seq) == 1
        else:
            np.testing.assert_array_equal(item.flow, want[0].flow)
            assert seq.indices.tolist() == [2, 4]
    with pytest.raises(InputError, match=r"no scene\.json; exact flow"):
        parts["train"][0].exact_flow(0, 1)


def test_how_to_get_dsec_is_said(tmp_path, monkeypatch, cli) -> None:
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    with pytest.raises(InputError, match=r"export EVENTFLOW_DATA=(.|\n)*dsec\.ifi(.|\n)*train_optical_flow"):
        load_sequences("dsec")
    with pytest.raises(InputError, match=r"load_sequences\('dsec'\)"):
        load_dataset("dsec")
    with pytest.raises(InputError, match=r"load_dataset\('taxi'\)"):
        load_sequences("taxi")
    with pytest.raises(InputError, match="did you mean 'dsec'"):
        load_sequences("dsek")
    with pytest.raises(InputError, match="did you mean 'test'"):
        load_sequences(SAMPLE, splits=["tests"])
    assert "13 recordings" in cli("data", "info", "dsec").out
    listed = cli("data", "list").out
    assert "sim_flow" in listed and "40/8/8" in listed


def test_bad_timestamps_are_named(tmp_path) -> None:
    shutil.copytree(SAMPLE / "train/seed_0000", tmp_path / "a")
    stamps = tmp_path / "a/flow/forward_timestamps.txt"
    stamps.write_text("1, 2\n3, four\n")
    with pytest.raises(InputError, match="' four'"):
        DsecSequence(tmp_path / "a")
    stamps.write_text("1, 2, 3\n3, 4, 5\n")
    with pytest.raises(InputError, match="expected 2 numbers"):
        DsecSequence(tmp_path / "a")
    stamps.write_text("1, 2\n3, 4\n")
    for png in (tmp_path / "a/flow/forward").glob("*.png"):
        png.unlink()
    with pytest.raises(InputError, match="0 maps and 2 lines"):
        DsecSequence(tmp_path / "a")


def test_windows_by_time_and_by_count_are_slices_of_the_whole() -> None:
    seq = DsecSequence(SAMPLE / "train/seed_0000")
    whole = seq.recording.read()
    start, end = whole.span[0].tolist()
    parts = list(seq.windows(dt=7_000))
    assert [p.span[0].tolist() for p in parts] == [[a, min(a + 7_000, end)] for a in range(start, end, 7_000)]
    np.testing.assert_array_equal(np.concatenate([p.t for p in parts]), whole.t)
    for name in "xyp":
        counted = [p.marks[name] for p in seq.windows(n=100)]
        assert {len(c) for c in counted[:-1]} == {100}
        np.testing.assert_array_equal(np.concatenate(counted), whole.marks[name])


def big(path: Path, blocks: int) -> int:
    """A DSEC file of ``blocks`` x 2^20 events over 200 ms each, written in constant memory."""
    import h5py

    n, draw = 1 << 20, np.random.default_rng(0)
    t = np.sort(draw.integers(0, 200_000, n))
    marks = {"x": draw.integers(0, 640, n).astype(np.uint16), "y": draw.integers(0, 480, n).astype(np.uint16)}
    marks["p"] = draw.integers(0, 2, n).astype(np.uint8)
    schema = Schema(unit="us", height=480, width=640)
    write_events(Events.of(t, span=(0, 200_000), schema=schema, **marks), path, format="dsec")
    with h5py.File(path, "r+") as file:
        for k in range(1, blocks):
            for name, column in (("t", t + k * 200_000), *marks.items()):
                data = file[f"events/{name}"]
                data.resize((n * (k + 1),))
                data[n * k :] = column
        del file["ms_to_idx"]
        file.attrs.pop("span", None)
        index = [k * n + np.searchsorted(t, np.arange(200) * 1000) for k in range(blocks)]
        file["ms_to_idx"] = np.concatenate(index).astype(np.uint64)
    return blocks * n


@pytest.mark.parametrize("blocks", [4, pytest.param(96, marks=pytest.mark.slow)])
def test_slices_of_a_long_file_take_constant_memory(blocks, tmp_path) -> None:
    total = big(tmp_path / "events.h5", blocks)
    recording = open_recording(tmp_path / "events.h5")
    tracemalloc.start()
    try:
        count = sum(part.num_events for part in recording.window(dt=10_000))
        middle = recording.read((200_000 * (blocks - 1) + 100_000, 200_000 * (blocks - 1) + 110_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == total and abs(middle.num_events - 52_429) < 2_000
    assert peak < 24e6, f"{peak / 1e6:.1f} MB for a file of {total * 13 / 1e6:.0f} MB"
