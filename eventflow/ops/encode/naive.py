"""The definition of the encoders: events to words that the decoders' definitions turn back into the same events."""

from __future__ import annotations

from collections.abc import Iterable

Event = tuple[int, int, int, int]
#: (TIME_HIGH with its loops, -1: none yet; TIME_LOW; row)
Registers = tuple[int, int, int]


def steps(high: int, target: int, bits: int) -> list[int]:
    """The TIME_HIGH values (before the counter's bits are cut) that lead from ``high`` to ``target``.

    A decoder takes a first value as it is, and sees a loop only if the counter falls by more than half of its range.
    """
    if high < 0:
        first = min(target, (1 << bits) - 1)
        return [first, *steps(first, target, bits)]
    most = (1 << (bits - 1)) - 1
    values = []
    while high < target:
        high = min(high + most, target)
        values.append(high)
    return values


def evt2(events: Iterable[Event], registers: Registers) -> tuple[list[int], Registers]:
    """EVT 2.0 words: a TIME_HIGH whenever the time's upper 28 bits change, then the event."""
    words: list[int] = []
    high = registers[0]
    for t, x, y, p in events:
        words += [8 << 28 | value & 0xFFFFFFF for value in steps(high, t >> 6, 28)]
        high = t >> 6
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return words, (high, -1, -1)


def evt3(events: list[Event], registers: Registers) -> tuple[list[int], Registers]:
    """EVT 3.0 words: TIME_HIGH, TIME_LOW and row whenever they change (TIME_LOW after every TIME_HIGH, too), then the
    event; or a vector of 32 pixels (four words) for five or more events of one time, row and polarity, left to right.
    """
    words: list[int] = []
    high, low, row = registers
    i = 0
    while i < len(events):
        t, x, y, p = events[i]
        if t >> 12 != high:
            words += [0x8000 | value & 0xFFF for value in steps(high, t >> 12, 12)]
            high, low = t >> 12, -1
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(0x6000 | low)
        if y != row:
            row = y
            words.append(row)
        run = 1
        while i + run < len(events):
            after = events[i + run]
            if (after[0], after[2], after[3]) != (t, y, p) or not events[i + run - 1][1] < after[1] < x + 32:
                break
            run += 1
        if run < 5:
            words.append(0x2000 | p << 11 | x)
            i += 1
            continue
        mask = sum(1 << (event[1] - x) for event in events[i : i + run])
        words += [0x3000 | p << 11 | x, 0x4000 | mask & 0xFFF, 0x4000 | mask >> 12 & 0xFFF, 0x5000 | mask >> 24]
        i += run
    return words, (high, low, row)
