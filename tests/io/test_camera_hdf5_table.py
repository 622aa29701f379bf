"""HDF5 with all events in one dataset: n x 4 numbers, whose order their values tell, or records."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.io import open_recording, read_events

_N = 3000
_RNG = np.random.default_rng(0)
_T = np.sort(_RNG.integers(10, 900_000, _N))
_X, _Y, _P = _RNG.integers(0, 346, _N), _RNG.integers(0, 260, _N), _RNG.integers(0, 2, _N)


def _same(path: Path, **options: object) -> None:
    events = read_events(path, **options)  # type: ignore[arg-type]
    for got, expected in zip((events.t, *(events.marks[k] for k in "xyp")), (_T, _X, _Y, _P), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("order", ["t x y p", "x y t p", "x y p t"])
def test_a_table_of_numbers(tmp_path: Path, order: str):
    columns = {"t": _T, "x": _X, "y": _Y, "p": _P}
    with h5py.File(tmp_path / "v2e.h5", "w") as file:
        table = np.stack([columns[name] for name in order.split()], 1).astype("u4")
        file.create_dataset("events", data=table, compression="gzip", chunks=(500, 4))
        file["frame"] = np.zeros((2, 4, 4))
    _same(tmp_path / "v2e.h5")
    _same(tmp_path / "v2e.h5", columns=order)
    whole = open_recording(tmp_path / "v2e.h5")
    window = whole.read((100_000, 300_000))
    np.testing.assert_array_equal(window.t, _T[(_T >= 100_000) & (_T < 300_000)])


def test_records(tmp_path: Path):
    records = np.empty(_N, [("x", "u2"), ("y", "u2"), ("polarity", "?"), ("timestamp", "f8")])
    records["x"], records["y"], records["polarity"], records["timestamp"] = _X, _Y, _P, _T / 1e6
    with h5py.File(tmp_path / "rec.h5", "w") as file:
        file["dvs/log"] = records
    with pytest.raises(InputError, match=r"times are float64.*--columns unit=s"):
        read_events(tmp_path / "rec.h5")
    _same(tmp_path / "rec.h5", schema=Schema(unit="s"))


def test_which_table_and_which_shape(tmp_path: Path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for name in ("events_left", "events_right"):
            file[name] = np.stack([_T, _X, _Y, _P], 1)
    with pytest.raises(InputError, match="several tables may be events: events_left, events_right"):
        read_events(tmp_path / "two.h5")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["frames"] = np.zeros((5, 4))
    with pytest.raises(InputError, match="no known layout; it holds frames"):
        read_events(tmp_path / "none.h5")


def test_columns_of_matlab_in_an_npz(tmp_path: Path):
    np.savez(tmp_path / "rec.npz", t=_T[:, None], x=_X[:, None], y=_Y[:, None], p=_P[None])
    _same(tmp_path / "rec.npz")
