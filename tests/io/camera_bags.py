"""Bags of ROS 2 as rosbags writes them, with the messages that hold events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflow.events import Events, Schema
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
    topic: str = "/dvs/events", packed: str = "NONE",
) -> Path:  # fmt: skip
    """``packed``: NONE, MESSAGE (each by itself) or FILE."""
    writer = rosbag2.Writer(folder, version=8, storage_plugin=rosbag2.StoragePlugin[storage])
    writer.set_compression(rosbag2.CompressionMode[packed], rosbag2.CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(topic, kind, typestore=store())
        for i, message in enumerate(messages):
            writer.write(connection, 10 + i, message)
    return folder
