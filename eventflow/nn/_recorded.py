"""Objects that remember how they were made, so that a checkpoint can rebuild them from plain data."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from eventflow.errors import InputError

#: Arguments of this name count something that there must be at least one of.
_SIZES = ("input_size", "hidden_size", "embedding_size", "state_size", "layers", "heads", "components", "window")


class Recorded:
    """Mixin: ``class_path`` and ``init_args`` (plain data, defaults included) of the outermost constructor call.

    Give it to a base class; every subclass's ``__init__`` is then recorded. Arguments may be numbers, strings, None,
    sequences, mappings, arrays (stored as lists) or other Recorded objects (stored as class_path + init_args).

    Raises:
        InputError: a size (``hidden_size``, ``layers``, ...) below 1.
    """

    init_args: dict[str, Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @property
    def class_path(self) -> str:
        """The public import path: ``eventflow.tpp.NHP``, not the private file it lives in."""
        kind = type(self)
        public = [part for part in kind.__module__.split(".") if not part.startswith("_") and part != "models"]
        return ".".join([*public, kind.__qualname__])


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        if "init_args" not in self.__dict__:  # the outermost constructor comes first
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            given = {name: as_plain(value) for name, value in list(bound.arguments.items())[1:]}
            _check_sizes(type(self).__name__, given)
            object.__setattr__(self, "init_args", given)
        init(self, *args, **kwargs)

    return recorded


def _check_sizes(name: str, given: Mapping[str, Any]) -> None:
    for size in _SIZES:
        if isinstance(given.get(size), int) and given[size] < 1:
            raise InputError(f"{name}({size}={given[size]}): expected at least 1")


def as_plain(value: Any) -> Any:
    """``value`` as data that YAML, JSON and a weights-only checkpoint can hold."""
    if isinstance(value, Recorded):
        return {"class_path": value.class_path, "init_args": value.init_args}
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"constructor argument {value!r} ({type(value).__name__}) cannot be written to a checkpoint")


def rebuild(entry: Mapping[str, Any], base: type) -> Any:
    """The object described by ``{"class_path": ..., "init_args": ...}``; it must be a ``base`` from eventflow's rooms.

    Raises:
        InputError: the path names nothing, or something that is not a ``base``.
    """
    path = str(entry.get("class_path"))
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        own = "" if path.startswith("eventflow.") else ". If it is yours, say where: PYTHONPATH=. eventflow ..."
        raise InputError(f"class_path {path!r} cannot be imported here ({error}){own}") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise InputError(f"class_path {path!r} is not a {base.__name__}")
    args = {
        key: rebuild(value, Recorded) if isinstance(value, Mapping) and "class_path" in value else value
        for key, value in entry.get("init_args", {}).items()
    }
    try:
        return kind(**args)
    except TypeError as error:
        raise InputError(f"{path} does not take these arguments ({error}); was it saved by another version?") from error
