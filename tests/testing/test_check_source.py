"""``check_source`` fires on sources that break a law."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow.errors import InputError
from eventflow.testing import check_source


class _Listed:
    """A source that obeys: ten lines of a list."""

    name = "a list"

    def __init__(self) -> None:
        self.lines = [f"line {i}".encode() for i in range(10)]
        self.at = 0

    @property
    def position(self) -> Any:
        return {"at": self.at, "last": [1, self.at]}

    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        found = self.lines[self.at : self.at + limit]
        self.at += len(found)
        return found or None

    def seek(self, position: Any) -> None:
        if set(position) != {"at", "last"} or position["last"][1] != position["at"]:
            raise InputError("another stream")
        self.at = position["at"]

    def close(self) -> None:
        pass


class _TooMany(_Listed):
    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        return super().read(limit + 1, timeout)


class _LosesWhatDoesNotFit(_Listed):
    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        found = super().read(limit, timeout)
        self.at += limit == 3
        return found


class _KeepsNewlines(_Listed):
    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        found = super().read(limit, timeout)
        return None if found is None else [line + b"\n" for line in found]


class _SeeksNowhere(_Listed):
    def seek(self, position: Any) -> None:
        super().seek(position)
        self.at = 0


class _SeeksShort(_Listed):
    def seek(self, position: Any) -> None:
        super().seek(position)
        self.lines = self.lines[: self.at + 2]


class _OpaquePosition(_Listed):
    @property
    def position(self) -> Any:
        return {"at": self, "last": [1, 1]}


class _TakesAnything(_Listed):
    def seek(self, position: Any) -> None:
        self.at = position.get("at", 0)


class _ComesBack(_Listed):
    def read(self, limit: int, timeout: float | None = None) -> list[bytes] | None:
        found = super().read(limit, timeout)
        if found is None:
            self.at = 0
        return found


class _Short(_Listed):
    def __init__(self) -> None:
        super().__init__()
        self.lines = self.lines[:2]


def test_a_source_that_obeys_passes() -> None:
    check_source(_Listed)


@pytest.mark.parametrize(
    "broken, word",
    [
        (_TooMany, "without a timeout gave"),
        (_LosesWhatDoesNotFit, "chunks of 3 lines"),
        (_KeepsNewlines, "holds its newline"),
        (_SeeksNowhere, "seek, then position"),
        (_SeeksShort, "other lines"),
        (_OpaquePosition, "not plain data"),
        (_TakesAnything, "another stream"),
        (_ComesBack, "not the end"),
        (_Short, "at least three"),
    ],
)
def test_each_law_fires(broken: type[_Listed], word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_source(broken)
