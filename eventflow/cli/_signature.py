"""A command line from a function's signature: its annotations are the types, its docstring the help."""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Union

from eventflow.errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse that raises :class:`InputError` instead of exiting, and names the nearest known flag or choice."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Called by argparse with what is wrong."""
        raise InputError(f"{self.prog}: {message}\nSee: {self.prog} --help")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Like argparse's; an unknown flag is an error that names the nearest."""
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            flag = rest[0].split("=")[0]
            flags = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(flag, flags) if flag.startswith("-") else "every argument before it is taken"
            self.error(f"unknown argument {flag!r}; {hint}")
        return known


def call(function: Callable[..., Any], argv: Sequence[str], *, prog: str) -> Any:
    """Call ``function`` with its arguments read from ``argv``.

    Positional parameters without a default are positional arguments; all others are flags. Known annotations: str, int,
    float, bool (a flag without a value), Path, Literal, list[...] (one or more values) and ``... | None``. The flag of
    ``learn__lr`` is ``--learn.lr``.

    Raises:
        InputError: an argument is missing, unknown, or not of its type.
    """
    return function(**vars(parser_of(function, prog=prog).parse_args(list(argv))))


def parser_of(function: Callable[..., Any], *, prog: str) -> Parser:
    """The parser that :func:`call` uses."""
    text = inspect.getdoc(function) or ""
    described = _argument_docs(text)
    parser = Parser(prog, re.split(r"\n\s*(?:Args|Raises|Returns):", text)[0].strip())
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        options = _options(hints[name])
        options["help"] = described.get(name, "").replace("%", "%%")
        if not required and parameter.default is not None and options.get("action") is None:
            options["help"] += f" (default: {_shown(parameter.default)})"
        if required and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            parser.add_argument(name, **{**options, "metavar": name.upper()})
        else:
            flag = f"--{name.replace('__', '.').replace('_', '-')}"
            names = [flag] if "_" not in name or "__" in name else [flag, f"--{name}"]
            parser.add_argument(*names, dest=name, required=required, default=parameter.default, **options)
    return parser


def _options(hint: Any) -> dict[str, Any]:
    """argparse's keywords for a value of type ``hint``."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is Literal:
        return {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) in (list, tuple) or getattr(typing.get_origin(hint), "__name__", "") == "Sequence":
        return {**_options(typing.get_args(hint)[0]), "nargs": "+"}
    if hint in (str, int, float, Path):
        return {"type": hint, "metavar": {str: "TEXT", int: "N", float: "X", Path: "PATH"}[hint]}
    raise TypeError(f"no command-line form for a parameter of type {hint}")


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)


def _argument_docs(text: str) -> dict[str, str]:
    """name -> description, from the ``Args:`` section of a docstring."""
    section = re.search(r"\n\s*Args:\n(.*?)(?=\n\s*(?:Raises|Returns|Yields):|\Z)", text, re.S)
    if section is None:
        return {}
    entries = re.findall(r"^\s*(\w+): (.*?)(?=^\s*\w+: |\Z)", section[1] + "\n", re.S | re.M)
    return {name: " ".join(words.split()) for name, words in entries}
