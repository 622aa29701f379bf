"""A command line from a signature: types, defaults, help, and the errors that name the nearest flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from eventflow.cli import benches
from eventflow.cli._signature import call, parser_of
from eventflow.errors import InputError


def command(
    source: str, count: int = 3, *, rate: float | None = None, out: Path | None = None, loud: bool = False,
    seeds: list[int] | None = None, names: Sequence[str] = ("a",), mode: Literal["x", "y"] = "x",
) -> dict[str, Any]:  # fmt: skip
    """Do it.

    More about it, 100 % true.

    Args:
        source: where from,
            on two lines.
        count: how many.
        mode: x or y.

    Raises:
        InputError: never.
    """
    return dict(locals())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], {"source": "a", "count": 3, "rate": None, "loud": False, "mode": "x", "seeds": None, "names": ("a",)}),
        (["a", "--count", "7", "--rate", "0.5"], {"count": 7, "rate": 0.5}),
        (["a", "--out", "b/c"], {"out": Path("b/c")}),
        (["a", "--loud"], {"loud": True}),
        (["a", "--no-loud"], {"loud": False}),
        (["a", "--seeds", "0", "1", "2"], {"seeds": [0, 1, 2]}),
        (["a", "--names", "p", "q"], {"names": ["p", "q"]}),
        (["a", "--mode=y"], {"mode": "y"}),
    ],
)
def test_arguments_arrive_as_their_types(words: list[str], expected: dict[str, Any]) -> None:
    seen = call(command, words, prog="prog")
    assert {key: seen[key] for key in expected} == expected
    assert all(type(seen[key]) is type(value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: SOURCE"),
        (["a", "--cuont", "3"], "unknown argument '--cuont'; did you mean '--count'"),
        (["a", "--cou", "3"], "unknown argument '--cou'; did you mean '--count'"),
        (["a", "--count", "many"], "--count: invalid int value: 'many'"),
        (["a", "--mode", "z"], "choose from"),
        (["a", "b"], "unknown argument 'b'"),
    ],
)
def test_wrong_words_are_told(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        call(command, words, prog="prog")
    assert message in str(caught.value) and str(caught.value).startswith("prog: ")
    assert str(caught.value).endswith("See: prog --help")


def test_help_is_the_docstring() -> None:
    text = parser_of(command, prog="prog").format_help()
    assert "More about it, 100 % true." in text and "where from, on two lines." in text
    assert "how many. (default: 3)" in text and "Raises" not in text


def test_a_dataclass_is_a_command_too() -> None:
    @dataclass(frozen=True)
    class Words:
        """Args: none."""

        where: str
        size: int = 2

    Words.__annotations__ = {"where": str, "size": int}  # local classes cannot be looked up by name
    assert call(Words, ["x", "--size", "5"], prog="prog") == Words("x", 5)


def test_benches_are_found_without_importing_them() -> None:
    found = benches()
    assert {"scan", "train", "results"} <= set(found) and "demo" not in found
    assert all(found.values())  # each says what it is in its first line


@pytest.mark.parametrize("name", sorted(benches()))
def test_every_bench_has_a_command_line(name: str) -> None:
    from importlib import import_module

    parser = parser_of(import_module(f"eventflow.bench._{name}").run, prog=f"eventflow bench {name}")
    assert "--out" in parser.format_help()
