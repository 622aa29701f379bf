"""What a decoder remembers between two chunks, what stops it, and how a record of address and time is laid out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]

#: A clock that steps back by up to so many microseconds is held (sensors do so at each millisecond); more is a fault.
SLACK = 4096

#: Fault codes of the kernels (0: none), and what they mean.
RESERVED, OUTSIDE, BACKWARDS, HEADER = 1, 2, 3, 4
REASONS = {
    RESERVED: "a word of a reserved type",
    OUTSIDE: "an event outside the sensor",
    BACKWARDS: f"time goes back by more than {SLACK} us, and not because its counter came round",
    HEADER: "an impossible packet header",
}


class EvtRegisters(NamedTuple):
    """EVT2 and EVT2.1: the last TIME_HIGH (-1: none yet), how often it came round, the clock, words it was held for."""

    high: int = -1
    loops: int = 0
    now: int = -1
    held: int = 0


class Evt3Registers(NamedTuple):
    """EVT3: the halves of the time, the clock, and the row, vector base and polarity that later words refer to."""

    high: int = -1
    loops: int = 0
    low: int = 0
    now: int = -1
    held: int = 0
    y: int = 0
    base: int = 0
    polarity: int = 0


class RecordRegisters(NamedTuple):
    """DAT, AEDAT 2, N-MNIST: the last raw time, what is added to it, the clock, and events it was held for."""

    raw: int = -1
    added: int = 0
    now: int = -1
    held: int = 0


class PacketRegisters(NamedTuple):
    """AEDAT 3.1: what is left of the packet (bytes), whether it holds polarity events, its overflow; the clock."""

    left: int = 0
    polarity: int = 0
    overflow: int = 0
    now: int = -1
    held: int = 0


class Fault(NamedTuple):
    """Why a decoder stopped: the byte where (counted from the first byte decoded), and what was seen there."""

    position: int
    reason: str
    word: int

    def __str__(self) -> str:
        return f"byte {self.position}: {self.reason} (0x{self.word:x})"


class DecoderState(NamedTuple):
    """A value: give it to the next call. After a fault nothing more is decoded."""

    registers: EvtRegisters | Evt3Registers | RecordRegisters | PacketRegisters
    position: int = 0
    tail: bytes = b""
    fault: Fault | None = None

    @property
    def held(self) -> int:
        """How often the clock was held because time stepped back a little."""
        return self.registers.held


class Decoded(NamedTuple):
    """t (n,) int64 us, nondecreasing; x, y (n,) uint16; p (n,) uint8 in {0, 1}; the state for the next chunk."""

    t: Array
    x: Array
    y: Array
    p: Array
    state: DecoderState


class Layout(NamedTuple):
    """Where x, y and p lie in an address word, and which words are events: ``word & keep_mask == keep``."""

    x_shift: int
    x_bits: int
    y_shift: int
    y_bits: int
    p_shift: int
    on: int  # the value of the polarity bit that means brighter
    keep_mask: int = 0
    keep: int = 0
    last_x: int = -1  # mirror: x = last_x - x; -1: as it is
    last_y: int = -1
    time_first: int = 1


#: DAT by version of the file: Prophesee's since version 2, and the older one of ATIS cameras.
DAT_LAYOUTS = {
    1: Layout(0, 9, 9, 8, 17, on=1),
    2: Layout(0, 14, 14, 14, 28, on=1),
}
#: AEDAT 2 by camera. jAER counts x from the right and y from below; here (0, 0) is the top left pixel.
AEDAT2_LAYOUTS = {
    "dvs128": Layout(1, 7, 8, 7, 0, on=0, keep_mask=0x8000, keep=0, last_x=127, last_y=127, time_first=0),
    "davis240": Layout(
        12, 10, 22, 9, 11, on=1, keep_mask=0x80000400, keep=0, last_x=239, last_y=179, time_first=0
    ),
    "davis346": Layout(
        12, 10, 22, 9, 11, on=1, keep_mask=0x80000400, keep=0, last_x=345, last_y=259, time_first=0
    ),
}  # fmt: skip


def layout_of(what: str, key: int | str, layouts: dict[Any, Layout]) -> Layout:
    """The layout of this key, or an error that names the nearest."""
    if key not in layouts:
        raise InputError(f"{what}={key!r}: {did_you_mean(str(key), [str(k) for k in layouts])}")
    return layouts[key]


def split_words(data: Array | bytes, state: DecoderState, word: np.dtype[Any], width: int) -> tuple[Array, bytes]:
    """Whole records (n, width) of ``word`` (or (n,) if width is 1), and the bytes of the record that is not whole."""
    shape = (-1,) if width == 1 else (-1, width)
    if isinstance(data, np.ndarray) and data.dtype.itemsize != 1:
        if data.dtype.newbyteorder("=") != word.newbyteorder("="):
            raise InputError(f"decode: words are {data.dtype}; expected {word} or bytes. Write: x.view({word.str!r})")
        if state.tail or data.size % width:
            data = data.reshape(-1).view(np.uint8)
        else:
            return np.ascontiguousarray(data).reshape(shape), b""
    raw = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else np.ascontiguousarray(data).reshape(-1)
    if raw.dtype.itemsize != 1:
        raise InputError(f"decode: {raw.dtype}; expected {word} words or bytes")
    raw = raw.view(np.uint8)
    if state.tail:
        raw = np.concatenate([np.frombuffer(state.tail, np.uint8), raw])
    size = word.itemsize * width
    whole = len(raw) // size * size
    return raw[:whole].view(word).reshape(shape), raw[whole:].tobytes()
