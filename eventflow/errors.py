"""Errors that are the user's to mend, and the lazy import of extras.

    InputError            what was given is wrong: data, file, key, shape, option (exit code 2)
    └── MissingExtraError a feature needs an optional dependency that is not installed (exit code 2)

Every message says what was seen, where, what was expected, and the line to write instead.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class InputError(ValueError):
    """The input is wrong and the user can mend it. The command line prints the message and exits with 2."""


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed; the message carries the pip line."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, which comes with ``eventflow[extra]``; raise :class:`MissingExtraError` if it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module!r} is needed for this and is not installed ({error}). Write: pip install 'eventflow[{extra}]'"
        ) from error


def did_you_mean(seen: str, known: Iterable[str]) -> str:
    """A hint for error messages: the nearest known name, or all of them."""
    names = [str(name) for name in known]
    plain = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(str(seen), names, n=1, cutoff=0.5)
    near = near or [plain[name] for name in difflib.get_close_matches(str(seen).casefold(), plain, n=1, cutoff=0.5)]
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names)) or 'none'}"
