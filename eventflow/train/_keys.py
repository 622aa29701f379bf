"""Unknown keys of a configuration, in files or as flags, refused with their path and the nearest known key."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from eventflow.errors import InputError, did_you_mean

_SPEC = ("class_path", "init_args", "dict_kwargs")
_GROUPS = ("trainer", "early_stopping", "checkpoint")  # keys whose own keys are all known to the parser


def check_keys(value: Any, where: str, flags: Sequence[str] | None = None) -> None:
    """Check plain configuration data along the signatures of the classes that it names.

    Args:
        value: what stands at ``where``.
        where: "models/nhp/model.yaml: " or "models/nhp/model.yaml: init_args.network".
        flags: for a whole configuration: the command's, like "trainer.max_epochs"; their first words are its keys.

    Raises:
        InputError: a key that no class takes, or a class that is not there.
    """
    if flags is not None:
        _known(value, {flag.split(".")[0] for flag in flags} - {"help", "print_config"}, where)
        for key in _GROUPS:
            names = [flag[len(key) + 1 :] for flag in flags if flag.startswith(f"{key}.")]
            _known(value.get(key) or {}, names, _join(where, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            check_keys(item, f"{where}[{i}]")
    elif isinstance(value, str) and value.startswith("eventflow."):
        import_class(value, where)
    elif isinstance(value, Mapping):
        if "class_path" in value:
            _known(value, _SPEC, where)
            kind, where = import_class(value["class_path"], where), _join(where, "init_args")
            value = value.get("init_args") or {}
            _known(value, parameters(kind), where)
        for key, item in value.items():
            check_keys(item, _join(where, key))


def check_flag(flag: str, contents: Mapping[str, Any], flags: Sequence[str]) -> None:
    """Refuse a flag of the command line that no parser option and no class of ``contents`` takes.

    Args:
        flag: "--model.network.hidden_size" (with or without the words init_args between).
        contents: "data" and "model" -> the plain data given for them, where it was given.
        flags: the parser's own, without dashes.
    """
    words = flag.lstrip("-").rstrip("+").split(".")
    if words[0] not in ("data", "model") or len(words) == 1:
        name = ".".join(words)
        if name not in flags and not any(name.startswith(f"{known}.") for known in flags if known not in _GROUPS):
            raise InputError(f"{flag}: unknown flag; {did_you_mean(name, flags)}")
        return
    spec: Any = contents.get(words[0])
    for word in words[1:]:
        if word in _SPEC:
            continue
        if isinstance(spec, str):
            spec = {"class_path": spec}
        if not (isinstance(spec, Mapping) and "class_path" in spec):
            return  # nothing is known about it here; the parser will say
        kind = import_class(spec["class_path"], words[0])
        names = parameters(kind)
        if word not in names:
            raise InputError(f"{flag}: unknown key {word!r}; {did_you_mean(word, names)}")
        spec = (spec.get("init_args") or {}).get(word) or _default_class(kind, word)


def import_class(class_path: Any, where: str) -> type:
    """The class that ``class_path`` names, or an :class:`InputError` that says where it stands."""
    module, _, name = str(class_path).rpartition(".")
    at = where.removesuffix(": ")
    try:
        home = import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"{at}: class_path {class_path!r} cannot be imported ({error})") from None
    if not isinstance(kind := getattr(home, name, None), type):
        words = getattr(home, "__all__", None) or dir(home)
        classes = [word for word in words if isinstance(getattr(home, word, None), type)]
        raise InputError(f"{at}: {module!r} has no class {name!r}; {did_you_mean(name, classes)}")
    return kind


def parameters(kind: type) -> list[str]:
    """The names of a class's constructor arguments, those it passes on to its bases included."""
    from jsonargparse import ArgumentParser

    return [str(name) for name in ArgumentParser().add_class_arguments(kind, fail_untyped=False)]


def _default_class(kind: type, name: str) -> dict[str, str] | None:
    parameter = inspect.signature(kind).parameters.get(name)
    default = None if parameter is None else parameter.default
    return {"class_path": f"{default.__module__}.{default.__qualname__}"} if isinstance(default, type) else None


def _known(value: Any, keys: Iterable[str], where: str) -> None:
    """Raise unless ``value`` is a mapping with these keys only."""
    names = list(keys)
    if not isinstance(value, Mapping):
        raise InputError(f"{where.removesuffix(': ')}: expected keys and values, seen {value!r}")
    for key in value:
        if key not in names:
            raise InputError(f"{_join(where, key)}: unknown key {key!r}; {did_you_mean(str(key), names)}")


def _join(where: str, key: Any) -> str:
    return f"{where}{key}" if where.endswith(": ") else f"{where}.{key}"
