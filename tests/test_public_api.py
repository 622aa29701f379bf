"""The public names, and what importing them costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eventflow

SNAPSHOT = Path(__file__).with_name("public_names.txt")
ROOMS = ("errors", "events", "io", "nn", "online", "ops", "rl", "testing", "tpp", "train", "vision")


def public_names() -> list[str]:
    """room.name of everything that a room's ``__init__`` re-exports or lists."""
    found = []
    for room in ROOMS:
        module = importlib.import_module(f"eventflow.{room}")
        listed = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "").startswith("eventflow.")
        ]
        found += [f"{room}.{name}" for name in listed]
    return sorted(found)


def test_public_names_are_the_snapshot(request: pytest.FixtureRequest) -> None:
    """A name added or removed is a decision: run with --update-golden, and read the diff."""
    if request.config.getoption("--update-golden"):
        SNAPSHOT.write_text("\n".join(public_names()) + "\n")
    expected = SNAPSHOT.read_text().split()
    seen = public_names()
    assert seen == expected, f"added {sorted({*seen} - {*expected})}, removed {sorted({*expected} - {*seen})}"


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_import_is_quick_and_light() -> None:
    """Under 0.3 s on an idle machine; here CPU time is bounded, and what is heavy must not be there at all."""
    start = time.perf_counter()
    code = "import time, sys; a = time.process_time(); import eventflow; print(time.process_time() - a, *sys.modules)"
    seconds, *loaded = python(code).stdout.split()
    assert float(seconds) < 0.3
    assert not {"torch", "numpy", "lightning", "pyarrow", "numba"} & set(loaded)
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize(
    ("package", "rooms"),
    [
        ("torch", ["errors", "events", "ops", "io", "vision"]),
        ("lightning", ["nn", "tpp", "online", "testing", "train"]),
    ],
)
def test_rooms_import_no_more_than_they_need(package: str, rooms: list[str]) -> None:
    """Lightning is imported by a training only, torch by what learns."""
    code = "import sys, importlib\nfor room in sys.argv[1:]:\n    importlib.import_module(f'eventflow.{room}')\n"
    done = python(f"{code}    print(room, {package!r} in sys.modules)", *rooms)
    assert done.stdout.splitlines() == [f"{room} False" for room in rooms], done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["data", "--help"], ["bench", "--help"], ["dta"]])
def test_the_command_answers_without_torch(words: list[str]) -> None:
    code = f"import sys; from eventflow.cli import main; code = main({words!r}); print(code, 'torch' in sys.modules)"
    done = python(code)
    assert done.stdout.split()[-2:] == ["2" if words == ["dta"] else "0", "False"], done.stderr


def test_rooms_come_when_they_are_touched() -> None:
    done = python("import eventflow as ef; print(ef.events.Schema().unit, 'io' in dir(ef), hasattr(ef, 'nonsense'))")
    assert done.stdout.split() == ["1", "True", "False"], done.stderr


def test_the_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert eventflow.__version__ == version("eventflow")
