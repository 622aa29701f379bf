"""One reading: the file, what the caller declared, and the report that is filled on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Events, Schema
from eventflow.io._columns import LogColumns, on_command_line
from eventflow.io._report import ReadReport


class OutOfOrder(InputError):
    """Rows that go back in time.

    Attributes:
        seen: what and where, without the advice.
    """

    def __init__(self, seen: str) -> None:
        self.seen = seen
        super().__init__(f"{seen}. Write: {on_command_line(sort=True)}")


@dataclass(frozen=True, slots=True)
class Request:
    """What a format's reader is given.

    ``lenient`` describes rather than refuses: bad rows are counted and left out, disorder is kept as it is. Only the
    info page reads like that. Cameras' readers apply the ``window`` themselves, and with ``recover`` they return what
    lies before a fault; ``order`` is that of their columns, where the caller says it.
    """

    path: Path
    report: ReadReport
    columns: LogColumns = field(default_factory=LogColumns)
    schema: Schema | None = None
    lenient: bool = False
    window: tuple[float, float] | None = None
    recover: bool = False
    order: str = ""

    @property
    def skips(self) -> bool:
        """Whether bad rows are counted and left out."""
        return self.lenient or self.columns.on_error == "skip"

    @property
    def unit(self) -> str | None:
        """The unit that was declared, in the columns or in the schema; None: nowhere."""
        declared = self.columns.unit
        given = self.schema.unit if self.schema is not None and self.schema.unit != "1" else None
        if declared and given and declared != given:
            raise self.error(f"columns say unit {declared!r}, the schema says {given!r}; give one")
        return declared or given

    def error(self, message: str) -> InputError:
        """An InputError that begins with the path."""
        return InputError(f"{self.path}: {message}")

    def out_of_order(self, message: str) -> OutOfOrder:
        """The error for rows that go back in time; it begins with the path."""
        return OutOfOrder(f"{self.path}: {message}")

    def column(self, name: str, known: Iterable[str]) -> str:
        """``name``, or an error that names the nearest column."""
        names = [str(k) for k in known]
        if name not in names:
            raise self.error(f"no column {name!r}; {did_you_mean(name, names)} (columns: {', '.join(names)})")
        return name

    def finish(self, events: Events) -> Events:
        """The events, validated unless the reading is lenient; faults are told with the path."""
        if self.lenient:
            return events
        try:
            return events.validate()
        except InputError as error:
            raise self.error(str(error)) from None

    def resolve_schema(self, *, num_marks: int | None, unit: str | None, given_first: bool) -> Schema:
        """The schema of what was read: the given one, completed by what the file says."""
        base = self.schema or Schema()
        if base.num_marks is not None and num_marks is not None and num_marks != base.num_marks:
            raise self.error(f"the file says K={num_marks} kinds of event, the schema says {base.num_marks}")
        return replace(
            base, unit=unit or self.unit or "1", num_marks=base.num_marks or num_marks,
            given_first=given_first or base.given_first,
        )  # fmt: skip
