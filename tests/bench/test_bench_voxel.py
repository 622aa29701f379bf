"""`eventflow bench voxel`: what it compares is the same grid, and it reports everything."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eventflow._assets import ROOT
from eventflow.bench import _voxel
from eventflow.bench._voxel_peers import MEASURED, Peers
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
    assert set(rates) == set(report["window"]["cpu_mev_per_s_after_another_job"])
    assert {"ours, time", "np.add.at, time", "DSEC's definition in torch, 8 corners"} < set(rates)
    told = capsys.readouterr().out
    assert all(rate > 0 for rate in rates.values()) and "measured scatter limit" in told
    for peer in MEASURED:  # run, or told why not and what it was measured at elsewhere
        ran = any(name.startswith(peer) and "definition" not in name for name in rates)
        assert ran or (report["not run here"][peer] and f"{peer} was not run here" in told)
        assert ran or "not run here, measured elsewhere" in told


def test_a_peer_in_a_process_of_its_own(tmp_path) -> None:
    """A checkout with a peer's function of the same name: it is called, timed, and its grid is looked at."""
    source = tmp_path / "dsec" / "scripts" / "dataset"
    source.mkdir(parents=True)
    (source / "representations.py").write_text(
        "class VoxelGrid:\n    def __init__(self, *shape, normalize):\n        assert shape == (15, 480, 640)\n"
        "    def convert(self, x, y, p, t):\n        return (2 * p - 1) * 3\n"
    )
    stream = _voxel.load(RECORDING)
    with Peers(stream, SHAPE, python=None, checkouts={"openeb": None, "dsec": tmp_path / "dsec"}) as peers:
        assert "DSEC torch" in peers.ready and "--openeb FOLDER" in peers.absent["OpenEB"]
        assert peers.cpu("DSEC torch") > 0
        assert peers.sums["DSEC torch"]["moduli"] == 3 * len(stream[0])
    for python, message in ((tmp_path / "none", "No such file"), (tmp_path / "bad", "ended early")):
        if python.name == "bad":
            python.write_text("#!/bin/sh\nexit 3\n")
            python.chmod(0o755)
        with pytest.raises(InputError, match=message):
            Peers(stream, SHAPE, python=python, checkouts={})


def test_without_a_recording_it_says_what_to_write(monkeypatch) -> None:
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    with pytest.raises(InputError, match="--recording FILE"):
        _voxel.run()
