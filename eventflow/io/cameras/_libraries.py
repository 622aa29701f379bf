"""Formats whose containers good libraries know: AEDAT 4 (extra ``aedat``) and Event Stream (extra ``es``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventflow.errors import InputError, require
from eventflow.io._text import Progress
from eventflow.io.cameras._fault_place import aedat4_place
from eventflow.io.cameras._source import Bound, BrokenError, Columns, Opening, Source, as_columns


@dataclass(slots=True)
class Aedat4Source(Source):
    """The packets of one stream of events."""

    stream: int = 0

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        progress, row, number = Progress(self.opening.path), 0, -1
        try:
            for number, packet in enumerate(_decoder(self.opening)):  # noqa: B007 - the fault is in the one after it
                events = packet.get("events")
                if events is None or packet["stream_id"] != self.stream or not len(events):
                    continue
                yield as_columns(_signed(events["t"], row), events["x"], events["y"], events["on"], first=row)
                row += len(events)
                if end is not None and int(events["t"][-1]) >= end:
                    return
        except (RuntimeError, OSError, ValueError) as error:
            raise _broken(error, row, aedat4_place(self.opening.path, number + 1)) from None
        finally:
            progress.stop()


def open_aedat4(opening: Opening) -> Aedat4Source:
    """AEDAT 4 by the library ``aedat``; of several streams of events, the first."""
    try:
        streams = _decoder(opening).id_to_stream()
    except (RuntimeError, OSError, ValueError) as error:
        raise opening.error(f"an AEDAT 4 file that cannot be opened ({error})") from None
    events = {key: stream for key, stream in streams.items() if stream["type"] == "events"}
    if not events:
        held = ", ".join(sorted({stream["type"] for stream in streams.values()})) or "nothing"
        raise opening.error(f"no stream of events in it; it holds {held}")
    first = min(events)
    notes = [f"it has {len(events)} streams of events; this is stream {first}"] if len(events) > 1 else []
    height, width = opening.height or events[first]["height"], opening.width or events[first]["width"]
    return Aedat4Source(opening, height, width, notes=notes, stream=first)


def _decoder(opening: Opening) -> Any:
    return require("aedat", "aedat").Decoder(str(opening.path))


@dataclass(slots=True)
class EsSource(Source):
    """Packets of the kinds ``dvs`` and ``atis``. The format counts rows from below; here (0, 0) is the top left pixel.

    Of ``atis``, exposure measurements are passed over. A file that was cut off between two events cannot be told from
    a shorter one: the format has no end.
    """

    atis: bool = False

    def blocks(self, start: Bound, end: Bound) -> Iterator[Columns]:
        assert self.height is not None
        progress, row, bottom = Progress(self.opening.path), 0, self.height - 1
        try:
            with require("event_stream", "es").Decoder(str(self.opening.path)) as packets:
                for events in packets:
                    events = events[~events["e"]] if self.atis else events
                    y = bottom - events["y"].astype(np.int64)
                    yield as_columns(_signed(events["t"], row), events["x"], y, events["p"], first=row)
                    row += len(events)
                    if end is not None and len(events) and int(events["t"][-1]) >= end:
                        return
            self._check_end()
        except (RuntimeError, OSError, ValueError) as error:
            raise _broken(error, row) from None
        finally:
            progress.stop()

    def _check_end(self) -> None:
        from eventflow.io.cameras._es_tail import missing

        path = self.opening.path
        left = missing(path, atis=self.atis)
        if left:
            at = path.stat().st_size - (5 - left)
            raise BrokenError(f"byte {at:,}: the file is cut off within an event; {left} bytes are missing")


def open_es(opening: Opening) -> EsSource:
    """Event Stream by the library ``event_stream``; only the kinds ``dvs`` and ``atis`` hold x, y and p."""
    try:
        decoder = require("event_stream", "es").Decoder(str(opening.path))
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise opening.error(f"an Event Stream file that cannot be opened ({error})") from None
    with decoder:
        if decoder.type not in ("dvs", "atis"):
            raise opening.error(f"an Event Stream file of the kind {decoder.type!r}; only dvs and atis hold x, y and p")
        return EsSource(opening, decoder.height, decoder.width, atis=decoder.type == "atis")


def _signed(t: Any, row: int) -> Any:
    if len(t) and t.max() > 2**62:
        raise BrokenError(f"event {row:,}: the time {t.max()} is no time in microseconds")
    return t.astype(np.int64)


def _broken(error: Exception, row: int, place: str = "") -> Exception:
    return error if isinstance(error, InputError) else BrokenError(f"{place}event {row:,}: {error}")
