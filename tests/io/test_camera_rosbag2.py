"""ROS 2 bags as rosbags writes them: folders, files, SQLite, MCAP, arrays, packets; cut, foreign, damaged."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from camera_bags import FULL, arrays, bag, packets, recording, store

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io import ReadWarning, open_recording, read_events


def same(ours: Events, theirs: Events, shift: int = 0) -> bool:
    marks = all(np.array_equal(ours.marks[k], theirs.marks[k]) for k in "xyp")
    return marks and np.array_equal(ours.t, theirs.t + shift) and ours.schema == theirs.schema


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_event_arrays(storage: str, tmp_path: Path) -> None:
    whole, types = recording(), store()
    for frame, sizes in (("", (0, 1, 2, 7, 490)), ("camera", (250, 250))):
        folder = bag(tmp_path / f"bag{len(sizes)}", arrays(types, whole, sizes, frame), storage=storage)
        file = next(folder.glob("*.db3" if storage == "SQLITE3" else "*.mcap"))
        for path in (folder, file):
            assert same(read_events(path), whole, FULL * 1_000_000), path
        rec = open_recording(folder)
        window = (FULL * 1_000_000 + 5_000, FULL * 1_000_000 + 20_000)
        assert np.array_equal(rec.read(window).t, read_events(folder).slice(*window).t)
        assert np.concatenate([part.t for part in rec.chunks(size=7)]).tolist() == rec.read().t.tolist()


def test_the_memory_it_takes_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    import tracemalloc

    whole, types = recording(), store()
    peaks = []
    for times in (4, 40):
        folder = bag(tmp_path / f"bag{times}", arrays(types, whole, (500,)) * times)
        tracemalloc.start()
        count = 0
        try:
            for part in open_recording(folder, recover=True).chunks():  # times go back from message to message
                count += part.num_events
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert count == 500
    assert peaks[1] < 2 * peaks[0] + 1_000_000


def test_packets_of_evt3_and_mono(tmp_path: Path) -> None:
    whole, types = recording(), store()
    kind = "event_camera_msgs/msg/EventPacket"
    assert same(read_events(bag(tmp_path / "a", packets(types, whole, 60), kind=kind)), whole)
    mono = packets(types, whole, 60, encoding="mono")
    assert same(read_events(bag(tmp_path / "b", mono, kind=kind, storage="MCAP")), whole, 77)
    with pytest.raises(InputError, match="encoded as 'mon2'"):
        read_events(bag(tmp_path / "c", [m.replace(b"mono\0", b"mon2\0") for m in mono], kind=kind), recover=False)


def test_packets_that_are_missing_are_told_and_no_event_is_wrong(tmp_path: Path) -> None:
    whole, types = recording(), store()
    folder = bag(tmp_path / "a", packets(types, whole, 50, (3, 4, 8)), kind="event_camera_msgs/msg/EventPacket")
    rec = open_recording(folder)
    events = rec.read()
    assert "3 packets are missing" in rec.report.notes[0]
    truth = set(zip(whole.t.tolist(), *(whole.marks[k].tolist() for k in "xyp"), strict=True))
    found = set(zip(events.t.tolist(), *(events.marks[k].tolist() for k in "xyp"), strict=True))
    assert found <= truth and events.num_events >= 200


def test_a_cut_message_says_where_and_what_came_before_is_kept(tmp_path: Path) -> None:
    whole, types = recording(), store()
    messages = arrays(types, whole, (100, 200))
    folder = bag(tmp_path / "a", [messages[0], messages[1][:-5]])
    with pytest.raises(InputError, match="event 100: a message of .* that is cut off: .*recover=True"):
        read_events(folder)
    with pytest.warns(ReadWarning, match="100 events before that were kept"):
        assert read_events(folder, recover=True).num_events == 100
    with pytest.raises(InputError, match="not in CDR"):
        read_events(bag(tmp_path / "b", [b"\x00\x09\x00\x00abc"]))


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_cut_and_damaged_files_are_input_errors(storage: str, tmp_path: Path) -> None:
    folder = bag(tmp_path / "a", arrays(store(), recording(), (100, 200, 200)), storage=storage)
    file = next(path for path in folder.iterdir() if path.suffix != ".yaml")
    data, draw = file.read_bytes(), np.random.default_rng(1)
    for i in range(30):
        changed = bytearray(data[: int(draw.integers(20, len(data)))] if i % 2 else data)
        for at in draw.integers(0, len(changed), 0 if i % 2 else 40):
            changed[at] = draw.integers(0, 256)
        file.write_bytes(bytes(changed))
        for path in (folder, file):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ReadWarning)
                    assert read_events(path, recover=True).validate().num_events <= 500
            except InputError as error:
                assert str(folder) in str(error)


def test_foreign_bags_and_folders_are_named(tmp_path: Path) -> None:
    text = bag(tmp_path / "a", [b"\x00\x01\x00\x00" + b"\x01\0\0\0\0"], kind="std_msgs/msg/String", topic="/talk")
    with pytest.raises(InputError, match="it holds std_msgs/msg/String"):
        read_events(text)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "metadata.yaml").write_text("nonsense: [")
    with pytest.raises(InputError, match="a bag that cannot be opened"):
        read_events(tmp_path / "b")
    (tmp_path / "c.db3").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(InputError, match="c.db3"):
        read_events(tmp_path / "c.db3")


def test_convert_and_info(tmp_path: Path, cli: Callable[..., Any]) -> None:
    whole = recording()
    folder = bag(tmp_path / "bag", packets(store(), whole, 60), kind="event_camera_msgs/msg/EventPacket")
    for target in ("out.raw", "out.npz"):
        assert cli("data", "convert", folder, tmp_path / target).code == 0
        assert same(read_events(tmp_path / target), whole)
    answer = cli("data", "info", folder)
    assert answer.code == 0 and "346 x 260" in answer.out, answer.err
