"""Simulated recordings in DSEC's folder layout, with flow that is exact: what `eventflow data simulate` writes.

<out>/events/left/events.h5           events/{x, y, t, p}, ms_to_idx, t_offset
      events/left/rectify_map.h5      rectify_map (height, width, 2) float32 of (x, y)
      flow/forward_timestamps.txt     from_us, to_us: one line a map, absolute
      flow/forward/000002.png ...     16-bit flow over 100 ms, at 10 Hz
      flow/exact.h5                   from_us, to_us (m,), flow (m, height, width, 2) float32, visible: at 100 Hz
                                      (not where ``exact_hz`` is 0)
      scene.json                      from which any other flow follows: Scene.load(path).flow(start, end)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, require
from eventflow.vision._png16 import write_flow_png
from eventflow.vision._scene import Scene, random_scene
from eventflow.vision._simulator import Camera, simulate_chunks

Array = NDArray[Any]
#: Length of every flow map, us.
INTERVAL = 100_000
#: HDF5 of 2016: its index of chunks takes a tenth of the room of the older one.
_LIBVER = ("v110", "v110")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a simulated recording follows from.

    Args:
        scene: what is seen; times in seconds from the recording's start.
        camera: by which pixels.
        duration: seconds.
        exact_hz: how often the exact flow is stored; each map spans 100 ms, as those at 10 Hz do. 0: it is not stored.
        t_offset: microseconds, added to all times in the files' clock.
        max_step: see :func:`simulate`.
        threads: see :func:`simulate`.
    """

    scene: Scene
    camera: Camera = field(default_factory=Camera)
    duration: float = 1.0
    exact_hz: int = 100
    t_offset: int = 49_599_300_523
    max_step: float = 0.25
    threads: int = 1

    def __post_init__(self) -> None:
        if self.exact_hz < 0 or (self.exact_hz and 1_000_000 % self.exact_hz):
            raise InputError(f"Recipe(exact_hz={self.exact_hz}): expected a divisor of 1,000,000, or 0")
        if not 0.1 <= self.duration < 4294:
            raise InputError(f"Recipe(duration={self.duration}): expected 0.1 to 4294 s (times are 32-bit us)")


def write_recording(recipe: Recipe, out: Path, *, progress: bool = False) -> int:
    """Simulate into a new folder ``out``, whole or not at all; returns the number of events."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out}: there is something already; expected a new or an empty folder")
    require("hdf5plugin", "vision")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        count = _write_events(recipe, part / "events" / "left", progress)
        _write_flow(recipe, part / "flow")
        recipe.scene.save(part / "scene.json")
        if out.exists():
            out.rmdir()
        part.chmod(0o755)
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return count


def recipe_of(
    seed: int, *, duration: float = 1.0, height: int = 480, width: int = 640, planes: int = 3, speed: float = 150.0,
    exact_hz: int = 100, noise: bool = True, threads: int = 1,
) -> Recipe:  # fmt: skip
    """The recording that ``eventflow data simulate sim_flow OUT --seed SEED`` writes: :func:`data_simulate_flow`."""
    camera = Camera(seed=seed)
    if noise:
        camera = Camera(refractory_us=100.0, leak_hz=0.1, shot_noise_hz=0.1, hot_pixels=10, seed=seed)
    scene = random_scene(seed, height=height, width=width, planes=planes, speed=speed)
    return Recipe(scene, camera, duration, exact_hz, threads=threads)


def data_simulate_flow(
    out: Path, *, seed: int = 0, duration: float = 1.0, height: int = 480, width: int = 640, planes: int = 3,
    speed: float = 150.0, exact_hz: int = 100, noise: bool = True, threads: int = 1, whole: bool = False,
) -> None:  # fmt: skip
    """Simulate an event camera before moving planes: a folder in DSEC's layout, with exact flow at 10 and 100 Hz.

    Args:
        out: the folder to write; must be new or empty.
        seed: of scene and noise.
        duration: seconds.
        height: sensor rows.
        width: sensor columns.
        planes: textured planes, one behind the other.
        speed: pixels per second, about.
        exact_hz: how often the exact flow is stored; 0: it is not, and follows from scene.json.
        noise: refractory time, leak, shot noise and hot pixels, as real sensors have them.
        threads: CPU threads; the events are the same for any number.
        whole: all recordings of the dataset sim_flow, by the recipe on its card: OUT/train, OUT/val and OUT/test. Of
            the other options only --threads counts.
    """
    if whole:
        from eventflow.vision._sim_dataset import write_dataset

        return write_dataset(out, threads=threads, progress=True)
    recipe = recipe_of(
        seed, duration=duration, height=height, width=width, planes=planes, speed=speed, exact_hz=exact_hz,
        noise=noise, threads=threads,
    )  # fmt: skip
    count = write_recording(recipe, out, progress=True)
    stored = f" and {intervals(duration, exact_hz)[0].size} at {exact_hz} Hz" if exact_hz else ""
    print(f"{out}: {count:,} events in {duration:g} s, {intervals(duration, 10)[0].size} flow maps at 10 Hz{stored}")


def intervals(duration: float, hz: int) -> tuple[Array, Array]:
    """(start, end) us from the recording's start of all maps of 100 ms that fit, ``hz`` a second."""
    last = round(duration * 1e6) - INTERVAL
    start = np.arange(0, max(last, -1) + 1, 1_000_000 // hz, dtype=np.int64)
    return start, start + INTERVAL


def _write_events(recipe: Recipe, folder: Path, progress: bool) -> int:
    import h5py
    import hdf5plugin

    folder.mkdir(parents=True)
    scene = recipe.scene
    zstd = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
    table = recipe.camera.rectify_map(scene.height, scene.width)
    with h5py.File(folder / "rectify_map.h5", "w", libver=_LIBVER) as file:
        file.create_dataset("rectify_map", data=table, **zstd)
    steps = [np.zeros(1, np.int64)]  # rows before each millisecond so far
    with h5py.File(folder / "events.h5", "w", libver=_LIBVER) as file:
        sets = {
            name: file.create_dataset(f"events/{name}", (0,), kind, maxshape=(None,), chunks=(1 << 17,), **zstd)
            for name, kind in (("x", "u2"), ("y", "u2"), ("t", "u4"), ("p", "u1"))
        }
        rows, milliseconds = 0, 1
        for t, x, y, p in _blocks(recipe, progress):
            known = np.arange(milliseconds, int(t[-1]) // 1000 + 1, dtype=np.int64)
            steps.append(rows + np.searchsorted(t, known * 1000))
            rows, milliseconds = rows + len(t), milliseconds + len(known)
            for name, column in (("x", x), ("y", y), ("t", t), ("p", p)):
                sets[name].resize((rows,))
                sets[name][rows - len(t) :] = column
        rest = int(np.ceil(recipe.duration * 1000)) + 1 - milliseconds
        steps.append(np.full(max(rest, 0), rows, np.int64))
        file.create_dataset("ms_to_idx", data=np.concatenate(steps).astype(np.uint64), **zstd)
        file.create_dataset("t_offset", data=np.int64(recipe.t_offset))
        span = recipe.t_offset, recipe.t_offset + round(recipe.duration * 1e6)
        file.attrs.update({"height": scene.height, "width": scene.width, "span": np.array(span, np.int64)})
    return rows


def _blocks(recipe: Recipe, progress: bool) -> Iterator[tuple[Array, ...]]:
    """The events in blocks of about a million."""
    held: list[tuple[Array, ...]] = []
    count = 0
    chunks = simulate_chunks(
        recipe.scene, recipe.camera, duration=recipe.duration, max_step=recipe.max_step, threads=recipe.threads
    )
    for chunk in _shown(chunks, "events", recipe.duration * 1e6, progress):
        if len(chunk.t):
            held.append((chunk.t, chunk.x, chunk.y, chunk.p))
            count += len(chunk.t)
        if count >= 1 << 20:
            yield tuple(np.concatenate(column) for column in zip(*held, strict=True))
            held, count = [], 0
    if held:
        yield tuple(np.concatenate(column) for column in zip(*held, strict=True))


def _shown(chunks: Any, name: str, total: float, progress: bool) -> Iterator[Any]:
    if not progress:
        yield from chunks
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(name, total=total)
        for chunk in chunks:
            yield chunk
            bar.update(task, completed=chunk.end)


def _write_flow(recipe: Recipe, folder: Path) -> None:
    scene, offset = recipe.scene, recipe.t_offset
    (folder / "forward").mkdir(parents=True)
    start, end = intervals(recipe.duration, 10)
    lines = ["# from_timestamp_us, to_timestamp_us"]
    for i, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        flow, _ = scene.flow(a * 1e-6, b * 1e-6)
        write_flow_png(folder / "forward" / f"{2 * i + 2:06d}.png", flow, np.abs(flow).max(-1) < 255.99)
        lines.append(f"{a + offset}, {b + offset}")
    (folder / "forward_timestamps.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if recipe.exact_hz:
        _write_exact(recipe, folder)


def _write_exact(recipe: Recipe, folder: Path) -> None:
    import h5py

    scene, offset = recipe.scene, recipe.t_offset
    start, end = intervals(recipe.duration, recipe.exact_hz)
    shape = (len(start), scene.height, scene.width)
    with h5py.File(folder / "exact.h5", "w") as file:
        file.create_dataset("from_us", data=start + offset)
        file.create_dataset("to_us", data=end + offset)
        keep = {"chunks": (1, *shape[1:]), "compression": "gzip", "compression_opts": 1}
        flows = file.create_dataset("flow", (*shape, 2), "f4", **{**keep, "chunks": (1, *shape[1:], 2)})
        visible = file.create_dataset("visible", shape, bool, **keep)
        for i, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
            flows[i], visible[i] = scene.flow(a * 1e-6, b * 1e-6)
