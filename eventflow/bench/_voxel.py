"""Voxel grids of a real recording: ours, the definition, np.add.at, peers, and the measured limits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.bench._terminal import console as terminal
from eventflow.bench._voxel_peers import MEASURED, OTHER_BINS, Peers
from eventflow.errors import InputError

Array = NDArray[Any]
Job = Callable[[], object]
BINS, HEIGHT, WIDTH = 15, 480, 640
#: Runs of a job in its turn, besides the first one.
_MORE = 3
#: Million events per CPU second: of those, and of the first ones.
IN_A_LOOP, AFTER_ANOTHER = "cpu_mev_per_s", "cpu_mev_per_s_after_another_job"
_SHAPE: dict[str, Any] = {"bins": BINS, "height": HEIGHT, "width": WIDTH}


def run(
    out: Path | None = None, *, recording: Path | None = None, events: int = 10_000_000, rounds: int = 15,
    peer_python: Path | None = None, openeb: Path | None = None, dsec: Path | None = None,
) -> None:  # fmt: skip
    """Million events per CPU second on one core: one window of a recording, and the recording tiled to many events.

    All jobs take turns, so that a busy machine hurts all alike; in its turn a job runs a few times. The best of each
    is printed: in a loop, and right after another job that has filled the caches with its own grids. Peers (tonic,
    OpenEB, DSEC's own code, evlib) run in a process of their own; those that cannot be run here are told, with what
    they were measured at elsewhere (in a loop).

    Args:
        out: folder for voxel.json.
        recording: an event camera file; by default $EVENTFLOW_DATA/cameras/gen3_evt2.raw.
        events: length of the tiled stream.
        rounds: turns for the window; the tiled stream gets a third.
        peer_python: the Python that has tonic, evlib and (for OpenEB and DSEC) torch; default: this one.
        openeb: folder of an OpenEB checkout (https://github.com/prophesee-ai/openeb).
        dsec: folder of a checkout of DSEC's code (https://github.com/uzh-rpg/DSEC).
    """
    window = load(recording)
    results: dict[str, Any] = {"recording": str(recording or "gen3_evt2.raw"), **_SHAPE}
    for name, stream, turns in (("window", window, rounds), ("tiled", tile(window, events), max(rounds // 3, 3))):
        ours = {job: _cpu(work) for job, work in _jobs(stream).items()}
        small = {job: _cpu(work) for job, work in _small(stream).items()}
        with Peers(stream, _SHAPE, python=peer_python, checkouts={"openeb": openeb, "dsec": dsec}) as peers:
            theirs = {_label(peer): partial(peers.cpu, peer) for peer in peers.ready}
            speeds = _measure({**ours, **theirs}, len(stream[0]), turns)
            results[name] = {"events": len(stream[0]), "peers' sums": peers.sums}
            results["not run here"] = peers.absent
        few = _measure(small, 20_000, 1)
        results[name] |= {kind: rates | few[kind] for kind, rates in speeds.items()}
        results[name] |= _two_threads(stream)
    _print(results)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "voxel.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def load(recording: Path | None) -> tuple[Array, ...]:
    """t (us from 0), x, y, p of a recording, its pixels scaled onto 640 x 480."""
    import os

    from eventflow.io import read_events

    if recording is None:
        root = os.environ.get("EVENTFLOW_DATA")
        if not root:
            raise InputError("bench voxel: no recording. Write: --recording FILE, or set EVENTFLOW_DATA")
        recording = Path(root) / "cameras" / "gen3_evt2.raw"
    ev = read_events(recording)
    height, width = ev.schema.height, ev.schema.width
    if not ev.num_events or not height or not width:
        raise InputError(f"{recording}: {ev.num_events} events, sensor {height} x {width}; expected a camera recording")
    x, y = ev.marks["x"].astype(np.int64) * WIDTH // width, ev.marks["y"].astype(np.int64) * HEIGHT // height
    return ev.t - ev.t[0], x.astype(np.uint16), y.astype(np.uint16), ev.marks["p"].astype(np.uint8)


def tile(stream: tuple[Array, ...], events: int) -> tuple[Array, ...]:
    """The stream again and again, time going on."""
    t, x, y, p = stream
    times = max(-(-events // len(t)), 1)
    return np.concatenate([t + k * (t[-1] + 1) for k in range(times)]), *(np.tile(v, times) for v in (x, y, p))


def bent() -> Array:
    """A rectification map as of a wide lens: everything moves, up to eight pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dx, dy = x - WIDTH / 2, y - HEIGHT / 2
    stretch = 1 + 0.025 * (dx**2 + dy**2) / (WIDTH / 2) ** 2
    return np.stack([dx * stretch + WIDTH / 2, dy * stretch + HEIGHT / 2], -1).astype(np.float32)


def _jobs(stream: tuple[Array, ...]) -> dict[str, Job]:
    from eventflow.ops import event_count, voxel_grid
    from eventflow.ops._blocks import scatter, scatter_pair

    t, x, y, p = stream
    table, used = bent(), np.zeros((BINS, HEIGHT, WIDTH), np.float32)
    position = (BINS - 1) * t / max(int(t[-1]), 1)
    cell = (np.minimum(position.astype(np.int64), BINS - 2) * HEIGHT + y) * WIDTH + x
    ones, flat, area = (
        np.ones(len(t), np.float32),
        np.zeros(BINS * HEIGHT * WIDTH, np.float32),
        np.int64(HEIGHT * WIDTH),
    )
    cell = cell.astype(np.uint32)
    span = (0, int(t[-1]) + 1)
    jobs: dict[str, Job] = {
        "limit: a new grid, two writes an event": lambda: scatter_pair(
            cell, ones, ones, np.zeros(len(flat), np.float32), area
        ),
        "limit: scatter, one write an event": lambda: scatter(cell, ones, flat),
        "limit: scatter, two writes an event": lambda: scatter_pair(cell, ones, ones, flat, area),
        "ours, time": lambda: voxel_grid(t, x, y, p, **_SHAPE),
        "ours, time, into a used grid": lambda: voxel_grid(t, x, y, p, span=span, out=used, **_SHAPE),
        "ours, nearest": lambda: voxel_grid(t, x, y, p, interpolation="nearest", **_SHAPE),
        "ours, event count, 10 bins": lambda: event_count(t, x, y, p, **{**_SHAPE, "bins": 10}),
        "ours, trilinear, rectified": lambda: voxel_grid(
            t, x, y, p, interpolation="trilinear", rectify=table, **_SHAPE
        ),
        "np.add.at, time": lambda: _add_at(stream),
    }
    return jobs | _in_torch(stream)


def _label(peer: str) -> str:
    return f"{peer}{' (other bins)' if peer in OTHER_BINS else ''}"


def _cpu(job: Job) -> Callable[[], float]:
    """The job, saying its CPU seconds."""

    def timed() -> float:
        start = time.process_time()
        job()
        return time.process_time() - start

    return timed


def _small(stream: tuple[Array, ...]) -> dict[str, Job]:
    """What is too slow for the whole: the first 20,000 events."""
    from eventflow.ops import voxel_grid

    few = tuple(v[:20_000] for v in stream)
    return {"the definition (20,000 events)": lambda: voxel_grid(*few, backend="naive", **_SHAPE)}


def _add_at(stream: tuple[Array, ...]) -> Array:
    t, x, y, p = stream
    position = (np.float32((BINS - 1) / max(int(t[-1] - t[0]), 1)) * (t - t[0])).astype(np.float32)
    plane = np.minimum(position.astype(np.int64), BINS - 2)
    later, sign = position - plane.astype(np.float32), p.astype(np.float32) * 2 - 1
    cell = (plane * HEIGHT + y) * WIDTH + x
    grid = np.zeros(BINS * HEIGHT * WIDTH, np.float32)
    np.add.at(grid, cell, sign * (1 - later))
    np.add.at(grid, cell + HEIGHT * WIDTH, sign * later)
    return grid


def _dsec_torch(stream: tuple[Array, ...]) -> Any:
    """As DSEC and E-RAFT define it (Gehrig et al., 2021), at rectified positions: corner by corner, accumulated."""
    from itertools import product

    import torch

    t, x, y, p = stream
    moved = torch.from_numpy(bent()[y, x])
    position = (BINS - 1) * torch.from_numpy(t - t[0]).float() / max(int(t[-1] - t[0]), 1)
    point = (position, moved[:, 1], moved[:, 0])
    base = [torch.floor(v) for v in point]
    sign, grid = 2 * torch.from_numpy(p).float() - 1, torch.zeros(BINS * HEIGHT * WIDTH)
    for corner in product((0, 1), repeat=3):
        share, cell = sign, torch.zeros(len(t), dtype=torch.int64)
        inside = torch.ones(len(t), dtype=torch.bool)
        for v, low, step, size in zip(point, base, corner, (BINS, HEIGHT, WIDTH), strict=True):
            at = low + step
            share, inside = share * (1 - (v - at).abs()), inside & (at >= 0) & (at < size)
            cell = cell * size + at.long()
        grid.put_(cell[inside], share[inside], accumulate=True)
    return grid.view(BINS, HEIGHT, WIDTH)


def _in_torch(stream: tuple[Array, ...]) -> dict[str, Job]:
    """DSEC's published definition in torch, at rectified positions, and our torch path."""
    import torch

    from eventflow.ops import voxel_grid

    tensors = [torch.from_numpy(v.astype(np.int64)) for v in stream]
    return {
        "DSEC's definition in torch, 8 corners": lambda: _dsec_torch(stream),
        "ours, time, torch path": lambda: voxel_grid(*tensors, backend="torch", **_SHAPE),
    }


def _measure(jobs: dict[str, Callable[[], float]], events: int, turns: int) -> dict[str, dict[str, float]]:
    """Best rate of each job: of the runs of a turn that follow its first one, and of those first ones.

    A slow one (over 2 s) runs once beside its compilation.
    """
    for job in jobs.values():
        job()  # compiles
    first = {name: job() for name, job in jobs.items()}
    again = first | {name: job() for name, job in jobs.items() if first[name] < 2}
    for _ in range(turns):
        for name, job in jobs.items():
            if first[name] < 2:
                first[name] = min(first[name], job())
                again[name] = min(again[name], *(job() for _ in range(_MORE)))
    best = {IN_A_LOOP: again, AFTER_ANOTHER: first}
    return {kind: {name: events / seconds / 1e6 for name, seconds in runs.items()} for kind, runs in best.items()}


def _two_threads(stream: tuple[Array, ...]) -> dict[str, float]:
    """Trilinear with rectification: wall time of one thread over that of two, and CPU time of two over that of one.

    The first is what a user gains, on cores that are free; the second does not depend on who else is at work.
    """
    from eventflow.ops import voxel_grid

    table, wall, cpu = bent(), {1: [], 2: []}, {1: [], 2: []}
    for _ in range(7):
        for threads in wall:
            start = time.perf_counter(), time.process_time()
            voxel_grid(*stream, interpolation="trilinear", rectify=table, threads=threads, **_SHAPE)
            wall[threads].append(time.perf_counter() - start[0])
            cpu[threads].append(time.process_time() - start[1])
    return {"two_threads_wall_ratio": min(wall[1]) / min(wall[2]), "two_threads_cpu_cost": min(cpu[2]) / min(cpu[1])}


def _print(results: dict[str, Any]) -> None:
    from rich.table import Table

    shown = {
        f"window of {results['window']['events']:,}, in a loop": results["window"][IN_A_LOOP],
        "after another job": results["window"][AFTER_ANOTHER],
        f"tiled of {results['tiled']['events']:,}, in a loop": results["tiled"][IN_A_LOOP],
    }
    window = next(iter(shown.values()))
    table = Table(title=f"voxel grid, {BINS} bins, {WIDTH} x {HEIGHT}: million events per CPU second, one core")
    for heading in ("", *shown, "of ours (window)"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=not heading)
    for name, rate in window.items():
        table.add_row(name, *(f"{rates[name]:,.1f}" for rates in shown.values()), f"{rate / window['ours, time']:.3f}")
    for peer, (version, *speeds) in MEASURED.items():
        if peer in results["not run here"]:
            label = f"{peer} {version}: not run here, measured elsewhere"
            table.add_row(label, f"{speeds[0]:,.1f}", "-", f"{speeds[1]:,.1f}", "-")
    terminal().print(table)
    for peer, why in results["not run here"].items():
        print(f"{peer} was not run here: {why}")
    for name in ("window", "tiled"):
        rate = results[name][IN_A_LOOP]
        fresh = rate["ours, time"] / rate["limit: a new grid, two writes an event"]
        used = rate["ours, time, into a used grid"] / rate["limit: scatter, two writes an event"]
        gain, cost = results[name]["two_threads_wall_ratio"], results[name]["two_threads_cpu_cost"]
        print(
            f"{name}: ours is {fresh:.0%} of the measured scatter limit, {used:.0%} into a used grid; trilinear, two "
            f"threads: {gain:.2f} x as fast (wall time), for {cost:.2f} x the CPU time"
        )
