"""The page of a recording: :class:`RecordingInfo` as a table, a sparkline and a map for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eventflow.io.info._page import bar, duration, sparkline
from eventflow.io.info._recording import RecordingInfo

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHADES = " ·░▒▓█"
#: Hot pixels told one by one.
_SHOWN = 5
#: Earlier and later times than these look like microseconds since 1970: 1990 to 2100.
_EPOCH = (631_152_000_000_000, 4_102_444_800_000_000)


def render_recording(info: RecordingInfo) -> RenderableType:
    """The page, as one rich renderable."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="bold")
    table.add_column()
    for row in _facts(info):
        table.add_row(*row)
    parts: list[RenderableType] = [Rule(Text(info.title, style="bold"), align="left"), table]
    if info.events:
        length = max(1, info.last - info.first + 1)
        peak = max(info.rate) * len(info.rate) / length
        low = min(info.rate) * len(info.rate) / length
        parts += [
            Text(), Text(f"  rate over time, {low:.3g} to {peak:.3g} Mev/s", style="bold"),
            Text("  " + sparkline(info.rate), style="cyan"), Text(),
            Text("  where on the sensor (shades by logarithm)", style="bold"),
            *(Text("  " + line, style="cyan") for line in shaded(info.map)),
        ]  # fmt: skip
    parts += [Text(), Text("what looks wrong", style="bold")]
    parts += [Padding(Text(f"• {sentence}", style="yellow"), (0, 0, 0, 2)) for sentence in info.warnings]
    if info.broken:
        parts.append(Padding(Text("• The file could not be read to its end:", style="red"), (0, 0, 0, 2)))
    elif not info.warnings:
        parts.append(Text("  nothing", style="green"))
    parts += [Padding(Text(note, style="dim"), (0, 0, 0, 2)) for note in info.notes]
    return Group(*parts)


def shaded(counts: np.ndarray) -> list[str]:
    """A map in shades: nothing is blank, the most is full, by the logarithm between."""
    top = np.log1p(max(1, int(counts.max(initial=0))))
    levels = np.ceil(np.log1p(counts) / top * (len(_SHADES) - 1)).astype(int)
    return ["".join(_SHADES[level] for level in row) for row in levels]


def _facts(info: RecordingInfo) -> list[tuple[str, str]]:
    height, width = info.sensor or info.seen
    pixels = max(1, height * width)
    size = f"{width} x {height} pixels" if info.sensor else f"not told; events within {width} x {height} pixels"
    rows = [("format", info.format), ("sensor", size), ("events", f"{info.events:,}")]
    if not info.events:
        return rows
    length = info.last - info.first + 1
    share = info.on / info.events
    rows += [
        ("duration", f"{duration(length, 'us')}, from {_when(info.first)} to {_when(info.last)}{_span(info)}"),
        ("rate", f"{info.events / length:.3g} Mev/s, {info.events / pixels:.3g} events a pixel"),
        ("polarity", f"{bar(share, 20):20}  {share:.1%} brighter, {1 - share:.1%} darker"),
        ("active", f"{info.active:,} of {pixels:,} pixels ({info.active / pixels:.1%})"),
        ("hot", _hot(info)),
        ("clock", f"step {info.step:,} us, longest silence {duration(info.silence[1], 'us')}, at most "
                  f"{info.busiest[1]:,} events at one time"),
        ("ties", f"{info.ties:,} at the time of the event before, {info.repeats:,} of the same pixel"),
    ]  # fmt: skip
    return rows


def _hot(info: RecordingInfo) -> str:
    if not info.hot:
        return "no pixel"
    shown = ", ".join(f"({x}, {y}) {count:,}" for x, y, count in info.hot[:_SHOWN])
    return f"{len(info.hot):,} pixels: {shown}{', ...' if len(info.hot) > _SHOWN else ''}"


def _when(t: int) -> str:
    if _EPOCH[0] <= t <= _EPOCH[1]:
        return str(np.datetime64(t, "us")).replace("T", " ")
    return f"{t / 1e6:,.6f} s"


def _span(info: RecordingInfo) -> str:
    if info.span is None or info.span == (info.first, info.last + 1):
        return ""
    return f"; watched {duration(info.span[1] - info.span[0], 'us')}"
