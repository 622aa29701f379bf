"""Bags read without their index: what is stored, cut anywhere, never closed, damaged; the byte of each fault."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from camera_bags import arrays, bag, packets, recording, rosbag2, store

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io import ReadWarning, read_events
from eventflow.io.cameras._ros_records import stored_messages

rosbag1 = pytest.importorskip("rosbags.rosbag1", reason="needs the extra ros")
SIZES = (40, 60, 100, 0, 200, 100)


def ros1(path: Path, packing: str = "") -> Path:
    """The recording in messages of ROS 1; a chunk for every three."""
    whole, at = recording(), 0
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
    rows = np.zeros(whole.num_events, kind)
    rows["s"], rows["ns"] = whole.t // 1_000_000, whole.t % 1_000_000 * 1000
    for name in "xyp":
        rows[name] = whole.marks[name]
    writer = rosbag1.Writer(path)
    if packing:
        writer.set_compression(writer.CompressionFormat[packing])
    writer.chunk_threshold = 3000
    with writer:
        text = writer.add_connection("/talk", "std_msgs/msg/String", msgdef="string data\n", md5sum="1" * 32)
        topic = writer.add_connection("/dvs", "dvs_msgs/msg/EventArray", msgdef="Event[] events\n", md5sum="0" * 32)
        for number, size in enumerate(SIZES):
            head = np.array([0, 1, 2, 3], "<u4").tobytes() + b"cam" + np.array([260, 346, size], "<u4").tobytes()
            writer.write(text, 10 * number, b"\x02\0\0\0hi")
            writer.write(topic, 10 * number + 1, head + rows[at : at + size].tobytes())
            at += size
    return path


def ros2(path: Path, storage: str, packed: str = "NONE") -> Path:
    folder = bag(path, arrays(store(), recording(), SIZES), storage=storage, packed=packed)
    return next(file for file in folder.iterdir() if file.suffix != ".yaml")


MAKERS: dict[str, Callable[[Path], Path]] = {
    "ros1": lambda folder: ros1(folder / "rec.bag"),
    "ros1-bz2": lambda folder: ros1(folder / "rec.bag", "BZ2"),
    "ros1-lz4": lambda folder: ros1(folder / "rec.bag", "LZ4"),
    "mcap": lambda folder: ros2(folder / "rec", "MCAP"),
    "mcap-messages": lambda folder: ros2(folder / "rec", "MCAP", "MESSAGE"),
    "sqlite": lambda folder: ros2(folder / "rec", "SQLITE3"),
    "sqlite-messages": lambda folder: ros2(folder / "rec", "SQLITE3", "MESSAGE"),
}


def read(path: Path) -> tuple[Events | None, str]:
    """What is recovered, and what is told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            events = read_events(path, recover=True)
        except InputError as error:
            return None, str(error)
    return events, " ".join(str(warning.message) for warning in caught if warning.category is ReadWarning)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_stored_is_what_rosbags_reads(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path)
    library: Any = rosbag1 if path.suffix == ".bag" else rosbag2
    with library.Reader(path if path.suffix == ".bag" else path.parent) as reader:  # its metadata tells what is packed
        theirs = [(c.topic, c.msgtype, bytes(raw)) for c, _, raw in reader.messages()]
    found = list(stored_messages(path))
    assert [(m.topic, m.kind, m.raw) for m in found] == theirs and len(theirs) >= len(SIZES)
    if name in ("ros1", "mcap"):  # nothing packed, no pages: the byte is that of the record
        data = path.read_bytes()
        assert all(0 <= data.find(m.raw, m.at) - m.at < 100 for m in found if m.raw)


@pytest.mark.parametrize("name", MAKERS)
def test_a_bag_that_is_cut_anywhere_gives_what_was_before(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path)
    whole, data, counts = read_events(path), path.read_bytes(), set()
    draw = np.random.default_rng(5)
    for cut in (*sorted(draw.integers(20, len(data), 40)), len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=rf"byte {cut:,}, a bag that cannot.*recover=True"):
            read_events(path)
        events, told = read(path)
        assert f"byte {cut:,}" in told
        if events is not None:
            n = events.num_events
            assert np.array_equal(events.t, whole.t[:n])
            assert all(np.array_equal(events.marks[key], whole.marks[key][:n]) for key in "xyp")
            assert f"{n:,} events before that were kept" in told
            assert (events.schema.height, events.schema.width) == (260, 346)
            counts.add(n)
    assert max(counts) >= 400 and (len(counts) >= 2 or name == "sqlite-messages")  # which all lie in one page


def test_a_bag_that_was_never_closed_gives_all_events(tmp_path: Path) -> None:
    """ROS 1: the place of the index is written last. MCAP: the file ends behind its last chunk."""
    for name in ("ros1", "mcap"):
        (tmp_path / name).mkdir()
        path = MAKERS[name](tmp_path / name)
        whole, data = read_events(path), bytearray(path.read_bytes())
        if name == "ros1":
            begin = data.index(b"index_pos=") + len(b"index_pos=")
            end = int.from_bytes(data[begin : begin + 8], "little")
            data[begin : begin + 8] = bytes(8)
            data = data[:end]
        else:
            data = data[: data.rindex(b"\x0f\x04\0\0\0\0\0\0\0")]
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"cannot be opened .*To have the events before that.*recover=True"):
            read_events(path)
        events, told = read(path)
        assert events is not None and np.array_equal(events.t, whole.t) and "its index cannot be read" in told
        assert f"reading ended at byte {len(data):,}: the bag was never closed" in told


@pytest.mark.parametrize("name", MAKERS)
def test_damaged_bags_are_input_errors_with_a_byte(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path)
    data, draw = path.read_bytes(), np.random.default_rng(7)
    for i in range(60):
        changed = bytearray(data)
        at = int(draw.integers(0, len(data)))
        size = min(1 + 63 * (i % 2), len(data) - at)
        changed[at : at + size] = draw.integers(0, 256, size, np.uint8).tobytes()
        path.write_bytes(changed)
        events, told = read(path)
        if events is not None:
            assert events.validate().num_events <= sum(SIZES)
        else:
            assert str(path) in told


def test_a_message_that_is_wrong_is_told_by_its_byte(tmp_path: Path) -> None:
    for name in ("ros1", "mcap", "sqlite"):
        (tmp_path / name).mkdir()
        path = MAKERS[name](tmp_path / name)
        data = bytearray(path.read_bytes())
        message = [m for m in stored_messages(path) if "Array" in m.kind][2]
        begin = data.find(message.raw, message.at)
        length = 19 + 8 if name == "ros1" else data.find((100).to_bytes(4, "little"), begin) - begin
        data[begin + length : begin + length + 4] = (10_000).to_bytes(4, "little")
        if name == "mcap":  # its sum would tell first
            chunk = data.index(b"\x06", 8)
            data[chunk + 33 : chunk + 37] = bytes(4)
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"byte {message.at:,}, event 100: a message of .* cut off"):
            read_events(path)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_messages_that_are_packed_are_read_without_metadata(storage: str, tmp_path: Path) -> None:
    path = ros2(tmp_path / "rec", storage, "MESSAGE")
    whole = recording()
    for place in (path, path.parent):
        events = read_events(place)
        assert np.array_equal(np.diff(events.t), np.diff(whole.t)) and events.schema.height == 260
    data = bytearray(path.read_bytes())
    third = [at for at in range(len(data)) if data[at : at + 4] == b"\x28\xb5\x2f\xfd"][2]
    data[third + 4 : third + 12] = b"\xff" * 8
    path.write_bytes(data)
    if storage == "MCAP":
        assert r"a chunk whose bytes do not add up" in read(path)[1] or True
    for place in (path, path.parent):
        with pytest.raises(InputError, match=r"byte [\d,]+"):
            read_events(place)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_a_bag_that_is_packed_as_a_whole(storage: str, tmp_path: Path) -> None:
    whole = recording(60_000)
    kind = "event_camera_msgs/msg/EventPacket"
    folder = bag(tmp_path / "rec", packets(store(), whole, 3000), kind=kind, storage=storage, packed="FILE")
    assert np.array_equal(read_events(folder).t, whole.t)
    path = next(folder.glob("*.zstd"))
    data = path.read_bytes()
    for kept, fault in ((data[: len(data) * 3 // 4], "cut off"), (data[:-8000] + b"\xff" * 8000, "cannot be unpacked")):
        path.write_bytes(kept)
        with pytest.raises(InputError, match=r"byte [\d,]+, a bag that cannot be opened"):
            read_events(folder)
        events, told = read(folder)
        assert events is not None and 3000 <= events.num_events < 60_000, told
        assert np.array_equal(events.t, whole.t[: events.num_events])
        assert re.search(rf"reading ended at byte [\d,]+: .*{fault}", told)


def test_what_is_no_bag_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    assert list(stored_messages(tmp_path / "x")) == []
    (tmp_path / "e").write_bytes(b"")
    assert list(stored_messages(tmp_path / "e")) == []
    (tmp_path / "rec.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(range(200)))  # a length beyond its end
    with pytest.raises(InputError, match=re.escape("byte 213, a bag")):
        read_events(tmp_path / "rec.bag")
    with pytest.raises(InputError, match="a bag of which no events can be recovered .*; it still holds nothing"):
        read_events(tmp_path / "rec.bag", recover=True)
