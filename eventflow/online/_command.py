"""What ``eventflow stream`` does once it has a model: open the doors, run, say how it went on stderr."""

from __future__ import annotations

import copy
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventflow.io import open_sink, open_source
from eventflow.online._engine import Engine
from eventflow.online._operator import Operator
from eventflow.online._options import StreamOptions, Summary
from eventflow.online._run import run


def stream_command(operator: Operator, source: str, sink: str, options: StreamOptions) -> Summary:
    """Run ``operator``, a copy of it in float64, from a source's URI to a sink's; SIGINT and SIGTERM end it in order.

    Where ``options.dead_letters`` is None and the sink is a path, they go to ``<sink>.dead.jsonl``, else to stderr.
    Progress (on a terminal) and the summary go to stderr.

    Raises:
        InputError: as :func:`eventflow.online.run`, and for URIs that cannot be opened.
    """
    if isinstance(operator, nn.Module):
        operator = copy.deepcopy(operator).double().eval()  # type: ignore[assignment]
    if options.dead_letters is None and sink != "-" and "://" not in sink and not _special(Path(sink)):
        options = replace(options, dead_letters=Path(sink + ".dead.jsonl"))
    incoming = open_source(source, words=options.schema.vocabulary is not None)
    try:
        outgoing = open_sink(sink)
        try:
            quiet = sink == "-" and sys.stdout.isatty()
            with _on_stderr(quiet=quiet) as reporter, stopped_by_signals() as stop, one_thread():
                summary = run(operator, incoming, outgoing, options, reporter=reporter, stop=stop)
            reporter.summary(summary, options)
        finally:
            outgoing.close()
    finally:
        incoming.close()
    return summary


def _special(path: Path) -> bool:
    return path.exists() and not path.is_file()


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more threads, and lose much where cores are shared; OMP_NUM_THREADS overrides."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stopped_by_signals() -> Iterator[Any]:
    """A function that says whether SIGINT or SIGTERM came; a second one ends the process as usual."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: Any) -> None:
        came.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _on_stderr(*, quiet: bool) -> Iterator[_Stderr]:
    reporter = _Stderr(quiet)
    try:
        yield reporter
    finally:
        reporter.stop()


class _Stderr:
    """Notes at once, progress at most five times a second, and the summary."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        live = self._console.is_terminal and not quiet
        self._status = self._console.status("waiting for events") if live else None
        self._begin = self._shown = time.monotonic()
        if self._status is not None:
            self._status.start()

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(f"eventflow stream: {text}", markup=False, soft_wrap=True)

    def progress(self, engine: Engine) -> None:
        """Update the live line."""
        now = time.monotonic()
        if self._status is None or now - self._shown < 0.2:
            return
        self._shown = now
        count = engine.counters
        rate = count.events_out / max(now - self._begin, 1e-9)
        self._status.update(
            f"{count.events_out:,} events answered ({rate:,.0f}/s), {engine.num_keys:,} keys, {count.late:,} late, "
            f"{count.malformed:,} malformed, {engine.waiting:,} waiting{_learning(engine.learned)}"
        )

    def stop(self) -> None:
        """Take the live line away."""
        if self._status is not None:
            self._status.stop()

    def summary(self, summary: Summary, options: StreamOptions) -> None:
        """A small table."""
        from rich.table import Table

        count, table = summary.counters, Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        table.add_column(justify="right")
        table.add_column()
        where = options.dead_letters or "stderr"
        rate = summary.answered / max(summary.seconds, 1e-9)
        p50, p99 = (1e3 * seconds for seconds in summary.latency)
        rows: list[tuple[int, str, bool]] = [
            (count.events_in, "events in", True),
            (count.events_out, f"answered; {rate:,.0f} per second, latency p50 {p50:.1f} ms, p99 {p99:.1f} ms", True),
            (summary.waiting, "wait in the snapshot for their turn", False),
            (count.late, f"late (more than lateness {options.lateness:g}): see {where}", False),
            (count.malformed, f"malformed: see {where}", False),
            (count.refused, f"of keys beyond max_keys: see {where}", False),
            (count.nonfinite, "answers with a number that is not finite (null)", False),
            (summary.keys, f"keys, {summary.bytes_per_key:,} bytes of state each", True),
            (int(summary.learned.get("steps", 0)), f"steps of learning{_learning(summary.learned)}", False),
        ]
        for number, text, always in rows:
            if number or always:
                table.add_row(f"{number:,}", text)
        self._console.print(table)


def _learning(learned: Mapping[str, float]) -> str:
    """The prequential scores of a model that learns as it goes."""
    if not learned:
        return ""
    return f"; prequential nll {learned['nll_per_event']:.4f} per event, {learned['last_block']:.4f} in the last block"
