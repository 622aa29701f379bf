"""Imports flow one way: ops -> events -> io -> nn -> online -> {vision | tpp | rl} -> train -> bench -> cli."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "eventflow"
ROWS = ("ops", "events", "io", "nn", "online", ("vision", "tpp", "rl"), "train", "bench", "cli")
LEVEL = {room: i for i, row in enumerate(ROWS) for room in ([row] if isinstance(row, str) else row)}
FREE = {"errors", "_assets", "__init__"}  # may be imported by every room
HEAVY = {"lightning": "train", "pytorch_lightning": None}  # package -> the one room that may import it


def modules(path: Path, package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything that a file imports; relative imports resolved."""
    here = ("eventflow", *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                [*here[: len(here) - node.level], *filter(None, [node.module])] if node.level else [node.module or ""]
            )
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def offences(path: Path, package: Path = PACKAGE) -> Iterator[str]:
    """What a file imports that it must not, one line each."""
    room = path.relative_to(package).parts[0].removesuffix(".py")
    for line, name in modules(path, package):
        where = f"eventflow/{path.relative_to(package)}:{line}"
        top, _, rest = name.partition(".")
        if top in HEAVY and room != HEAVY[top]:
            yield f"{where} imports {name}; " + (f"only {HEAVY[top]}/ may" if HEAVY[top] else "write lightning.pytorch")
        target = rest.partition(".")[0]
        if top != "eventflow" or target in FREE or target == room or room in ("__init__", "__main__", "testing"):
            continue
        if target == "testing":
            yield f"{where} imports {name}; nothing imports testing"
        elif target in LEVEL and (room in FREE or LEVEL[target] >= LEVEL[room]):
            yield f"{where} imports {name}; {room} may not import {target}"


def test_imports_flow_one_way() -> None:
    found = [line for path in sorted(PACKAGE.rglob("*.py")) for line in offences(path)]
    assert not found, "\n".join(found)


def test_every_room_has_its_place() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= {*LEVEL, "testing"}, rooms - {*LEVEL, "testing"}


@pytest.mark.parametrize(
    ("file", "text", "offence"),
    [
        ("ops/_x.py", "from eventflow.events import Events", "ops may not import events"),
        ("events/_x.py", "def f():\n    import eventflow.io.read", "events may not import io"),
        ("nn/_x.py", "from eventflow import tpp", "nn may not import tpp"),
        ("tpp/_x.py", "from eventflow.vision import epe", "tpp may not import vision"),
        ("tpp/models/_x.py", "from ...train import EventData", "tpp may not import train"),
        ("bench/_x.py", "import lightning.pytorch as L", "only train/ may"),
        ("train/_x.py", "from pytorch_lightning import Trainer", "write lightning.pytorch"),
        ("train/_x.py", "from eventflow.testing import check_cell", "nothing imports testing"),
        ("errors.py", "from eventflow.io import read_events", "errors may not import io"),
        ("io/_x.py", "import eventflow.errors\nfrom eventflow.events import pad\nimport numpy", None),
        ("testing/_x.py", "from eventflow.train import EventData", None),
    ],
)
def test_the_rule_fires(tmp_path: Path, file: str, text: str, offence: str | None) -> None:
    path = tmp_path / "eventflow" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = list(offences(path, tmp_path / "eventflow"))
    assert found == [] if offence is None else len(found) == 1 and offence in found[0]
    assert offence is None or found[0].startswith(f"eventflow/{file}:")
