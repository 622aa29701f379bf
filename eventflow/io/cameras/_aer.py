"""jAER's and cAER's files (AEDAT 1, 2 and 3.1) and the five-byte events of N-MNIST and N-Caltech101."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np

from eventflow.io.cameras._source import Opening
from eventflow.io.cameras._words import WordSource
from eventflow.ops.decode import Decoded, DecoderState, decode_aedat2, decode_aedat31, decode_nmnist
from eventflow.ops.decode._state import RecordRegisters

_CAMERAS = {"dvs128": (128, 128), "davis240": (180, 240), "davis346": (260, 346)}
#: Other names that headers have for them.
_ALIASES = {"tmpdiff128": "dvs128"}
_LONGEST = 1 << 23  # jAER may write all its settings
_END = b"#!END-HEADER\r\n"
#: Where jAER says so, the line with which the header ends.
_LAST = b"#end of ascii header"
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def open_aedat1(opening: Opening) -> WordSource:
    """AEDAT 1: six bytes an event, those of a DVS128 in AEDAT 2 without the upper half of the address."""
    _, begin = _header(opening)
    height, width = _CAMERAS["dvs128"]
    return WordSource(opening, height, width, sorted=True, begin=begin, record=6, decode=_decode_aedat1)


def _decode_aedat1(data: Any, state: DecoderState | None) -> Decoded:
    state = state or DecoderState(RecordRegisters())
    records = np.frombuffer(state.tail + bytes(data), np.uint8)
    whole, tail = records[: len(records) // 6 * 6].reshape(-1, 6), records[len(records) // 6 * 6 :].tobytes()
    wide = np.zeros((len(whole), 8), np.uint8)
    wide[:, 2:] = whole
    before = state.position
    out = decode_aedat2(wide.reshape(-1), state._replace(tail=b""), camera="dvs128")
    fault = out.state.fault
    taken = (out.state.position - before) // 8 * 6 + before
    if fault is not None:
        fault, tail = fault._replace(position=(fault.position - before) // 8 * 6 + before), b""
    return out._replace(state=out.state._replace(position=taken, tail=tail, fault=fault))


def open_aedat2(opening: Opening) -> WordSource:
    """AEDAT 2. The camera is told by the header, or by the size of the sensor that the caller gives."""
    head, begin = _header(opening)
    camera = _camera(opening, head[:begin].decode("latin-1").lower())
    height, width = _CAMERAS[camera]
    return WordSource(
        opening, height, width, sorted=True, begin=begin, record=8, decode=partial(decode_aedat2, camera=camera)
    )


def open_aedat31(opening: Opening) -> WordSource:
    """AEDAT 3.1: the header ends with a line ``#!END-HEADER``."""
    head, begin = _header(opening)
    found = head.find(_END)
    begin = found + len(_END) if found >= 0 else begin
    form = re.search(rb"#Format: *([^\r\n]*)", head[:begin])
    if form and form[1].strip().upper() != b"RAW":
        raise opening.error(f"its packets are {form[1].decode('latin-1')!r} (compressed); expected RAW")
    name = re.search(r"Source \d+: *(DVS128|DAVIS240|DAVIS346)", head[:begin].decode("latin-1"), re.IGNORECASE)
    known = _CAMERAS.get(name[1].lower(), (None, None)) if name else (None, None)
    height, width = opening.height or known[0], opening.width or known[1]
    return WordSource(
        opening, height, width, sorted=True, begin=begin, record=28,
        decode=partial(decode_aedat31, height=height, width=width),
    )  # fmt: skip


def open_nmnist(opening: Opening) -> WordSource:
    """N-MNIST (34 x 34) or N-Caltech101; the file does not say which, nor its size."""
    decode = partial(decode_nmnist, height=opening.height, width=opening.width)
    return WordSource(opening, opening.height, opening.width, sorted=True, record=5, decode=decode)


def _header(opening: Opening) -> tuple[bytes, int]:
    """The beginning of the file, and the byte behind its lines of text that begin with ``#``."""
    with opening.path.open("rb") as file:
        head = file.read(_LONGEST)
    at = 0
    while head[at : at + 1] == b"#":
        stop = head.find(b"\n", at)
        line = head[at : stop if stop >= 0 else len(head)]
        if _BINARY.search(line):  # an event whose first byte happens to be a #
            break
        if stop < 0:
            raise opening.error(f"its header does not end within {_LONGEST:,} bytes")
        at = stop + 1
        if line.lower().startswith(_LAST):
            break
    return head, at


def _camera(opening: Opening, header: str) -> str:
    for name in (*_CAMERAS, *_ALIASES):
        if name in header:
            return _ALIASES.get(name, name)
    size = (opening.height, opening.width)
    for name, known in _CAMERAS.items():
        if size == known:
            return name
    told = ", ".join(f"{w}x{h} ({name})" for name, (h, w) in _CAMERAS.items())
    raise opening.error(
        f"its header names no camera that is known here, and the layout of AEDAT 2 depends on it: {told}. Write: "
        "read_events(..., schema=Schema(height=180, width=240)), or on the command line: --columns sensor=240x180; "
        "with the size that is right"
    )
