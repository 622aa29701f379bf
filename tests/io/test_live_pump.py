"""The loop that takes datagrams in, and the ring it fills: nothing is lost, late or waited for in vain."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from eventflow.io import open_camera
from eventflow.io.cameras._source import Columns
from eventflow.io.live import _mmsg
from eventflow.io.live._links import UdpLink
from eventflow.io.live._pump import may_sleep, publish
from eventflow.io.live._ring import ASLEEP, TAKEN, WRITTEN, Ring
from eventflow.io.live._send import CameraSink

linux = pytest.mark.skipif(_mmsg._LIBC is None, reason="needs Linux's recvmmsg")


def test_either_the_reader_sees_the_event_or_the_writer_the_sleeper() -> None:
    marks = np.zeros(3, np.int64)
    assert may_sleep(marks) and marks[ASLEEP]
    assert publish(marks, 2) and marks[WRITTEN] == 2 and not marks[ASLEEP]
    assert not may_sleep(marks) and not marks[ASLEEP]  # there is something to read
    assert not publish(marks, 1)  # nobody sleeps
    marks[TAKEN] = 3
    assert may_sleep(marks)


def test_no_sleeper_is_forgotten() -> None:
    """A reader that is always just going to sleep, and a writer that fills slot by slot."""
    ring, seen = Ring(8, slots=2), 0

    def write() -> None:
        for i in range(3000):
            room = ring.room()
            assert room is not None
            ring.sizes[room[0]] = i
            ring.commit(1)
        ring.end()

    thread = threading.Thread(target=write)
    thread.start()
    while (batch := ring.take(20.0)) is not None:
        assert len(batch.sizes), "nobody rang"
        assert batch.sizes.tolist() == list(range(seen, seen + len(batch.sizes)))
        seen += len(batch.sizes)
        ring.release(len(batch.sizes))
    thread.join()
    assert seen == 3000


@linux
def test_a_full_ring_waits_and_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams of every size up to a slot's, more than there are slots, and one that is too long."""
    monkeypatch.setattr("eventflow.io.live._links.Ring", lambda size: Ring(size, slots=4))
    link = UdpLink("127.0.0.1", 0, buffer=1 << 20, size=64)
    sizes = [*range(1, 65), 65, 3]
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect(link.address)
        for size in sizes:
            udp.send(bytes([size]) * size)
    got: list[bytes] = []
    while len(got) < len(sizes):
        batch = link.ring.take(20.0)
        assert batch is not None and len(batch.sizes)
        got += [row[:size].tobytes() for row, size in zip(batch.rows, batch.sizes.tolist(), strict=True)]
        assert (np.abs(batch.arrivals / 1e6 - time.time()) < 60).all() and not batch.drops.any()
        link.ring.release(len(batch.sizes))
    assert got == [bytes([size]) * size if size <= 64 else b"" for size in sizes]
    assert link.lost()["truncated"] == 1 and link.ring.full >= 1
    link.close()


@linux
@pytest.mark.parametrize("how", ["cut by the kernel", "refused", "one too long to cut"])
def test_datagrams_are_the_same_whoever_cuts_them(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "refused":
        monkeypatch.setattr(_mmsg, "_UDP_SEGMENT", 9999)
    n = 7000 if how == "one too long to cut" else 700
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 9000, n))
    x, y = (rng.integers(0, side, n).astype(np.uint16) for side in (640, 480))
    sent = Columns(t, x, y, rng.integers(0, 2, n).astype(np.uint8))
    with open_camera("udp://127.0.0.1:0?format=t32&idle=1&datagram=60000") as camera:
        each = 6000 if how == "one too long to cut" else 100
        sink = CameraSink(("127.0.0.1", camera.address[1]), scheme="udp", format="t32", events=each)
        sink.send(sent)
        assert (sink._sender._segment is None) == (how == "refused")  # type: ignore[union-attr]
        sink.close()
        events = camera.read()
        assert camera.counts["datagrams"] == -(-n // each)
    assert np.array_equal(events.t, t) and np.array_equal(events.marks["x"], x)
