"""The peers' half of ``eventflow bench voxel``: builds their grids when told to, and says how long each took.

Run as a script by any Python that imports some of the peers; imports no eventflow. One JSON object a line: first the
job, answered with who is here and why others are not; then names, each answered with CPU seconds and the grid's sums.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[_name] = "1"
import numpy as np  # noqa: E402

Job = Callable[[], Any]


def main() -> None:
    """Serve until standard input ends."""
    job = json.loads(sys.stdin.readline())
    with np.load(job["stream"]) as stream:
        columns = [stream[name] for name in "txyp"]
    jobs: dict[str, Job] = {}
    absent: dict[str, str] = {}
    for name, prepare in PEERS.items():
        try:
            jobs[name] = prepare(columns, job)
        except Exception as error:  # of whatever kind: a peer that cannot be run is told, with the reason
            absent[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
    _say({"ready": list(jobs), "absent": absent})
    for line in sys.stdin:
        start = time.process_time()
        grid = jobs[json.loads(line)]()
        cpu = time.process_time() - start
        values = np.asarray(grid, dtype=np.float64)
        _say({"cpu": cpu, "sum": float(values.sum()), "moduli": float(np.abs(values).sum())})


def _tonic(columns: list[Any], job: dict[str, Any]) -> Job:
    functional = import_module("tonic.functional")
    packed = np.empty(len(columns[0]), [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
    for name, column in zip("txyp", columns, strict=True):
        packed[name] = column
    size = (job["width"], job["height"], 2)
    return lambda: functional.to_voxel_grid_numpy(packed, size, job["bins"])


def _openeb(columns: list[Any], job: dict[str, Any]) -> Job:
    if "metavision_sdk_base" not in sys.modules and importlib.util.find_spec("metavision_sdk_base") is None:
        stub: Any = ModuleType("metavision_sdk_base")  # its file wants one dtype of it, which is not used here
        stub.EventCD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        sys.modules["metavision_sdk_base"] = stub
    path = "sdk/modules/core_ml/python/pypkg/metavision_core_ml/preprocessing/event_to_tensor_torch.py"
    module = _file(job.get("openeb"), path, "openeb")
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    t, x, y, p = columns
    events = torch.from_numpy(np.stack([np.zeros_like(t), x, y, 2 * p.astype(np.int64) - 1, t], 1).astype(np.int32))
    start, length = torch.zeros(1), torch.full((1,), float(t[-1] + 1))
    return lambda: module.event_volume(events, 1, job["height"], job["width"], start, length, job["bins"])


def _dsec(columns: list[Any], job: dict[str, Any]) -> Job:
    module = _file(job.get("dsec"), "scripts/dataset/representations.py", "dsec")
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    t, x, y, p = (torch.from_numpy(column.astype(np.float32)) for column in columns)
    grid = module.VoxelGrid(job["bins"], job["height"], job["width"], normalize=False)
    return lambda: grid.convert(x, y, p, t)


def _evlib(columns: list[Any], job: dict[str, Any]) -> Job:
    evlib, polars = import_module("evlib"), import_module("polars")
    t, x, y, p = columns
    frame = polars.DataFrame({
        "t": polars.Series(t.astype(np.int64)).cast(polars.Duration("us")), "x": x.astype(np.int16),
        "y": y.astype(np.int16), "polarity": p.astype(np.int8),
    })  # fmt: skip
    size = {"height": job["height"], "width": job["width"], "n_time_bins": job["bins"]}
    return lambda: evlib.densify_voxel_grid(evlib.create_voxel_grid(frame, **size), **size)


PEERS: dict[str, Callable[[list[Any], dict[str, Any]], Job]] = {
    "tonic": _tonic, "OpenEB": _openeb, "DSEC torch": _dsec, "evlib": _evlib,
}  # fmt: skip


def _file(folder: str | None, path: str, option: str) -> Any:
    """A module from a file of a checkout."""
    if folder is None:
        raise FileNotFoundError(f"no checkout; write --{option} FOLDER")
    if not os.path.isfile(os.path.join(folder, path)):
        raise FileNotFoundError(f"{folder}: no {path}")
    spec: Any = importlib.util.spec_from_file_location(f"peer_{option}", os.path.join(folder, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
