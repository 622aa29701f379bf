"""Events in the packets of iniVation's driver for ROS: ``libcaer`` (8 bytes an event), ``libcaer_cmp`` (16-bit words).

``libcaer``: a word of 32 bits, which is valid (bit 0), polarity (1), y (2 to 16) and x (17 to 31), then 31 bits of time
in us, to which the packet's base in ns is added. ``libcaer_cmp``: in each word the upper four bits tell what the lower
twelve are: 0 the upper and 1 the lower half of the time in us, to which the packet's base in ns is added; 2 an x;
3 an event at a y (11 bits) of a polarity; 4 a y and a polarity to begin from; 5 events at up to eight y from there on.
Times begin anew in each packet; x, y and polarity do not.
"""

from __future__ import annotations

import numpy as np

from eventflow.io.cameras._source import Array, BrokenError, Columns

_ROLL = 1 << 31
_HIGH, _LOW, _X, _EVENT, _FROM, _EIGHT = range(6)


def events(data: Array, base: int) -> Columns:
    """The events of a ``libcaer`` packet; ``base`` in ns."""
    if len(data) % 8:
        raise BrokenError(f"a packet of {len(data):,} bytes; expected 8 an event")
    words = data.view("<u4").reshape(-1, 2).astype(np.int64)
    words = words[words[:, 0] & 1 == 1]
    what, low = words[:, 0], words[:, 1]
    rolled = np.cumsum(np.append(False, low[1:] < low[:-1])) if len(low) else low
    t = (base + (low + rolled * _ROLL) * 1000 + 500) // 1000
    p = (what >> 1 & 1).astype(np.uint8)
    return Columns(t, (what >> 17).astype(np.uint16), (what >> 2 & 0x7FFF).astype(np.uint16), p)


class Words:
    """``libcaer_cmp`` packets one after the other."""

    def __init__(self) -> None:
        self._x, self._from = 0, 0  # x; y and polarity, as in a word

    def step(self, data: Array, base: int) -> Columns:
        """The events of the next packet; ``base`` in ns."""
        words = data[: len(data) // 2 * 2].view("<u2")
        code, rest = words >> 12, (words & 0xFFF).astype(np.int64)
        if (code > _EIGHT).any():
            at = int(np.argmax(code > _EIGHT))
            raise BrokenError(f"byte {2 * at:,} of a packet: word 0x{words[at]:04x} is of no known kind")
        t = base // 1000 + (_held(code == _HIGH, rest, 0) << 12 | _held(code == _LOW, rest, 0))
        x = _held(code == _X, rest & 0x7FF, self._x)
        begin = _held(code == _FROM, rest, self._from)
        before = np.cumsum(code == _EIGHT)  # of those since the last begin, each is eight rows further
        passed = before - (code == _EIGHT) - _held(code == _FROM, before, 0)
        bits = (rest[code == _EIGHT, None] >> np.arange(8) & 1).astype(bool)
        count = np.where(code == _EVENT, 1, 0)
        count[code == _EIGHT] = bits.sum(1)
        owner = np.repeat(np.arange(len(words)), count)
        alone = code[owner] == _EVENT
        first, y = np.where(alone, rest[owner], begin[owner]), np.where(alone, rest[owner] & 0x7FF, 0)
        y[~alone] = ((begin & 0x7FF) + 8 * passed)[owner[~alone]] + np.nonzero(bits)[1]
        if len(words):
            self._x, self._from = int(x[-1]), int(begin[-1]) + 8 * int(passed[-1] + (code[-1] == _EIGHT))
        return Columns(t[owner], x[owner].astype(np.uint16), y.astype(np.uint16), (first >> 11 & 1).astype(np.uint8))


def _held(mask: Array, values: Array, before: int) -> Array:
    """At each place the last value so far where the mask is True; ``before`` the first of those."""
    last = np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1)) if len(mask) else np.empty(0, np.int64)
    return np.where(last >= 0, values[last], before) if len(mask) else last
