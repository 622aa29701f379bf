"""What a camera format's reader provides, and the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[Any]
Bound = int | None


class Columns(NamedTuple):
    """t (n,) int64 us, nondecreasing; x, y (n,) uint16; p (n,) uint8 in {0, 1}."""

    t: Array
    x: Array
    y: Array
    p: Array

    def part(self, lo: int, hi: int) -> Columns:
        """Rows lo to hi, as views."""
        return Columns(*(column[lo:hi] for column in self))


class Ordered(Columns):
    """Those of which the reader saw that time does not go back in them."""

    __slots__ = ()


class BrokenError(Exception):
    """The file cannot be read further. The message says where and why; the events before that were delivered, but for
    those in ``kept``, of the block in which the fault is."""

    def __init__(self, message: str, kept: Columns | None = None) -> None:
        super().__init__(message)
        self.kept = kept


def recovery(path: Path) -> str:
    """How to have what a damaged file still holds."""
    return (
        f"To have the events before that, with a report: read_events({str(path)!r}, recover=True); or on the command "
        f"line: eventflow data convert {path} recovered.h5 --recover (data render takes it, too)"
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader is given: the file, the sensor's size where the caller knows it, the unit of its times and the
    order of its columns (as in "t x y p"), where those were said; ``recover``: what is left of it is wanted."""

    path: Path
    height: int | None = None
    width: int | None = None
    variant: str = ""
    unit: str | None = None
    columns: str = ""
    recover: bool = False

    def error(self, message: str) -> InputError:
        """An InputError that begins with the path."""
        return InputError(f"{self.path}: {message}")


@dataclass(slots=True)
class Source:
    """A file, opened. Subclasses fill the facts and implement :meth:`blocks`.

    Args:
        height, width: of the sensor; None: the file does not say.
        span: the half-open interval in which the camera watched, where the file states it.
        sorted: whether ``blocks`` vouches for the order of its times (decoders do).
        notes: sentences for the report.
        doubts: those that must not be overheard: something was assumed.
    """

    opening: Opening
    height: int | None = None
    width: int | None = None
    span: tuple[int, int] | None = None
    sorted: bool = False
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        """Events in the order of the file. Blocks that end before ``start`` may be left out, and after an event at or
        past ``end`` the reader may stop. None: no bound.

        Raises:
            BrokenError: after the last event before the fault.
        """
        raise NotImplementedError

    def aligned(self, start: int, every: int) -> Iterator[Columns]:
        """As ``blocks(start, None)``; where that is cheap, blocks end where windows of ``every`` us do."""
        return self.blocks(start, None)


def delivered(blocks: Iterator[Columns]) -> Iterator[Columns]:
    """The blocks, and before a fault what was kept of its block."""
    try:
        yield from blocks
    except BrokenError as error:
        if error.kept is not None:
            yield error.kept
        raise


def checked(source: Source, blocks: Iterator[Columns]) -> Iterator[Columns]:
    """The blocks, as long as time does not go back; a block in which it does is cut there."""
    last, seen = None, 0
    for block in blocks:
        if len(block.t):
            at = 0 if last is not None and block.t[0] < last else _step_back(block)
            if at is not None:
                before = block.t[at - 1] if at else last
                if at:
                    yield block.part(0, at)
                raise BrokenError(f"event {seen + at}: time goes back from {before} to {block.t[at]}")
            last = block.t[-1]
        seen += len(block.t)
        yield block


def _step_back(block: Columns) -> int | None:
    """The first row whose time is before that of the row in front."""
    if isinstance(block, Ordered):
        return None
    back = block.t[1:] < block.t[:-1]
    return int(np.argmax(back)) + 1 if back.any() else None


def as_columns(t: Array, x: Array, y: Array, p: Array, *, first: int) -> Columns:
    """Columns in our dtypes; p may be {0, 1}, {-1, 1} or bool. ``first`` is the number of the first event, for faults.

    Raises:
        BrokenError: for a value that is none; the rows before it are kept.
    """
    try:
        return _columns(t, x, y, p, first)
    except _BadRow as bad:
        at, told = bad.args
        raise BrokenError(told, as_columns(t[:at], x[:at], y[:at], p[:at], first=first)) from None


class _BadRow(Exception):
    """The row, and what is wrong with it."""


def _columns(t: Array, x: Array, y: Array, p: Array, first: int) -> Columns:
    if p.dtype == np.bool_:
        sign = p.view(np.uint8)
    elif p.dtype == np.uint8 and p.max(initial=0) <= 1:
        sign = p
    else:
        sign = (p > 0).astype(np.uint8)
        _refuse((p != sign) & (p != -1), p, "p", "0, 1 or -1", first)
    sides = []
    for name, side in (("x", x), ("y", y)):
        if side.dtype != np.uint16:
            with np.errstate(invalid="ignore"):
                near = side.astype(np.uint16)
            _refuse(near != side, side, name, "an integer in [0, 65536)", first)
            side = near
        sides.append(side)
    if t.dtype.kind == "f":
        _refuse(~np.isfinite(t) | (np.abs(t) > 2**62), t, "t", "a finite time", first)
        t = np.rint(t)
    return Columns(t.astype(np.int64, copy=False), sides[0], sides[1], sign)


def _refuse(wrong: Array, values: Array, name: str, expected: str, first: int) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise _BadRow(at, f"event {first + at}: {name} is {values[at]}; expected {expected}")
