"""What recordings of the wild look like: orders of columns, headers, packets of several kinds, archives."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from camera_table import COLUMNS, P, T, X, Y, lines, same

from eventflow.errors import InputError
from eventflow.io import ReadWarning, read_events
from eventflow.ops.encode import encode_evt3


def test_lines_that_are_no_events_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text(lines("tpxy"))
    with pytest.raises(InputError, match="its format is not known"):
        read_events(path)
    for backwards in ("5 1 2 1\n4 1 2 1\n", lines("txyp") + "4 1 2 1\n"):
        path.write_text(backwards)
        with pytest.raises(InputError, match=r"event \d+: time goes back from \d+ to 4"):
            read_events(path)


HEADS = {
    "%geometry:128,112\n": (112, 128), "% geometry 128x112\n": (112, 128), "\ufeff": (None, None),
    "\ufeffts,xs,ys,ps\n": (None, None), "# made by hand\n\n": (None, None),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_heads_of_text(head: str, tmp_path: Path) -> None:
    path = tmp_path / "rec.csv"
    path.write_text(head + lines("txyp" if "ts" in head else "xypt", separator=","), encoding="utf-8")
    events = read_events(path)
    assert same(events) and (events.schema.height, events.schema.width) == HEADS[head]


def test_the_first_time_is_a_whole_second(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text("# t x y p\n0 1 2 1\n0.5 3 4 0\n")
    assert read_events(path).t.tolist() == [0, 500_000]


def aedat2(head: bytes, y: np.ndarray, *, cell: tuple[int, int, int] = (179, 239, 22)) -> bytes:
    last_y, last_x, shift = cell
    words = (last_y - y) << shift | (last_x - X) << 12 | P << 11
    return b"#!AER-DAT2.0\r\n" + head + np.stack([words, T], 1).astype(">u4").tobytes()


CHIP = b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"


@pytest.mark.parametrize("head", [CHIP, CHIP + b"#End Of ASCII Header\r\n", CHIP + b"# <entry/>\r\n" * 30_000])
def test_aedat2_may_begin_with_what_looks_like_a_comment(head: bytes, tmp_path: Path) -> None:
    """Row 38 from above is 141 from below: the first byte of the event is 0x23, a #."""
    y = Y.copy()
    y[0] = 38
    data = aedat2(head, y)
    assert data[len(b"#!AER-DAT2.0\r\n" + head)] == ord("#")
    path = tmp_path / "rec.aedat"
    path.write_bytes(data)
    events = read_events(path)
    assert np.array_equal(events.t, T) and np.array_equal(events.marks["y"], y)


def test_aedat2_of_the_first_dvs(tmp_path: Path) -> None:
    path = tmp_path / "rec.aedat"
    words = (127 - Y) << 8 | (127 - X) << 1 | (1 - P)
    head = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.caviar.chip.retina.Tmpdiff128\r\n"
    path.write_bytes(head + np.stack([words, T], 1).astype(">u4").tobytes())
    events = read_events(path)
    assert same(events) and (events.schema.height, events.schema.width) == (128, 128)


def packet(kind: int, body: bytes, size: int) -> bytes:
    count = len(body) // size
    return np.array([kind, 1], "<u2").tobytes() + np.array([size, 4, 0, 4096, count, count], "<u4").tobytes() + body


def test_aedat31_with_packets_of_other_kinds(tmp_path: Path) -> None:
    rows = np.stack([X << 17 | Y << 2 | P << 1 | 1, T], 1).astype("<u4")
    special, frame, imu = packet(0, bytes(8), 8), packet(2, bytes(52), 52), packet(3, bytes(72), 36)
    body = special + packet(1, rows[:150].tobytes(), 8) + frame + imu + packet(1, rows[150:].tobytes(), 8)
    head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: Processor\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n"
    path = tmp_path / "rec.aedat"
    path.write_bytes(head + body)
    assert same(read_events(path))
    path.write_bytes(head.replace(b"RAW", b"SerializedTS") + body)
    with pytest.raises(InputError, match=r"its packets are 'SerializedTS' \(compressed\); expected RAW"):
        read_events(path)


def test_an_encoding_to_come(tmp_path: Path) -> None:
    path = tmp_path / "rec.raw"
    path.write_bytes(b"% format EVT4;height=720;width=1280\n% end\n" + bytes(64))
    with pytest.raises(InputError, match="its header says evt4"):
        read_events(path)


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    words, _ = encode_evt3(T, X.astype(np.uint16), Y.astype(np.uint16), P.astype(np.uint8))
    (tmp_path / "rec.raw.gz").write_bytes(gzip.compress(b"% evt 3.0\n% end\n" + words.astype("<u2").tobytes()))
    with pytest.raises(InputError, match="compressed by gzip"):
        read_events(tmp_path / "rec.raw.gz")
    with zipfile.ZipFile(tmp_path / "events_left.zip", "w") as archive:
        archive.writestr("events.h5", b"\x89HDF")
        archive.writestr("rectify_map.h5", b"\x89HDF")
    with pytest.raises(InputError, match=r"2 files \(events.h5, rectify_map.h5\); unpack it"):
        read_events(tmp_path / "events_left.zip")


def test_dsec_layout_with_fractional_times(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        for name, column in COLUMNS.items():
            file[f"events/{name}"] = column + 0.25 if name == "t" else column.astype("u2")
    assert same(read_events(tmp_path / "rec.h5"))


def ros1(path: Path, messages: list[bytes], name: str) -> None:
    rosbag1 = pytest.importorskip("rosbags.rosbag1", reason="needs the extra ros")
    definition = (
        "Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
        "bool is_bigendian\nuint8[] events\n"
    )
    with rosbag1.Writer(path) as writer:
        topic = writer.add_connection("/camera/events", name, msgdef=definition, md5sum="0" * 32)
        for stamp, raw in enumerate(messages):
            writer.write(topic, stamp, raw)


def evt3_messages() -> list[bytes]:
    parts, state = [], None
    for number, lo in enumerate(range(0, len(T), 150)):
        kinds = zip((T, X, Y, P), ("i8", "u2", "u2", "u1"), strict=True)
        columns = (column[lo : lo + 150].astype(kind) for column, kind in kinds)
        words, state = encode_evt3(*columns, state=state)
        data = words.astype("<u2").tobytes()
        head = np.array([number, 1, 2, 3], "<u4").tobytes() + b"cam" + np.array([112, 128], "<u4").tobytes()
        body = np.array([number, 0], "<u8").tobytes() + np.array([4], "<u4").tobytes() + b"evt3\0"
        parts.append(head + body + np.array([len(data)], "<u4").tobytes() + data)
    return parts


@pytest.mark.parametrize("name", ["event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray"])
def test_packets_in_a_ros1_bag(name: str, tmp_path: Path) -> None:
    messages = evt3_messages()
    ros1(tmp_path / "rec.bag", messages, name)
    events = read_events(tmp_path / "rec.bag")
    assert same(events) and (events.schema.height, events.schema.width) == (112, 128)
    ros1(tmp_path / "cut.bag", [messages[0], messages[1][:40]], name)
    with pytest.raises(InputError, match=r"event 150: .* cut off"):
        read_events(tmp_path / "cut.bag")


@pytest.mark.parametrize("kind", ["dvs", "atis"])
def test_event_stream_kinds(kind: str, tmp_path: Path) -> None:
    library = pytest.importorskip("event_stream", reason="needs the extra es")
    rows: Any = np.zeros(len(T), library.dvs_dtype if kind == "dvs" else library.atis_dtype)
    rows["t"], rows["x"], rows["y"], rows["p"] = T, X, 99 - Y, P
    if kind == "atis":
        rows = np.repeat(rows, 2)
        rows["e"][1::2] = True
    with library.Encoder(str(tmp_path / "rec.es"), kind, 120, 100) as encoder:
        encoder.write(rows)
    path = tmp_path / "rec.es"
    assert same(read_events(path))
    data = path.read_bytes()
    for cut in range(1, 5):
        path.write_bytes(data[:-cut])
        place = f"byte {len(data) - 5:,}: the file is cut off within an event; {cut} bytes are missing"
        with pytest.raises(InputError, match=place):
            read_events(path)
        with pytest.warns(ReadWarning, match="before that were kept"):
            assert read_events(path, recover=True).num_events == len(T) - (kind == "dvs")


def test_aedat1(tmp_path: Path) -> None:
    """A DVS128: x, y from the right and from below, the polarity bit 0 for brighter; blocks are cut anywhere."""
    address = ((127 - Y) << 8 | (127 - X) << 1 | (1 - P)).astype(">u2")
    rows = np.zeros(len(T), [("a", ">u2"), ("t", ">u4")])
    rows["a"], rows["t"] = address, T
    path = tmp_path / "rec.dat"
    path.write_bytes(b"#!AER-DAT1.0\r\n# by hand\r\n" + rows.tobytes())
    events = read_events(path)
    assert same(events) and (events.schema.height, events.schema.width) == (128, 128)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=f"byte {25 + 6 * 399:,}: the file is cut off within a record; 4 bytes"):
        read_events(path)
    with pytest.warns(ReadWarning, match="399 events before that were kept"):
        assert read_events(path, recover=True).num_events == 399
    big = np.tile(rows, 1000)
    big["t"] = np.sort(np.random.default_rng(0).integers(0, 1 << 30, len(big)))
    path.write_bytes(b"#!AER-DAT1.0\r\n" + big.tobytes())
    assert np.array_equal(read_events(path).t, big["t"])
