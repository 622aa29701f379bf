"""The definition of ``naive.py``, compiled. Numbers are loaded whole from wherever they lie."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import int64, njit
from numba.core import types
from numba.extending import intrinsic

from eventflow.ops.decode_datagrams._registers import FOREVER, HALF, SLACK

# Registers by number, in the order of their names.
NOW, BASE, STAMPED, HELD, LATE, RESTARTS, MALFORMED, REST = range(8)
#: What `_clock` says of an event.
_GOOD, _SKIP = 0, 1


def _loader(bits: int) -> Any:
    """(row, at) -> the little-endian number of so many bits at byte ``at``, as int64. Bounds are the caller's care."""

    def load(typing: Any, row: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            kind = ir.IntType(bits)
            place = builder.bitcast(builder.gep(data, [values[1]]), ir.PointerType(kind))
            number = builder.load(place, align=1, typ=kind)
            return number if bits == 64 else builder.zext(number, ir.IntType(64))

        return types.int64(row, types.int64), generate

    return intrinsic(load)


_u16, _u32, _u64 = _loader(16), _loader(32), _loader(64)


@njit(cache=True, nogil=True)
def decode(rows, sizes, arrivals, r, options, columns):  # pragma: no cover - compiled
    """How many events were written to the columns; the registers are changed in place.

    ``options``: layout, width, height, late, stream.
    """
    t, x, y, p = columns
    layout, width, height, late, stream = options[0], options[1], options[2], options[3], options[4]
    n = 0
    for i in range(len(sizes)):
        row, size, at = rows[i], sizes[i], int64(0)
        r[REST] = 0
        now, base, plain = r[NOW], r[BASE], r[STAMPED] != 0 and r[NOW] >= 0
        while at < size:
            stamp, ex, ey, on, length = _record(layout, row, at, size)
            if length == 0 and stream:
                r[REST] = size - at
                break
            if length == 0 or ex >= width or ey >= height or on > 1:
                r[MALFORMED] += 1
                break
            if plain and 0 <= stamp <= FOREVER and 0 <= stamp + base - now <= HALF:  # what `_clock` says then
                now = stamp + base
            else:
                r[NOW] = now
                if _clock(stamp, arrivals[i], layout != 1, r, late if at == 0 or stream else -1):
                    break
                now, base, plain = r[NOW], r[BASE], r[STAMPED] != 0
            t[n], x[n], y[n], p[n] = now, ex, ey, on
            n += 1
            at += length
        r[NOW] = now
    return n


@njit(cache=True, nogil=True)
def _clock(stamp, arrival, comes_round, r, late):  # pragma: no cover - compiled
    if stamp == -1:
        if r[STAMPED] == 0 and arrival > r[NOW]:
            r[NOW] = arrival
        return _GOOD
    if stamp > FOREVER or stamp < 0:
        r[MALFORMED] += 1
        return _SKIP
    now, base = r[NOW], r[BASE]
    t = stamp + base
    r[STAMPED] = 1
    if now < 0:
        r[NOW] = t
        return _GOOD
    if comes_round and now - t > HALF:
        t, base = t + 2 * HALF, base + 2 * HALF
    elif comes_round and base != 0 and t - now > HALF:
        t -= 2 * HALF
    back = now - t
    if back <= 0:
        r[NOW], r[BASE] = t, base
    elif back <= SLACK:
        r[BASE] = base
        r[HELD] += 1
    elif late < 0 or back <= late:
        r[MALFORMED if late < 0 else LATE] += 1
        return _SKIP
    else:
        r[BASE] = now - stamp
        r[RESTARTS] += 1
    return _GOOD


@njit(cache=True, nogil=True)
def _record(layout, row, at, size):  # pragma: no cover - compiled
    """(stamp, x, y, p, bytes); a stamp of -1: none, of -2: impossible; no bytes: the record is cut off."""
    if layout == 0:
        if at + 4 > size:
            return int64(0), int64(0), int64(0), int64(0), int64(0)
        word = _u32(row, at)
        x, p, y = (word >> 16) & 0x7FFF, (word >> 15) & 1, word & 0x7FFF
        if word >> 31:
            return int64(-1), x, y, p, int64(4)
        if at + 8 > size:
            return int64(0), int64(0), int64(0), int64(0), int64(0)
        return _u32(row, at + 4), x, y, p, int64(8)
    if layout == 1:
        if at + 13 > size:
            return int64(0), int64(0), int64(0), int64(0), int64(0)
        t = _u64(row, at)
        return t if t >= 0 else int64(-2), _u16(row, at + 8), _u16(row, at + 10), int64(row[at + 12]), 13
    if at + 8 > size:
        return int64(0), int64(0), int64(0), int64(0), int64(0)
    word = _u16(row, at + 6)
    return _u32(row, at), _u16(row, at + 4), word >> 1, word & 1, int64(8)
