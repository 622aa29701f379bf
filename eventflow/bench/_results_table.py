"""The README's tables of results: for each dataset ours, best first, what others published, and what no model did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventflow.bench._results import DIGITS, KINDS, entries, found
from eventflow.errors import InputError

BEGIN, END = "<!-- results: written by `eventflow bench results` -->", "<!-- /results -->"
#: Of these more is better.
_MORE = ("accuracy", "return")

Judged = list[tuple[str, dict[str, Any]]]


def table() -> str:
    """All results files, a Markdown table for each dataset."""
    files = found()
    tables = [
        _table(KINDS[task].metrics, data, models)
        for task in KINDS
        for data, models in files.get(task, {}).items()
    ]  # fmt: skip
    return "\n\n".join(tables)


def readme_with_table(text: str) -> str:
    """A README with the tables between its two marks brought up to date."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise InputError(f"the README has no table to write: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _table(heads: Mapping[str, str], data: str, models: Judged) -> str:
    """Trivial baselines, then each model of ours with what others reached by it; sources below, by number."""
    notes: list[str] = []
    lines = [_line([data, *heads.values(), "runs"]), _line(["---", *["--:"] * len(heads), "---"])]
    trivial: Mapping[str, Any] = next((c["baselines"] for _, c in models if c.get("baselines")), {})
    for name, row in _best(trivial, heads).items():
        lines.append(_line([name, *(f"{row[m]:.{DIGITS}f}" if m in row else "" for m in heads), "trivial"]))
    for model, content in sorted(models, key=lambda pair: _rank(pair, next(iter(heads)))):
        lines += _ours(heads, model, content)
        for row in content.get("theirs", []):
            lines.append(_line([row["model"], *(_number(row, m) for m in heads), _note(notes, row["source"])]))
    return "\n".join([*lines, *(f"\n[{i}] {note}" for i, note in enumerate(notes, 1))])


def _best(rows: Mapping[str, Mapping[str, float]], heads: Iterable[str]) -> dict[str, Mapping[str, float]]:
    """The rows that are the best at something: of many trivial baselines those that count."""
    kept = set()
    for metric in heads:
        judged = {name: row[metric] * (-1 if metric in _MORE else 1) for name, row in rows.items() if metric in row}
        kept |= {min(judged, key=judged.__getitem__)} if judged else set()
    return {name: row for name, row in rows.items() if name in kept}


def _rank(judged: tuple[str, dict[str, Any]], metric: str) -> tuple[float, str]:
    model, content = judged
    means = [ours["metrics"][metric]["mean"] for ours in entries(content)]
    return (min(-m if metric in _MORE else m for m in means) if means else math.inf), model


def _ours(heads: Mapping[str, str], model: str, content: Mapping[str, Any]) -> Iterable[str]:
    for ours in entries(content):
        count = len(ours["seeds"])
        variant = f", {ours['variant']}" if "variant" in ours else ""
        cells = [_plus_minus(ours["metrics"][name]) for name in heads]
        yield _line([f"**{model}**{variant}", *cells, f"{count} seed{'s' * (count > 1)}, {ours['commit']}"])


def _note(notes: list[str], source: str) -> str:
    """The number of a source among ``notes``, to which it is added if it is new."""
    if source not in notes:
        notes.append(source)
    return f"[{notes.index(source) + 1}]"


def _number(row: Mapping[str, Any], metric: str) -> str:
    return f"{row[metric]:,.{3 if abs(row[metric]) < 100 else 0}f}" if metric in row else ""


def _plus_minus(entry: Mapping[str, float]) -> str:
    if entry["mean"] == round(entry["mean"]) and entry["std"] == 0:  # a count
        return f"{entry['mean']:,.0f}"
    digits = DIGITS if abs(entry["mean"]) < 100 else 0
    mean = f"{entry['mean']:,.{digits}f}"
    return mean if math.isnan(entry["std"]) else f"{mean} ± {entry['std']:,.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
