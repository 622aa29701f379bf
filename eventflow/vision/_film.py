"""Films of pictures that come one by one, in constant memory: .mp4 through ffmpeg, .gif written picture by picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from eventflow.errors import require

#: Colours of a GIF's picture: each has a palette of its own, without the dots that mixing them would leave.
PALETTE = 256


class Film(Protocol):
    """A film that is being written."""

    def append_data(self, picture: NDArray[Any]) -> None:
        """One more picture, (height, width, 3) uint8."""
        ...

    def close(self) -> None:
        """No picture will follow."""
        ...


def open_film(path: Path, *, fps: float) -> Film:
    """A film of ``fps`` pictures a second; ``path`` ends in .mp4 (even heights and widths) or .gif."""
    if path.suffix.lower() == ".gif":
        return GifFilm(path, fps=fps)
    return require("imageio", "viz").get_writer(
        path, format="FFMPEG", mode="I", fps=fps, codec="libx264", macro_block_size=2
    )


def check_film(path: Path) -> None:
    """Raise :class:`eventflow.errors.InputError` if what such a film needs is not installed."""
    if path.suffix.lower() == ".gif":
        require("PIL.Image", "viz")
        return
    require("imageio_ffmpeg", "viz")
    require("imageio", "viz")


class GifFilm:
    """A GIF that is shown again and again. Its clock has hundredths of a second: ``fps`` is met on average only."""

    def __init__(self, path: Path, *, fps: float) -> None:
        self._pillow, self._blocks = require("PIL.Image", "viz"), require("PIL.GifImagePlugin", "viz")
        self._file = path.open("wb")
        self._fps, self._count = fps, 0

    def append_data(self, picture: NDArray[Any]) -> None:
        """See :class:`Film`."""
        image = self._pillow.fromarray(picture)
        image = image.quantize(PALETTE, dither=self._pillow.Dither.NONE)
        if self._count == 0:
            for block in self._blocks.getheader(image, info={"loop": 0})[0]:
                self._file.write(block)
        shown, until = (round(100 * n / self._fps) for n in (self._count, self._count + 1))
        for block in self._blocks.getdata(image, duration=10 * (until - shown), include_color_table=True):
            self._file.write(block)
        self._count += 1

    def close(self) -> None:
        """See :class:`Film`."""
        self._file.write(b";")
        self._file.close()
