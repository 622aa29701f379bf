"""The info page: :class:`Info` as tables, bars and sparklines for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eventflow.events import UNITS
from eventflow.io._card import Card
from eventflow.io.info._info import QUANTILES, SHOWN_MARKS, Info
from eventflow.io.info._suspicions import name_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_BLOCKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = 36
_UNIT_WORDS = {"min": "minutes", "h": "hours", "d": "days", "10ks": "10,000 s", "1": "units"}


def render(info: Info) -> RenderableType:
    """The page, as one rich renderable."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.rule import Rule
    from rich.text import Text

    parts: list[RenderableType] = [Rule(Text(info.title or "events", style="bold"), align="left"), _facts(info)]
    if info.gap_quantiles or info.length_quantiles:
        parts += [Text(), _quantile_table(info)]
    if info.rate:
        when = "since the beginning of each sequence" if info.aligned else f"from {_ends(info)}"
        parts += [Text(), _plot(f"rate over time, {when}", info.rate)]
    if len(info.gap_histogram) > 1:
        low, high = (duration(value, info.schema.unit) for value in info.gap_range)
        parts += [Text(), _plot(f"gaps > 0, log scale from {low} to {high}", info.gap_histogram)]
    if info.marks:
        parts += [Text(), _mark_table(info)]
    parts += [Text(), Text("what looks wrong", style="bold")]
    for sentence in info.warnings:
        parts.append(Padding(Text(f"• {sentence}", style="yellow"), (0, 0, 0, 2)))
    if not info.warnings:
        parts.append(Text("  nothing", style="green"))
    for note in (*info.left_out.splitlines(), *info.notes):
        parts.append(Padding(Text(note, style="dim"), (0, 0, 0, 2)))
    return Group(*parts)


def render_card(card: Card) -> RenderableType:
    """A dataset's card, above the pages of its splits."""
    from rich.console import Group
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    rows = [("", card.description), ("span", card.span), ("split", card.split_note), ("source", card.source),
            ("hub", card.hub), ("licence", card.licence), ("cite", card.citation)]  # fmt: skip
    rows += [(split, f"{len(names)} recordings: {', '.join(names)}") for split, names in card.recordings.items()]
    if card.recipe:
        rows.append(("recipe", ", ".join(f"{name} {value}" for name, value in card.recipe.items())))
    if card.truth:
        rows.append(("truth", f"known: {', '.join(card.truth)}"))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, value in [*rows, *(("note", note) for note in card.notes)]:
        if value:
            table.add_row(name, Text(" ".join(value.split())))
    return Group(Rule(Text(f"{card.name}: {card.title}", style="bold"), align="left"), table)


def sparkline(counts: Sequence[int]) -> str:
    """Bars of eight heights; a count > 0 is never drawn as nothing."""
    top = max(counts, default=0)
    return "".join(_BLOCKS[0 if not count else max(1, round(8 * count / top))] for count in counts)


def bar(share: float, width: int = _BAR) -> str:
    """A horizontal bar of ``share`` of the width, in eighths of a character."""
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def duration(value: float, unit: str) -> str:
    """A gap with a unit that people read: 0.2246 h is 13.5 min."""
    seconds = UNITS[unit]
    if not np.isfinite(value) or not np.isfinite(seconds):
        return f"{value:.4g}"
    total = value * seconds
    for name, size in (
        ("d", 86400.0),
        ("h", 3600.0),
        ("min", 60.0),
        ("s", 1.0),
        ("ms", 1e-3),
        ("us", 1e-6),
        ("ns", 1e-9),
    ):
        if abs(total) >= size * (1 - 1e-6):
            return f"{total / size:.3g} {name}"
    return f"{total:.3g} s"


def _facts(info: Info) -> Table:
    from rich.table import Table

    schema = info.schema
    unit = _UNIT_WORDS.get(schema.unit, schema.unit)
    words = " (named)" if schema.vocabulary else ""
    gaps = info.events - info.sequences + info.empty
    rows = [
        ("format", info.format or "-"),
        ("sequences", f"{info.sequences:,}" + (f", {info.singles:,} of one event" if info.singles else "")),
        (
            "events",
            f"{info.events:,}, {info.scored:,} scored" + (" (first ones are given)" if schema.given_first else ""),
        ),
        ("sensor", f"{schema.width} x {schema.height} pixels")
        if schema.height and schema.width
        else ("K", f"{schema.num_marks:,} kinds of mark{words}" if schema.num_marks else "no marks"),
        ("time", f"{info.time_dtype} in {unit}, {_ends(info)}"),
        ("span", _spans(info)),
        ("ties", f"{info.ties:,} zero gaps ({info.ties / max(gaps, 1):.2%}), {info.duplicates:,} duplicate rows"),
        (
            "order",
            f"{info.backwards:,} rows out of order" + (f", {info.not_finite:,} not finite" if info.not_finite else ""),
        ),
    ]
    if info.columns:
        rows.append(("columns", ", ".join(f"{name} ({dtype})" for name, dtype in info.columns.items())))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="bold")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def _spans(info: Info) -> str:
    if info.backwards or info.not_finite:
        return "unknown, since the times are in disorder"
    how = "from the first event to just past the last" if info.schema.given_first else "as declared"
    shortest, longest = (duration(width, info.schema.unit) for width in info.spans)
    return f"{shortest if info.spans[0] > 1e-6 * info.spans[1] else '0'} to {longest} a sequence, {how}"


def _quantile_table(info: Info) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    names = ["min", *(f"{q:.0%}" for q in QUANTILES[1:-1]), "max", "mean"]
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    if info.length_quantiles and info.sequences > 1:
        mean = info.events / max(info.sequences, 1)
        table.add_row(" length", *(f"{q:,.0f}" for q in info.length_quantiles), f"{mean:,.2f}")
    if info.gap_quantiles:
        values = (*info.gap_quantiles, info.mean_gap)
        unit = info.schema.unit
        table.add_row(f" gap ({unit})" if unit != "1" else " gap", *map(_short, values))
        if np.isfinite(UNITS[unit]):
            table.add_row("", *(duration(value, unit).replace(" min", "min") for value in values), style="dim")
    return table


def _short(value: float) -> str:
    """Three digits in as few characters as 80 columns leave: 1.7e5, not 1.7e+05."""
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", f"{value:.3g}")


def _plot(title: str, counts: Sequence[int]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    low, high = min(counts), max(counts)
    return Group(Text(f"  {title}", style="bold"), Text("  " + sparkline(counts), style="cyan"),
                 Text(f"  {low:,} to {high:,} a column", style="dim"))  # fmt: skip


def _mark_table(info: Info) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    total = sum(count for _, count in info.marks)
    top = info.marks[0][1]
    for mark, count in info.marks[:SHOWN_MARKS]:
        name = name_of(info, mark)
        label = name if len(name) <= 32 else name[:29] + "..."
        table.add_row(Text(label), f"{count:,}", f"{count / total:.2%}", Text(bar(count / top), style="cyan"))
    rest = info.marks[SHOWN_MARKS:]
    if rest:
        count = sum(n for _, n in rest)
        table.add_row(f"{len(rest):,} others", f"{count:,}", f"{count / total:.2%}", Text(bar(min(count / top, 1.0))))
    for column, justify in zip(table.columns, ("left", "right", "right", "left"), strict=True):
        column.justify = justify  # type: ignore[assignment]
    return table


def _ends(info: Info) -> str:
    """First and last time, as dates if they look like time since 1970."""
    seconds = UNITS[info.schema.unit]
    first, last = info.first, info.last
    if np.isfinite(first) and np.isfinite(seconds) and 3.2e8 < first * seconds < 7.3e9 and not info.aligned:
        return " to ".join(str(np.datetime64(int(value * seconds), "s")).replace("T", " ") for value in (first, last))
    return f"{first:.6g} to {last:.6g}"
