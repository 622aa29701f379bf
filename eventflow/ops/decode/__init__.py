"""Event cameras' words to events: resumable, checked, microseconds in int64.

Each ``decode_*`` takes words (or raw bytes: then a word may be cut anywhere) and the state that the previous call
returned, and gives :class:`Decoded`: ``t, x, y, p, state``. Chunks of any size give the same events. The state is a
value of plain data. A word that cannot be is a *fault*: decoding stops there, ``state.fault`` says at which byte and
why, the events before it are returned. ``naive.py`` is the definition of each format.

``width`` and ``height``, where given, make an event outside the sensor a fault. Times never go back: a step back of up
to ``SLACK`` microseconds holds the clock and is counted in ``state.held``; a larger one is a loop of the counter or a
fault.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventflow.errors import InputError, did_you_mean
from eventflow.ops.decode._state import (
    AEDAT2_LAYOUTS,
    DAT_LAYOUTS,
    REASONS,
    Array,
    Evt3Registers,
    EvtRegisters,
    Layout,
    PacketRegisters,
    RecordRegisters,
    layout_of,
    split_words,
)  # fmt: skip
from eventflow.ops.decode._state import SLACK as SLACK
from eventflow.ops.decode._state import Decoded as Decoded
from eventflow.ops.decode._state import DecoderState as DecoderState
from eventflow.ops.decode._state import Fault as Fault

__all__ = [
    "SLACK", "Decoded", "DecoderState", "Fault", "decode_aedat2", "decode_aedat31", "decode_dat", "decode_evt2",
    "decode_evt3", "decode_evt21", "decode_nmnist",
]  # fmt: skip

Columns = tuple[Array, ...]
Data = Array | bytes | bytearray | memoryview


class _Format(NamedTuple):
    """Name of the kernel, word, words a record, registers, largest width and height."""

    kernel: str
    word: str
    per_record: int
    registers: Any
    width: int
    height: int


_EVT2 = _Format("evt2", "<u4", 1, EvtRegisters(), 2048, 2048)
_EVT21 = _Format("evt21", "<u8", 1, EvtRegisters(), 2080, 2048)
_EVT3 = _Format("evt3", "<u2", 1, Evt3Registers(), 65536, 2048)
_DAT = _Format("records", "<u4", 2, RecordRegisters(), 1 << 14, 1 << 14)
_AEDAT2 = _Format("records", ">u4", 2, RecordRegisters(), 1 << 10, 1 << 9)
_NMNIST = _Format("nmnist", "u1", 5, RecordRegisters(), 256, 256)
_AEDAT31 = _Format("aedat31", "u1", 1, PacketRegisters(), 1 << 15, 1 << 15)


def decode_evt2(
    words: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    backend: str = "auto",
) -> Decoded:  # fmt: skip
    """Prophesee EVT 2.0: (n,) uint32 words, or bytes. Source: Prophesee's documentation of EVT 2.0."""
    return _decode(_EVT2, words, state, (width, height), backend)


def decode_evt21(
    words: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    legacy: bool = False, backend: str = "auto",
) -> Decoded:  # fmt: skip
    """Prophesee EVT 2.1: (n,) uint64 words, or bytes; ``legacy``: files that store the upper half of a word first."""
    if legacy:
        state = state or DecoderState(_EVT21.registers)
        whole, tail = split_words(_bytes(words), state, np.dtype("<u8"), 1)
        words = np.ascontiguousarray(whole.view("<u4").reshape(-1, 2)[:, ::-1]).reshape(-1).view("<u8")
        out = _decode(_EVT21, words, state._replace(tail=b""), (width, height), backend)
        return out._replace(state=out.state._replace(tail=b"" if out.state.fault else tail))
    return _decode(_EVT21, words, state, (width, height), backend)


def decode_evt3(
    words: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    backend: str = "auto",
) -> Decoded:  # fmt: skip
    """Prophesee EVT 3.0: (n,) uint16 words, or bytes. Source: Prophesee's documentation of EVT 3.0."""
    return _decode(_EVT3, words, state, (width, height), backend)


def decode_dat(
    words: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    version: int = 2, backend: str = "auto",
) -> Decoded:  # fmt: skip
    """DAT, two uint32 an event (time, address): (2n,) or (n, 2) words, or bytes; ``version`` is that of the header."""
    layout = layout_of("decode_dat(version)", 2 if version > 2 else version, DAT_LAYOUTS)
    return _decode(_DAT, words, state, (width, height), backend, layout)


def decode_aedat2(
    words: Data, state: DecoderState | None = None, *, camera: str = "davis240", width: int | None = None,
    height: int | None = None, backend: str = "auto",
) -> Decoded:  # fmt: skip
    """AEDAT 2 (jAER), two big-endian uint32 an event (address, time); ``camera``: dvs128, davis240 or davis346.

    Frames, IMU samples and triggers are passed over. (0, 0) is the top left pixel.
    """
    layout = layout_of("decode_aedat2(camera)", camera, AEDAT2_LAYOUTS)
    limits = (width or layout.last_x + 1, height or layout.last_y + 1)
    return _decode(_AEDAT2, words, state, limits, backend, layout)


def decode_nmnist(
    rows: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    backend: str = "auto",
) -> Decoded:  # fmt: skip
    """N-MNIST's and N-Caltech101's ``.bin``: five bytes an event. Source: Orchard et al., 2015."""
    return _decode(_NMNIST, rows, state, (width, height), backend)


def decode_aedat31(
    data: Data, state: DecoderState | None = None, *, width: int | None = None, height: int | None = None,
    backend: str = "auto",
) -> Decoded:  # fmt: skip
    """The packets of AEDAT 3.1, as bytes; only polarity events that are marked valid are returned."""
    return _decode(_AEDAT31, data, state, (width, height), backend)


def _decode(
    form: _Format, data: Data, state: DecoderState | None, limits: tuple[int | None, int | None], backend: str,
    layout: Layout | None = None,
) -> Decoded:  # fmt: skip
    state = state or DecoderState(form.registers)
    if type(state.registers) is not type(form.registers):
        raise InputError(f"decode: the state has {type(state.registers).__name__}; it is another format's")
    if state.fault is not None:
        return Decoded(*_empty(0), state=state)
    word = np.dtype(form.word)
    words, tail = split_words(_bytes(data), state, word, form.per_record)
    bounds = (limits[0] or form.width, limits[1] or form.height)
    if backend == "naive":
        columns, registers, taken, code = _run_naive(form, words, state, bounds, layout)
    elif backend in ("auto", "numba"):
        columns, registers, taken, code = _run_numba(form, words, state, bounds, layout)
    else:
        raise InputError(f"decode(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    size = word.itemsize * form.per_record
    position = state.position + taken * size
    if code:
        seen = int.from_bytes(words[taken : taken + (8 if size == 1 else 1)].tobytes(), "big" if size < 2 else "little")
        fault = Fault(position, REASONS[code], seen)
        return Decoded(*columns, state=DecoderState(registers, position, b"", fault))
    tail = words[taken:].tobytes() + tail
    return Decoded(*columns, state=DecoderState(registers, position, tail))


def _bytes(data: Data) -> Any:
    return data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)


def _run_naive(
    form: _Format, words: Array, state: DecoderState, bounds: tuple[int, int], layout: Layout | None
) -> tuple[Columns, Any, int, int]:  # fmt: skip
    from eventflow.ops.decode import naive

    given = words.tobytes() if form.kernel == "aedat31" else words
    arguments = (given, state.registers, bounds) + (() if layout is None else (layout,))
    events, registers, taken, code = getattr(naive, form.kernel)(*arguments)
    columns = np.array(events, dtype=np.int64).reshape(-1, 4).T
    kinds = (np.int64, np.uint16, np.uint16, np.uint8)
    return tuple(column.astype(kind) for column, kind in zip(columns, kinds, strict=True)), registers, taken, code


def _run_numba(
    form: _Format, words: Array, state: DecoderState, bounds: tuple[int, int], layout: Layout | None
) -> tuple[Columns, Any, int, int]:  # fmt: skip
    from eventflow.ops.decode import numba

    words = np.require(words.astype(words.dtype.newbyteorder("="), copy=False), requirements=["A"]).view()
    words.flags.writeable = False  # one type of array, compiled once
    counter = getattr(numba, f"count_{form.kernel}", None)
    most = int(counter(words)) if counter else len(words) // 8 if form.kernel == "aedat31" else len(words)
    columns = _empty(most)
    registers = np.array(state.registers, dtype=np.int64)
    arguments = () if layout is None else (np.array(layout, dtype=np.int64),)
    kernel = getattr(numba, form.kernel)
    n, taken, code = kernel(words, registers, np.array(bounds, np.int64), columns, *arguments)
    return tuple(c[:n] for c in columns), type(state.registers)(*registers.tolist()), taken, code


def _empty(n: int) -> Columns:
    return np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
