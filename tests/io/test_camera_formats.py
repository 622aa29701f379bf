"""Formats that others write: headers, layouts and dtypes as they come; and the real recordings."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import ReadWarning, open_recording, read_events, write_events

T = np.array([5, 5, 9, 1000, 70_000])
X, Y, P = np.array([1, 2, 300, 4, 5]), np.array([9, 8, 7, 6, 200]), np.array([1, 0, 1, 1, 0])


def is_ours(events: Events, *, t: np.ndarray = T) -> bool:
    assert [events.marks[k].dtype for k in "xyp"] == [np.uint16, np.uint16, np.uint8]
    assert events.schema.unit == "us" and not events.schema.given_first and events.t.dtype == np.int64
    assert events.span.tolist() == [[t[0], t[-1] + 1]]
    columns = (events.t, t), (events.marks["x"], X), (events.marks["y"], Y), (events.marks["p"], P)
    return all(np.array_equal(ours, theirs) for ours, theirs in columns)


TEXTS = {
    "the Event-Camera Dataset": "0.000005 1 9 1\n0.000005 2 8 0\n0.000009 300 7 1\n0.001 4 6 1\n0.07 5 200 0\n",
    "size on the first line": "346 260\n0.000005 1 9 1\n0.000005 2 8 0\n0.000009 300 7 1\n0.001 4 6 1\n0.07 5 200 0\n",
    "csv in microseconds": "t,x,y,on\r\n5,1,9,1\r\n5,2,8,0\r\n9,300,7,1\r\n1000,4,6,1\r\n70000,5,200,0\r\n",
    "another order, no last newline": "x;y;polarity;ts\n1;9;1;5\n2;8;-1;5\n300;7;1;9\n4;6;1;1000\n5;200;-1;70000",
    "np.savetxt": "# t x y p\n5e-06 1.0e+00 9 1\n5e-06 2 8 0\n9e-06 3.00e+02 7 1\n1e-3 4 6 1\n7e-2 5 200 0.0\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("rec.csv" if "csv" in name else "rec.txt")
    path.write_bytes(TEXTS[name].encode())
    told = pytest.warns(ReadWarning, match="t x y p") if name == "the Event-Camera Dataset" else nullcontext()
    with told:  # without a header or a size nothing says which of two columns is x
        events = read_events(path)
    assert is_ours(events)
    assert (events.schema.height, events.schema.width) == ((260, 346) if "size" in name else (None, None))


def test_a_warning_survives_pickling() -> None:
    """Processes hand warnings on; this one is made of a report that stays where it was."""
    again = pickle.loads(pickle.dumps(ReadWarning("rec.txt: left out", None)))
    assert str(again) == "rec.txt: left out" and type(again)(*again.args).args == again.args


def test_text_in_a_declared_unit(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text("# t x y p\n5000 1 2 1\n7500 1 2 0\n")
    assert read_events(path, schema=Schema(unit="ns")).t.tolist() == [5, 8]
    with pytest.raises(InputError, match="times in 'h'"):
        read_events(path, schema=Schema(unit="h"))


def test_a_log_is_not_taken_for_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t,mark\n1,0\n2,1\n")
    assert "mark" in read_events(path).marks


@pytest.mark.parametrize("p", [P.astype(bool), P.astype(np.uint8), (2 * P - 1).astype(np.int8), P.astype(float)])
@pytest.mark.parametrize("kind", ["npy", "npz structured", "npz arrays", "npz compressed"])
def test_numpy_files(kind: str, p: np.ndarray, tmp_path: Path) -> None:
    rows = np.zeros(len(T), dtype=[("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", p.dtype)])
    rows["x"], rows["y"], rows["t"], rows["p"] = X, Y, T, p
    path = tmp_path / f"rec.{kind[:3]}"
    if kind == "npy":
        np.save(path, rows)
    elif kind == "npz structured":
        np.savez(path, events=rows)
    else:
        save: Any = np.savez_compressed if "compressed" in kind else np.savez
        save(path, t=T, x=X, y=Y, p=p, height=np.array(480), width=np.array(640))
    events = read_events(path)
    assert is_ours(events)
    assert events.schema.width == (640 if "npz arrays" in kind or "compressed" in kind else None)


def test_numpy_times_that_are_no_integers_need_a_unit(tmp_path: Path) -> None:
    np.savez(tmp_path / "rec.npz", t=T / 1e6, x=X, y=Y, p=P)
    with pytest.raises(InputError, match="no unit is known"):
        read_events(tmp_path / "rec.npz")
    assert is_ours(read_events(tmp_path / "rec.npz", schema=Schema(unit="s")))


@pytest.mark.parametrize(
    ("name", "value", "message"), [("p", 2, "p is 2"), ("x", -1, "x is -1"), ("y", 70_000, "y is")]
)
def test_values_that_are_none(name: str, value: int, message: str, tmp_path: Path) -> None:
    columns = {"t": T, "x": X.copy(), "y": Y.copy(), "p": P.copy()}
    columns[name][3] = value
    np.savez(tmp_path / "rec.npz", **columns)
    with pytest.raises(InputError, match=f"event 3: {message}"):
        read_events(tmp_path / "rec.npz")


def dsec(path: Path, *, offset: int = 49_599_300_523, index: Any = None) -> None:
    """DSEC's layout, with its index unless another one is given."""
    own = np.searchsorted(T, np.arange(T[-1] // 1000 + 1) * 1000)
    with h5py.File(path, "w") as file:
        for name, column, kind in (("t", T, "<u4"), ("x", X, "<u2"), ("y", Y, "<u2"), ("p", P, "u1")):
            file[f"events/{name}"] = column.astype(kind)
        file["ms_to_idx"] = (own if index is None else index).astype("<u8")
        file["t_offset"] = np.int64(offset)


@pytest.mark.parametrize("index", [None, np.array([3, 0, 9]), np.zeros(71, int), np.array([0])])
def test_dsec_keeps_the_offset_and_does_not_trust_the_index(index: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    dsec(path, index=index)
    t = T + 49_599_300_523
    events = read_events(path)
    assert is_ours(events, t=t) and (events.schema.height, events.schema.width) == (480, 640)
    rec = open_recording(path)
    for lo, hi in ((0, 6), (5, 9), (6, 1000), (1000, 1001), (999, 80_000), (90_000, 99_000), (-9, 0)):
        window = (lo + 49_599_300_523, hi + 49_599_300_523)
        ours, theirs = rec.read(window), events.slice(*window)
        assert np.array_equal(ours.t, theirs.t) and np.array_equal(ours.span, theirs.span)


def test_what_we_write_as_dsec_has_their_index(tmp_path: Path) -> None:
    pytest.importorskip("hdf5plugin", reason="needs the extra vision")
    rng = np.random.default_rng(0)
    t = 10_500 + np.cumsum(rng.integers(0, 3000, 500))
    side = rng.integers(0, 34, 500).astype(np.uint16)
    schema = Schema(unit="us", height=480, width=640)
    events = Events.of(t, span=(t[0], t[-1] + 1), schema=schema, x=side, y=side, p=(side % 2).astype(np.uint8))
    write_events(events, tmp_path / "events.h5")
    with h5py.File(tmp_path / "events.h5") as file:
        stored, index = np.asarray(file["events/t"]).astype(np.int64), np.asarray(file["ms_to_idx"]).astype(np.int64)
        assert file["t_offset"][()] == t[0] and file["events/t"].dtype == np.uint32
        assert [file[f"events/{k}"].dtype for k in "xyp"] == [np.uint16, np.uint16, np.uint8]
    assert index[0] == 0 and len(index) == stored[-1] // 1000 + 1
    for ms, row in enumerate(index):
        assert stored[row] >= ms * 1000 and (row == 0 or stored[row - 1] < ms * 1000)


def test_mvsec_left_and_right(tmp_path: Path) -> None:
    path = tmp_path / "indoor.hdf5"
    start = 1_504_645_177.42
    t = np.rint((start + T / 1e6) * 1e6).astype(np.int64)
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = np.stack([X, Y, start + T / 1e6, 2 * P - 1], 1)
        file["davis/right/events"] = np.stack([X, Y, start + T / 1e6, 2 * P - 1], 1)[:2]
    events = read_events(path)
    assert is_ours(events, t=t) and (events.schema.height, events.schema.width) == (260, 346)
    assert read_events(path, format="mvsec-right").num_events == 2
    with pytest.raises(InputError, match="this HDF5 file is mvsec, not dsec"):
        read_events(path, format="dsec")


def ecf(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """A chunk, written from the definition: nothing packed, every run of length one."""
    out = (len(t) << 2).to_bytes(4, "little") + int(t[0]).to_bytes(8, "little")
    for gap in np.diff(t, prepend=t[0]).tolist():
        while gap:
            out, gap = out + bytes([0xF0 | gap & 15]), gap >> 4
        out += b"\x01"
    out += b"".join(int(v << 5 | 1).to_bytes(2, "little") for v in y)
    out += b"".join(int(v << 5).to_bytes(2, "little") for v in x)
    return out + bytes(int(v << 7 | 1) for v in p)


@pytest.mark.parametrize("compressed", [False, True])
def test_metavision(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "rec.hdf5"
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    rows = np.zeros(len(T), kind)
    rows["x"], rows["y"], rows["p"], rows["t"] = X, Y, P, T
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "1280x720"
        if not compressed:
            file.create_dataset("CD/events", data=rows)
        else:
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk((2,))
            made.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL)
            group, space = file.create_group("CD"), h5py.h5s.create_simple((len(T),))
            data = h5py.h5d.create(group.id, b"events", h5py.h5t.py_create(kind), space, made)
            for lo in range(0, len(T), 2):
                padded = [np.concatenate([column, np.repeat(column[-1:], 1)])[lo : lo + 2] for column in (T, X, Y, P)]
                data.write_direct_chunk((lo,), ecf(*padded))
    events = read_events(path)
    assert is_ours(events) and (events.schema.height, events.schema.width) == (720, 1280)
    part = open_recording(path).read((6, 2000))
    assert part.t.tolist() == [9, 1000]


def test_an_unknown_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(InputError, match="an HDF5 file of no known layout; it holds weights"):
        read_events(tmp_path / "other.h5")


def test_aedat2_and_31(tmp_path: Path) -> None:
    words = np.stack([(179 - Y % 180) << 22 | (239 - X % 240) << 12 | P << 11, T], 1).astype(">u4").tobytes()
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n" + words)
    events = read_events(tmp_path / "a.aedat")
    assert (events.schema.height, events.schema.width) == (180, 240) and np.array_equal(events.t, T)
    assert np.array_equal(events.marks["x"], X % 240) and np.array_equal(events.marks["y"], Y % 180)
    body = np.stack([X << 17 | Y << 2 | P << 1 | 1, T], 1).astype("<u4").tobytes()
    packet = np.array([1, 1], "<u2").tobytes() + np.array([8, 4, 0, 9, 5, 5], "<u4").tobytes() + body
    head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS346\r\n#!END-HEADER\r\n"
    (tmp_path / "b.aedat").write_bytes(head + packet)
    events = read_events(tmp_path / "b.aedat")
    assert is_ours(events) and (events.schema.height, events.schema.width) == (260, 346)
    (tmp_path / "b.aedat").write_bytes(head + packet[:-3])
    with pytest.raises(InputError, match=r"byte \d+: the file is cut off within a record; 3 bytes are missing"):
        read_events(tmp_path / "b.aedat")


def bag(path: Path, *, cut: int = 0, sizes: tuple[int, ...] = (2, 0, 3)) -> None:
    """A ROS 1 bag with messages of so many events."""
    rosbag1 = pytest.importorskip("rosbags.rosbag1", reason="needs the extra ros")
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
    rows = np.zeros(len(T), kind)
    rows["x"], rows["y"], rows["p"], rows["s"], rows["ns"] = X, Y, P, 1_600_000_000, T * 1000 + 400
    definition = "Header header\nuint32 height\nuint32 width\nEvent[] events\n"
    with rosbag1.Writer(path) as writer:
        topic = writer.add_connection("/dvs/events", "dvs_msgs/msg/EventArray", msgdef=definition, md5sum="0" * 32)
        at = 0
        for size in sizes:
            head = np.array([0, 1, 2, 3], "<u4").tobytes() + b"cam" + np.array([260, 346, size], "<u4").tobytes()
            raw = head + rows[at : at + size].tobytes()
            writer.write(topic, 10 + at, raw[: len(raw) - cut])
            at += size


def test_ros_bag(tmp_path: Path) -> None:
    bag(tmp_path / "rec.bag")
    events = read_events(tmp_path / "rec.bag")
    assert is_ours(events, t=T + 1_600_000_000_000_000)
    assert (events.schema.height, events.schema.width) == (260, 346)
    bag(tmp_path / "cut.bag", cut=1, sizes=(2,))
    with pytest.raises(InputError, match="byte 4,379, event 0: a message of 56 bytes that is cut off: 26 more are"):
        read_events(tmp_path / "cut.bag")


HEADERS = {
    b"% evt 3.0\n% plugin_name hal_plugin_gen41_evk3\n": (720, 1280),
    b"% evt 3.0\n% format EVT3;height=480;width=640\n% plugin_name hal_plugin_gen41_evk3\n% end\n": (480, 640),
    b"% geometry 640x480\n% evt 3.0\n": (480, 640),
    b"% Date 2020\n% evt 3.0\n": (None, None),
    b"% format EVT3;width=320;height=321\n% end\n": (321, 320),
}


@pytest.mark.parametrize("head", HEADERS)
def test_raw_headers(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rec.raw"
    path.write_bytes(head + np.array([0x8000, 0x6005, 0x0003, 0x2004], "<u2").tobytes())
    events = read_events(path)
    assert (events.schema.height, events.schema.width) == HEADERS[head] and events.t.tolist() == [5]


def test_evt21_in_both_orders_of_its_halves(tmp_path: Path) -> None:
    words = np.array([8 << 60 | 7 << 32, 1 << 60 | 9 << 54 | 32 << 43 | 5 << 32 | 5], "<u8")
    path = tmp_path / "rec.raw"
    path.write_bytes(b"% format EVT21;height=720;width=1280\n% end\n" + words.tobytes())
    first = read_events(path)
    swapped = words.view("<u4").reshape(-1, 2)[:, ::-1].tobytes()
    path.write_bytes(b"% format EVT21;endianness=legacy;height=720;width=1280\n% end\n" + swapped)
    second = read_events(path)
    assert first.t.tolist() == second.t.tolist() == [457, 457] and second.marks["x"].tolist() == [32, 34]


REAL = {
    "gen3_evt2.raw": (521_252, 480, 640, 95_872), "gen41_evt3.raw": (219_596, 720, 1280, 8_812),
    "sample_nmnist.bin": (4_325, None, None, 310_522), "davis.aedat4": (111_954, 240, 320, 589_918),
    "rendered.es": (473_225, 240, 320, 999_001),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_recordings(name: str, data_root: Path) -> None:
    library = {"davis.aedat4": "aedat", "rendered.es": "event_stream"}.get(name)
    if library is not None:
        pytest.importorskip(library)
    events = read_events(data_root / "cameras" / name)
    n, height, width, duration = REAL[name]
    assert events.num_events == n and (events.schema.height, events.schema.width) == (height, width)
    assert int(events.span[0, 1] - events.span[0, 0]) == duration and events.validate() is events
    rec = open_recording(data_root / "cameras" / name)
    middle = (int(events.t[n // 3]), int(events.t[n // 2]))
    ours, theirs = rec.read(middle), events.slice(*middle)
    assert np.array_equal(ours.t, theirs.t) and np.array_equal(ours.marks["x"], theirs.marks["x"])
    if name == "rendered.es":
        assert int((events.t == 0).sum()) == 76_785 and len(np.unique(events.t)) == 1000
    if name == "gen41_evt3.raw":
        assert any("stepped back a little 59 times" in note for note in open_and_read(rec))


def open_and_read(rec: Any) -> list[str]:
    rec.read()
    return rec.report.notes


@pytest.mark.peer
@pytest.mark.parametrize("name", ["gen3_evt2.raw", "gen41_evt3.raw", "rendered.es", "davis.aedat4"])
def test_faery_reads_the_same(name: str, data_root: Path) -> None:
    faery = pytest.importorskip("faery")
    path = data_root / "cameras" / name
    options = {} if name.endswith(("es", "aedat4")) else {"dimensions_fallback": (1280, 720)}
    theirs = faery.events_stream_from_file(path, **options).to_array()
    ours = read_events(path)
    assert np.array_equal(ours.t, theirs["t"].astype(np.int64))
    assert np.array_equal(ours.marks["x"], theirs["x"]) and np.array_equal(ours.marks["p"], theirs["on"])
    assert np.array_equal(ours.marks["y"], theirs["y"])


@pytest.mark.peer
def test_expelliarmus_reads_the_same_where_it_is_right(data_root: Path, tmp_path: Path) -> None:
    expelliarmus = pytest.importorskip("expelliarmus")
    path = data_root / "cameras" / "gen3_evt2.raw"
    ours = read_events(path)
    theirs = expelliarmus.Wizard(encoding="evt2").read(path)
    assert np.array_equal(ours.t, theirs["t"]) and np.array_equal(ours.marks["p"], theirs["p"])
    early = ours.slice(int(ours.t[0]), int(ours.t[0]) + 10_000)
    first = Events.of(early.t - early.t[0], span=(0, 10_000), schema=early.schema, **early.marks)
    write_events(first, tmp_path / "a.dat")
    again = expelliarmus.Wizard(encoding="dat").read(tmp_path / "a.dat")
    assert np.array_equal(again["t"], first.t) and np.array_equal(again["x"], first.marks["x"])
