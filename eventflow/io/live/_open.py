"""URIs of cameras to streams and sinks."""

from __future__ import annotations

from dataclasses import replace

from eventflow.events import Schema
from eventflow.io.live._address import Address, parse
from eventflow.io.live._links import Link, TcpLink, UdpLink
from eventflow.io.live._ring import BYTES
from eventflow.io.live._send import CameraSink
from eventflow.io.live._stream import CameraStream, open_stream
from eventflow.io.live._wire import ALIASES, FORMATS, wire

_SENSOR = ("width", "height", "idle", "key")
_LONGEST = 65_507
#: Bytes of a datagram, unless told otherwise: a frame of Ethernet holds 1472.
_DATAGRAM = 2048


def open_camera(uri: str, *, schema: Schema | None = None, recover: bool = False) -> CameraStream:
    """The camera behind ``udp://``, ``tcp://`` with a format, or ``camera://``; see :mod:`eventflow.io.live`."""
    address = parse(uri)
    if address.scheme == "camera":
        from eventflow.io.live._sdk import open_sdk

        link, sensor = open_sdk(address)
        name = "t64"
    else:
        name, sensor, link = _format(address), schema or Schema(), None
    limits = address.whole("width", 1, 1 << 16), address.whole("height", 1, 1 << 16)
    sensor = replace(sensor, unit="us", width=limits[0] or sensor.width, height=limits[1] or sensor.height)
    decoder = wire(name, (sensor.width, sensor.height), stream=address.scheme != "udp")
    idle = address.number("idle", 0.001, 1e9)
    link = link or _link(address)  # when everything else is ready
    return open_stream(link, decoder, format=name, schema=sensor, idle=idle, recover=recover)


def _format(address: Address) -> str:
    address.check(("format", *_SENSOR, *(("buffer", "datagram") if address.scheme == "udp" else ())))
    name = address.choice("format", [*FORMATS, *ALIASES])
    return ALIASES.get(name, name)


def _link(address: Address) -> Link:
    if address.scheme == "tcp":
        return TcpLink(address.host, address.port)
    buffer = address.whole("buffer", 4096, 1 << 30) or BYTES
    return UdpLink(address.host, address.port, buffer=buffer, size=address.whole("datagram", 64, _LONGEST) or _DATAGRAM)


def open_camera_sink(uri: str) -> CameraSink:
    """Where a camera's events are sent: ``udp://host:port?format=...`` or ``tcp://...``."""
    address = parse(uri)
    if address.scheme == "camera":
        raise address.error(
            "a camera takes no events; expected udp://host:port?format=... or tcp://host:port?format=..."
        )
    address.check(("format", "stamps", "events", "speed"))
    name = address.choice("format", [*FORMATS, *ALIASES])
    return CameraSink(
        (address.host, address.port), scheme=address.scheme, format=ALIASES.get(name, name),
        stamps=address.flag("stamps", True), events=address.whole("events", 1, _LONGEST // 4),
    )  # fmt: skip


def pace_of(uri: str) -> float:
    """How many times as fast as it was recorded something is to be sent there; 0: at once."""
    return float(parse(uri).number("speed", 0, 1e6, 1.0) or 0.0)
