"""Looking at a flow network while it runs: in rerun's viewer, or as pictures in a folder."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eventflow.errors import InputError, require
from eventflow.vision._flow_picture import Scale, event_colours, flow_colours, side_by_side
from eventflow.vision._flow_sinks import FILMS, Field, FilmFields


class View(Protocol):
    """Shows fields."""

    #: What the user is told.
    what: str

    def show(self, field: Field) -> None:
        """One more field."""
        ...

    def close(self) -> None:
        """No field will follow."""
        ...


def open_view(to: Path | None, *, rate: float) -> View:
    """``to``: a folder for pictures, a film (.gif, .mp4), an ``.rrd`` file of rerun's, or None: rerun's viewer where it
    is installed and there is a screen, else pictures in the folder ``flow_view``.

    Raises:
        InputError: rerun is asked for and not installed; a place that cannot be written.
    """
    if to is not None and to.suffix.lower() in (".rrd", *FILMS):
        if not to.parent.is_dir():
            raise InputError(f"--view_to {to}: the folder {to.parent} does not exist. Write: mkdir -p {to.parent}")
        return FilmView(to, rate=rate) if to.suffix.lower() in FILMS else RerunView(to)
    screen = sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if to is None and screen and importlib.util.find_spec("rerun"):
        return RerunView(None)
    return FolderView(to or Path("flow_view"), rate=rate)


class FolderView:
    """Pictures of events and flow side by side, ten a second of the stream's time: ``FOLDER/<t in us>.png``."""

    RATE = 10

    def __init__(self, folder: Path, *, rate: float) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--view_to {folder} is a file; expected a folder for pictures, NAME.gif, NAME.mp4 or "
                             "NAME.rrd")  # fmt: skip
        self._pillow = require("PIL.Image", "viz")
        folder.mkdir(parents=True, exist_ok=True)
        self.what = f"pictures in {folder}{os.sep}"
        self._folder, self._stride, self._seen = folder, max(1, round(rate / self.RATE)), 0
        self._scale = Scale()

    def show(self, field: Field) -> None:
        """See :class:`View`."""
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        picture = side_by_side(field.image, field.flow, largest=self._scale.follow(field.flow))
        path = self._folder / f"{field.t:016d}.png"
        part = path.with_name(f".{path.name}.part")
        self._pillow.fromarray(picture).save(part, format="PNG")
        os.replace(part, path)

    def close(self) -> None:
        """See :class:`View`: every picture is in its place already."""


class FilmView:
    """The film that ``--sink FILM`` would be, beside another sink: put into its place when the stream ends."""

    def __init__(self, path: Path, *, rate: float) -> None:
        self._film = FilmFields(path, rate)
        self._seen = False
        self.what = f"a film, {path}, when the stream has ended"

    def show(self, field: Field) -> None:
        """See :class:`View`."""
        self._film.write(field)
        self._seen = True

    def close(self) -> None:
        """See :class:`View`."""
        if self._seen:
            self._film.finish()


class RerunView:
    """rerun's viewer: the images ``events`` and ``flow``, and the scalars ``speed`` and ``events per step``, over t."""

    def __init__(self, file: Path | None) -> None:
        self._rerun: Any = require("rerun", "view")
        self._stream = self._rerun.RecordingStream("eventflow")
        if file is None:
            self._rerun.spawn(recording=self._stream)
        else:
            self._rerun.save(file, recording=self._stream)
        self.what = "rerun's viewer" if file is None else f"rerun's file {file}"
        self._scale = Scale()

    def show(self, field: Field) -> None:
        """See :class:`View`."""
        rr, stream = self._rerun, self._stream
        rr.set_time("t", duration=field.t * 1e-6, recording=stream)
        colours = flow_colours(field.flow, largest=self._scale.follow(field.flow))
        rr.log("events", rr.Image(event_colours(field.image)), recording=stream)
        rr.log("flow", rr.Image(colours), recording=stream)
        rr.log("speed", rr.Scalars(float(np.hypot(*field.flow).mean())), recording=stream)
        rr.log("events per step", rr.Scalars(field.events), recording=stream)

    def close(self) -> None:
        """See :class:`View`: the viewer stays open."""
        self._stream.flush()
