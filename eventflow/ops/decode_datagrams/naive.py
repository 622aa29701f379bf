"""The definition: one datagram after the other, one record after the other."""

from __future__ import annotations

from eventflow.ops.decode_datagrams._registers import FOREVER, HALF, SLACK, Layout, Registers

#: (stamp or None, x, y, p, bytes)
Record = tuple["int | None", int, int, int, int]


def decode(
    data: list[bytes], arrivals: list[int], layout: Layout, registers: Registers, options: tuple[int, int, int, bool]
) -> tuple[list[tuple[int, int, int, int]], Registers]:
    """(events, registers); ``options``: width, height, how early a late datagram may begin, whether it is a stream."""
    events: list[tuple[int, int, int, int]] = []
    width, height, late, stream = options
    for datagram, arrival in zip(data, arrivals, strict=True):
        at, registers = 0, registers._replace(rest=0)
        while at < len(datagram):
            found = _READ[layout.code](datagram, at)
            if found is None and stream:
                registers = registers._replace(rest=len(datagram) - at)
                break
            if found is None or found[1] >= width or found[2] >= height or found[3] > 1:
                registers = registers._replace(malformed=registers.malformed + 1)
                break
            after = _clock(found[0], arrival, layout, registers, late if at == 0 or stream else -1)
            if after.late > registers.late or after.malformed > registers.malformed:
                registers = after
                break
            registers = after
            events.append((registers.now, found[1], found[2], found[3]))
            at += found[4]
    return events, registers


def _clock(stamp: int | None, arrival: int, layout: Layout, r: Registers, late: int) -> Registers:
    """The registers after an event with this stamp; ``late`` is -1 within a datagram."""
    if stamp is None:
        return r._replace(now=r.now if r.stamped else max(r.now, arrival))
    if stamp > FOREVER:
        return r._replace(malformed=r.malformed + 1)
    t, base, r = stamp + r.base, r.base, r._replace(stamped=1)
    if r.now < 0:
        return r._replace(now=t)
    if layout.round and r.now - t > HALF:
        t, base = t + 2 * HALF, base + 2 * HALF
    elif layout.round and base and t - r.now > HALF:  # of the round before
        t -= 2 * HALF
    back = r.now - t
    if back <= 0:
        return r._replace(now=t, base=base)
    if back <= SLACK:
        return r._replace(base=base, held=r.held + 1)
    if late < 0:
        return r._replace(malformed=r.malformed + 1)
    if back <= late:
        return r._replace(late=r.late + 1)
    return r._replace(base=r.now - stamp, restarts=r.restarts + 1)


def _spif(data: bytes, at: int) -> Record | None:
    if at + 4 > len(data):
        return None
    word = int.from_bytes(data[at : at + 4], "little")
    x, p, y = word >> 16 & 0x7FFF, word >> 15 & 1, word & 0x7FFF
    if word >> 31:
        return None, x, y, p, 4
    return (int.from_bytes(data[at + 4 : at + 8], "little"), x, y, p, 8) if at + 8 <= len(data) else None


def _t64(data: bytes, at: int) -> Record | None:
    if at + 13 > len(data):
        return None
    t, x, y = (int.from_bytes(data[at + i : at + j], "little") for i, j in ((0, 8), (8, 10), (10, 12)))
    return t, x, y, data[at + 12], 13


def _t32(data: bytes, at: int) -> Record | None:
    if at + 8 > len(data):
        return None
    t, x, word = (int.from_bytes(data[at + i : at + j], "little") for i, j in ((0, 4), (4, 6), (6, 8)))
    return t, x, word >> 1, word & 1, 8


_READ = (_spif, _t64, _t32)
