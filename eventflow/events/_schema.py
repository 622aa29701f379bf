"""What the columns of an event stream mean."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from eventflow.errors import InputError, did_you_mean

#: Seconds in one unit of time; "1" is dimensionless.
UNITS: dict[str, float] = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "10ks": 1e4,
    "1": float("nan"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schema:
    """Facts that hold for all sequences of a stream.

    Args:
        unit: unit of ``t``, ``span`` and every gap: one of ``UNITS`` (``"1"``: dimensionless).
        num_marks: K, the number of kinds of event; the column ``mark`` then holds integers in [0, K).
        vocabulary: the K names of the marks, where they have names.
        height: sensor rows, for event cameras.
        width: sensor columns, for event cameras.
        given_first: the first event of each sequence opened its span (a session starts with its first click), so it
            is *given*: it updates the state, but its own time and mark are not scored.
    """

    unit: str = "1"
    num_marks: int | None = None
    vocabulary: tuple[str, ...] | None = None
    height: int | None = None
    width: int | None = None
    given_first: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"Schema(unit={self.unit!r}): {did_you_mean(self.unit, UNITS)}")
        for name in ("num_marks", "height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"Schema({name}={value}): expected a positive integer or None")
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", tuple(str(word) for word in self.vocabulary))
            if self.num_marks is None:
                object.__setattr__(self, "num_marks", len(self.vocabulary))
            elif len(self.vocabulary) != self.num_marks:
                raise InputError(f"Schema: {len(self.vocabulary)} words in vocabulary, but num_marks={self.num_marks}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the defaults: what a checkpoint or a card holds."""
        pairs = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        return {name: list(v) if isinstance(v, tuple) else v for name, v, default in pairs if v != default}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schema:
        """Inverse of :meth:`to_dict`; unknown keys are errors."""
        known = {f.name for f in fields(cls)}
        for key in data:
            if key not in known:
                raise InputError(f"Schema: unknown key {key!r}; {did_you_mean(key, known)}")
        words = data.get("vocabulary")
        return cls(**{**data, "vocabulary": tuple(words) if words is not None else None})
