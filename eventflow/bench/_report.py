"""A report is one HTML file: no script, no font, no picture from elsewhere; readable on a phone, in light and in dark.

A page is text built from blocks, and every block is a function from plain data to HTML; whatever is not a block's own
markup is escaped. ``write(page(title, lead, [section("Data", paragraph("..."), table(...))]), path)``
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from eventflow.errors import InputError


class Rich(NamedTuple):
    """A cell in bold, with a pale remark behind it, or both."""

    text: str
    strong: bool = False
    remark: str = ""


class Group(NamedTuple):
    """A row that is a heading of those below it."""

    text: str


Cell = str | int | float | Rich | None

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #6b737c; --paper: #fefefe; --card: #f3f5f7; --line: #d9dee3;
  --good: #00694d; --bad: #b34700;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #b8578f; --series-4: #b87e00;
  --series-5: #2b8cc4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --faint: #98a1ab; --paper: #14181d; --card: #1e242b; --line: #343c45;
    --good: #4fd1a5; --bad: #ff9a5c;
    --series-0: #58b4ea; --series-1: #ff8a45; --series-2: #35c79b; --series-3: #e59cc4; --series-4: #f0b73c;
    --series-5: #8ccdf5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1.6rem 1.1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; } .lead { font-size: 1.08rem; }
.note, figcaption, footer { color: var(--faint); font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.2rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.fact { background: var(--card); border-radius: .5rem; padding: .7rem .8rem; }
.fact b { display: block; font-size: 1.35rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.fact span { color: var(--faint); font-size: .84rem; line-height: 1.3; display: block; margin-top: .2rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .34rem .55rem; text-align: right; border-bottom: 1px solid var(--line); }
td + td { white-space: nowrap; }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.group td { color: var(--faint); font-size: .82rem; font-weight: 600; padding-top: .9rem; border-bottom: none; }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--paper); }
.wide table { font-size: .86rem; border-collapse: separate; border-spacing: 0; }
.wide th, .wide td { padding: .32rem .4rem; }
@media (min-width: 48rem) { .wide td:first-child { white-space: nowrap; } }
.wide td small { color: var(--faint); } .wide main { max-width: 84rem; } .wide main > :not(.full) { max-width: 60rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 0 2rem; }
tr.strong td { font-weight: 700; background: var(--card); }
figure { margin: 1rem 0; } figure svg, figure img { width: 100%; max-width: 40rem; height: auto; display: block; }
figure svg text { font-family: inherit !important; } figcaption { margin-top: .4rem; }
figure img { background: #fefefe; border-radius: .4rem; }
pre { background: var(--card); border-radius: .5rem; padding: .75rem .9rem; margin: .5rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: .86rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
ol { padding-left: 1.3rem; } li { margin: .5rem 0; } .good { color: var(--good); } .bad { color: var(--bad); }
@media (max-width: 30rem) { table { font-size: .84rem; } th, td { padding: .3rem .3rem; } }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; }
""".strip()


def page(title: str, lead: str, sections: Iterable[str], *, footer: str = "", wide: bool = False) -> str:
    """The whole document. ``lead`` says in a sentence or two what the reader sees; ``wide`` gives tables more room."""
    body = '<body class="wide">' if wide else "<body>"
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_CSS}\n</style>\n</head>\n{body}\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{chr(10).join(sections)}\n{foot}\n'
        "</main>\n</body>\n</html>\n"
    )


def section(title: str, *blocks: str) -> str:
    """A heading and its blocks."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{chr(10).join(blocks)}\n</section>"


def paragraph(text: str, *, note: bool = False) -> str:
    """A paragraph; a note is smaller and paler."""
    return f'<p class="note">{escape(text)}</p>' if note else f"<p>{escape(text)}</p>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Large numbers, each with what it means: (number, meaning)."""
    cards = (f'<div class="fact"><b>{escape(number)}</b><span>{escape(text)}</span></div>' for number, text in pairs)
    return f'<div class="facts">{"".join(cards)}</div>'


def verdict(good: bool, text: str) -> str:
    """A check and its outcome, told by word and colour."""
    return f'<p class="{"good" if good else "bad"}"><b>{"Holds" if good else "Fails"}:</b> {escape(text)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, digits: int = 3, strong: Sequence[str] = ()) -> str:
    """A table that scrolls sideways when it is wide; None is a dash, floats get ``digits``.

    Args:
        header: names of the columns.
        rows: the first cell of each is its name.
        digits: after the point.
        strong: names of rows to set off.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = []
    for row in rows:
        if isinstance(row, Group):
            body.append(f'<tr class="group"><td colspan="{len(header)}">{escape(row.text)}</td></tr>')
            continue
        if len(row) != len(header):
            raise InputError(f"table: row {row[:1]} has {len(row)} cells, the header {len(header)}")
        cells = "".join(f"<td>{_cell(cell, digits)}</td>" for cell in row)
        body.append(f'<tr class="strong">{cells}</tr>' if row[0] in strong else f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{chr(10).join(body)}\n</table></div>'


def figure(picture: str | Path, caption: str) -> str:
    """A picture, given as ``<svg>`` text or as a PNG file (put into the page whole), and what it shows."""
    if isinstance(picture, Path):
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        body = f'<img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{data}">'
    elif picture.startswith("<svg"):
        body = picture.replace("<svg", f'<svg role="img" aria-label="{escape(caption, quote=True)}"', 1)
    else:
        raise InputError(f"figure: {picture[:30]!r} is neither <svg> text nor a Path to a PNG file")
    return f"<figure>\n{body}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def side_by_side(*blocks: str) -> str:
    """Blocks beside one another where there is room, else below."""
    return f'<div class="pair">{"".join(blocks)}</div>'


def code(text: str) -> str:
    """Text as a terminal shows it; long lines wrap."""
    return f"<pre>{escape(text)}</pre>"


def commands(steps: Iterable[tuple[str, str]]) -> str:
    """What to do next: (what it does, the command line)."""
    items = (f"<li>{escape(text)}{code(line)}</li>" for text, line in steps)
    return f"<ol>{''.join(items)}</ol>"


def write(document: str, path: Path) -> None:
    """Write the page whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_three(board: Any, stem: Path, *, made: Mapping[str, str], text: Any, page: Any) -> None:
    """A board as ``stem``.md, .json and .html, each by the module that words it, and whole or not at all."""
    origin = f"Made {made['date']}" + (f" at {made['commit']}" if made["commit"] else "") + f" on {made['machine']}."
    write(text.markdown(board, origin), stem.with_suffix(".md"))
    write(text.as_json(board, made), stem.with_suffix(".json"))
    write(page.page(board, origin), stem.with_suffix(".html"))


def _cell(cell: Cell, digits: int) -> str:
    if not isinstance(cell, Rich):
        return escape(_shown(cell, digits))
    text = escape(cell.text.replace("-", "−"))
    remark = f" <small>{escape(cell.remark)}</small>" if cell.remark else ""
    return (f"<b>{text}</b>" if cell.strong else text) + remark


def _shown(cell: str | int | float | None, digits: int) -> str:
    if cell is None:
        return "–"
    return f"{cell:.{digits}f}".replace("-", "−") if isinstance(cell, float) else str(cell)
