"""The other end of ``eventflow bench network``; its words: FORMAT PORT RATE SECONDS EPOCH.

Sends events at a steady rate, each portion stamped with the moment of sending (us since EPOCH), then some whose x tells
the end. Prints how many events were sent, the seconds and the CPU seconds that took.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from eventflow.io.cameras._source import Columns
from eventflow.io.live._send import CameraSink

WIDTH, HEIGHT = 640, 480
#: x of the events that tell the end, outside the sensor.
END = 2047
#: Seconds between two portions.
_TICK = 250e-6


def columns(count: int) -> Columns:
    """Events anywhere on the sensor, at time zero."""
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, WIDTH, count), draw.integers(0, HEIGHT, count)
    t = np.zeros(count, np.int64)
    return Columns(t, x.astype(np.uint16), y.astype(np.uint16), draw.integers(0, 2, count).astype(np.uint8))


def send(sink: CameraSink, rate: float, seconds: float, epoch: int) -> int:
    """Send portions when they are due, all that are due at once; how many events."""
    portion = columns(max(1, round(rate * _TICK)))
    begin, done = time.perf_counter(), 0
    while (now := time.perf_counter() - begin) < seconds:
        if done > now / _TICK:
            time.sleep(done * _TICK - now)
            continue
        portion.t[:] = time.time_ns() // 1000 - epoch
        sink.send(portion)
        done += 1
    return done * len(portion.t)


def finish(sink: CameraSink, epoch: int) -> None:
    """Tell the end, again and again, since datagrams may be lost."""
    for _ in range(20):
        t = np.array([time.time_ns() // 1000 - epoch])
        sink.send(Columns(t, np.array([END], np.uint16), np.zeros(1, np.uint16), np.zeros(1, np.uint8)))
        time.sleep(0.02)


def main(format: str, port: str, rate: str, seconds: str, epoch: str) -> None:
    """See the module; ``format`` may be ``plain``, SPIF without times, which tells no end."""
    name = "spif" if format == "plain" else format
    sink = CameraSink(("127.0.0.1", int(port)), scheme="udp", format=name, stamps=format != "plain")
    sink.send(columns(1))  # compiled
    cpu, wall = time.process_time(), time.perf_counter()
    count = send(sink, float(rate), float(seconds), int(epoch))
    facts = {"sent": count, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if format != "plain":
        finish(sink, int(epoch))
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
