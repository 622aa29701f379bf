"""Where the tables of benchmarks are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 160  # no table needs more


def console() -> Console:
    """A terminal at its own width; a pipe or a file, which have none, wide enough that no cell is cut."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_WIDE, highlight=False)
