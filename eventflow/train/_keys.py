"""Unknown keys of a configuration, refused with their path and the nearest known key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from eventflow.errors import InputError, did_you_mean

_SPEC = ("class_path", "init_args", "dict_kwargs")


class KeyCheck:
    """Walks plain configuration data along the signatures of the classes that it names.

    ``seen`` collects every parameter name met on the way, for messages about command-line flags.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def walk(self, value: Any, path: str) -> None:
        """Check ``value``, which stands at ``path`` ("models/nhp/model.yaml: init_args.network"), and what is below."""
        if isinstance(value, Mapping) and "class_path" in value:
            self.known(value, _SPEC, path)
            kind = import_class(value["class_path"], path)
            args = value.get("init_args") or {}
            self.known(args, parameters(kind), _join(path, "init_args"))
            self.below(args, _join(path, "init_args"))
        elif isinstance(value, Mapping):
            self.below(value, path)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                self.walk(item, f"{path}[{i}]")

    def known(self, value: Any, keys: Iterable[str], path: str) -> None:
        """Raise unless ``value`` is a mapping with these keys only."""
        names = list(keys)
        self.seen.update(names)
        if not isinstance(value, Mapping):
            raise InputError(f"{path}: expected keys and values, seen {value!r}")
        for key in value:
            if key not in names:
                raise InputError(f"{_join(path, key)}: unknown key {key!r}; {did_you_mean(str(key), names)}")

    def below(self, value: Mapping[str, Any], path: str) -> None:
        """Check every value of a mapping."""
        for key, item in value.items():
            self.walk(item, _join(path, key))


def import_class(class_path: Any, path: str) -> type:
    """The class that ``class_path`` names, or an :class:`InputError` that says where it stands."""
    module, _, name = str(class_path).rpartition(".")
    try:
        home = import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"{path}: class_path {class_path!r} cannot be imported ({error})") from None
    if not isinstance(kind := getattr(home, name, None), type):
        classes = [word for word in dir(home) if isinstance(getattr(home, word, None), type)]
        raise InputError(f"{path}: {module!r} has no class {name!r}; {did_you_mean(name, classes)}")
    return kind


def parameters(kind: type) -> list[str]:
    """The names of a class's constructor arguments, those it passes on to its bases included."""
    from jsonargparse import ArgumentParser

    return [str(name) for name in ArgumentParser().add_class_arguments(kind, fail_untyped=False)]


def _join(path: str, key: Any) -> str:
    return f"{path}{key}" if path.endswith(": ") else f"{path}.{key}" if path else str(key)
