"""Running named laws over a subject, and reporting every one that broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from eventflow.errors import InputError, did_you_mean

S = TypeVar("S")


def run_laws(
    who: str, laws: Mapping[str, Callable[[S], None]], chosen: Sequence[str] | None, subject: Callable[[], S]
) -> None:
    """Run the ``chosen`` laws (None: all), each on a new ``subject()``; raise AssertionError naming the broken ones.

    A law on which the subject stumbles (any exception) is broken too.
    """
    for name in chosen or ():
        if name not in laws:
            raise InputError(f"unknown law {name!r}; {did_you_mean(name, laws)}")
    broken: list[str] = []
    first: Exception | None = None
    for name in laws if chosen is None else chosen:
        try:
            laws[name](subject())
        except Exception as error:  # the law is what is reported, whatever it stumbled over
            what = str(error) if isinstance(error, AssertionError) else f"raised {type(error).__name__}: {error}"
            broken.append(f"{name}: {what}")
            first = first or error
    if broken:
        raise AssertionError(f"{who} breaks {len(broken)} law(s)\n  " + "\n  ".join(broken)) from first
