"""Tables of events as people keep them: the order of columns, units and sensors told, said, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from camera_table import COLUMNS, P, T, X, Y, lines, same

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.io import ReadWarning, open_recording, read_events


@pytest.mark.parametrize("seconds", [False, True])
@pytest.mark.parametrize("order", ["txyp", "xytp", "xypt"])
def test_columns_without_a_header(order: str, seconds: bool, tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text(lines(order, seconds=seconds))
    recording = open_recording(path)
    assert same(recording.read())
    told = [note for note in recording.report.notes if "no header names its columns" in note]
    assert len(told) == 1 and " ".join(order) in told[0] and not recording.report.facts


@pytest.mark.parametrize("separator", [" ", ",", "\t", "; "])
@pytest.mark.parametrize("order", ["tyxp", "yxtp", "yxpt", "ptyx", "zt pxy"])
def test_columns_in_an_order_that_is_said(order: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    shown = {**COLUMNS, "z": np.full(400, "left"), " ": np.arange(400)}
    path.write_text("".join(separator.join(str(shown[k][i]) for k in order) + "\n" for i in range(400)))
    said = " ".join(order.replace(" ", "_"))
    assert same(read_events(path, columns=said)) and same(open_recording(path, columns=said).read())
    path.write_text("stamp,u,v,sign\n" + path.read_text())
    assert same(read_events(path, columns=said))


@pytest.mark.parametrize(("order", "write"), [("tyxp", "t y x p"), ("yxtp", "y x t p"), ("yxpt", "y x p t")])
def test_x_and_y_in_each_others_place_are_refused(order: str, write: str, tmp_path: Path) -> None:
    """Read as t x y p, the recording of 120 x 100 pixels would be higher than wide."""
    path = tmp_path / "rec.txt"
    path.write_text(lines(order))
    line = rf"they would be 100 pixels wide and 120 high. Write: read_events\(..., columns='{write}'\)"
    with pytest.raises(InputError, match=line):
        read_events(path)
    assert same(read_events(path, columns=write))
    path.write_text("%geometry:120,100\n" + lines(order))
    with pytest.raises(InputError, match=r"lie beyond a sensor of 120 x 100 pixels .* columns='" + write):
        read_events(path)


def test_what_may_be_read_in_two_ways_is_refused_or_told(tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text("".join(f"{i} {i % 3} {i} 1\n" for i in range(8)))
    with pytest.raises(InputError, match="its first 8 rows may be t x y p or x y t p. Write"):
        read_events(path)
    path.write_text("".join(f"{i} {i % 3} {i} 1\n" for i in range(3)))
    with pytest.warns(ReadWarning, match="so few rows may be t x y p or x y t p"):
        assert read_events(path).t.tolist() == [0, 1, 2]
    path.write_text("".join(f"{t} {x} {y} {p}\n" for t, x, y, p in zip(T, Y, Y[::-1], P, strict=True)))
    with pytest.warns(ReadWarning, match="x and y may be the other way round: then write columns='t y x p'"):
        read_events(path)
    assert open_recording(path, columns="t x y p").report.notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5 1 2 1 0\n6 1 2 0 0\n", "its format is not known"),
        (",t,x,y\n0,5,1,2\n", "its format is not known|no column"),
        ("t,x,y,p\n0,5,1,2,1\n", "its header names 4 columns, its first line has 5"),
        ("".join(f"{t:.18e} {x:.18e} {y:.18e} {p:.18e}\n" for t, x, y, p in zip(T, X, Y, P, strict=True)),
         "times have a decimal point but are whole numbers: seconds, or microseconds"),
        ("# t x y p\n1 2 3 1\nnan 3 4 0\n", "byte 18: line 3: 'nan 3 4 0' is no event t x y p"),
        ("".join(f"{i} {i % 3} {9 - i} 1\n" for i in range(9)) + "so far\n", "line 10: 'so far' is no event"),
        ("MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file, which is not read. Write in Python: .*numpy.savez"),
        ("t x y p\n1504645177420000000 1 2 1\n", r"too late for microseconds. Write: .*unit='ns'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rec.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_events(path)


def test_a_table_of_pandas(tmp_path: Path) -> None:
    """A nameless index, polarity in words."""
    rows = zip(T, X, Y, P, strict=True)
    text = ",t,x,y,p\n" + "".join(f"{i},{t},{x},{y},{bool(p)}\n" for i, (t, x, y, p) in enumerate(rows))
    (tmp_path / "rec.csv").write_text(text)
    assert same(read_events(tmp_path / "rec.csv"))


@pytest.mark.parametrize("order", ["txyp", "xytp", "ptxy"])
@pytest.mark.parametrize("how", ["rows", "columns", "turned", "archive"])
def test_arrays_of_four_columns(how: str, order: str, tmp_path: Path) -> None:
    table = np.stack([COLUMNS[k] for k in order], 1).astype(np.int64)
    path = tmp_path / ("rec.npz" if how == "archive" else "rec.npy")
    if how == "archive":
        np.savez_compressed(path, events=np.asfortranarray(table), other=np.zeros((3, 3)))
    else:
        np.save(path, {"rows": table, "columns": np.asfortranarray(table), "turned": table.T.copy()}[how])
    said = " ".join(order)
    assert same(read_events(path, columns=said))
    if order == "ptxy":
        with pytest.raises(InputError, match="its first rows are no events"):
            read_events(path)
    else:
        assert same(read_events(path))
    seconds = np.where([k == "t" for k in order], table / 1e6, table)
    np.save(tmp_path / "seconds.npy", seconds)
    with pytest.raises(InputError, match="its times are float64, and no unit is known"):
        read_events(tmp_path / "seconds.npy", columns=said)
    assert same(read_events(tmp_path / "seconds.npy", columns=said, schema=Schema(unit="s")))


@pytest.mark.parametrize(
    ("columns", "message"),
    [("t y x", "expected t, x, y and p once each"), ("t y x p p", "once each"), ("p q t x y", "it has 4 columns")],
)
def test_orders_that_cannot_be(columns: str, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "rec.npy", np.stack([T, X, Y, P], 1))
    with pytest.raises(InputError, match=message):
        read_events(tmp_path / "rec.npy", columns=columns)
    np.savez(tmp_path / "rec.npz", **COLUMNS)
    with pytest.raises(InputError, match="its arrays have names"):
        read_events(tmp_path / "rec.npz", columns="t x y p")


def test_columns_on_the_command_line(tmp_path: Path, cli: Callable[..., Any]) -> None:
    path, out = tmp_path / "rec.txt", tmp_path / "rec.npz"
    path.write_text(lines("tyxp"))
    words = ["--columns", "t", "y", "x", "p", "unit=ms", "sensor=128x112"]
    assert cli("data", "convert", path, out, *words).code == 0
    events = read_events(out)
    assert np.array_equal(events.t, T * 1000) and np.array_equal(events.marks["x"], X)
    assert (events.schema.height, events.schema.width) == (112, 128)
    assert "128 x 112" in cli("data", "info", path, *words).out
    assert cli("data", "render", path, tmp_path / "rec.png", *words).code == 0
    for wrong, message in ((["t", "sensr=1x2"], "did you mean"), (["t", "sensor=9"], "width x height")):
        done = cli("data", "info", path, "--columns", *wrong)
        assert done.code == 2 and message in done.err


def h5(path: Path, group: str, names: str, *, t: Any = T, **attributes: Any) -> Path:
    with h5py.File(path, "a") as file:
        for name, column in zip(names.split(), (t, X, Y, P), strict=True):
            file[f"{group}/{name}"] = column if name[0] == "t" else column.astype("i2" if name[0] != "p" else bool)
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


@pytest.mark.parametrize("size", [(112, 128), (128, 112)])
def test_event_utils_layout(size: tuple[int, int], tmp_path: Path) -> None:
    """Seconds; its sensor_resolution is (height, width) in some files and the other way round in others."""
    path = h5(tmp_path / "rec.h5", "events", "ts xs ys ps", t=T / 1e6 + 7.0, sensor_resolution=size)
    events = read_events(path)
    assert np.array_equal(events.t, T + 7_000_000) and np.array_equal(events.marks["p"], P)
    turned = Y.max() >= size[0] or X.max() >= size[1]
    assert (events.schema.height, events.schema.width) == (size[::-1] if turned else size)
    recording = open_recording(path)
    assert np.array_equal(recording.read((7_050_000, 7_060_000)).t - 7_000_000, T[(T >= 50_000) & (T < 60_000)])


def test_m3ed_layout(tmp_path: Path) -> None:
    path = h5(tmp_path / "rec.h5", "prophesee/left", "t x y p")
    with h5py.File(path, "a") as file:
        file["prophesee/left/ms_map_idx"] = np.searchsorted(T, np.arange(T[-1] // 1000) * 1000).astype("u8")
        file["prophesee/left/calib/resolution"] = np.array([1280, 720])
    events = read_events(path)
    assert same(events) and (events.schema.height, events.schema.width) == (720, 1280)
    part = open_recording(path).read((50_500, 60_000))
    assert np.array_equal(part.t, T[(T >= 50_500) & (T < 60_000)])
    with pytest.raises(InputError, match="no camera 'right' in it; it has prophesee/left"):
        read_events(path, format="m3ed-right")


def test_columns_anywhere_in_hdf5(tmp_path: Path) -> None:
    path = h5(tmp_path / "rec.h5", "/", "timestamp x y polarity")
    assert same(read_events(path))
    with pytest.raises(InputError, match="columns='t x y p' is for text, npy, npz"):
        read_events(path, columns="t x y p")
    h5(path, "other", "t x y p")
    with pytest.raises(InputError, match="several groups hold events: /, other"):
        read_events(path)


@pytest.mark.parametrize(
    ("t", "names", "message"),
    [
        (T / 1e6, "t x y p", "too many for microseconds. Write: .*unit='s'"),
        (T.astype(float), "ts xs ys ps", "seconds, or microseconds"),
        (T + 1_504_645_177_420_000_000, "t x y p", "unit='ns'"),
    ],
)
def test_units_in_hdf5_that_cannot_be_told(t: Any, names: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_events(h5(tmp_path / "rec.h5", "events", names, t=t))
    assert same(read_events(h5(tmp_path / "s.h5", "events", names, t=T / 1e6), schema=Schema(unit="s")))


def test_dsec_layout_of_a_larger_sensor(tmp_path: Path) -> None:
    """640 x 480 is what DSEC's cameras have, not what everybody's have who uses its layout."""
    path = h5(tmp_path / "rec.h5", "events", "t x y p")
    assert read_events(path).schema.width == 640
    with h5py.File(path, "a") as file:
        file["events/y"][7] = 500
    recording = open_recording(path)
    assert recording.schema.width is None and "it is not of a sensor of 480 x 640" in recording.report.notes[0]
    with h5py.File(path, "a") as file:
        file["events/height"], file["events/width"] = 720, 1280
    assert open_recording(path).schema.width == 1280
