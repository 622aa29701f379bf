"""Cut off, damaged and foreign recordings: an error with the place, or the events before it and a report."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow.cli import main
from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import ReadWarning, open_recording, read_events, write_events
from eventflow.io.cameras import CAMERA_FORMATS

QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
SUFFIXES = {"evt2": ".evt2", "evt3": ".raw", "dat": ".dat", "nmnist": ".bin", "text": ".txt", "npz": ".npz"}
SIZE = Schema(height=34, width=34)


def recording(n: int = 300) -> Events:
    rng = np.random.default_rng(n)
    t = np.cumsum(rng.choice([0, 1, 3, 70], n))
    x, y = rng.integers(0, 34, n).astype(np.uint16), rng.integers(0, 34, n).astype(np.uint16)
    schema = Schema(unit="us", height=34, width=34)
    span = (int(t[0]), int(t[-1]) + 1)
    return Events.of(t, span=span, schema=schema, x=x, y=y, p=rng.integers(0, 2, n).astype(np.uint8))


def recovered(path: Path, name: str) -> Events:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadWarning)
        return read_events(path, format=name, schema=SIZE, recover=True)


def is_prefix(part: Events, whole: Events) -> bool:
    n = part.num_events
    return np.array_equal(part.t, whole.t[:n]) and all(np.array_equal(part.marks[k], whole.marks[k][:n]) for k in "xyp")


@pytest.mark.parametrize("name", SUFFIXES)
@QUICK
@given(share=st.floats(0.3, 1))
def test_cut_anywhere(name: str, share: float, tmp_path: Path) -> None:
    whole = recording()
    path = tmp_path / f"whole{SUFFIXES[name]}"
    write_events(whole, path)
    data = path.read_bytes()
    cut = tmp_path / f"cut{SUFFIXES[name]}"
    cut.write_bytes(data[: int(len(data) * share)])
    try:
        part = read_events(cut, format=name, schema=SIZE)
    except InputError as error:
        assert str(cut) in str(error)
        assert "byte" in str(error) and "recover=True" in str(error)
        try:
            part = recovered(cut, name)
        except InputError as nothing:  # the polarities come last
            assert name == "npz" and "makes no events" in str(nothing) and share < 0.95
            return
    if name == "text" and not data[: int(len(data) * share)].endswith(b"\n") and share < 1:
        part = part.slice(0, part.t[-1])  # the last line may have lost a digit
    assert is_prefix(part, whole)


@pytest.mark.parametrize("name", SUFFIXES)
@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_anywhere(name: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / f"rec{SUFFIXES[name]}"
    write_events(recording(), path)
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for at in rng.integers(0, len(data), rng.integers(1, 5)):
        data[at] = rng.integers(0, 256)
    path.write_bytes(bytes(data))
    for recover in (False, True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReadWarning)
                assert read_events(path, recover=recover).validate()
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("name", sorted(CAMERA_FORMATS))
@QUICK
@given(data=st.binary(min_size=1, max_size=300), good_head=st.booleans())
def test_noise_is_an_input_error_or_events(name: str, data: bytes, good_head: bool, tmp_path: Path) -> None:
    heads = {
        "evt2": b"% evt 2.0\n", "evt21": b"% evt 2.1\n", "evt3": b"% evt 3.0\n% end\n", "dat": b"% Version 2\n\x0c\x08",
        "aedat2": b"#!AER-DAT2.0\r\n# DAVIS240\r\n", "aedat31": b"#!AER-DAT3.1\r\n#!END-HEADER\r\n",
        "npy": b"\x93NUMPY\x01\x00", "npz": b"PK\x03\x04", "es": b"Event Stream\x02\x00\x00\x01",
        "aedat4": b"#!AER-DAT4.0\r\n", "rosbag": b"#ROSBAG V2.0\n",
        "dsec": b"\x89HDF\r\n\x1a\n", "mvsec": b"\x89HDF\r\n\x1a\n",
        "mvsec-right": b"\x89HDF\r\n\x1a\n", "metavision": b"\x89HDF\r\n\x1a\n",
    }  # fmt: skip
    path = tmp_path / "noise"
    path.write_bytes((heads.get(name, b"") if good_head else b"") + data)
    try:
        read = recovered(path, name)
        assert read.validate().t.dtype == np.int64
    except InputError as error:
        assert str(path) in str(error) or "pip install" in str(error)


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_archive_keeps_the_events_whose_polarities_are_there(packed: bool, tmp_path: Path) -> None:
    whole, path = recording(), tmp_path / "rec.npz"
    (np.savez_compressed if packed else np.savez)(path, t=whole.t, **whole.marks)
    data, found = path.read_bytes(), set()
    for cut in range(len(data) - 1, 400, -7):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=rf"byte {cut:,}, an .npz archive that cannot.*recover=True"):
            read_events(path)
        try:
            part = recovered(path, "npz")
        except InputError as error:
            assert "makes no events" in str(error) and "p.npy" not in str(error)
            continue
        assert is_prefix(part, whole)
        found.add(part.num_events)
    assert max(found) == 300 and (packed or min(found) < 100 and len(found) > 20)
    path.write_bytes(data[:-9])
    with pytest.warns(ReadWarning, match="its directory is missing, it is cut off"):
        read_events(path, recover=True)


def test_the_rows_of_a_block_before_its_fault_are_kept(tmp_path: Path) -> None:
    whole = recording()
    rows = np.zeros(300, [("t", "i8"), ("x", "i4"), ("y", "i4"), ("p", "i1")])
    for key, column in {"t": whole.t, **whole.marks}.items():
        rows[key] = column
    rows["x"][250], rows["p"][200] = 70_000, 7
    np.save(tmp_path / "rec.npy", rows)
    with pytest.raises(InputError, match="event 200: p is 7; expected 0, 1 or -1"):
        read_events(tmp_path / "rec.npy")
    with pytest.warns(ReadWarning, match="200 events before that were kept"):
        assert is_prefix(read_events(tmp_path / "rec.npy", recover=True), whole)
    data = (tmp_path / "rec.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[: -rows.itemsize * 120])
    with pytest.raises(InputError, match=rf"byte {len(data) - rows.itemsize * 120:,}, event 180: the array is cut off"):
        read_events(tmp_path / "cut.npy")
    with pytest.warns(ReadWarning, match="180 events before that were kept"):
        assert read_events(tmp_path / "cut.npy", recover=True).num_events == 180


def test_a_damaged_member_is_named_with_its_byte(tmp_path: Path) -> None:
    whole, path = recording(), tmp_path / "rec.npz"
    np.savez_compressed(path, t=whole.t, **whole.marks)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("x.npy").header_offset
    data[at + 60 : at + 90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"byte {at:,}, x.npy is damaged"):
        read_events(path)


def test_a_cut_file_says_where_and_how_many(tmp_path: Path) -> None:
    path = tmp_path / "cut.raw"
    write_events(recording(), path)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match=rf"byte {len(data) - 2:,}: the file is cut off within a record; 1 bytes are"):
        read_events(path)
    with pytest.warns(ReadWarning, match="events before that were kept"):
        part = read_events(path, recover=True)
    assert is_prefix(part, recording()) and part.num_events >= 299
    rec = open_recording(path, recover=True)
    assert sum(chunk.num_events for chunk in rec.chunks()) == part.num_events
    assert rec.report.facts["broken"] and "ended at byte" in rec.report.notes[0]


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.99])
def test_what_is_left_of_hdf5(share: float, tmp_path: Path) -> None:
    """HDF5 refuses a file that is cut off; padded with zeros, it gives the chunks that are there."""
    pytest.importorskip("hdf5plugin", reason="needs the extra vision")
    whole, path, cut = recording(100_000), tmp_path / "rec.h5", tmp_path / "cut.h5"
    write_events(whole, path)
    data = path.read_bytes()
    size = int(len(data) * share)
    cut.write_bytes(data[:size])
    with pytest.raises(InputError, match=f"{len(data) - size:,} bytes are missing at its end, byte {size:,}"):
        read_events(cut)
    try:
        with pytest.warns(ReadWarning, match="events before that were kept"):
            assert is_prefix(read_events(cut, recover=True), whole)
    except InputError as error:  # where even what says what lies where is gone
        assert share < 0.99 and "cut off" in str(error)


@pytest.mark.parametrize("layout", ["dsec", "mvsec"])
def test_a_damaged_chunk_of_hdf5_is_named_by_its_byte(layout: str, tmp_path: Path) -> None:
    """The third chunk of x (of the table) is damaged: its byte, and the events of all blocks before it."""
    h5py = pytest.importorskip("h5py", reason="needs the extra vision")
    whole, path = recording(400_000), tmp_path / "rec.h5"
    columns = {key: whole.t if key == "t" else whole.marks[key] for key in "xytp"}
    with h5py.File(path, "w") as file:
        settings = {"chunks": (100_000,), "compression": "gzip"}
        if layout == "dsec":
            made = [file.create_dataset(f"events/{key}", data=v, **settings) for key, v in columns.items()][0]
        else:
            table = np.stack([columns[key] * (1e-6 if key == "t" else 1.0) for key in "xytp"], 1)
            settings["chunks"] = (100_000, 4)
            made = file.create_dataset("davis/left/events", data=table, **settings)
        chunk = made.id.get_chunk_info(2)
        name = made.name
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=rf"byte {chunk.byte_offset:,}, in {name}: event 200,000: .*recover=True"):
        read_events(path)
    part = recovered(path, "dsec" if layout == "dsec" else "mvsec")
    assert part.num_events == 200_000 and is_prefix(part, whole)


@pytest.mark.parametrize("how", ["cut", "damaged"])
def test_a_fault_of_aedat4_is_named_by_the_byte_of_its_packet(how: str, tmp_path: Path, data_root: Path) -> None:
    pytest.importorskip("aedat", reason="needs the extra aedat")
    data = bytearray((data_root / "cameras" / "davis.aedat4").read_bytes())
    broken = tmp_path / "broken.aedat4"
    packet = 469_651  # from the file's own lengths, one after the other
    assert int.from_bytes(data[packet + 4 : packet + 8], "little") == 24_052
    if how == "damaged":
        data[packet + 100 : packet + 200] = b"\xff" * 100
    broken.write_bytes(bytes(data[: packet + 5_000] if how == "cut" else data))
    with pytest.raises(InputError, match=rf"byte {packet:,}: event [\d,]+: .*recover=True"):
        read_events(broken)
    assert 0 < recovered(broken, "aedat4").num_events < 111_954


def test_time_that_goes_back_in_a_text_says_the_line(tmp_path: Path) -> None:
    path = tmp_path / "back.txt"
    path.write_text("0.1 1 2 1\n0.2 1 2 0\n0.15 1 2 1\n0.3 1 2 1\n")
    with pytest.raises(InputError, match="event 2: time goes back from 200000 to 150000"):
        read_events(path)
    path.write_text("0.1 1 2 1\n0.2 1 2 0\nnonsense\n")
    with pytest.raises(InputError, match="byte 20: line 3: 'nonsense' is no event"):
        read_events(path, format="text")
    assert recovered(path, "text").t.tolist() == [100_000, 200_000]


@pytest.mark.parametrize(
    ("data", "format", "message"),
    [
        (b"% evt 2.0\n\0\0\0\0", "evt3", "its header says evt2"),
        (b"% evt 4.0\n\0\0\0\0", None, "format is not known"),
        (b"% Data file containing CD events\n\x05\x10", "dat", "type 0x05 and 0x10 bytes"),
        (b"#!AER-DAT2.0\r\n# Retina\r\n", None, "names no camera"),
        (b"\x93NUMPY\x01\x00", None, "no readable numpy header"),
        (b"nothing of ours", "evt9", "did you mean 'evt2'|did you mean 'evt3'|did you mean 'evt21'"),
        (b"% evt 3.0\n\x00\x20\x00\x90", None, "byte 12: a word of a reserved type"),
    ],
)
def test_foreign_files(data: bytes, format: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_events(path, format=format)


def test_an_event_outside_the_sensor_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "rec.raw"
    write_events(recording(), path)
    data = path.read_bytes().replace(b"height=34", b"height=20").replace(b"x34", b"x20")
    path.write_bytes(data)
    with pytest.raises(InputError, match="outside the sensor"):
        read_events(path)
    with pytest.raises(InputError, match="header says height=20, the schema says 34"):
        read_events(path, schema=SIZE)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="never unpickled"):
        read_events(tmp_path / "evil.npy")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "cut.raw", tmp_path / "out.npz"
    write_events(recording(), source)
    source.write_bytes(source.read_bytes()[:-1])
    assert main(["data", "convert", str(source), str(target)]) == 2
    assert "byte" in capsys.readouterr().err and not target.exists()
    with pytest.warns(ReadWarning):
        assert main(["data", "convert", str(source), str(target), "--recover"]) == 0
    assert is_prefix(read_events(target), recording())
    assert main(["data", "info", str(source)]) == 0
    assert "reading ended at" in capsys.readouterr().out.replace("\n", " ")
