"""Text lines of an event camera, one event each, to columns: exact decimal arithmetic, at some hundred MB/s."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]
__all__ = ["Parsed", "format_events", "parse_events"]


class Parsed(NamedTuple):
    """t (n,) int64, x, y (n,) uint16, p (n,) uint8; bytes ``taken`` (whole lines); ``fault``: the next is no event."""

    t: Array
    x: Array
    y: Array
    p: Array
    taken: int
    fault: bool


def parse_events(
    data: Array | bytes, *, order: tuple[int, int, int, int] = (0, 1, 2, 3), exponent: int = 0, backend: str = "auto"
) -> Parsed:
    """The events of the whole lines in ``data``; a line that is not whole is left to the next call.

    Args:
        data: bytes: decimal numbers between blanks, tabs, commas or semicolons; lines that are empty or begin with # or
            % are passed over.
        order: which column holds t, x, y and p (0 is the first); p may be true or false, other columns anything.
        exponent: times are multiplied by 10**exponent and rounded: 6 makes microseconds of seconds, exactly.
        backend: "numba" ("auto") or "naive" (the definition).

    Raises:
        InputError: for an unknown backend. A line that is no event ends the parsing: ``fault``, at byte ``taken``.
    """
    if backend == "naive":
        from eventflow.ops.parse_events import naive

        events, taken, fault = naive.parse(bytes(data), order, exponent)
        rows = np.array(events, dtype=np.int64).reshape(-1, 4).T
        return Parsed(
            rows[0], rows[1].astype(np.uint16), rows[2].astype(np.uint16), rows[3].astype(np.uint8), taken, fault
        )
    if backend not in ("auto", "numba"):
        raise InputError(f"parse_events(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    from eventflow.ops.parse_events import numba

    raw = np.frombuffer(data, np.uint8)
    most = int(numba.count_lines(raw))
    t, p = np.empty(most, np.int64), np.empty(most, np.uint8)
    x, y = np.empty(most, np.uint16), np.empty(most, np.uint16)
    n, taken, fault = numba.parse(raw, np.array(order, np.int64), exponent, (t, x, y, p))
    return Parsed(t[:n], x[:n], y[:n], p[:n], int(taken), bool(fault))


def format_events(t: Array, x: Array, y: Array, p: Array, *, backend: str = "auto") -> bytes:
    """The lines that :func:`parse_events` reads with ``exponent=6``: t (us) in seconds with six decimals, x, y, p.

    Raises:
        InputError: for an unknown backend.
    """
    columns = t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)
    if backend == "naive":
        from eventflow.ops.parse_events import naive

        return naive.write(zip(*(column.tolist() for column in columns), strict=True))
    if backend not in ("auto", "numba"):
        raise InputError(f"format_events(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    from eventflow.ops.parse_events import numba

    out = np.empty(numba.LONGEST * len(columns[0]), np.uint8)
    return out[: numba.write(columns, out)].tobytes()
