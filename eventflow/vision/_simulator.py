"""The simulator: a scene seen by contrast-threshold pixels, with events as exact in time as the scene's motion."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.vision._scene import Scene, look_table, motion_table, pixel_grid, texture

Array = NDArray[Any]
_Room = tuple[Array, Array, Array, Array]  # t, x, y, p


@dataclass(frozen=True, slots=True)
class Camera:
    """The pixels. The defaults are ideal but for unequal thresholds.

    Args:
        threshold: mean contrast threshold, of log intensity.
        threshold_noise: its standard deviation over the pixels, drawn once for each polarity.
        refractory_us: for how long a pixel is held after an event.
        leak_hz: rate of positive events in constant light.
        shot_noise_hz: rate per pixel of events of random time and polarity, which leave the pixel's reference alone.
        hot_pixels: number of pixels whose shot noise is ``hot_hz``.
        hot_hz: their rate.
        distortion: k of a radial distortion: a raw pixel at r (1 = half the width) looks at r (1 + k r^2).
        seed: of thresholds and noise.
    """

    threshold: float = 0.2
    threshold_noise: float = 0.02
    refractory_us: float = 0.0
    leak_hz: float = 0.0
    shot_noise_hz: float = 0.0
    hot_pixels: int = 0
    hot_hz: float = 100.0
    distortion: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise InputError(f"Camera(threshold={self.threshold}): expected a positive number")
        for name in ("threshold_noise", "refractory_us", "leak_hz", "shot_noise_hz", "hot_pixels", "hot_hz"):
            if not getattr(self, name) >= 0:
                raise InputError(f"Camera({name}={getattr(self, name)}): expected 0 or more")

    def rectify_map(self, height: int, width: int) -> Array:
        """(height, width, 2) float32: the (x, y) at which the raw pixel [y, x] looks."""
        x, y = pixel_grid(height, width)
        dx, dy = x - (width - 1) / 2, y - (height - 1) / 2
        stretch = 1 + self.distortion * (dx**2 + dy**2) * (2 / width) ** 2
        return np.stack([dx * stretch + (width - 1) / 2, dy * stretch + (height - 1) / 2], -1).astype(np.float32)


class Chunk(NamedTuple):
    """The events of one step [start, end) in us, in time order, and the pixels' state after it."""

    start: float
    end: float
    when: Array  # (n,) float64 us, not rounded
    t: Array  # (n,) int64 us
    x: Array  # (n,) uint16
    y: Array
    p: Array  # (n,) uint8
    image: Array  # (height, width) log intensity at the end; a view, changed by the step after the next
    reference: Array  # (height, width) what it was when the pixel last fired; a view, changed by the next step


def simulate(
    scene: Scene, camera: Camera | None = None, *, duration: float, max_step: float = 0.25, threads: int = 1
) -> Events:
    """Events of ``duration`` seconds of the scene; columns x, y, p, times in us from 0.

    Args:
        scene: what is seen.
        camera: by which pixels.
        duration: seconds.
        max_step: farthest that anything moves in one step, in pixels; in between, log intensity is a straight line.
        threads: CPU threads, each with rows of its own; the events are the same for any number.
    """
    chunks = simulate_chunks(scene, camera, duration=duration, max_step=max_step, threads=threads)
    t, x, y, p = (np.concatenate(column) for column in zip(*((c.t, c.x, c.y, c.p) for c in chunks), strict=True))
    schema = Schema(unit="us", height=scene.height, width=scene.width)
    return Events.of(t, span=(0, round(duration * 1e6)), schema=schema, x=x, y=y, p=p)


def simulate_chunks(
    scene: Scene, camera: Camera | None = None, *, duration: float, max_step: float = 0.25, threads: int = 1
) -> Iterator[Chunk]:
    """The same, step by step, in constant memory."""
    camera = camera or Camera()
    if not (0 < duration < 1e6 and max_step > 0 and threads >= 1):
        raise InputError(
            f"simulate(duration={duration}, max_step={max_step}, threads={threads}): expected positive numbers (s, px)"
        )
    from eventflow.vision._pixels import step_length

    rng = np.random.default_rng(camera.seed)
    size = (scene.height, scene.width)
    retina = _Retina.of(scene, camera, rng)
    noise = _Noise.of(camera, size, rng)
    now, end = 0.0, duration * 1e6
    motions = motion_table(scene)
    with ThreadPoolExecutor(threads) as pool:
        while now < end:
            step = min(step_length(motions, now * 1e-6, size, max_step) * 1e6, end - now)
            columns = retina.advance((now, step), pool, threads)
            when, t, x, y, p = noise.join(columns, (now, now + step), retina.state[1])
            yield Chunk(now, now + step, when, t, x, y, p, retina.images[0], retina.state[0])
            now += step


@dataclass
class _Retina:
    """The pixels' state, and how a step of it goes. Times in us."""

    scene: tuple[Array, Array, Array]  # textures, motions, looks
    place: Array
    margin: float  # the farthest that a pixel looks from its own place
    images: tuple[Array, Array]  # now, and room for the next
    state: tuple[Array, Array]  # reference, held
    thresholds: tuple[Array, Array]
    pace: tuple[float, float]  # refractory us, leak in thresholds per us
    rooms: list[_Room]  # of each thread

    @classmethod
    def of(cls, scene: Scene, camera: Camera, rng: np.random.Generator) -> _Retina:
        size = (scene.height, scene.width)
        up, down = (
            np.clip(rng.normal(camera.threshold, camera.threshold_noise, size), camera.threshold / 4, None)
            for _ in range(2)
        )
        place = np.ascontiguousarray(np.moveaxis(camera.rectify_map(*size), -1, 0).astype(np.float64))
        first = seen(scene, 0.0, place)
        textures = np.stack([texture(plane.seed) for plane in scene.planes])
        margin = float(np.abs(place - np.stack(pixel_grid(*size))).max())
        images, state = (first, np.empty(size)), (first.copy(), np.full(size, -np.inf))
        pace = float(camera.refractory_us), camera.leak_hz * 1e-6
        view = textures, motion_table(scene), look_table(scene)
        return cls(view, place, margin, images, state, (up, down), pace, [])

    def advance(self, step: tuple[float, float], pool: ThreadPoolExecutor, threads: int) -> tuple[Array, ...]:
        """The events (t float64, x, y, p) of the step (start, length), row by row."""
        from eventflow.vision._pixels import boxes, homographies

        (textures, motions, looks), size = self.scene, self.place.shape[1:]
        lie = homographies(motions, (step[0] + step[1]) * 1e-6, ((size[1] - 1) / 2, (size[0] - 1) / 2))
        view = (textures, lie, looks, boxes(lie, looks, size, self.margin))
        cuts = [size[0] * i // threads for i in range(threads + 1)]
        self.rooms += [_room(1 << 12) for _ in range(threads - len(self.rooms))]

        def work(i: int) -> int:
            return self._rows(i, (cuts[i], cuts[i + 1]), view, step)

        counts = [work(0)] if threads == 1 else list(pool.map(work, range(threads)))
        self.images = self.images[1], self.images[0]
        parts = [tuple(v[:n] for v in room) for room, n in zip(self.rooms, counts, strict=True)]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _rows(self, thread: int, rows: tuple[int, int], view: Any, step: tuple[float, float]) -> int:
        """Advance these rows; the number of events, which lie in the thread's room."""
        from eventflow.vision._pixels import advance

        n, (row, last), clock = 0, rows, (*step, *self.pace)
        while True:
            room = self.rooms[thread]
            given = (view, self.place, self.images, self.state, self.thresholds, clock, room)
            n, row = advance((row, last), *given, n)
            if row == last:
                return n
            self.rooms[thread] = larger = _room(2 * len(room[0]))
            for old, new in zip(room, larger, strict=True):
                new[:n] = old[:n]


def seen(scene: Scene, t: float, place: Array) -> Array:
    """(height, width) log intensity at time t (s), by pixels that look at ``place`` (2, height, width)."""
    from eventflow.vision._pixels import see_row

    image, (height, width) = np.empty(place.shape[1:]), place.shape[1:]
    scratch, looks = (np.empty((4, width)), np.empty(width, np.uint32)), look_table(scene)
    everywhere = np.tile(np.array([0, height, 0, width]), (len(looks), 1))
    lie = np.stack([scene.homography(k, t) for k in range(len(looks))])
    view = (np.stack([texture(plane.seed) for plane in scene.planes]), lie, looks, everywhere)
    for row in range(height):
        see_row(row, view, (place[0, row], place[1, row]), image[row], scratch)
    return image


class _Noise(NamedTuple):
    """Events without cause, at a rate per pixel."""

    rate: float  # of all pixels together, per us
    share: Array | None  # (pixels,) cumulative, of each pixel in the rate
    size: tuple[int, int]
    rng: np.random.Generator

    @classmethod
    def of(cls, camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> _Noise:
        rates = np.full(size[0] * size[1], camera.shot_noise_hz * 1e-6)
        hot = rng.choice(len(rates), min(camera.hot_pixels, len(rates)), replace=False)
        rates[hot] = camera.hot_hz * 1e-6
        total = float(rates.sum())
        return cls(total, np.cumsum(rates) / total if total else None, size, rng)

    def join(self, columns: tuple[Array, ...], step: tuple[float, float], held: Array) -> tuple[Array, ...]:
        """The events of a step and this noise, in time order: t as it is, t in whole us, x, y, p."""
        t, x, y, p = columns
        count = int(self.rng.poisson(self.rate * (step[1] - step[0]))) if self.share is not None else 0
        if count and self.share is not None:
            pixel = np.minimum(np.searchsorted(self.share, self.rng.random(count), side="right"), len(self.share) - 1)
            when = self.rng.uniform(*step, count)
            row, column = np.divmod(pixel, self.size[1])
            free = held[row, column] <= when  # a pixel that is held fires no noise
            extra = (when[free], column[free], row[free], self.rng.integers(0, 2, count)[free])
            t, x, y, p = (np.concatenate([a, b.astype(a.dtype)]) for a, b in zip((t, x, y, p), extra, strict=True))
        order = np.argsort(t, kind="stable")
        when = t[order]
        return when, np.floor(when).astype(np.int64), x[order], y[order], p[order]


def _room(n: int) -> _Room:
    return np.empty(n), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
