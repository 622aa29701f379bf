"""Files that are a header and then words or records: read in blocks, resumable at any block already seen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from eventflow.io._text import Progress
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Source
from eventflow.ops.decode import Decoded, DecoderState

#: Bytes decoded at a time: a multiple of every record (2, 4, 5 and 8 bytes).
BLOCK = 5 << 18


class _Place(NamedTuple):
    """A place in the file where decoding can begin: every event from there on is at or after ``now``."""

    now: int
    offset: int
    state: DecoderState


@dataclass(slots=True)
class WordSource(Source):
    """``decode(data, state)`` decodes bytes; ``begin``: the byte where they begin; ``record``: the size of one.

    While it reads, it remembers where each block began and what the decoder knew, so that a later window starts there.
    """

    decode: Callable[[Any, DecoderState | None], Decoded] | None = None
    begin: int = 0
    record: int = 1
    places: list[_Place] = field(default_factory=list)

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        assert self.decode is not None
        path = self.opening.path
        offset, state = self._from(start)
        progress = Progress(path)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                while True:
                    data = np.empty(BLOCK, np.uint8)
                    length = _fill(file, data)
                    if not length:
                        break
                    out = self.decode(data[:length], state)
                    offset, state = offset + length, out.state
                    self._remember(offset, state)
                    progress.at(offset)
                    yield Columns(*out[:4])
                    if state.fault is not None:
                        at = self.begin + state.fault.position
                        raise BrokenError(f"byte {at:,}: {state.fault.reason} (0x{state.fault.word:x})")
                    if end is not None and len(out.t) and out.t[-1] >= end:
                        return
        finally:
            progress.stop()
        self._note_held(state)
        self._check_end(state)

    def _from(self, start: Bound) -> tuple[int, DecoderState | None]:
        at = 0 if start is None else bisect_left(self.places, start, key=lambda place: place.now)
        return (self.places[at - 1].offset, self.places[at - 1].state) if at else (self.begin, None)

    def _remember(self, offset: int, state: DecoderState) -> None:
        if state.fault is None and (not self.places or offset > self.places[-1].offset):
            self.places.append(_Place(state.registers.now, offset, state))

    def _note_held(self, state: DecoderState | None) -> None:
        if state is not None and state.held:
            note = (
                f"time stepped back a little {state.held:,} times; the clock was held (SLACK in eventflow.ops.decode)"
            )
            if note not in self.notes:
                self.notes.append(note)

    def _check_end(self, state: DecoderState | None) -> None:
        missing = self.record - len(state.tail) if state is not None and state.tail else 0
        if state is not None and getattr(state.registers, "left", 0):
            missing = state.registers.left - len(state.tail)  # type: ignore[union-attr]
        if state is not None and missing:
            at = self.begin + state.position
            raise BrokenError(f"byte {at:,}: the file is cut off within a record; {missing:,} bytes are missing")


def _fill(file: Any, data: Any) -> int:
    """Read until ``data`` is full or the file ends."""
    length, view = 0, memoryview(data)
    while length < len(view):
        got = file.readinto(view[length:])
        if not got:
            break
        length += got
    return length
