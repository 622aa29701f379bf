"""eventflow: events in continuous time.

Between events a state evolves, at an event it is updated, and at any time it can be read. Rooms are imported when they
are first touched, so that ``import eventflow`` costs nothing: ``ef.io.read_events``, ``ef.tpp.NHP``.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = ("bench", "errors", "events", "io", "nn", "online", "ops", "rl", "testing", "tpp", "train", "vision")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"eventflow.{name}")
    raise AttributeError(f"module 'eventflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
