"""What travels: bytes that arrived, in datagrams or as a stream, to columns of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from eventflow.io.cameras._source import Columns
from eventflow.io.live._ring import Array, Batch
from eventflow.ops.decode import DecoderState, decode_evt2, decode_evt3
from eventflow.ops.decode._state import BACKWARDS, REASONS, Evt3Registers, EvtRegisters
from eventflow.ops.decode_datagrams import LAYOUTS, Registers, decode_datagrams

Limits = tuple["int | None", "int | None"]
#: No events.
NOTHING = Columns(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))


class Wire(Protocol):
    """Turns batches into events.

    Attributes:
        fault: why nothing more can be told from a stream, once that is so.
    """

    fault: str | None

    def decode(self, batch: Batch) -> Columns:
        """The events of a batch; times never go back."""
        ...

    def counts(self) -> dict[str, int]:
        """malformed and late datagrams, restarts of the sender, events held."""
        ...


class RecordWire:
    """Records of their own: SPIF, t64, t32."""

    def __init__(self, layout: str, limits: Limits, *, stream: bool) -> None:
        self._layout, self._limits, self._stream = layout, limits, stream
        self._registers = Registers()
        self._tail, self._seen = b"", 0
        self.fault: str | None = None

    def decode(self, batch: Batch) -> Columns:
        """See :class:`Wire`."""
        rows, sizes, arrivals = batch.rows, batch.sizes, batch.arrivals
        if self._stream:
            data = self._tail + _joined(rows, sizes)
            rows, sizes = np.frombuffer(data, np.uint8)[None], np.array([len(data)])
            arrivals = arrivals[-1:]
        out = decode_datagrams(
            rows, sizes, arrivals, layout=self._layout, registers=self._registers, limits=self._limits,
            stream=self._stream,
        )  # fmt: skip
        self._registers = out.registers
        if self._stream:
            rest = out.registers.rest
            self._tail = rows[0, len(rows[0]) - rest :].tobytes()
            if out.registers.malformed:
                self.fault = f"an impossible event among the bytes {self._seen:,} to {self._seen + sizes[0]:,}"
            self._seen += int(sizes[0]) - rest
        return Columns(*out[:4])

    def counts(self) -> dict[str, int]:
        """See :class:`Wire`."""
        r = self._registers
        return {"malformed": r.malformed, "late": r.late, "restarts": r.restarts, "held": r.held}


class _Words(NamedTuple):
    """How a format of words is decoded; the type of words that set the upper time, and (EVT 3) the row."""

    decode: Callable[..., Any]
    registers: Any
    word: str
    shift: int
    row: int | None
    events: tuple[int, ...]


_WORDS = {
    "evt2": _Words(decode_evt2, EvtRegisters(), "<u4", 28, None, (0, 1)),
    "evt3": _Words(decode_evt3, Evt3Registers(), "<u2", 12, 0, (2, 3, 4, 5)),
}


class WordWire:
    """Prophesee's words, each of which counts on those before it.

    At the beginning (the camera may have been running) and where datagrams were lost, no event is told before the words
    that it counts on have come: TIME_HIGH, and for EVT 3 the row.
    """

    def __init__(self, format: str, limits: Limits, *, stream: bool) -> None:
        self._form, self._stream = _WORDS[format], stream
        self._limits = {"width": limits[0], "height": limits[1]}
        self._state: Any = DecoderState(self._form.registers)
        self._seeking = not stream
        self._drops, self._now = 0, -1
        self._added: int | None = 0  # None: the camera has begun anew, and its first time is not known yet
        self._failed_at = self._passed = 0
        self._malformed = self._restarts = self._skipped = 0
        self.fault: str | None = None

    def decode(self, batch: Batch) -> Columns:
        """See :class:`Wire`."""
        if self._stream:
            return self.step(_joined(batch.rows, batch.sizes))
        size = np.dtype(self._form.word).itemsize
        odd = batch.sizes % size != 0
        self._malformed += int(odd.sum())
        sizes = batch.sizes - batch.sizes % size
        parts = []
        cuts = np.flatnonzero(np.diff(batch.drops, prepend=self._drops)).tolist()
        self._drops = int(batch.drops[-1]) if len(batch.drops) else self._drops
        for lo, hi in zip([0, *cuts], [*cuts, len(sizes)], strict=True):
            if lo in cuts:
                self._seeking = True
            parts += self._run(batch.rows[lo:hi], sizes[lo:hi])
        columns = [np.concatenate(column) for column in zip(NOTHING, *parts, strict=True)]
        return Columns(columns[0], columns[1], columns[2], columns[3])

    def _run(self, rows: Array, sizes: Array) -> list[Columns]:
        """Datagrams between which none was dropped; after a fault, from the next one on."""
        parts, first = [], 0
        while first < len(sizes):
            data = _joined(rows[first:], sizes[first:])
            before = self._state.position
            parts.append(self.step(data))
            if self.fault is None:
                break
            within = self._failed_at - before + self._passed
            first += int(np.searchsorted(np.cumsum(sizes[first:]), within, side="right")) + 1
            self.fault, self._seeking, self._malformed = None, True, self._malformed + 1
        return parts

    def seek(self) -> None:
        """Words were lost here: tell no event before what it counts on has come again."""
        self._seeking = True

    def step(self, data: bytes) -> Columns:
        """Decode the words that come next; a fault is kept, and the decoder made ready to go on."""
        whole = len(data)
        if self._seeking:
            data = self._sought(data)
        self._passed = whole - len(data)
        out = self._form.decode(data, self._state, **self._limits)
        self._state, fault = out.state, out.state.fault
        t = self._onward(out.t)
        if fault is not None:
            self._failed_at = fault.position
            self.fault = f"byte {fault.position:,}: {fault.reason} (0x{fault.word:x})"
            registers = out.state.registers
            if fault.reason == REASONS[BACKWARDS]:  # the camera began anew
                self._restarts += 1
                self._added, registers = None, self._form.registers
            self._state = DecoderState(registers)
        return Columns(t, out.x, out.y, out.p)

    def _onward(self, t: Array) -> Array:
        """Times as they are handed out: after the camera began anew, they go on from the last one."""
        if not len(t):
            return t
        if self._added is None:
            self._added = self._now - int(t[0])
        t = t + self._added if self._added else t
        self._now = int(t[-1])
        return t

    def _sought(self, data: bytes) -> bytes:
        """The words from the first TIME_HIGH on, without the events before the first row."""
        form = self._form
        words = np.frombuffer(data, form.word, len(data) // np.dtype(form.word).itemsize)
        kinds = words >> form.shift
        high = np.flatnonzero(kinds == 8)
        if not len(high):
            return b""
        words, kinds = words[high[0] :], kinds[high[0] :]
        row = np.flatnonzero(kinds == form.row) if form.row is not None else np.zeros(1, np.int64)
        if not len(row):
            return b""
        keep = np.ones(len(words), bool)
        keep[: row[0]] = ~np.isin(kinds[: row[0]], form.events)
        self._seeking = False
        return words[keep].tobytes()

    def counts(self) -> dict[str, int]:
        """See :class:`Wire`."""
        return {
            "malformed": self._malformed, "late": 0, "restarts": self._restarts, "held": self._state.held,
        }  # fmt: skip


def wire(format: str, limits: Limits, *, stream: bool) -> Wire:
    """What decodes a format of ``FORMATS``."""
    name = ALIASES.get(format, format)
    kind: Any = RecordWire if name in LAYOUTS else WordWire
    one = np.zeros(1, np.int64)
    kind(name, limits, stream=stream).decode(Batch(np.zeros((1, 16), np.uint8), one + 16, one, one))  # compiled
    return kind(name, limits, stream=stream)


def _joined(rows: Array, sizes: Array) -> bytes:
    view = np.ascontiguousarray(rows).data.cast("B")
    width = rows.shape[1]
    return b"".join([view[i * width : i * width + size] for i, size in enumerate(sizes.tolist())])


#: Names that people use -> ours.
ALIASES = {"faery": "t64", "aestream": "spif"}
#: format -> what it is.
FORMATS = {
    "spif": "32-bit words of SpiNNaker's interface and AEStream, with or without times",
    "t64": "faery's 13 bytes: t64_x16_y16_on8 (also: faery)",
    "t32": "faery's 8 bytes: t32_x16_y15_on1",
    "evt2": "Prophesee's words, EVT 2.0",
    "evt3": "Prophesee's words, EVT 3.0",
}
