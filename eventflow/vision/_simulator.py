"""The simulator: a scene seen by contrast-threshold pixels, with events as exact in time as the scene's motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.vision._scene import Scene, pixel_grid, project, texture

Array = NDArray[Any]


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
    image: Array  # (height, width) log intensity at the end
    reference: Array  # (height, width) what it was when the pixel last fired; a view, changed by the next step


def simulate(scene: Scene, camera: Camera | None = None, *, duration: float, max_step: float = 0.25) -> Events:
    """Events of ``duration`` seconds of the scene; columns x, y, p, times in us from 0.

    Args:
        scene: what is seen.
        camera: by which pixels.
        duration: seconds.
        max_step: farthest that anything moves in one step, in pixels; in between, log intensity is a straight line.
    """
    parts = [(c.t, c.x, c.y, c.p) for c in simulate_chunks(scene, camera, duration=duration, max_step=max_step)]
    t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    schema = Schema(unit="us", height=scene.height, width=scene.width)
    return Events.of(t, span=(0, round(duration * 1e6)), schema=schema, x=x, y=y, p=p)


def simulate_chunks(
    scene: Scene, camera: Camera | None = None, *, duration: float, max_step: float = 0.25
) -> Iterator[Chunk]:
    """The same, step by step, in constant memory."""
    camera = camera or Camera()
    if not (0 < duration < 1e6 and max_step > 0):
        raise InputError(f"simulate(duration={duration}, max_step={max_step}): expected positive numbers (s, px)")
    from eventflow.vision._pixels import fire

    rng = np.random.default_rng(camera.seed)
    size = (scene.height, scene.width)
    thresholds = tuple(
        np.clip(rng.normal(camera.threshold, camera.threshold_noise, size), camera.threshold / 4, None)
        for _ in range(2)
    )
    noise = _Noise.of(camera, size, rng)
    place = np.ascontiguousarray(np.moveaxis(camera.rectify_map(*size), -1, 0).astype(np.float64))
    before = seen(scene, 0.0, place)
    state = (before.copy(), np.full(size, -np.inf))
    leak = camera.leak_hz * 1e-6
    now, end = 0.0, duration * 1e6
    out = _room(1 << 16)
    while now < end:
        step = min(step_length(scene, now * 1e-6, max_step) * 1e6, end - now)
        after = seen(scene, (now + step) * 1e-6, place)
        while True:
            trial = tuple(v.copy() for v in state)
            n = fire((before, after), trial, thresholds, (now, step, float(camera.refractory_us), leak), out)
            if n <= len(out[0]):
                break
            out = _room(2 * n)
        state = trial
        columns = noise.join(tuple(v[:n] for v in out), (now, now + step), state[1])
        when, t, x, y, p = columns
        yield Chunk(now, now + step, when, t, x, y, p, after, state[0])
        before, now = after, now + step


def seen(scene: Scene, t: float, place: Array) -> Array:
    """(height, width) log intensity at time t (s), by pixels that look at ``place`` (2, height, width)."""
    from eventflow.vision._pixels import render

    image = np.zeros(place.shape[1:])
    for k, plane in enumerate(scene.planes):
        look = (plane.contrast, plane.brightness, *plane.middle, *(plane.radii or (0.0, 0.0)))
        render(texture(plane.seed), scene.homography(k, t), tuple(float(v) for v in look), place, image)
    return image


def step_length(scene: Scene, t: float, max_step: float) -> float:
    """Seconds, at most 1 ms, in which no plane moves by more than ``max_step`` pixels on the image."""
    x = np.array([0, (scene.width - 1) / 2, scene.width - 1])[None, :].repeat(3, 0)
    y = np.array([0, (scene.height - 1) / 2, scene.height - 1])[:, None].repeat(3, 1)
    length = 1e-3
    for k in range(len(scene.planes)):
        while True:
            move = np.linalg.inv(scene.homography(k, t + length)) @ scene.homography(k, t)
            u, v = project(move, x, y)
            farthest = float(np.hypot(u - x, v - y).max())
            if farthest <= max_step:
                break
            length *= 0.9 * max_step / farthest
    return length


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


def _room(n: int) -> tuple[Array, Array, Array, Array]:
    return np.empty(n), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
