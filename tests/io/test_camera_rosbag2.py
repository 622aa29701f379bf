"""ROS 2 bags as rosbags writes them: folders, files, SQLite, MCAP, arrays, packets; cut, foreign, damaged."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import ReadWarning, open_recording, read_events
from eventflow.ops.encode import EncoderState, encode_evt3

rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="needs the extra ros")
typesys = pytest.importorskip("rosbags.typesys", reason="needs the extra ros")

EVENT = "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n"
ARRAY = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    "bool is_bigendian\nuint8[] events\n"
)
FULL = 1_600_000_000


def recording(n: int = 500) -> Events:
    draw = np.random.default_rng(n)
    t = np.cumsum(draw.choice([0, 1, 3, 900], n))
    x, y = draw.integers(0, 346, n).astype(np.uint16), draw.integers(0, 260, n).astype(np.uint16)
    schema = Schema(unit="us", height=260, width=346)
    p = draw.integers(0, 2, n).astype(np.uint8)
    return Events.of(t, span=(int(t[0]), int(t[-1]) + 1), schema=schema, x=x, y=y, p=p)


def store() -> Any:
    found = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    for text, name in (
        (EVENT, "dvs_msgs/msg/Event"), (ARRAY, "dvs_msgs/msg/EventArray"),
        (PACKET, "event_camera_msgs/msg/EventPacket"),
    ):  # fmt: skip
        found.register(typesys.get_types_from_msg(text, name))
    return found


def header(types: Any, frame: str) -> Any:
    time = types.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    return types.types["std_msgs/msg/Header"](stamp=time, frame_id=frame)


def arrays(types: Any, whole: Events, sizes: tuple[int, ...], frame: str = "cam") -> list[bytes]:
    """Serialised by rosbags itself, event by event; ``sizes`` events each."""
    kinds, parts, at = types.types, [], 0
    for size in sizes:
        part = slice(at, at + size)
        events = [
            kinds["dvs_msgs/msg/Event"](
                x=x, y=y, polarity=bool(p),
                ts=kinds["builtin_interfaces/msg/Time"](sec=FULL + t // 1_000_000, nanosec=t % 1_000_000 * 1000 + 400),
            )
            for t, x, y, p in zip(
                whole.t[part].tolist(), *(whole.marks[k][part].tolist() for k in "xyp"), strict=True
            )
        ]  # fmt: skip
        message = kinds["dvs_msgs/msg/EventArray"](header=header(types, frame), height=260, width=346, events=events)
        parts.append(bytes(types.serialize_cdr(message, "dvs_msgs/msg/EventArray")))
        at += size
    return parts


def packets(types: Any, whole: Events, size: int, lost: tuple[int, ...] = (), encoding: str = "evt3") -> list[bytes]:
    """EVT 3 words as a sensor goes on counting, in packets of so many events; some never came."""
    kinds, parts, state = types.types, [], EncoderState()
    for number, lo in enumerate(range(0, whole.num_events, size)):
        part = slice(lo, lo + size)
        t, x, y, p = whole.t[part], *(whole.marks[k][part] for k in "xyp")
        if encoding == "evt3":
            words, state = encode_evt3(t, x, y, p, state=state._replace(row=-1, high=state.high))
            base = 0
        else:
            base = 77_000
            columns = (p.astype(np.uint64) << 63, y.astype(np.uint64) << 48, x.astype(np.uint64) << 32)
            words = columns[0] | columns[1] | columns[2] | (t * 1000).astype(np.uint64)
        if number not in lost:
            message = kinds["event_camera_msgs/msg/EventPacket"](
                header=header(types, "a camera's frame"), height=260, width=346, seq=number + 5, time_base=base,
                encoding=encoding, is_bigendian=False, events=words.view(np.uint8),
            )  # fmt: skip
            parts.append(bytes(types.serialize_cdr(message, "event_camera_msgs/msg/EventPacket")))
    return parts


def bag(
    folder: Path, messages: list[bytes], *, kind: str = "dvs_msgs/msg/EventArray", storage: str = "SQLITE3",
    topic: str = "/dvs/events",
) -> Path:  # fmt: skip
    with rosbag2.Writer(folder, version=8, storage_plugin=rosbag2.StoragePlugin[storage]) as writer:
        connection = writer.add_connection(topic, kind, typestore=store())
        for i, message in enumerate(messages):
            writer.write(connection, 10 + i, message)
    return folder


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
