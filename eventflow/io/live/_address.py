"""URIs taken apart: scheme, host, port, and options that are checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from eventflow.errors import InputError, did_you_mean

_ELSEWHERE = {
    "kafka": "not built yet. Write: kcat -C -b HOST -t TOPIC -o beginning | eventflow stream --source - ...",
    "redis": "not built yet. Pipe a reader that prints JSON lines: reader | eventflow stream --source - ...",
    "file": "write the path itself",
}
_EXPECTED = "expected -, a path, tcp://host:port, udp://host:port?format=... or camera://NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """``scheme://host:port/path?name=value&...``."""

    uri: str
    scheme: str
    host: str
    port: int
    path: str
    options: dict[str, str]

    @property
    def is_camera(self) -> bool:
        """Whether events of a camera are meant, rather than JSON lines."""
        return self.scheme in ("udp", "camera") or "format" in self.options

    def error(self, message: str) -> InputError:
        """An InputError that begins with the URI."""
        return InputError(f"{self.uri}: {message}")

    def check(self, known: Iterable[str]) -> None:
        """Raise :class:`InputError` for an option that is none of these."""
        names = list(known)
        for name, value in self.options.items():
            if name not in names:
                hint = did_you_mean(name, [f"{k}={_EXAMPLES[k]}" for k in names])
                raise self.error(f"option {name}={value}; {hint}")

    def flag(self, name: str, default: bool = False) -> bool:
        """An option that is 0 or 1."""
        return self.choice(name, ("0", "1"), "01"[default]) == "1"

    def choice(self, name: str, known: Iterable[str], default: str | None = None) -> str:
        """An option that is one of these; without a default it must be given."""
        names, value = list(known), self.options.get(name, default)
        if value is None:
            given = "&".join(f"{k}={v}" for k, v in self.options.items())
            head = self.uri.partition("?")[0]
            raise self.error(
                f"which {name}? One of {', '.join(names)}. Write: {head}?{name}={names[0]}{'&' if given else ''}{given}"
            )
        if value not in names:
            raise self.error(f"option {name}={value}; {did_you_mean(value, names)}")
        return value

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float | None:
        """An option that is a number in [least, most]."""
        if name not in self.options:
            return default
        try:
            value = float(self.options[name])
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise self.error(f"option {name}={self.options[name]}; expected a number from {least:g} to {most:g}")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        """An option that is an integer in [least, most]."""
        value = self.number(name, least, most)
        if value is not None and value != int(value):
            raise self.error(f"option {name}={self.options[name]}; expected a whole number")
        return None if value is None else int(value)


_EXAMPLES = {
    "resume": "1", "format": "spif", "width": "640", "height": "480", "idle": "2", "buffer": "16777216",
    "datagram": "2048", "key": "pixel", "stamps": "0", "events": "100", "speed": "1", "serial": "00000001",
    "connect": "127.0.0.1:7777",
}  # fmt: skip


def parse(uri: str) -> Address:
    """The parts of a URI whose scheme is known; tcp and udp need a port."""
    parts = urlsplit(uri)
    if parts.scheme in _ELSEWHERE:
        raise InputError(f"{uri}: {_ELSEWHERE[parts.scheme]}")
    if parts.scheme not in ("tcp", "udp", "camera"):
        raise InputError(f"{uri}: unknown scheme {parts.scheme!r}; {_EXPECTED}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "camera" and (port is None or parts.path not in ("", "/")):
        raise InputError(
            f"{uri}: expected {parts.scheme}://host:port with a port in 0..65535, as in {parts.scheme}://127.0.0.1:9000"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Address(uri, parts.scheme, parts.hostname or "127.0.0.1", port or 0, parts.path.strip("/"), options)
