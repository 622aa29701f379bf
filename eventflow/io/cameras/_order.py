"""Which column of a table holds t, x, y and p: as the caller says, as a header names them, or as the numbers tell.

Numbers tell it where only one order fits: x and y are whole and on the sensor, p is 0, 1 or -1, time does not go back.
x and y can change places and still fit; then a sensor that would be higher than wide tells that they did. What cannot
be told is refused, with the line to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.io.cameras._source import Opening

Array = NDArray[Any]
#: The column of t, x, y and p, counted from 0.
Order = tuple[int, int, int, int]
NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"), "x": ("x", "xs"), "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}  # fmt: skip
#: Orders that are tried: the Event-Camera Dataset's, that of many n x 4 arrays, Metavision's.
ORDERS: dict[str, Order] = {"t x y p": (0, 1, 2, 3), "x y t p": (2, 0, 1, 3), "x y p t": (3, 0, 1, 2)}
#: Rows below which chance may put them in order; from which on the farthest pixels tell the sensor's shape; how much
#: higher than wide none is.
_FEW, _MANY, _HIGHER = 8, 64, 1.1
#: Microseconds that no camera counts: the year 5138.
_LATEST = 1e17


class Told(NamedTuple):
    """The order, its name, and ("" if there is none) what speaks against being sure of it."""

    order: Order
    name: str
    doubt: str = ""


def named(cells: Sequence[str]) -> Order | None:
    """The order that the cells of a header name, if they do; other columns may be between."""
    cells = [cell.strip("\"' ").lower() for cell in cells]
    found = [[i for i, cell in enumerate(cells) if cell in names] for names in NAMES.values()]
    if any(len(places) != 1 for places in found):
        return None
    t, x, y, p = (places[0] for places in found)
    return t, x, y, p


def declared(opening: Opening) -> Order:
    """The order that the caller gives, as in ``columns="t y x p"``."""
    order = named([cell for cell in re.split(r"[\s,;]+", opening.columns) if cell])
    if order is None:
        raise opening.error(
            f"columns={opening.columns!r}: expected t, x, y and p once each, in the order of the file, and any other "
            "word for a column to pass over. Write: columns='t x y p'"
        )
    return order


def fitting(rows: Array, size: tuple[int | None, int | None] = (None, None)) -> list[str]:
    """Those of ``ORDERS`` in which (n, 4) numbers are events, likeliest first; of many rows, those alone that go on in
    time, if any does."""
    fits = [name for name, order in ORDERS.items() if len(rows) and _are_events(rows, order, size)]
    onward = [name for name in fits if not (np.diff(rows[:, ORDERS[name][0]]) < 0).any()]
    return (onward if len(rows) >= _FEW else []) or fits


def _are_events(rows: Array, order: Order, size: tuple[int | None, int | None]) -> bool:
    x, y, p = (rows[:, i] for i in order[1:])
    whole = ((x == np.rint(x)) & (y == np.rint(y)) & (x >= 0) & (y >= 0)).all()
    height, width = size[0] or 1 << 16, size[1] or 1 << 16
    return bool(whole and (x < width).all() and (y < height).all() and np.isin(p, (0, 1, -1)).all())


def tell(opening: Opening, rows: Array, size: tuple[int | None, int | None]) -> Told:
    """The order of the first rows, (n, 4), of a table that says nothing of its columns.

    Raises:
        InputError: if they are no events in any order, or are in several, or lie beyond the sensor.
    """
    fits = fitting(rows, size)
    if not fits:
        turned = fitting(rows, (size[1], size[0]))
        if turned:
            raise _unsure(opening, f"as {turned[0]} they lie beyond {_shown(size)}", _turned(turned[0]))
        raise opening.error(f"its first rows are no events {', '.join(ORDERS)}. Write: columns='t x y p', in its order")
    either = " or ".join(fits)
    if len(fits) > 1 and len(rows) >= _FEW:
        raise _unsure(opening, f"its first {len(rows)} rows may be {either}", fits[0])
    name = fits[0]
    order = ORDERS[name]
    if len(fits) > 1:
        return Told(order, name, f"so few rows may be {either}: say which by columns=...")
    columns, lines = (int(rows[:, i].max()) + 1 for i in order[1:3])
    surely = len(rows) >= _MANY and columns > lines
    if surely or columns > (size[0] or 1 << 16) or lines > (size[1] or 1 << 16):  # else they might be turned
        return Told(order, name)
    if len(rows) >= _MANY and lines > _HIGHER * columns and None in size:
        raise _unsure(opening, f"as {name} they would be {columns} pixels wide and {lines} high", _turned(name))
    return Told(order, name, f"x and y may be the other way round: then write columns={_turned(name)!r}")


def _turned(name: str) -> str:
    return name.translate(str.maketrans("xy", "yx"))


def _shown(size: tuple[int | None, int | None]) -> str:
    return f"a sensor of {size[1] or 'unknown'} x {size[0] or 'unknown'} pixels (width x height)"


def _unsure(opening: Opening, why: str, likely: str) -> InputError:
    return opening.error(
        f"no header names its columns, and {why}. Write: read_events(..., columns={likely!r}), or on the command line: "
        f"--columns {likely}; with the order that is right"
    )


def check_times(opening: Opening, t: Array, *, pointed: bool) -> None:
    """Refuse times of no stated unit that are hardly in the one that would be assumed.

    ``pointed``: they have a decimal point or an exponent, which is taken for seconds, else they are for microseconds.
    """
    if opening.unit is not None or not len(t):
        return
    if pointed and (t == np.rint(t)).all():
        raise opening.error(
            "its times have a decimal point but are whole numbers: seconds, or microseconds? Write: "
            "read_events(..., schema=Schema(unit='us')), or on the command line: --columns unit=us; with the right one"
        )
    if not pointed and np.abs(t).max() >= _LATEST:
        raise opening.error(
            f"its times, as {t[0]:.0f}, are too late for microseconds. Write: read_events(..., "
            "schema=Schema(unit='ns')), or on the command line: --columns unit=ns"
        )
