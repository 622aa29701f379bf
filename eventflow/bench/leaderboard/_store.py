"""Where everything lies in the output folder of ``eventflow bench tpp``, and how it is written.

    cells/<data>/<model>/config.yaml   what was asked of every seed
                        /<seed>.json   state (running, done or failed) and result of a cell
                        /<seed>.log    what it printed
                        /<seed>/       its run folder, as `eventflow fit` and `eventflow test` leave it
    cells/<data>/baselines.json        the trivial baselines on the same test events
    tune/journal.log, tune/<data>/<model>/<hash>/    trials of a search
    best/<model>_<data>.yaml           what a search found
    leaderboard.{md,html,json}
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from eventflow.bench._report import write
from eventflow.errors import InputError

#: File in a run folder with a line for each epoch: what it cost.
EPOCHS = "epochs.jsonl"
#: File in a run folder that says: its training has ended.
TRAINED = "trained.json"


class Cell(NamedTuple):
    """One model on one dataset with one seed, and its place below ``out``."""

    out: Path
    data: str
    model: str
    seed: int

    @property
    def home(self) -> Path:
        """The folder of all its seeds."""
        return self.out / "cells" / self.data / self.model

    @property
    def result(self) -> Path:
        """State and result."""
        return self.home / f"{self.seed}.json"

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.home / str(self.seed)

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.home / f"{self.seed}.log"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.model} on {self.data}, seed {self.seed}"


def baselines_file(out: Path, data: str) -> Path:
    """Where a dataset's baselines are."""
    return out / "cells" / data / "baselines.json"


def digest(content: Any) -> str:
    """A name for plain data: sha256 of its JSON, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write plain data whole or not at all; nan and the infinities stay."""
    write(json.dumps(content, indent=1) + "\n", path)


def read_json(path: Path) -> dict[str, Any]:
    """A file of ours, or {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def epochs(run: Path) -> list[dict[str, Any]]:
    """The lines of EPOCHS, one for each epoch: of one that was run twice, the later one."""
    path = run / EPOCHS
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # cut by a kill
            continue
        rows[row["epoch"]] = row
    return [rows[epoch] for epoch in sorted(rows)]


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the output folder; a second bench in it would write into the same runs.

    Raises:
        InputError: another one is at work there.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; expected the folder of a leaderboard, or a name that is free")
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"--out {out}: another `eventflow bench` is at work in it. Wait for its end") from None
        yield
