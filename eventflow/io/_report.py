"""What a reader noticed on the way: rows left out, rows out of order, and facts for the info page."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from eventflow.errors import InputError

#: How many of the rows left out are told one by one.
SHOWN = 5
#: How many reasons are told, the most frequent first.
REASONS = 6


class ReadWarning(UserWarning):
    """Something was left out or repaired because the caller allowed it; ``report`` holds the whole story."""

    def __init__(self, text: str, report: ReadReport | None = None) -> None:  # made anew from its text where pickled
        super().__init__(text)
        self.report = report


@dataclass(slots=True)
class ReadReport:
    """What happened while one file was read.

    Args:
        path: the file.
        format: how it was read.
        rows: data rows seen, those left out included.
        skipped: rows left out because a cell of theirs was bad (``on_error="skip"``).
        reasons: reason -> number of rows left out for it.
        first: the first few of them, each "line 17: time 'cannot' is ...".
        facts: numbers that only the file knows, such as ``deltas_disagree`` (see :mod:`eventflow.io`).
        notes: sentences for the reader of the info page.
    """

    path: Path
    format: str = ""
    rows: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def skip(self, where: str, what: str, reason: str) -> None:
        """Count one row left out."""
        self.skipped += 1
        self.reasons[reason] += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {what}{reason}")

    def text(self) -> str:
        """The report in a few lines, as warnings print it."""
        lines = []
        if self.skipped:
            why = "; ".join(f"{count:,} x {reason}" for reason, count in self.reasons.most_common(REASONS))
            why += f"; {len(self.reasons) - REASONS:,} other reasons" if len(self.reasons) > REASONS else ""
            lines.append(f"{self.path}: {self.skipped:,} of {self.rows:,} rows were left out ({why}). The first:")
            lines += [f"  {entry}" for entry in self.first]
        lines += [f"{self.path}: {note}" for note in self.notes]
        return "\n".join(lines)

    def warn(self) -> None:
        """Say it aloud if rows were left out, if the file is broken, or if something was assumed."""
        if self.skipped or self.facts.get("broken") or self.facts.get("assumed"):
            warnings.warn(ReadWarning(self.text(), self), stacklevel=3)


def refuse(path: Path, message: str) -> InputError:
    """An InputError that begins with the file it speaks of."""
    return InputError(f"{path}: {message}")
