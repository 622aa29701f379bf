"""``run``: source -> operator -> sink, until the stream ends; with snapshots, exactly once more after a crash.

With ``options.snapshot`` a run that was killed at any moment is resumed by the same call: the newest whole snapshot is
loaded, the sink and the dead letters are cut back to it, the source goes on behind it, and since answers depend on the
order of the input alone, what is written then are the bytes that an uninterrupted run would have written.

* Sinks that are files (stdout redirected with ``>>`` too): output of killed and resumed runs is, together,
  byte-identical to that of an uninterrupted one.
* Pipes and sockets cannot take back what they were sent: after a crash the lines since the last snapshot come again.
  Each line then carries ``seq``, its place in the output; a consumer that drops what it has seen has every line
  exactly once.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

import eventflow
from eventflow.errors import InputError
from eventflow.io import Sink, Source
from eventflow.io.live._sinks import FileSink, PipeSink
from eventflow.online._engine import Engine
from eventflow.online._operator import Operator
from eventflow.online._options import StreamOptions, Summary
from eventflow.online._snapshot import Snapshot, SnapshotFolder

#: Seconds after which an idle source is asked again (a line that comes is answered at once).
POLL = 0.25


class Reporter(Protocol):
    """Who is told how a run goes."""

    def note(self, text: str) -> None:
        """Something the user should know."""
        ...

    def progress(self, engine: Engine) -> None:
        """Called after every chunk."""
        ...


def run(
    operator: Operator, source: Source, sink: Sink, options: StreamOptions, *, reporter: Reporter | None = None,
    stop: Callable[[], bool] | None = None,
) -> Summary:  # fmt: skip
    """Answer each event of ``source`` with one JSON line to ``sink``, until its end or until ``stop()``.

    A line is ``{"key", "t", "nll", "next_t", "next_mark_probs"}`` (for a point process): the event's key and t as
    given; its negative log-density given the key's past (null for a given first event); the median *time* of the key's
    next event (t plus the median gap; null if the next event more likely never comes); and the probabilities of its
    mark. Lines that are no events, and late ones, go to the dead letters with the reason. See :class:`StreamOptions`.

    A run that is stopped, rather than at its end, keeps the events that wait for their turn in the snapshot; without
    snapshots they are answered, as at the end.

    Raises:
        InputError: options, source, sink or snapshot do not fit together.
    """
    folder = SnapshotFolder(options.snapshot) if options.snapshot is not None else None
    with torch.inference_mode():
        runner = _Runner(operator, source, sink, options, reporter)
        if folder is None:
            return runner.go(None, stop)
        with folder.locked():
            return runner.go(folder, stop)


class _Runner:
    def __init__(
        self, operator: Operator, source: Source, sink: Sink, options: StreamOptions, reporter: Reporter | None
    ) -> None:
        self._source, self._sink, self._options, self._reporter = source, sink, options, reporter
        numbered = options.snapshot is not None and not sink.rewindable
        self._engine = Engine(operator, options, numbered=numbered)
        self._identity = _identity(operator, options, numbered) if options.snapshot is not None else {}
        path = options.dead_letters
        self._dead: Sink = PipeSink(lambda: 2, "stderr") if path is None else FileSink(path, lazy=True)
        self._latency = Latency()
        self._notes: list[str] = []
        self._folder: SnapshotFolder | None = None
        self._saved = (0, 0.0)

    def go(self, folder: SnapshotFolder | None, stop: Callable[[], bool] | None) -> Summary:
        self._folder = folder
        begin, before = time.perf_counter(), self._start()
        ended = False
        try:
            while not ended and not (stop is not None and stop()):
                lines = self._source.read(self._options.chunk, POLL)
                ended = lines is None
                if lines:
                    self._answer(lines)
                if self._due():
                    self._save()
            if ended or folder is None:
                self._sink.write(self._engine.finish())
            self._save()
            if ended:
                self._sink.finish()
        finally:
            self._dead.close()
        counters = self._engine.counters
        return Summary(
            counters=counters, keys=self._engine.num_keys, waiting=self._engine.waiting,
            answered=counters.events_out - before, seconds=time.perf_counter() - begin,
            latency=(self._latency.quantile(0.5), self._latency.quantile(0.99)),
            bytes_per_key=self._engine.table.bytes_per_key, notes=tuple(self._notes), learned=self._engine.learned,
        )  # fmt: skip

    def _start(self) -> int:
        """Begin anew or behind the newest snapshot; how many events had been answered then."""
        snapshot = None
        if self._folder is not None:
            snapshot, notes = self._folder.latest()
            for text in notes:
                self._note(text)
        if snapshot is None:
            self._sink.truncate(None)
            self._dead.truncate(None)
            self._save()
        else:
            self._resume(snapshot)
        self._saved = (self._engine.counters.lines, time.monotonic())
        return self._engine.counters.events_out

    def _resume(self, snapshot: Snapshot) -> None:
        check_identity(snapshot.identity, self._identity)
        for name, value in environment().items():
            if snapshot.environment.get(name) != value:
                self._note(
                    f"the snapshot was taken with {name} {snapshot.environment.get(name)}, this is {value}: last "
                    "digits may differ from here on"
                )
        self._engine.load(snapshot.engine, snapshot.arrays)
        self._source.seek(snapshot.source)
        self._sink.truncate(snapshot.sink)
        self._dead.truncate(snapshot.dead_letters)
        done = self._engine.counters
        self._note(f"resumed behind line {done.lines}, {done.events_out} answers written, {self._engine.num_keys} keys")

    def _answer(self, lines: list[bytes]) -> None:
        arrived = time.perf_counter()
        answers, dead = self._engine.feed(lines)
        self._sink.write(answers)
        self._dead.write(dead)
        self._latency.add(time.perf_counter() - arrived, len(answers))
        if self._reporter is not None:
            self._reporter.progress(self._engine)

    def _due(self) -> bool:
        lines, moment = self._saved
        new = self._engine.counters.lines - lines
        return new >= self._options.every or (new > 0 and time.monotonic() - moment >= self._options.seconds)

    def _save(self) -> None:
        """A snapshot, after what it speaks of is on disk."""
        self._saved = (self._engine.counters.lines, time.monotonic())
        if self._folder is None:
            return
        self._sink.sync()
        self._dead.sync()
        plain, arrays = self._engine.dump()
        self._folder.save(
            Snapshot(
                identity=self._identity, source=self._source.position, sink=self._sink.position,
                dead_letters=self._dead.position, engine=plain, arrays=arrays, environment=environment(),
            )
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self._notes.append(text)
        if self._reporter is not None:
            self._reporter.note(text)


class Latency:
    """Seconds, counted in bins 2 % wide: quantiles in constant memory."""

    _WIDTH = 0.02

    def __init__(self) -> None:
        self._bins = np.zeros(1400, dtype=np.int64)  # from 1e-8 s to beyond 1e4 s

    def add(self, seconds: float, count: int) -> None:
        bin_ = int(np.log(max(seconds, 1e-8) / 1e-8) / self._WIDTH)
        self._bins[min(bin_, len(self._bins) - 1)] += count

    def quantile(self, q: float) -> float:
        total = int(self._bins.sum())
        if not total:
            return 0.0
        bin_ = int(np.searchsorted(np.cumsum(self._bins), q * total))
        return 1e-8 * float(np.exp((bin_ + 0.5) * self._WIDTH))


def fingerprint(operator: object) -> str:
    """A checksum of what an operator is: its class, its arguments where they are recorded, and its weights."""
    kind = type(operator)
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}".encode())
    digest.update(repr(getattr(operator, "init_args", None)).encode())
    if isinstance(operator, nn.Module):
        for name, value in operator.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _identity(operator: Operator, options: StreamOptions, numbered: bool) -> dict[str, Any]:
    return {
        "model": options.identity or fingerprint(operator),
        "schema": options.schema.to_dict(),
        "start": options.start,
        "lateness": options.lateness,
        "max_keys": options.max_keys,
        "a sink that numbers its lines": numbered,
    }


def check_identity(snapshot: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise :class:`InputError` that names what differs between a snapshot and this run."""
    if snapshot.get("model") != ours["model"]:
        raise InputError(
            "the snapshot was taken with another checkpoint: its states mean nothing to this model. Give the "
            "snapshot's checkpoint, or another --snapshot folder"
        )
    for name, value in ours.items():
        if snapshot.get(name) != value:
            raise InputError(
                f"the snapshot was taken with {name} {snapshot.get(name)!r}, this run has {value!r}; the output would "
                "not go on as it began. Give the same, or another --snapshot folder"
            )


def environment() -> dict[str, str]:
    return {
        "eventflow": eventflow.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }
