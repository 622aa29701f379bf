"""The run folder: its name, its table of epochs, and what a reader must know to repeat the run."""

from __future__ import annotations

import csv
import datetime
import io
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from eventflow._assets import ROOT
from eventflow.errors import InputError


def new_run_folder(name: str, out: str | None) -> Path:
    """A folder that is not there yet (or is empty): ``out``, or ``runs/<name>-<time>``.

    Raises:
        InputError: ``out`` holds something already.
    """
    if out is not None:
        path = Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"--out {out}: is not empty, and a run never overwrites another. Give a new folder")
        return path
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{name}-{stamp}"
    for i in range(2, 1000):
        if not path.exists():
            break
        path = Path("runs") / f"{name}-{stamp}-{i}"
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


class EpochTable(Logger):
    """``metrics.csv``: one row an epoch. A resumed run keeps the rows of the epochs before the one it starts in.

    With ``lines`` each row is printed too, where there is no terminal for a progress bar.
    """

    def __init__(self, path: Path, *, lines: bool = False) -> None:
        super().__init__()
        self.path = path
        self.lines = lines
        self.rows: dict[int, dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """Lightning's name for it."""
        return "table"

    @property
    def version(self) -> str:
        """None: a run folder is never written twice."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Fill in the epoch's row, and write the table."""
        epoch = int(metrics.get("epoch", -1))
        if self.rows is None:
            self.rows = {e: row for e, row in self._written().items() if e < epoch}
        row = self.rows.setdefault(epoch, {"epoch": epoch, "step": step})
        row.update({k: v for k, v in metrics.items() if k != "epoch"} | {"step": step})
        names = list(dict.fromkeys(key for each in self.rows.values() for key in each))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows[e] for e in sorted(self.rows))
        write_whole(self.path, text.getvalue())
        if self.lines and any(name.startswith("train/") for name in metrics):  # the last to come in an epoch
            numbers = "  ".join(f"{name} {row[name]:.4f}" for name in row if name not in ("epoch", "step"))
            print(f"epoch {epoch + 1}  {numbers}", flush=True)

    def _written(self) -> dict[int, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        with self.path.open(encoding="utf-8", newline="") as file:
            return {int(row["epoch"]): dict(row) for row in csv.DictReader(file)}


def provenance() -> dict[str, str]:
    """Commit, date and machine of this process."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def commit() -> str:
    """The commit of the checkout that runs, with "+" behind it if files differ from it; "" outside a checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != ROOT:
            return ""
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
