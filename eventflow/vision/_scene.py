"""Scenes with exact optical flow: textured planes that move by known homographies, one above the other.

A homography H(t) maps an image position at time t (x, y, 1) to a position on a plane's texture. A point of the plane
seen at x at time a is seen at H(b)^-1 H(a) x at time b: its flow, without any error but that of floating point.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[Any]
TEXTURE_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Motion:
    """How a plane moves; all of it analytic in time (seconds).

    Args:
        velocity: (x, y) texture pixels per second that pass by the centre.
        sway: (x, y) amplitude in texture pixels of a swing about that.
        sway_hz: frequency of the swing.
        spin: radians per second.
        zoom: amplitude of the log scale, which swings too.
        zoom_hz: its frequency.
        tilt: (x, y) amplitude of the perspective terms, per half image width: 0.1 makes one edge 20 % larger.
        tilt_hz: frequency of the tilt.
    """

    velocity: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    sway_hz: float = 1.0
    spin: float = 0.0
    zoom: float = 0.0
    zoom_hz: float = 0.5
    tilt: tuple[float, float] = (0.0, 0.0)
    tilt_hz: float = 0.5


@dataclass(frozen=True, slots=True)
class Plane:
    """A textured plane.

    Args:
        motion: how it moves.
        seed: of its texture.
        contrast: standard deviation of its log intensity.
        brightness: mean of its log intensity.
        origin: texture position that the image centre sees at rest.
        radii: (x, y) semi-axes in texture pixels of the ellipse that the plane covers; None: it covers everything.
        offset: (x, y) from ``origin`` to the middle of that ellipse.
    """

    motion: Motion = field(default_factory=Motion)
    seed: int = 0
    contrast: float = 0.45
    brightness: float = 0.0
    origin: tuple[float, float] = (512.0, 512.0)
    radii: tuple[float, float] | None = None
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def middle(self) -> tuple[float, float]:
        """Texture position of the ellipse's middle."""
        return self.origin[0] + self.offset[0], self.origin[1] + self.offset[1]


@dataclass(frozen=True, slots=True)
class Scene:
    """Planes from the farthest to the nearest, as seen by an image of ``height`` x ``width`` pixels.

    The farthest plane must cover everything (``radii`` None).
    """

    planes: tuple[Plane, ...]
    height: int = 480
    width: int = 640

    def __post_init__(self) -> None:
        if not self.planes or self.planes[0].radii is not None:
            raise InputError("Scene: the first plane is the background. Write: Plane(radii=None)")
        if self.height < 2 or self.width < 2:
            raise InputError(f"Scene(height={self.height}, width={self.width}): expected at least 2 x 2")

    def homography(self, plane: int, t: float) -> Array:
        """(3, 3) float64: image position to texture position of the plane at time t (s)."""
        p, centre = self.planes[plane], np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        m, turn = p.motion, 2 * np.pi * t
        angle, scale = m.spin * t, np.exp(m.zoom * np.sin(m.zoom_hz * turn))
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        shift = np.array(p.origin) + np.array(m.velocity) * t + np.array(m.sway) * np.sin(m.sway_hz * turn)
        tilt = np.array(m.tilt) * np.sin(m.tilt_hz * turn) * 2 / self.width
        to_centre = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, 1]])
        return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]]) @ (
            np.array([[1, 0, 0], [0, 1, 0], [tilt[0], tilt[1], 1.0]]) @ to_centre
        )

    def coverage(self, plane: int, t: float, x: Array, y: Array) -> Array:
        """Opacity of the plane, 0 to 1, at image positions; its edge is two texture pixels wide."""
        radii = self.planes[plane].radii
        if radii is None:
            return np.ones(np.broadcast(x, y).shape)
        u, v = project(self.homography(plane, t), x, y)
        middle = self.planes[plane].middle
        distance = np.hypot((u - middle[0]) / radii[0], (v - middle[1]) / radii[1])
        return np.clip((1 - distance) * min(radii) / 2 + 0.5, 0, 1)

    def layer(self, t: float, x: Array | None = None, y: Array | None = None) -> Array:
        """Index of the plane that is seen at each image position (of all pixels by default) at time t (s)."""
        if x is None or y is None:
            x, y = pixel_grid(self.height, self.width)
        top = np.zeros(np.broadcast(x, y).shape, np.int64)
        for k in range(1, len(self.planes)):
            top[self.coverage(k, t, x, y) > 0.5] = k
        return top

    def flow(self, start: float, end: float, x: Array | None = None, y: Array | None = None) -> tuple[Array, Array]:
        """Exact displacement of what is seen at time ``start`` until time ``end``, and whether it is still seen then.

        Args:
            start: seconds.
            end: seconds; may be before ``start``: backward flow.
            x: image columns; None: of all pixels, (height, width).
            y: image rows.

        Returns:
            flow (..., 2) float64, (x, y) in pixels, of the nearest plane at each position; visible (...) bool: on the
            image at ``end``, and no other plane before it.
        """
        if x is None or y is None:
            x, y = pixel_grid(self.height, self.width)
        layer = self.layer(start, x, y)
        flow = np.zeros((*layer.shape, 2))
        for k in range(len(self.planes)):
            moved = project(np.linalg.inv(self.homography(k, end)) @ self.homography(k, start), x, y)
            flow[layer == k] = np.stack([moved[0] - x, moved[1] - y], -1)[layer == k]
        u, v = x + flow[..., 0], y + flow[..., 1]
        inside = (u >= 0) & (v >= 0) & (u <= self.width - 1) & (v <= self.height - 1)
        return flow, inside & (self.layer(end, u, v) == layer)

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Scene:
        """From JSON that :meth:`save` wrote."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            planes = tuple(_plane(plane) for plane in data["planes"])
            return cls(planes, data["height"], data["width"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not a scene ({error}); expected what Scene.save wrote") from None


def _plane(data: dict[str, Any]) -> Plane:
    pairs: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
    motion: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data["motion"].items()}
    return Plane(**{**pairs, "motion": Motion(**motion)})


def motion_table(scene: Scene) -> Array:
    """(planes, 13) float64: origin, velocity, sway (each x, y), sway_hz, spin, zoom, zoom_hz, tilt (x, y), tilt_hz."""
    rows = [(p.origin, p.motion) for p in scene.planes]
    return np.array(
        [[*o, *m.velocity, *m.sway, m.sway_hz, m.spin, m.zoom, m.zoom_hz, *m.tilt, m.tilt_hz] for o, m in rows]
    )


def look_table(scene: Scene) -> Array:
    """(planes, 6) float64: contrast, brightness, middle (x, y), radii (x, y; 0: it covers everything)."""
    return np.array([[p.contrast, p.brightness, *p.middle, *(p.radii or (0.0, 0.0))] for p in scene.planes])


def pixel_grid(height: int, width: int) -> tuple[Array, Array]:
    """(x, y), each (height, width) float64."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x, y


def project(h: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Positions (x, y) under the homography h."""
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    return (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w


@lru_cache(maxsize=16)
def texture(seed: int) -> Array:
    """(1024, 1024) float32, periodic: noise with a 1/f^1.1 spectrum, mean 0, standard deviation 1.

    Nothing is finer than about five pixels, so that bilinear sampling is accurate.
    """
    n = TEXTURE_SIZE
    frequency = np.fft.fftfreq(n)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(n, n)))
    image = np.fft.ifft2(spectrum * radius**-1.1 * np.exp(-((radius / 0.22) ** 4))).real
    out = ((image - image.mean()) / image.std()).astype(np.float32)
    out.setflags(write=False)
    return out


def random_scene(seed: int, *, height: int = 480, width: int = 640, planes: int = 3, speed: float = 150.0) -> Scene:
    """A background and ``planes - 1`` ellipses before it, each moving by itself at about ``speed`` pixels a second."""
    if planes < 1:
        raise InputError(f"random_scene(planes={planes}): expected at least 1")
    rng = np.random.default_rng(seed)
    return Scene(tuple(_random_plane(rng, k, speed, (height, width)) for k in range(planes)), height, width)


def _random_plane(rng: np.random.Generator, k: int, speed: float, size: tuple[int, int]) -> Plane:
    """The background (k = 0) travels; the others swing about their places, so that they stay on the image."""

    def pair(low: float, high: float) -> tuple[float, float]:
        return float(rng.uniform(low, high)), float(rng.uniform(low, high))

    angle, pace = rng.uniform(0, 2 * np.pi), speed * rng.uniform(0.5, 1.2)
    motion = Motion(
        velocity=(0.0, 0.0) if k else (float(pace * np.cos(angle)), float(pace * np.sin(angle))),
        sway=pair(0.08 * pace, 0.25 * pace) if k else pair(0, 8), sway_hz=float(rng.uniform(0.5, 0.9)),
        spin=float(rng.uniform(-0.4, 0.4)), zoom=float(rng.uniform(0.02, 0.15)),
        zoom_hz=float(rng.uniform(0.3, 0.8)), tilt=pair(-0.08, 0.08), tilt_hz=float(rng.uniform(0.3, 0.8)),
    )  # fmt: skip
    seed, contrast = int(rng.integers(2**31)), float(rng.uniform(0.35, 0.55))
    if k == 0:
        return Plane(motion, seed, contrast)
    brightness, radii = float(rng.uniform(-0.5, 0.5)), pair(0.12 * min(size), 0.3 * min(size))
    offset = float(rng.uniform(-0.32, 0.32) * size[1]), float(rng.uniform(-0.32, 0.32) * size[0])
    return Plane(motion, seed, contrast, brightness, radii=radii, offset=offset)
