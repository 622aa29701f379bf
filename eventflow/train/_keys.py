"""Unknown keys of a configuration, in files or as flags, refused with their path and the nearest known key."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from eventflow.errors import InputError, did_you_mean

_SPEC = ("class_path", "init_args", "dict_kwargs")
_GROUPS = ("trainer", "early_stopping", "checkpoint")  # keys whose own keys are all known to the parser
_PARTS = ("data", "model")


@dataclass(frozen=True)
class Part:
    """What the words so far say of one place: the class there, None where none is known, and its arguments' places."""

    kind: type | None = None
    within: Mapping[str, Part] = field(default_factory=dict)

    def at(self, key: str) -> Part:
        """The place of an argument."""
        default = Part(None if self.kind is None else _declared(self.kind, key))
        return self.within.get(key, default)


def check_config(
    value: Mapping[str, Any], where: str, flags: Sequence[str], parts: Mapping[str, Part]
) -> dict[str, Part]:
    """Check a whole configuration.

    Args:
        value: its plain data.
        where: "mine.yaml: ".
        flags: the command's, like "trainer.max_epochs"; their first words are its keys.
        parts: what the words before it say of "data" and "model".

    Returns:
        What is said of them now.

    Raises:
        InputError: a key that nothing takes, a class that is not there, arguments of no class.
    """
    _known(value, {flag.split(".")[0] for flag in flags} - {"help", "print_config"}, where)
    for key in _GROUPS:
        names = [flag[len(key) + 1 :] for flag in flags if flag.startswith(f"{key}.")]
        _known(value.get(key) or {}, names, _join(where, key))
    after = {key: check_part(item, _join(where, key), parts.get(key, Part())) for key, item in value.items()}
    for key in set(_PARTS) & set(after):
        if after[key].kind is None and isinstance(value[key], Mapping):
            raise InputError(
                f"{_join(where, key)}: keys for a class that nothing before it names; expected a class_path beside "
                f"them, or --{key} before this --config"
            )
    return {**parts, **{key: part for key, part in after.items() if key in _PARTS}}


def check_part(value: Any, where: str, part: Part) -> Part:
    """Check plain data along the signatures of the classes that it names, or that stood there before.

    Args:
        value: what is said of the place ``where``: a class path; a class_path with its init_args; arguments of the
            class that stood there, with or without the word init_args.
        where: "models/nhp/model.yaml: " or "models/nhp/model.yaml: init_args.network".
        part: what was said of it before.

    Returns:
        What is said of it now.

    Raises:
        InputError: a key that no class takes, or a class that is not there.
    """
    if isinstance(value, str):
        return _named(value, where, part)
    if isinstance(value, list):
        for i, item in enumerate(value):
            check_part(item, f"{where}[{i}]", Part())
    if not isinstance(value, Mapping):
        return part
    if "class_path" in value or (part.kind is not None and any(word in value for word in _SPEC)):
        _known(value, _SPEC, where)
        if "class_path" in value:
            part = _named(value["class_path"], where, part, sure=True)
        where, value = _join(where, "init_args"), value.get("init_args") or {}
    if part.kind is not None:
        _known(value, parameters(part.kind), where)
    inside = {str(key): check_part(item, _join(where, key), part.at(str(key))) for key, item in value.items()}
    return Part(part.kind, {**part.within, **inside})


def check_flag(flag: str, value: str | None, flags: Sequence[str], parts: Mapping[str, Part]) -> dict[str, Part]:
    """Check a flag of the command line that no parser option need take, as :func:`check_config` does a file.

    Args:
        flag: "--model.network.hidden_size" (with or without the words init_args between).
        value: the word after it, None where there is none.
        flags: the parser's own, without dashes.
        parts: what the words before it say of "data" and "model".
    """
    name = flag.lstrip("-").rstrip("+")
    first, *path = name.split(".")
    if first not in _PARTS or not path:
        if name not in flags and not any(name.startswith(f"{known}.") for known in flags if known not in _GROUPS):
            raise InputError(f"{flag}: unknown flag; {did_you_mean(name, flags)}")
        return dict(parts)
    said: Any = yaml.safe_load(value) if value is not None and value.startswith(("{", "[")) else value
    for word in reversed(path):
        said = {word: said}
    return {**parts, first: check_part(said, f"--{first}", parts.get(first, Part()))}


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


@lru_cache(maxsize=256)
def parameters(kind: type) -> tuple[str, ...]:
    """The names of a class's constructor arguments, those it passes on to its bases included."""
    from jsonargparse import ArgumentParser

    return tuple(str(name) for name in ArgumentParser().add_class_arguments(kind, fail_untyped=False))


def _named(class_path: Any, where: str, part: Part, *, sure: bool = False) -> Part:
    """The place after a text stands there, which is a class path where one is expected; "S2P2" beside "RMTPP" too."""
    text = str(class_path)
    expected = sure or part.kind is not None or text.startswith("eventflow.")
    if not expected or text.lower() in ("null", "none") or Path(text).is_file():
        return part
    if part.kind is not None and "." not in text:
        return _beside(text, where, part.kind)
    kind = import_class(class_path, where)
    return part if kind is part.kind else Part(kind)


def _beside(name: str, where: str, kind: type) -> Part:
    """The class called ``name`` in the package, or one around it, of the class that stood there."""
    words = kind.__module__.split(".")
    homes = [import_module(".".join(words[:count])) for count in range(len(words), 0, -1)]
    for home in homes:
        if isinstance(found := getattr(home, name, None), type):
            return Part(found)
    classes = {word for home in homes for word, item in vars(home).items() if isinstance(item, type)}
    raise InputError(
        f"{where.removesuffix(': ')}: no class {name!r} beside {kind.__name__} (one elsewhere is written with its "
        f"module, as mine.Mine); {did_you_mean(name, classes)}"
    )


def _declared(kind: type, name: str) -> type | None:
    """The class whose keys an argument takes if nothing else is said: its default, or the dataclass it is typed as."""
    for home in kind.__mro__:
        maker = vars(home).get("__init__")
        parameter = inspect.signature(maker).parameters.get(name) if inspect.isfunction(maker) else None
        if maker is not None and parameter is not None:
            break
    else:
        return None
    if isinstance(parameter.default, type) and parameter.default is not parameter.empty:
        return parameter.default
    try:
        hint = get_type_hints(maker).get(name)
    except (NameError, TypeError):  # a name that only type checkers import
        return None
    options = get_args(hint) or (hint,)
    classes = [option for option in options if isinstance(option, type) and is_dataclass(option)]
    return classes[0] if len(classes) == 1 and str not in options else None


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
