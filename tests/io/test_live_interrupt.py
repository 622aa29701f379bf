"""Ctrl-C while a live camera is recorded: the file is whole, and has every event that came before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import open_sink, read_events

pytestmark = pytest.mark.skipif(not Path("/proc/net/udp").is_file(), reason="looks ports up in Linux's tables")
N = 5000
DRAW = np.random.default_rng(0)
SENT = Events.of(
    np.sort(DRAW.integers(1000, 90_000, N)), span=(0, 100_000), schema=Schema(unit="us", height=480, width=640),
    x=DRAW.integers(0, 640, N), y=DRAW.integers(0, 480, N), p=DRAW.integers(0, 2, N),
)  # fmt: skip


def free_port(scheme: str) -> int:
    with socket.socket(type=socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(sink: Any, scheme: str, port: int) -> bool:
    """Whether somebody is there; a connection is made, a datagram's port is looked up."""
    if scheme == "udp":
        return f":{port:04X} " in Path("/proc/net/udp").read_text()
    try:
        sink.truncate(None)
    except InputError:
        return False
    return True


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.01)


def send_and_interrupt(uri: str, scheme: str, port: int, pid: int) -> None:
    """What a camera and then a person do; the connection stays open until the person has had enough."""
    sink: Any = open_sink(uri)
    until(lambda: listens(sink, scheme, port))
    for start in range(0, 100_000, 10_000):  # small pieces: nothing can be lost even in a small buffer
        sink.send(SENT.slice(start, start + 10_000))
        time.sleep(0.002)
    time.sleep(0.3)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    sink.close()


def same(path: Path) -> bool:
    got = read_events(path)
    columns = [(got.t, SENT.t), *((got.marks[name], SENT.marks[name]) for name in "xyp")]
    return all(np.array_equal(ours, sent) for ours, sent in columns)


@pytest.mark.parametrize("suffix", [".h5", ".raw", ".npz"])
@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_what_came_is_in_the_file(scheme: str, suffix: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    if suffix == ".h5":
        pytest.importorskip("hdf5plugin", reason="needs the extra vision")
    port, path = free_port(scheme), tmp_path / f"rec{suffix}"
    uri, before = f"{scheme}://127.0.0.1:{port}?format=t64", signal.getsignal(signal.SIGINT)
    camera = threading.Thread(target=send_and_interrupt, args=(uri, scheme, port, os.getpid()))
    camera.start()
    answer = cli("data", "convert", f"{uri}&width=640&height=480", path)
    camera.join(60)
    assert answer.code == 0 and same(path) and signal.getsignal(signal.SIGINT) is before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_as_a_command_of_its_own(scheme: str, tmp_path: Path) -> None:
    port, path = free_port(scheme), tmp_path / "rec.raw"
    uri = f"{scheme}://127.0.0.1:{port}?format=t64"
    command = [sys.executable, "-m", "eventflow", "data", "convert", uri, str(path)]
    with subprocess.Popen(command) as process:
        send_and_interrupt(uri, scheme, port, process.pid)
        assert process.wait(60) == 0
    assert same(path)


def test_nothing_came(tmp_path: Path, cli: Callable[..., Any]) -> None:
    port, path = free_port("udp"), tmp_path / "rec.raw"

    def person() -> None:
        until(lambda: listens(None, "udp", port))
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=person)
    thread.start()
    assert cli("data", "convert", f"udp://127.0.0.1:{port}?format=t64", path).code == 0
    thread.join(60)
    assert read_events(path).num_events == 0
