"""Recordings as pictures and films: what `eventflow data render` does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean, require
from eventflow.events import Events
from eventflow.ops import event_frame, voxel_grid
from eventflow.ops._columns import Columns, columns
from eventflow.ops.time_surface import decayed, latest

Array = NDArray[Any]
#: name -> (background, negative, positive), each RGB.
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    "light": ((255, 255, 255), (0, 92, 175), (214, 69, 45)),
    "dark": ((16, 18, 24), (86, 156, 255), (255, 196, 86)),
    "grey": ((128, 128, 128), (0, 0, 0), (255, 255, 255)),
}
STYLES = ("polarity", "surface", "voxels")
SUFFIXES = (".png", ".gif", ".mp4")


@dataclass(frozen=True, slots=True)
class Look:
    """How events become colours.

    Args:
        style: "polarity": sign and number of events in each frame's window; "surface": an exponential time surface;
            "voxels": the slices of a voxel grid of the window, side by side.
        colours: one of ``COLOURS``.
        tau_ms: of the surface.
        bins: of the voxel grid.
    """

    style: str = "polarity"
    colours: str = "light"
    tau_ms: float = 30.0
    bins: int = 5

    def __post_init__(self) -> None:
        for name, known in (("style", STYLES), ("colours", COLOURS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"render({name}={value!r}): {did_you_mean(value, known)}")
        if not self.tau_ms > 0 or self.bins < 1:
            raise InputError(f"render(tau_ms={self.tau_ms}, bins={self.bins}): expected positive numbers")


def data_render(
    src: str, out: Path, *, window_ms: float = 33.0, fps: float = 25.0,
    style: Literal["polarity", "surface", "voxels"] = "polarity", colours: Literal["light", "dark", "grey"] = "light",
    tau_ms: float = 30.0, bins: int = 5, start_ms: float | None = None, end_ms: float | None = None, scale: int = 1,
) -> None:  # fmt: skip
    """Draw an event camera's recording: a picture of its busiest window (.png), or a film (.gif, .mp4).

    Args:
        src: the recording.
        out: the file to write; its suffix says what.
        window_ms: events of how long a time make a frame.
        fps: frames shown per second; each is one window.
        style: polarity (sign and number), surface (exponential time surface), or voxels (slices side by side).
        colours: light, dark or grey.
        tau_ms: time constant of the surface.
        bins: slices of the voxel grid.
        start_ms: leave out what is before, counted from the first event.
        end_ms: leave out what is after.
        scale: enlarge each pixel so many times.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: unknown kind of picture {out.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    if not (window_ms > 0 and fps > 0 and scale >= 1):
        raise InputError(f"render(window_ms={window_ms}, fps={fps}, scale={scale}): expected positive numbers")
    look = Look(style, colours, tau_ms, bins)
    events = _read(src, start_ms, end_ms)
    length = round(window_ms * 1e3)
    count = max(-(-int(events.span[0, 1] - events.span[0, 0]) // length), 1)
    if out.suffix.lower() == ".png":
        picture = enlarged(frame(_busiest(events, length), look), scale)
        _save(out, lambda path: _pillow().fromarray(picture).save(path, format="PNG"))
    else:
        shown = (enlarged(picture, scale) for picture in _progress(frames(events, length, look), count))
        _save(out, lambda path: (_gif if out.suffix.lower() == ".gif" else _mp4)(path, shown, fps))
    drawn = "one window" if out.suffix.lower() == ".png" else f"{count} windows"
    print(f"{out}: {drawn} of {window_ms:g} ms, {style}, of {events.num_events:,} events")


def frames(events: Events, length: int, look: Look) -> Iterator[Array]:
    """(height, width, 3) uint8 for each consecutive window of ``length`` us of one sequence.

    A time surface remembers what was before its window.
    """
    height, width = _size(events)
    memory = np.full((2, height, width), -np.inf)
    for part in events.window(dt=length):
        yield frame(part, look, memory=memory)


def frame(events: Events, look: Look, *, memory: Array | None = None) -> Array:
    """(height, width, 3) uint8 of one sequence over its span; ``memory`` (2, height, width) is the last time that each
    pixel fired, changed in place."""
    height, width = _size(events)
    c = columns("render", events.t, *(events.marks[name] for name in "xyp"))
    if look.style == "polarity":
        signed = event_frame(*c, height=height, width=width)
        return painted(signed / _strong(signed), look.colours)
    if look.style == "surface":
        return painted(_surface(c, (height, width), float(events.span[0, 1]), look, memory), look.colours)
    span = (events.span[0, 0].item(), events.span[0, 1].item())
    grid = voxel_grid(*c, bins=look.bins, height=height, width=width, span=span)
    line = np.full((height, 2, 3), 128, np.uint8)
    strong = _strong(grid)
    slices = [painted(part / strong, look.colours) for part in grid]
    return np.concatenate([v for s in slices for v in (s, line)][:-1], 1)


def painted(signed: Array, colours: str) -> Array:
    """(height, width, 3) uint8 of numbers in [-1, 1]: from the background towards negative and positive."""
    background, negative, positive = (np.array(c, np.float32) for c in COLOURS[colours])
    amount = np.clip(np.abs(signed), 0, 1)[..., None].astype(np.float32)
    target = np.where(signed[..., None] > 0, positive, negative)
    return np.rint(background + amount * (target - background)).astype(np.uint8)


def enlarged(picture: Array, scale: int) -> Array:
    """Each pixel ``scale`` times, both ways."""
    return picture if scale == 1 else picture.repeat(scale, 0).repeat(scale, 1)


def _strong(values: Array) -> float:
    """What counts as full colour: the 90th percentile of what is not 0, so that hot pixels do not darken the rest."""
    filled = np.abs(values[values != 0])
    return max(float(np.quantile(filled, 0.9)), 1e-6) if len(filled) else 1.0


def _surface(c: Columns, size: tuple[int, int], end: float, look: Look, memory: Array | None) -> Array:
    """The newer of the two polarities at each pixel, signed."""
    last = latest(c, *size, before=memory)
    if memory is not None:
        memory[:] = last
    positive, negative = decayed(last, end, look.tau_ms * 1e3, "exponential")
    return np.where(positive >= negative, positive, -negative)


def _read(src: str, start_ms: float | None, end_ms: float | None) -> Events:
    from eventflow.io import read_events

    events = read_events(src)
    if not {"x", "y", "p"} <= set(events.marks) or len(events) != 1:
        raise InputError(f"{src}: columns {sorted(events.marks)}; expected one camera recording: x, y, p")
    if not events.num_events:
        raise InputError(f"{src}: no events, nothing to draw")
    if events.schema.unit != "us":
        raise InputError(f"{src}: its times are in {events.schema.unit!r}; expected us, as recordings have them")
    first = events.t[0].item()
    begin = events.span[0, 0].item() if start_ms is None else first + round(start_ms * 1e3)
    end = events.span[0, 1].item() if end_ms is None else first + round(end_ms * 1e3)
    if not begin < end:
        raise InputError(f"render(start_ms={start_ms}, end_ms={end_ms}): expected start_ms < end_ms")
    events = events.slice(begin, end)
    if not events.num_events:
        raise InputError(f"{src}: no events from start_ms={start_ms} to end_ms={end_ms}")
    return events


def _size(events: Events) -> tuple[int, int]:
    height, width = events.schema.height, events.schema.width
    x, y = events.marks["x"], events.marks["y"]
    return height or int(y.max(initial=0)) + 1, width or int(x.max(initial=0)) + 1


def _busiest(events: Events, length: int) -> Events:
    """The window of ``length`` us from an event on with the most events."""
    t = events.t
    starts = np.arange(0, len(t), max(len(t) // 500, 1))
    counts = np.searchsorted(t, t[starts] + length) - starts
    begin = t[starts[int(np.argmax(counts))]].item()
    return events.slice(begin, begin + length)


def _progress(pictures: Iterator[Array], count: int) -> Iterator[Array]:
    from rich.progress import track

    yield from track(pictures, description="frames", total=count, transient=True)


def _pillow() -> Any:
    return require("PIL.Image", "viz")


def _save(out: Path, write: Any) -> None:
    """Write beside, then move into place: nothing is half-written."""
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    try:
        write(part)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def _gif(path: Path, pictures: Iterator[Array], fps: float) -> None:
    image = _pillow()
    first, *rest = [image.fromarray(picture).quantize(64) for picture in pictures]
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(path: Path, pictures: Iterator[Array], fps: float) -> None:
    require("imageio_ffmpeg", "viz")
    imageio = require("imageio", "viz")
    with imageio.get_writer(path, format="FFMPEG", mode="I", fps=fps, codec="libx264", macro_block_size=2) as film:
        for picture in pictures:
            film.append_data(picture)
