"""Prophesee's files: RAW (EVT 2.0, 2.1, 3.0) and DAT. A header of lines that begin with ``%``, then words."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from eventflow.io.cameras._source import Opening
from eventflow.io.cameras._words import WordSource
from eventflow.ops.decode import decode_dat, decode_evt2, decode_evt3, decode_evt21

_DECODERS = {"evt2": (decode_evt2, 4), "evt21": (decode_evt21, 8), "evt3": (decode_evt3, 2)}
#: What the names of cameras and plugins tell of the sensor's (height, width), where the header does not.
_SENSORS = (
    (("genx320",), (320, 320)),
    (("gen41", "gen4", "imx636", "imx646"), (720, 1280)),
    (("gen31", "gen3"), (480, 640)),
)
_LONGEST = 1 << 16


class Header(NamedTuple):
    """The lines as name -> value (names in small letters), and the byte where the words begin."""

    lines: dict[str, str]
    begin: int

    @property
    def encoding(self) -> str | None:
        """evt2, evt21, evt3, dat, what else the header says, or None: it does not say."""
        name = self.lines.get("format", "").split(";")[0].upper().replace(".", "")
        if name in ("EVT2", "EVT20", "EVT21", "EVT3", "EVT30"):
            return "evt2" if name == "EVT20" else "evt3" if name == "EVT30" else name.lower()
        version = self.lines.get("evt", "")
        if version:
            return f"evt{version.removesuffix('.0').replace('.', '')}"
        if name:
            return name.lower()
        return "dat" if "data file containing" in self.lines or "version" in self.lines else None

    @property
    def span(self) -> tuple[int, int] | None:
        """The span that we wrote, if there is one."""
        found = re.match(r"(-?\d+) (-?\d+)$", self.lines.get("span", ""))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) of the sensor, as the header tells them or its name of the camera does."""
        options = dict(part.split("=", 1) for part in self.lines.get("format", "").split(";") if "=" in part)
        found = re.match(r"(\d+)x(\d+)$", self.lines.get("geometry", ""))
        pairs = [
            (options.get("height"), options.get("width")), (self.lines.get("height"), self.lines.get("width")),
            (found[2], found[1]) if found else (None, None),
        ]  # fmt: skip
        for height, width in pairs:
            if height and width and height.isdigit() and width.isdigit() and int(height) and int(width):
                return int(height), int(width)
        told = " ".join(self.lines.get(key, "") for key in ("plugin_name", "sensor_name", "sensor_info", "generation"))
        told = told.lower()
        return next((size for names, size in _SENSORS if any(name in told for name in names)), (None, None))


def parse_header(head: bytes) -> Header:
    """The header at the beginning of a file; it ends before the first line that does not begin with ``%``."""
    lines: dict[str, str] = {}
    at = 0
    while head[at : at + 2] in (b"% ", b"%\n", b"%\r"):
        stop = head.find(b"\n", at)
        if stop < 0:
            break
        words = head[at + 1 : stop].decode("latin-1").strip()
        at = stop + 1
        if words == "end":
            break
        if words.lower().startswith("data file containing"):
            lines["data file containing"] = words[20:].strip()
        elif words:
            name, _, value = words.partition(" ")
            lines[name.lower()] = value.strip()
    return Header(lines, at)


def open_raw(opening: Opening) -> WordSource:
    """A RAW file; ``opening.variant`` is evt2, evt21 or evt3."""
    header = parse_header(_head(opening))
    if header.encoding not in (None, opening.variant):
        raise opening.error(f"its header says {header.encoding}; it cannot be read as {opening.variant}")
    decode, record = _DECODERS[opening.variant]
    legacy = "endianness=legacy" in header.lines.get("format", "").replace(" ", "").lower()
    height, width = _size(opening, header)
    options = {"legacy": True} if legacy and opening.variant == "evt21" else {}
    return WordSource(
        opening, height, width, header.span, sorted=True, begin=header.begin, record=record,
        decode=partial(decode, height=height, width=width, **options),
    )  # fmt: skip


def open_dat(opening: Opening) -> WordSource:
    """A DAT file: after the header two bytes, the type and the size (8) of an event."""
    head = _head(opening)
    header = parse_header(head)
    begin, version = header.begin, header.lines.get("version", "")
    if begin:
        kind, size = head[begin : begin + 1], head[begin + 1 : begin + 2]
        if size != b"\x08" or kind not in (b"\x00", b"\x0c"):
            raise opening.error(
                f"byte {begin}: events of type 0x{kind.hex()} and 0x{size.hex()} bytes; expected changes, type 0x00 or "
                "0x0c, of 0x08 bytes"
            )
        begin += 2
    height, width = _size(opening, header)
    layout = 1 if begin and (not version or version.startswith(("0", "1"))) else 2
    return WordSource(
        opening, height, width, header.span, sorted=True, begin=begin, record=8,
        decode=partial(decode_dat, height=height, width=width, version=layout),
    )  # fmt: skip


def _head(opening: Opening) -> bytes:
    with opening.path.open("rb") as file:
        return file.read(_LONGEST)


def _size(opening: Opening, header: Header) -> tuple[int | None, int | None]:
    height, width = header.size
    for name, ours, given in (("height", height, opening.height), ("width", width, opening.width)):
        if given is not None and ours is not None and given != ours and "plugin_name" not in header.lines:
            raise opening.error(f"its header says {name}={ours}, the schema says {given}")
    return opening.height or height, opening.width or width
