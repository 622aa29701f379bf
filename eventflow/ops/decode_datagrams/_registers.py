"""What is remembered from one datagram to the next, and the records that are known."""

from __future__ import annotations

from typing import NamedTuple

from eventflow.ops.decode import SLACK as SLACK

#: A datagram that begins up to so many us before what was handed out came late; an earlier one is of a new sender.
LATE = 1_000_000
#: Half of the range of a counter of 32 bits.
HALF = 1 << 31
#: No time is as late as that (us).
FOREVER = 1 << 60


class Registers(NamedTuple):
    """Plain numbers: the clock (-1: no event yet), what is added to the sender's times, and what was counted.

    Args:
        now: time of the last event (us).
        base: what is added to the sender's times.
        stamped: whether a time with a stamp was seen.
        held: events whose time was held.
        late: datagrams left out because they came late.
        restarts: how often the sender began anew.
        malformed: datagrams that ended in an impossible record.
        rest: bytes at the end of the last row that are the beginning of a record (streams only).
    """

    now: int = -1
    base: int = 0
    stamped: int = 0
    held: int = 0
    late: int = 0
    restarts: int = 0
    malformed: int = 0
    rest: int = 0


class Layout(NamedTuple):
    """Number of the layout in the kernel, least bytes of an event, whether its stamps come round after 2^32 us."""

    code: int
    least: int
    round: bool


LAYOUTS = {"spif": Layout(0, 4, True), "t64": Layout(1, 13, False), "t32": Layout(2, 8, True)}
