"""Flow and events as pictures: hue is the direction, saturation the speed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.vision._render import painted

Array = NDArray[Any]


def flow_colours(flow: Array, *, largest: float | None = None, background: float = 1.0) -> Array:
    """(height, width, 3) uint8 of a flow (2, height, width), (x, y) in pixels: the colour wheel.

    To the right is red, down yellow-green, left cyan, up violet; no motion is white (``background`` 0: black), and the
    colour is full from ``largest`` pixels on (None: the 99th percentile of this flow, at least 1). What is not finite
    is grey.
    """
    flow = np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise InputError(f"flow_colours: flow {flow.shape}; expected (2, height, width)")
    known = np.asarray(np.isfinite(flow).all(0))
    x, y = np.where(known, flow, 0)
    speed = np.hypot(x, y)
    amount = np.minimum(speed / (top_speed(flow) if largest is None else largest), 1)[..., None]
    turn = np.arctan2(y, x)[..., None] / (2 * np.pi) * 6  # in sixths of the wheel
    full = np.clip(np.abs((turn + np.array([0, 4, 2], np.float32)) % 6 - 3) - 1, 0, 1)
    colours = background + amount * (full - background)
    return np.rint(255 * np.where(known[..., None], colours, 0.5)).astype(np.uint8)


def top_speed(flow: Array) -> float:
    """The 99th percentile of a flow's speeds where they are finite, at least 1 pixel."""
    speed = np.hypot(*flow)
    speed = speed[np.isfinite(speed)]
    return max(float(np.quantile(speed, 0.99)), 1.0) if speed.size else 1.0


class Scale:
    """What counts as full colour in a film: follows the fastest motion at once, and falls back slowly."""

    def __init__(self) -> None:
        self.top = 1.0

    def follow(self, flow: Array) -> float:
        """The scale for this flow (2, height, width), the next of the film."""
        self.top = max(0.98 * self.top, top_speed(flow))
        return self.top


def wheel(size: int) -> Array:
    """(size, size, 3) uint8: the legend, a disc whose rim is full speed; white around it."""
    across = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    y, x = np.meshgrid(across, across, indexing="ij")
    disc = flow_colours(np.stack([x, y]), largest=1.0)
    disc[np.hypot(x, y) > 1] = 255
    return disc


def event_colours(image: Array) -> Array:
    """(height, width, 3) uint8 of a step's image: red where it became brighter, blue where darker, white elsewhere."""
    return painted(np.clip(image[0] - image[1] if len(image) == 2 else image[0], -1, 1), "light")


def side_by_side(image: Array, flow: Array, *, largest: float) -> Array:
    """(height, 2 width + 2, 3) uint8: the events of a step and its flow; an even height, as films want it.

    ``image``: (2, height, width) counts, positive first, or (1, height, width), signed. Where there is room, the colour
    wheel stands in the flow's lower right corner.
    """
    events = event_colours(image)
    colours = flow_colours(flow, largest=largest)
    size = min(min(colours.shape[:2]) // 6, 64)
    if size >= 8:
        colours[-size:, -size:] = wheel(size)
    picture = np.concatenate([events, np.full((len(events), 2, 3), 128, np.uint8), colours], 1)
    return picture if len(picture) % 2 == 0 else np.concatenate([picture, picture[-1:]])
