"""The definition of each event format, word by word, in plain Python.

Every function takes whole words, the registers (what earlier words have set) and the sensor's (width, height), and
returns the events [(t, x, y, p), ...], the registers, the number of words taken, and a fault code (0: none); a word at
fault is not taken. Times are microseconds, as the sensor counted them. The clock ``now`` never goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventflow.ops.decode._state import (
    BACKWARDS,
    HEADER,
    OUTSIDE,
    RESERVED,
    SLACK,
    Evt3Registers,
    EvtRegisters,
    Layout,
    PacketRegisters,
    RecordRegisters,
)  # fmt: skip

Event = tuple[int, int, int, int]
Limits = tuple[int, int]
Recorded = tuple[list[Event], RecordRegisters, int, int]
#: Words that carry no event and no time: triggers, vendor's messages and what continues them.
EVT2_SILENT = (0xA, 0xE, 0xF)
EVT3_SILENT = (0x7, 0xA, 0xB, 0xC, 0xD, 0xE, 0xF)


def time_high(value: int, high: int, loops: int, bits: int, unit: int) -> tuple[int, int] | None:
    """The new (high, loops) after a TIME_HIGH of so many bits, each step ``unit`` us; None: it goes back too far.

    A step back by more than half of the counter's range means that the counter came round.
    """
    back = high - value
    if high >= 0 and back > 1 << (bits - 1):
        loops += 1
    elif high >= 0 and back > SLACK // unit:
        return None
    return value, loops


def evt2(words: Sequence[int], r: EvtRegisters, limits: Limits) -> tuple[list[Event], EvtRegisters, int, int]:
    """EVT 2.0, 32 bits: type (4), time low (6), x (11), y (11); or type 8, time high (28), in units of 64 us.

    Types 0 and 1 are events of that polarity. Events before the first TIME_HIGH have no time and are left out.
    """
    high, loops, now, held = r
    events: list[Event] = []
    for i, word in enumerate(map(int, words)):
        kind = word >> 28
        fault = 0
        if kind <= 1:
            x, y = (word >> 11) & 0x7FF, word & 0x7FF
            if high >= 0 and (x >= limits[0] or y >= limits[1]):
                fault = OUTSIDE
            elif high >= 0:
                t = (loops << 34) | (high << 6) | ((word >> 22) & 0x3F)
                held += t < now
                now = max(t, now)
                events.append((now, x, y, kind))
        elif kind == 8:
            moved = time_high(word & 0xFFFFFFF, high, loops, 28, 64)
            if moved is None:
                fault = BACKWARDS
            else:
                high, loops = moved
        elif kind not in EVT2_SILENT:
            fault = RESERVED
        if fault:
            return events, EvtRegisters(high, loops, now, held), i, fault
    return events, EvtRegisters(high, loops, now, held), len(words), 0


def evt21(words: Sequence[int], r: EvtRegisters, limits: Limits) -> tuple[list[Event], EvtRegisters, int, int]:
    """EVT 2.1, 64 bits: as EVT 2.0 in the upper half; the lower half: which of the pixels x .. x + 31 fired."""
    high, loops, now, held = r
    events: list[Event] = []
    for i, word in enumerate(map(int, words)):
        kind = word >> 60
        fault = 0
        if kind <= 1:
            x, y, valid = (word >> 43) & 0x7FF, (word >> 32) & 0x7FF, word & 0xFFFFFFFF
            fired = [x + k for k in range(32) if valid >> k & 1]
            if high >= 0 and fired and (fired[-1] >= limits[0] or y >= limits[1]):
                fault = OUTSIDE
            elif high >= 0 and fired:
                t = (loops << 34) | (high << 6) | ((word >> 54) & 0x3F)
                held += t < now
                now = max(t, now)
                events += [(now, k, y, kind) for k in fired]
        elif kind == 8:
            moved = time_high((word >> 32) & 0xFFFFFFF, high, loops, 28, 64)
            if moved is None:
                fault = BACKWARDS
            else:
                high, loops = moved
        elif kind not in EVT2_SILENT:
            fault = RESERVED
        if fault:
            return events, EvtRegisters(high, loops, now, held), i, fault
    return events, EvtRegisters(high, loops, now, held), len(words), 0


def evt3(words: Sequence[int], r: Evt3Registers, limits: Limits) -> tuple[list[Event], Evt3Registers, int, int]:
    """EVT 3.0, 16 bits: type (4) and 12 bits that set a register (0 row; 3 base; 6, 8 time) or fire (2 x; 4, 5 vector).

    The time is 24 bits, TIME_HIGH and TIME_LOW; TIME_LOW may step back by a little and is then held. A new TIME_HIGH
    begins with TIME_LOW zero. A vector fires the pixels of its bits, counted from the base, and moves the base on.
    """
    s = dict(r._asdict())
    events: list[Event] = []
    for i, word in enumerate(map(int, words)):
        kind, value = word >> 12, word & 0xFFF
        fired, p, fault = [], s["polarity"], 0
        if kind == 0x0:
            s["y"] = value & 0x7FF
        elif kind == 0x2:
            fired, p = [value & 0x7FF], value >> 11
        elif kind == 0x3:
            s["base"], s["polarity"] = value & 0x7FF, value >> 11
        elif kind in (0x4, 0x5):
            length = 12 if kind == 0x4 else 8
            fired = [s["base"] + k for k in range(length) if value >> k & 1]
        elif kind in (0x6, 0x8):
            fault = _evt3_time(s, kind, value)
        elif kind not in EVT3_SILENT:
            fault = RESERVED
        if fired and s["high"] >= 0:
            if fired[-1] >= limits[0] or s["y"] >= limits[1]:
                fault = OUTSIDE
            else:
                events += [(s["now"], x, s["y"], p) for x in fired]
        if fault:
            return events, Evt3Registers(**s), i, fault
        if kind in (0x4, 0x5):
            s["base"] += 12 if kind == 0x4 else 8
    return events, Evt3Registers(**s), len(words), 0


def _evt3_time(s: dict[str, int], kind: int, value: int) -> int:
    """Take a TIME_LOW (6) or TIME_HIGH (8) word; the fault, if time goes back too far."""
    if kind == 0x6:
        s["low"] = value
    else:
        moved = time_high(value, s["high"], s["loops"], 12, 4096)
        if moved is None:
            return BACKWARDS
        s["low"] = s["low"] if value == s["high"] else 0
        s["high"], s["loops"] = moved
    if s["high"] >= 0:
        t = (s["loops"] << 24) | (s["high"] << 12) | s["low"]
        s["held"] += t < s["now"]
        s["now"] = max(t, s["now"])
    return 0


def records(words: Any, r: RecordRegisters, limits: Limits, layout: Layout) -> Recorded:
    """DAT and AEDAT 2: (n, 2) words of 32 bits, a time and an address that :class:`Layout` takes apart."""
    events: list[Event] = []
    for i, (first, second) in enumerate(words.tolist()):
        raw, address = (first, second) if layout.time_first else (second, first)
        if address & layout.keep_mask != layout.keep:
            continue
        x = (address >> layout.x_shift) & ((1 << layout.x_bits) - 1)
        y = (address >> layout.y_shift) & ((1 << layout.y_bits) - 1)
        x = layout.last_x - x if layout.last_x >= 0 else x
        y = layout.last_y - y if layout.last_y >= 0 else y
        p = int((address >> layout.p_shift & 1) == layout.on)
        moved = tick(raw, r, 32)
        fault = BACKWARDS if moved is None else 0
        if not (0 <= x < limits[0] and 0 <= y < limits[1]):
            fault = OUTSIDE
        if fault or moved is None:
            return events, r, i, fault
        r = moved
        events.append((r.now, x, y, p))
    return events, r, len(words), 0


def nmnist(rows: Any, r: RecordRegisters, limits: Limits) -> Recorded:
    """N-MNIST and N-Caltech101: (n, 5) bytes: x, y, then polarity (1 bit) and time (23 bits), big-endian.

    A row with y = 240 is no event: it says that the time has overflowed by 2^13 us (ATIS cameras).
    """
    events: list[Event] = []
    for i, (x, y, top, middle, bottom) in enumerate(rows.tolist()):
        if y == 240:
            r = r._replace(added=r.added + (1 << 13))
            continue
        moved = tick((top & 0x7F) << 16 | middle << 8 | bottom, r, 23)
        fault = BACKWARDS if moved is None else 0
        if x >= limits[0] or y >= limits[1]:
            fault = OUTSIDE
        if fault or moved is None:
            return events, r, i, fault
        r = moved
        events.append((r.now, x, y, top >> 7))
    return events, r, len(rows), 0


def tick(raw: int, r: RecordRegisters, bits: int) -> RecordRegisters | None:
    """The registers after a raw time of so many bits; None: it goes back too far."""
    added = r.added
    if r.raw - raw > 1 << (bits - 1):
        added += 1 << bits
    t = raw + added
    if t < r.now - SLACK:
        return None
    return RecordRegisters(raw, added, max(t, r.now), r.held + (t < r.now))


def aedat31(data: bytes, r: PacketRegisters, limits: Limits) -> tuple[list[Event], PacketRegisters, int, int]:
    """AEDAT 3.1: packets: a header of 28 bytes, then events of one type and size (type 1, polarity: 8 bytes).

    Header, little-endian: type (2), source (2), event size (4), offset of the time (4), overflow of the time (4),
    capacity (4), number (4), valid (4). Event: valid (1 bit), polarity (1), y (15), x (15); time (31 bits).
    """
    events: list[Event] = []
    at = 0
    while True:
        if r.left == 0:
            if at + 28 > len(data):
                return events, r, at, 0
            kind, _, size, offset, overflow, capacity, number, valid = _header(data[at : at + 28])
            if not (0 < size <= 1 << 24 and number <= capacity and valid <= number and offset < size) or (
                kind == 1 and size != 8
            ):
                return events, r, at, HEADER
            r = r._replace(left=size * number, polarity=int(kind == 1), overflow=overflow)
            at += 28
        elif r.polarity:
            if at + 8 > len(data):
                return events, r, at, 0
            word, raw = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
            if word & 1:
                x, y, t = word >> 17, (word >> 2) & 0x7FFF, (r.overflow << 31) + (raw & 0x7FFFFFFF)
                if t < r.now - SLACK:
                    return events, r, at, BACKWARDS
                if x >= limits[0] or y >= limits[1]:
                    return events, r, at, OUTSIDE
                r = r._replace(now=max(t, r.now), held=r.held + (t < r.now))
                events.append((r.now, x, y, word >> 1 & 1))
            r = r._replace(left=r.left - 8)
            at += 8
        else:
            skipped = min(r.left, len(data) - at)
            if skipped == 0:
                return events, r, at, 0
            r = r._replace(left=r.left - skipped)
            at += skipped


def _header(data: bytes) -> tuple[int, ...]:
    halves = [int.from_bytes(data[i : i + 2], "little") for i in (0, 2)]
    return (*halves, *(int.from_bytes(data[i : i + 4], "little") for i in range(4, 28, 4)))
