"""events over the network: loss, latency and CPU at a steady rate on 127.0.0.1; ours, a bare socket, AEStream, faery"""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from eventflow.bench._network_worker import END, HEIGHT, WIDTH
from eventflow.bench._report import write
from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError
from eventflow.io import open_camera

#: What others were measured at on a 2-core x86-64 machine, where they are not installed here: loss, events/s.
MEASURED = {"AEStream 0.6.4": (0.311, 6.1e6), "faery 0.7.1": (0.58, 6.5e6)}
#: Bins of the latency: 10 us wide, up to 1 s.
_BINS, _WIDTH = 100_000, 10


class Row(NamedTuple):
    """One contender: share of events lost, latency (us) at p50, p99, its maximum; CPU cores kept busy, sender's too."""

    name: str
    sent: int
    seconds: float
    lost: float
    latency: tuple[float, float, float] | None
    cpu: float
    sender: float
    facts: dict[str, int]


@njit(cache=True, nogil=True)
def tally(bins, t, now):  # pragma: no cover - compiled
    """Count each event in the bin of its lateness."""
    last = len(bins) - 1
    for stamp in t:
        bins[min(max((now - stamp) // _WIDTH, 0), last)] += 1


class Latency:
    """Microseconds between sending and having, counted in bins: quantiles in constant memory."""

    def __init__(self) -> None:
        self.bins = np.zeros(_BINS, np.int64)
        self.events = 0
        tally(self.bins, np.empty(0, np.int64), 0)  # loaded now: while events come it would be their lateness

    def add(self, t: Any, epoch: int) -> None:
        """Events stamped ``t`` (us since the epoch) are here now."""
        tally(self.bins, t, time.time_ns() // 1000 - epoch)
        self.events += len(t)

    def quantiles(self) -> tuple[float, float, float]:
        """p50, p99 and the maximum."""
        total = np.cumsum(self.bins)
        at = [int(np.searchsorted(total, q * total[-1])) for q in (0.5, 0.99, 1.0)]
        return at[0] * _WIDTH, at[1] * _WIDTH, at[2] * _WIDTH


def run(*, out: Path | None = None, rate: float = 6e6, seconds: float = 3.0, formats: str = "spif,t64") -> None:
    """Send events at a steady rate from a process of its own to 127.0.0.1, and see what arrives, and how late.

    Latency is from the stamp that a portion of events (250 us of them) gets before it is encoded to its columns being
    in the receiver's hands. Loss is of events. Peers that are not installed here are shown as they were measured. The
    last row is the machine: how late a loop is that only reads the clock, alone. Below that nobody can be.

    Args:
        out: folder for network.json.
        rate: events a second.
        seconds: of each contender, at most 10.
        formats: ours, separated by commas: spif, t64, t32, evt2, evt3.

    Raises:
        InputError: a rate or a time that cannot be, a format that is unknown.
    """
    if not 0 < seconds <= 10 or not 1e3 <= rate <= 1e9:
        raise InputError(f"bench network: seconds={seconds}, rate={rate:g}; expected 0 < seconds <= 10, rate >= 1000")
    rows = [_ours(name.strip(), rate, seconds) for name in formats.split(",")]
    rows.append(_bare(rate, seconds))
    for module, contender in (("aestream", _aestream), ("faery", _faery)):
        if importlib.util.find_spec(module) is not None:
            rows.append(contender(rate, seconds))
    alone = _alone(seconds)
    _show(rows, rate, alone)
    if out is not None:
        facts = {
            "rate": rate,
            "alone": alone,
            "machine": platform.processor() or platform.machine(),
            "measured elsewhere": MEASURED,
        }
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**facts, "rows": [row._asdict() for row in rows]}, indent=1)
        write(text + "\n", out / "network.json")


def _ours(name: str, rate: float, seconds: float) -> Row:
    epoch = time.time_ns() // 1000
    latency, camera = Latency(), open_camera(f"udp://127.0.0.1:0?format={name}&idle=5")
    try:
        with _sender(name, camera.address[1], rate, seconds, epoch) as sender:
            cpu = _receive(iter(lambda: camera.next(5.0), None), latency, epoch)
        counts = camera.counts
    finally:
        camera.close()
    return _row(f"ours, {name}", sender, latency, cpu, counts)


def _receive(chunks: Iterator[Any], latency: Latency, epoch: int) -> float:
    """Take events until the end is told; CPU seconds from the second chunk on (the first compiles)."""
    latency.events = next(chunks).num_events - 1  # the sender's first event is not counted as sent
    cpu = time.process_time()
    for events in chunks:
        x = events.marks["x"]
        done = len(x) == 0 or int(x[-1]) == END
        latency.add(events.t[x != END] if done else events.t, epoch)
        if done:
            break
    return time.process_time() - cpu


class _sender:  # noqa: N801  used as a with-statement reads
    """The worker, started; its facts once it has ended."""

    def __init__(self, format: str, port: int, rate: float, seconds: float, epoch: int) -> None:
        words = [format, str(port), str(rate), str(seconds), str(epoch)]
        command = [sys.executable, "-m", "eventflow.bench._network_worker", *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.facts: dict[str, float] = {}

    def __enter__(self) -> _sender:
        return self

    def wait(self) -> dict[str, float]:
        """The facts that it printed."""
        if not self.facts:
            text = self._process.communicate(timeout=60)[0]
            if self._process.returncode:
                raise InputError("bench network: the sender failed; see above")
            self.facts = json.loads(text)
        return self.facts

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._process.kill()
            self._process.wait()
        else:
            self.wait()


def _row(name: str, sender: _sender, latency: Latency, cpu: float, facts: dict[str, int]) -> Row:
    told = sender.wait()
    seconds = told["seconds"]
    lost = 1 - latency.events / told["sent"]
    return Row(name, int(told["sent"]), seconds, lost, latency.quantiles(), cpu / seconds, told["cpu"] / seconds, facts)


def _bare(rate: float, seconds: float) -> Row:
    """Python's socket with a buffer of 16 MiB, a datagram a call, nothing decoded: what a plain loop can do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(20.0)
        buffer, count = bytearray(2048), -1
        with _sender("t64", udp.getsockname()[1], rate, seconds, 0) as sender:
            udp.recv_into(buffer)
            cpu = time.process_time()
            while int.from_bytes(buffer[8:10], "little") != END:
                count += udp.recv_into(buffer) // 13
            cpu = time.process_time() - cpu
    told = sender.wait()
    shares = cpu / told["seconds"], told["cpu"] / told["seconds"]
    return Row("a bare socket, t64", int(told["sent"]), told["seconds"], 1 - count / told["sent"], None, *shares, {})


def _aestream(rate: float, seconds: float) -> Row:
    """Its receiver gives frames of counts, without times: no latency can be told."""
    aestream: Any = importlib.import_module("aestream")
    port, total = _free_port(), 0.0
    with aestream.UDPInput((WIDTH, HEIGHT), device="cpu", port=port) as stream:
        time.sleep(0.2)
        cpu = time.process_time()
        with _sender("plain", port, rate, seconds, 0) as sender:
            waiter = threading.Thread(target=sender.wait)
            waiter.start()
            while waiter.is_alive():
                total += float(np.asarray(stream.read()).sum())
                time.sleep(0.01)
            time.sleep(0.2)
            total += float(np.asarray(stream.read()).sum())
        cpu = time.process_time() - cpu
        told = sender.wait()
    shares = cpu / told["seconds"], told["cpu"] / told["seconds"]
    name = f"AEStream {getattr(aestream, '__version__', '')}, spif"
    return Row(name, int(told["sent"]), told["seconds"], 1 - (total - 1) / told["sent"], None, *shares, {})


def _faery(rate: float, seconds: float) -> Row:
    faery: Any = importlib.import_module("faery")
    epoch, port, latency = time.time_ns() // 1000, _free_port(), Latency()
    chunks = iter(faery.events_stream_from_udp((WIDTH, HEIGHT), ("127.0.0.1", port), "t64_x16_y16_on8"))
    with _sender("t64", port, rate, seconds, epoch) as sender:
        cpu = 0.0
        next(chunks)
        cpu = time.process_time()
        for events in chunks:
            if int(events["x"][-1]) == END:
                break
            latency.add(events["t"].astype(np.int64), epoch)
        cpu = time.process_time() - cpu
    return _row(f"faery {getattr(faery, '__version__', '')}, t64", sender, latency, cpu, {})


def _alone(seconds: float) -> tuple[float, float, float]:
    """p50, p99 and maximum (us) of how late each microsecond is seen by a loop that does nothing else."""
    latency, epoch = Latency(), time.time_ns() // 1000
    last = epoch
    while last < epoch + seconds * 1e6:
        now = time.time_ns() // 1000
        tally(latency.bins, np.arange(last, now) - epoch, now - epoch)
        last = now
    return latency.quantiles()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _milliseconds(times: tuple[float, float, float] | None) -> list[str]:
    return [f"{us / 1e3:.2f}" for us in times] if times else ["-"] * 3


def _show(rows: list[Row], rate: float, alone: tuple[float, float, float]) -> None:
    from rich.table import Table

    table = Table(title=f"{rate:,.0f} events/s over 127.0.0.1, asked for", box=None)
    for heading in ("", "Mev/s", "lost", "p50 ms", "p99 ms", "max ms", "cores", "sender"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in rows:
        times = _milliseconds(row.latency)
        speed = f"{row.sent / row.seconds / 1e6:.2f}"
        table.add_row(row.name, speed, f"{row.lost:.3%}", *times, f"{row.cpu:.2f}", f"{row.sender:.2f}")
    names = " ".join(row.name for row in rows)
    for name, (lost, speed) in MEASURED.items():
        if name.split()[0] not in names:
            table.add_row(f"{name}, measured elsewhere", f"{speed / 1e6:.2f}", f"{lost:.1%}", *["-"] * 5)
    table.add_row("this machine, a loop that reads the clock", "-", "-", *_milliseconds(alone), "1.00", "-")
    terminal().print(table)
