"""Recordings as pictures and films: what `eventflow data render` does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean, require
from eventflow.events import Events
from eventflow.ops import event_frame, voxel_grid
from eventflow.ops._columns import Columns, columns
from eventflow.ops.time_surface import decayed, latest

if TYPE_CHECKING:
    from eventflow.io import Recording

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
    columns: list[str] | None = None, format: str | None = None, recover: bool = False,
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
        columns: of a text or numpy array: the order of its columns, and where it is not known, unit and sensor:
            t y x p unit=us sensor=640x480
        format: of the recording, such as evt3; found from its content by default.
        recover: of a recording that is cut off or damaged, draw the events before the fault, with a warning.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: unknown kind of picture {out.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    if not (window_ms > 0 and fps > 0 and scale >= 1):
        raise InputError(f"render(window_ms={window_ms}, fps={fps}, scale={scale}): expected positive numbers")
    look = Look(style, colours, tau_ms, bins)
    recording, length = _opened(src, columns, format, recover), max(round(window_ms * 1e3), 1)
    bounds = _bounds(recording, start_ms, end_ms)
    told = _Count(_parts(recording, bounds, length, still=out.suffix.lower() == ".png"))
    drawn = told if out.suffix.lower() == ".png" else _progress(told, None)
    pictures = (enlarged(picture, scale) for picture in frames(drawn, look))
    writers = {".png": _png, ".gif": _gif, ".mp4": _mp4}
    _save(out, lambda path: writers[out.suffix.lower()](path, pictures, fps))
    windows = "one window" if out.suffix.lower() == ".png" else f"{told.windows} windows"
    print(f"{out}: {windows} of {window_ms:g} ms, {style}, of {told.events:,} events")
    recording.report.warn()


def _opened(src: str, columns: list[str] | None, format: str | None, recover: bool) -> Recording:
    from eventflow.io import open_recording
    from eventflow.io._columns import schema_of

    order, schema = schema_of(columns)
    recording = open_recording(src, format=format, columns=order, schema=schema, recover=recover)
    if recording.first is None:
        raise InputError(f"{src}: no events, nothing to draw")
    height, width = recording.schema.height, recording.schema.width
    if height is None or width is None:
        sides = [(part.marks["y"].max(), part.marks["x"].max()) for part in recording.chunks()]
        height, width = (int(max(side)) + 1 for side in zip(*sides, strict=True))
        recording.schema = replace(recording.schema, height=height, width=width)
    return recording


def _bounds(recording: Recording, start_ms: float | None, end_ms: float | None) -> tuple[int, int | None]:
    """What is drawn: from the beginning of the span, or of what was asked for, to its end (None: the last event)."""
    stated, first = recording.stated_span, recording.first or 0
    begin = (stated[0] if stated else first) if start_ms is None else first + round(start_ms * 1e3)
    end = (stated[1] if stated else None) if end_ms is None else first + round(end_ms * 1e3)
    if end is not None and not begin < end:
        raise InputError(f"render(start_ms={start_ms}, end_ms={end_ms}): expected start_ms < end_ms")
    some = next(recording.chunks(window=(begin, 2**62 if end is None else end)), None)
    if some is None:
        raise InputError(f"{recording.name}: no events from start_ms={start_ms} to end_ms={end_ms}")
    return begin, end


def _parts(recording: Recording, bounds: tuple[int, int | None], length: int, *, still: bool) -> Iterator[Events]:
    """The windows one after the other, or the busiest one."""
    if not still:
        windows = recording.window(dt=length, within=bounds)
        stated = recording.stated_span is not None and bounds[1] == recording.stated_span[1]
        return windows if stated else _without_end(windows)
    begin = _busiest(recording, (bounds[0], 2**62 if bounds[1] is None else bounds[1]), length)
    return iter([recording.read((begin, begin + length))])


def _without_end(parts: Iterator[Events]) -> Iterator[Events]:
    """But for the empty windows at the end: nobody says that the camera watched then."""
    waiting: list[Events] = []
    for part in parts:
        waiting.append(part)
        if part.num_events:
            yield from waiting
            waiting = []


class _Count:
    """Windows, counted as they pass by."""

    def __init__(self, parts: Iterator[Events]) -> None:
        self._parts = parts
        self.windows = self.events = 0

    def __iter__(self) -> Iterator[Events]:
        for part in self._parts:
            self.windows, self.events = self.windows + 1, self.events + part.num_events
            yield part


def frames(parts: Iterable[Events], look: Look) -> Iterator[Array]:
    """(height, width, 3) uint8 for each of consecutive windows of one recording.

    A time surface remembers what was before its window.
    """
    memory: Array | None = None
    for part in parts:
        if memory is None:
            memory = np.full((2, *_size(part)), -np.inf)
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


def _size(events: Events) -> tuple[int, int]:
    height, width = events.schema.height, events.schema.width
    x, y = events.marks["x"], events.marks["y"]
    return height or int(y.max(initial=0)) + 1, width or int(x.max(initial=0)) + 1


def _busiest(recording: Recording, bounds: tuple[int, int], length: int) -> int:
    """When the window of ``length`` us with the most events begins, to a quarter of it."""
    step, counts = max(length // 4, 1), Counter[int]()
    for part in recording.chunks(window=bounds):
        places, sizes = np.unique((part.t - bounds[0]) // step, return_counts=True)
        counts.update(dict(zip(places.tolist(), sizes.tolist(), strict=True)))
    totals = Counter[int]()
    for place, count in counts.items():
        for back in range(4):
            totals[place - back] += count
    most = max(totals.values())
    return bounds[0] + max(min(place for place, count in totals.items() if count == most), 0) * step


def _progress(parts: Iterable[Events], count: int | None) -> Iterator[Events]:
    from rich.progress import track

    yield from track(parts, description="frames", total=count, transient=True)


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


def _png(path: Path, pictures: Iterator[Array], fps: float) -> None:
    _pillow().fromarray(next(pictures)).save(path, format="PNG")


def _gif(path: Path, pictures: Iterator[Array], fps: float) -> None:
    image = _pillow()
    rest = (image.fromarray(picture).quantize(64) for picture in pictures)
    first = next(rest)
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(path: Path, pictures: Iterator[Array], fps: float) -> None:
    require("imageio_ffmpeg", "viz")
    imageio = require("imageio", "viz")
    with imageio.get_writer(path, format="FFMPEG", mode="I", fps=fps, codec="libx264", macro_block_size=2) as film:
        for picture in pictures:
            film.append_data(picture)
