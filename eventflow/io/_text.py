"""Opening text files (packed or not), with a progress bar when it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from eventflow.io._packed import PackedError, head_of, plain_text, unpacked
from eventflow.io._request import Request

#: Seconds after which a progress bar appears, on a terminal.
PATIENCE = 1.0


class Progress:
    """How much of a file was read; draws a bar on stderr, if that is a terminal, once it takes longer than PATIENCE."""

    def __init__(self, path: Path) -> None:
        self.path, self.total = path, path.stat().st_size
        self._begin = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def at(self, position: int) -> None:
        """The reader has come to this byte of the file."""
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._begin < PATIENCE:
                return
            from rich import progress
            from rich.console import Console

            columns = (progress.TextColumn("reading {task.description}"), progress.BarColumn(),
                       progress.DownloadColumn(), progress.TimeRemainingColumn())  # fmt: skip
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.path.name, total=self.total)
            self._bar.start()
        self._bar.update(self._task, completed=position)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def open_binary(request: Request, *, xml: bool = False) -> Iterator[tuple[Any, Progress, IO[bytes]]]:
    """The file's bytes (unpacked; as UTF-8 with line feeds, but for ``xml``, which says its encoding itself), its
    progress, and the handle whose position the progress counts."""
    progress = Progress(request.path)
    try:
        head = b"" if xml else head_of(request.path)
        with request.path.open("rb") as raw, unpacked(raw) as file:
            yield plain_text(file, head), progress, raw
    except PackedError as error:
        raise request.error(str(error)) from None
    finally:
        progress.stop()


def lines(request: Request) -> Iterator[tuple[int, str]]:
    """(line number, text) of each line; bytes that are not UTF-8 become U+FFFD."""
    with open_binary(request) as (file, progress, raw):
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if number % 8192 == 0:
                progress.at(raw.tell())
            yield number, line.decode("utf-8", "replace").rstrip("\r\n")
