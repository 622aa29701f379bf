"""What the terminal shows meanwhile: how many cells or trials are done, where the others are, how long it will take.

Everything is read from the output folder, so it is the same for every executor.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventflow.bench.leaderboard._store import epochs, read_json


class Task(NamedTuple):
    """What is waited for: its name, and the file that says "state", "since" and "run", at last "text" or "error"."""

    name: str
    result: Path


class Progress:
    """A picture of the tasks under way, renewed each second on a terminal; elsewhere one line for each that ends.

    Args:
        tasks: what is waited for.
        what: they are, in the plural.
        columns: head -> text of a task's result file; by default epochs and validation nll of its run folder.
    """

    def __init__(
        self, tasks: Sequence[Task], *, what: str, columns: Mapping[str, Callable[[dict[str, Any]], str]] | None = None
    ) -> None:
        self.tasks, self.what, self.columns = list(tasks), what, columns or _EPOCHS
        self.console = Console(file=sys.stderr)
        self.finished: list[Task] = []
        self.started = time.time()
        self.live = Live(
            get_renderable=self.picture, console=self.console, refresh_per_second=1, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.stop()

    def done(self, task: Task) -> None:
        """A task has ended: tell how."""
        self.finished.append(task)
        result = read_json(task.result)
        text = result.get("text") or f"failed: {result.get('error', 'it left no result')}"
        line = f"[{len(self.finished)}/{len(self.tasks)}] {task.name}: {text}{self._left()}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def picture(self) -> Group:
        """The head line, and a row for each task that is being run."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("running", *self.columns, "minutes"):
            table.add_column(head, justify="left" if head == "running" else "right")
        for task in self.tasks:
            state = {} if task in self.finished else read_json(task.result)
            if state.get("state") == "running" and state["since"] >= self.started - 1:
                minutes = f"{(time.time() - state['since']) / 60:.1f}"
                table.add_row(task.name, *(text(state) for text in self.columns.values()), minutes)
        head = Text(f"{len(self.finished)} of {len(self.tasks)} {self.what} done{self._left()}", style="bold")
        return Group(head, table) if table.row_count else Group(head)

    def _left(self) -> str:
        """The time that the other tasks will take, if they are like those that ended."""
        count, rest = len(self.finished), len(self.tasks) - len(self.finished)
        if not count or not rest:
            return ""
        return f", about {_minutes((time.time() - self.started) / count * rest)} left"


def _nll(state: dict[str, Any]) -> list[float]:
    """Validation nll of the epochs of a run folder."""
    return [row["val_nll"] for row in epochs(Path(state["run"])) if row["val_nll"] is not None]


_EPOCHS: dict[str, Callable[[dict[str, Any]], str]] = {
    "epoch": lambda state: str(len(epochs(Path(state["run"])))),
    "val nll": lambda state: "".join(f"{nll:.4f}" for nll in _nll(state)[-1:]),
    "best": lambda state: "".join(f"{nll:.4f}" for nll in sorted(_nll(state))[:1]),
}


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Ticker:
    """Calls a function at most once in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()
        self.lock = threading.Lock()

    def due(self) -> bool:
        """Whether it is time again."""
        with self.lock:
            if time.monotonic() - self.last < self.seconds:
                return False
            self.last = time.monotonic()
            return True
