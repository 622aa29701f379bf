"""`eventflow bench voxel`: what it compares is the same grid, and it reports everything."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eventflow._assets import ROOT
from eventflow.bench import _voxel
from eventflow.errors import InputError
from eventflow.ops import voxel_grid

RECORDING = ROOT / "datasets/sim_flow/sample/train/seed_0000/events/left/events.h5"
SHAPE = {"bins": _voxel.BINS, "height": _voxel.HEIGHT, "width": _voxel.WIDTH}


def test_the_contenders_build_the_same_grid() -> None:
    stream = _voxel.load(RECORDING)
    theirs = _voxel._add_at(stream).reshape(_voxel.BINS, _voxel.HEIGHT, _voxel.WIDTH)
    np.testing.assert_allclose(theirs, voxel_grid(*stream, **SHAPE), atol=1e-4)
    ours = voxel_grid(*stream, interpolation="trilinear", rectify=_voxel.bent(), **SHAPE)
    np.testing.assert_allclose(_voxel._dsec_torch(stream).numpy(), ours, atol=1e-4)
    tiled = _voxel.tile(stream, 10_000)
    assert len(tiled[0]) >= 10_000 and (np.diff(tiled[0]) >= 0).all()


def test_it_reports_every_row(tmp_path, capsys) -> None:
    _voxel.run(tmp_path, recording=RECORDING, events=5_000, rounds=1)
    report = json.loads((tmp_path / "voxel.json").read_text())
    rates = report["window"]["cpu_mev_per_s"]
    assert {"ours, time", "np.add.at, time", "DSEC's definition in torch, 8 corners"} < set(rates)
    assert all(rate > 0 for rate in rates.values()) and "measured scatter limit" in capsys.readouterr().out


def test_without_a_recording_it_says_what_to_write(monkeypatch) -> None:
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    with pytest.raises(InputError, match="--recording FILE"):
        _voxel.run()
