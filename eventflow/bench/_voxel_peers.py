"""Others' voxel grids for ``eventflow bench voxel``: in a process of their own, perhaps of another Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[Any]
#: Peer -> its version and Mev per CPU second of the window and of the tiled stream, where it was measured before: the
#: recording and the sizes of this bench, one core of a 2-core x86-64 machine (AMD EPYC).
MEASURED = {
    "tonic": ("1.7.0", 25.3, 6.8), "OpenEB": ("of 2026", 25.5, 9.2), "DSEC torch": ("of 2026", 4.4, 1.2),
    "evlib": ("0.13.2", 16.2, 12.2),
}  # fmt: skip
#: Whose bins are not ours.
OTHER_BINS = ("tonic", "OpenEB", "evlib")


class Peers:
    """The worker; with-statement. ``cpu(name)`` builds a peer's grid once and gives its CPU seconds.

    Args:
        stream: t, x, y, p.
        shape: bins, height, width.
        python: the Python that has the peers; None: this one.
        checkouts: option -> folder of sources that are not installed: openeb, dsec.
    """

    def __init__(
        self, stream: tuple[Array, ...], shape: dict[str, int], *, python: Path | None,
        checkouts: dict[str, Path | None],
    ) -> None:  # fmt: skip
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "stream.npz"
        t, x, y, p = stream
        np.savez(path, t=t, x=x, y=y, p=p)
        folders = {name: str(folder.resolve()) for name, folder in checkouts.items() if folder is not None}
        self._start(python)
        told = self._ask({"stream": str(path), **shape, **folders})
        self.ready: list[str] = told["ready"]
        self.absent: dict[str, str] = told["absent"]
        self.sums: dict[str, dict[str, float]] = {}

    def _start(self, python: Path | None) -> None:
        command = [str(python or sys.executable), str(Path(__file__).with_name("_voxel_worker.py"))]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or python is None}
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            raise InputError(f"--peer-python {command[0]}: {error.strerror or error}") from None

    def _ask(self, question: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; why is said below
        for line in process.stdout:
            if line.startswith("{"):  # a peer may print on its own account
                return json.loads(line)
        self._errors.seek(0)
        why = (self._errors.read().strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"bench voxel: the peers' process ended early ({why}). Try another --peer-python")

    def cpu(self, name: str) -> float:
        """CPU seconds of one grid."""
        told = self._ask(name)
        self.sums[name] = {"sum": told["sum"], "moduli": told["moduli"]}
        return told["cpu"]

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()
        self._folder.cleanup()
