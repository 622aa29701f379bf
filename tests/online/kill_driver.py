"""Kill a stream with SIGKILL again and again until it is through. ``python kill_driver.py FOLDER MODE SEED KILLS``

A process that has imported everything forks a child for each attempt, so that thirty real kills take seconds. The child
resumes from the snapshots, with another chunk size and batch size every time, and is killed at a random moment; every
third one kills itself at a chosen line of the code instead: half-way through the writing of a snapshot, before and
after it is renamed, or between the writing of the output and the snapshot.

MODE is where events come from and go to: ``files`` (paths), ``shell`` (`< events >> out`) or ``pipes`` (stdin fed from
its beginning, stdout a pipe whose lines carry ``seq``). Prints the number of kills.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_operator import Toy

from eventflow.events import Schema
from eventflow.io import open_sink, open_source
from eventflow.online import StreamOptions, _run, _snapshot, run

CRASHES = ("half a snapshot", "before the rename", "after the rename", "after the output", "before the output")


def stream(folder: Path, mode: str, draw: random.Random) -> None:
    """One attempt, from the newest snapshot to the end."""
    chunk = draw.choice([1, 7, 30])
    options = StreamOptions(
        schema=Schema(num_marks=3), start=0.0, lateness=2.0, snapshot=folder / "snapshots", every=draw.choice([20, 60]),
        dead_letters=folder / "dead.jsonl", chunk=chunk, max_batch=draw.choice([1, 4, 64]),
    )  # fmt: skip
    paths = (str(folder / "events.jsonl"), str(folder / "out.jsonl")) if mode == "files" else ("-", "-")
    slowly = (
        (lambda: time.sleep(0.001 * chunk)) if KILLED[0] else None
    )  # or a quick machine is through before it is killed
    run(Toy(), open_source(paths[0]), open_sink(paths[1]), options, stop=slowly)  # type: ignore[arg-type]


def crash_at(place: str, countdown: int) -> None:
    """Replace a function of the program by one that kills the process at its ``countdown``-th call."""
    left = [countdown]

    def fatal(original: Callable[..., Any], *, half: bool = False, after: bool = False) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            left[0] -= 1
            if after:
                original(*args)
            if left[0] == 0:
                if half:
                    out, data = args[0], args[1]
                    original(out, bytes(data)[: len(data) // 2])
                    out.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return None if after else original(*args)

        return call

    if place == "half a snapshot":
        _snapshot._Hashing.write = fatal(_snapshot._Hashing.write, half=True)  # type: ignore[method-assign]
    elif place in ("before the rename", "after the rename"):
        os.replace = fatal(os.replace, after=place.startswith("after"))
    else:
        write = _run.FileSink.write
        _run.FileSink.write = fatal(write, after=place.startswith("after"))  # type: ignore[method-assign]


def attempt(folder: Path, mode: str, draw: random.Random, place: str | None) -> None:
    """In the child: set up file descriptors, run, leave."""
    try:
        if mode == "shell":
            os.dup2(os.open(folder / "events.jsonl", os.O_RDONLY), 0)
            os.dup2(os.open(folder / "out.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 1)
        if place is not None:
            crash_at(place, draw.randint(1, 12))
        stream(folder, mode, draw)
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


def launch(folder: Path, mode: str, draw: random.Random, place: str | None) -> int:
    """Fork a child; the parent feeds and collects its pipes in threads."""
    if mode != "pipes":
        pid = os.fork()
        if pid == 0:
            attempt(folder, mode, draw, place)
        return pid
    source, feed = os.pipe()
    collect, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(source, 0)
        os.dup2(sink, 1)
        for fd in (source, feed, collect, sink):
            os.close(fd)
        attempt(folder, mode, draw, place)
    os.close(source)
    os.close(sink)
    threading.Thread(target=_feed, args=(feed, (folder / "events.jsonl").read_bytes()), daemon=True).start()
    WAITING.append(threading.Thread(target=_collect, args=(collect, folder / "out.jsonl")))
    WAITING[-1].start()
    return pid


WAITING: list[threading.Thread] = []
KILLED = [False]  # whether this attempt is to be killed


def _feed(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        pass
    os.close(fd)


def _collect(fd: int, path: Path) -> None:
    """What a careful consumer does: a line without its newline is not one; a seq that it has seen is not taken
    again."""
    data = b""
    while block := os.read(fd, 1 << 16):
        data += block
    os.close(fd)
    have = path.read_bytes().count(b"\n") if path.exists() else 0
    with path.open("ab") as out:
        for line in data.split(b"\n")[:-1]:
            if int(line[len(b'{"seq": ') : line.index(b",")]) >= have:
                out.write(line + b"\n")
                have += 1


def main(folder: Path, mode: str, seed: int, kills: int) -> None:
    """Attempts until one gets through, after at least ``kills`` of them were killed if they can be."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    draw = random.Random(seed)
    killed = 0
    while True:
        place = draw.choice(CRASHES) if killed % 3 == 2 and killed < kills and mode != "pipes" else None
        KILLED[0] = killed < kills
        pid = launch(folder, mode, random.Random(draw.random()), place)
        if killed < kills and place is None:
            time.sleep(draw.expovariate(1 / 0.03))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        for thread in WAITING:
            thread.join()
        WAITING.clear()
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.WEXITSTATUS(status):
            sys.exit(os.WEXITSTATUS(status))
        else:
            break
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
