"""Cameras behind their makers' libraries: ``camera://metavision`` and ``camera://dv``.

What a library hands out goes, as records of 13 bytes, into the same ring as what a network brings, and takes the same
way from there. That way is tested, with objects in the libraries' place and with dv-processing's own network reader;
no camera was at hand, so opening one is *untested*.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from eventflow.errors import InputError, MissingExtraError
from eventflow.events import Schema
from eventflow.io.live._address import Address
from eventflow.io.live._ring import Array, Ring

_RECORD = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
#: Events of a slot.
_EVENTS = 8192
#: Seconds to wait for a library that only says that it has nothing yet.
_PATIENCE = 0.001
#: Batches (arrays with fields t, x, y, p; None: nothing yet), and the sensor's height and width.
Device = tuple["Iterator[Array | None]", int, int]


class DeviceLink:
    """A thread that asks a library for batches and fills a ring with their events.

    Args:
        name: the URI.
        batches: gives batches until the camera stops; None where there is nothing yet.
    """

    def __init__(self, name: str, batches: Iterator[Array | None]) -> None:
        self.name = name
        self.ring = Ring(_EVENTS * _RECORD.itemsize)
        self._batches = batches
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="eventflow camera", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._batches:
                if self._stop.is_set() or not self._put(batch):
                    break
            self.ring.end()
        except Exception as error:  # of whatever kind the library raises: told to whoever reads
            self.ring.end(error)

    def _put(self, batch: Array | None) -> bool:
        if batch is None:
            return not self._stop.wait(_PATIENCE)
        for lo in range(0, len(batch), _EVENTS):
            room = self.ring.room()
            if room is None:
                return False
            part = batch[lo : lo + _EVENTS]
            size = len(part) * _RECORD.itemsize
            records = self.ring.rows[room[0]][:size].view(_RECORD)
            for name in ("t", "x", "y"):
                records[name] = part[name]
            records["p"] = part["p"] > 0
            self.ring.sizes[room[0]] = size
            self.ring.commit(1)
        return True

    def lost(self) -> dict[str, int]:
        """What the library lost it does not say."""
        return {}

    def notes(self) -> list[str]:
        """None."""
        return []

    def close(self) -> None:
        """End the thread, which gives the camera back."""
        self._stop.set()
        self.ring.end()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._batches = iter(())  # the library's object goes with its last reference


def open_sdk(address: Address) -> tuple[DeviceLink, Schema]:
    """The camera that a URI names: ``camera://metavision``, ``camera://dv``, the first that is connected, or that of
    ``?serial=...``; ``camera://dv?connect=host:port`` listens to one that dv-processing serves over tcp.

    Raises:
        InputError: an unknown name, a library that is not installed, no camera.
    """
    address.check(("serial", "connect", "width", "height", "idle", "key"))
    if address.host not in SDKS:
        raise address.error(f"unknown camera {address.host!r}; one of {', '.join(f'camera://{name}' for name in SDKS)}")
    try:
        batches, height, width = SDKS[address.host](address)
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise address.error(f"no camera could be opened ({error}). Is it plugged in, and free?") from None
    return DeviceLink(address.uri.partition("?")[0], batches), Schema(unit="us", height=height, width=width)


def metavision(address: Address) -> Device:
    """Prophesee's Metavision SDK or OpenEB: ``EventsIterator`` over a live camera, a batch a millisecond. Untested."""
    if "connect" in address.options:
        raise address.error("option connect is of camera://dv")
    library = _library("metavision_core.event_io", "the Metavision SDK or OpenEB (docs.prophesee.ai; not on PyPI)")
    iterator = library.EventsIterator(input_path=address.options.get("serial", ""), delta_t=1000)
    height, width = iterator.get_size()
    return iter(iterator), int(height), int(width)


def dv(address: Address) -> Device:
    """iniVation's dv-processing: a camera (untested), or its network reader."""
    library = _library("dv_processing", "dv-processing. Write: pip install 'eventflow[dv]'")
    connect = address.options.get("connect")
    if connect is None:
        serial = address.options.get("serial")
        camera = library.io.camera.open(serial) if serial else library.io.camera.open()
    else:
        host, _, port = connect.rpartition(":")
        if not host or not port.isdigit():
            raise address.error(f"option connect={connect}; expected host:port, as in connect=127.0.0.1:7777")
        camera = library.io.NetworkReader(host, int(port))
    size = camera.getEventResolution()
    if size is None:
        raise address.error("it has no stream of events")
    width, height = size
    return _dv_batches(camera), int(height), int(width)


def _dv_batches(camera: Any) -> Iterator[Array | None]:
    while camera.isRunning():
        store = camera.getNextEventBatch()
        if store is None:
            yield None
            continue
        events = store.numpy()
        batch = np.empty(len(events), _RECORD)
        for ours, theirs in (("t", "timestamp"), ("x", "x"), ("y", "y"), ("p", "polarity")):
            batch[ours] = events[theirs]
        yield batch


def _library(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"this camera needs {what} ({error})") from error


#: name -> what opens the camera. A library of one's own is added here: its function takes the address.
SDKS: dict[str, Callable[[Address], Device]] = {"metavision": metavision, "dv": dv}
