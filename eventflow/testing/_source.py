"""The laws of a source, for ours and for yours: ``check_source`` names the one that breaks."""

from __future__ import annotations

import json
from collections.abc import Callable

from eventflow.errors import InputError
from eventflow.io import Source

_CHUNKS = (1, 2, 3, 7, 1000)


def check_source(factory: Callable[[], Source]) -> None:
    """Check every law of a :class:`~eventflow.io.Source`.

    Args:
        factory: gives the same finite stream (at least three lines) from its beginning at every call.

    Raises:
        AssertionError: names the law that broke.
    """
    whole = _all(factory(), 1000)
    assert len(whole) >= 3, f"check_source: the stream has {len(whole)} lines; give one with at least three"
    _chunks(factory, whole)
    _positions(factory, whole)
    _foreign(factory)


def _all(source: Source, chunk: int) -> list[bytes]:
    lines: list[bytes] = []
    try:
        while (part := source.read(chunk, None)) is not None:
            assert 0 < len(part) <= chunk, f"read({chunk}) without a timeout gave {len(part)} lines"
            assert not any(b"\n" in line for line in part), "a line holds its newline"
            lines += part
        assert source.read(chunk, 0.0) is None, "the end of the stream is not the end: read gave None, then lines"
    finally:
        source.close()
    return lines


def _chunks(factory: Callable[[], Source], whole: list[bytes]) -> None:
    for chunk in _CHUNKS:
        assert _all(factory(), chunk) == whole, f"chunks of {chunk} lines give another stream than chunks of 1000"


def _positions(factory: Callable[[], Source], whole: list[bytes]) -> None:
    for cut in sorted({0, 1, 2, len(whole) // 2, len(whole) - 1, len(whole)}):
        source = factory()
        before: list[bytes] = []
        while len(before) < cut:
            before += source.read(cut - len(before), None) or []
        try:
            written = json.dumps(source.position, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"position {source.position!r} is not plain data: {error}") from None
        source.close()
        again = factory()
        again.seek(json.loads(written))
        assert json.dumps(again.position) == written, f"seek, then position: {again.position}; it was {written}"
        rest = _all(again, 3)
        assert before + rest == whole, f"behind line {cut}, seek(position) goes on with {len(rest)} other lines"


def _foreign(factory: Callable[[], Source]) -> None:
    source = factory()
    source.read(2, None)
    position = json.loads(json.dumps(source.position))
    source.close()
    for wrong in ({"nonsense": 1}, {**position, "last": [position["last"][0], position["last"][1] ^ 1]}):
        other = factory()
        try:
            other.seek(wrong)
            other.read(1, None)  # a source that waits for its producer sees it only now
        except InputError:
            continue
        finally:
            other.close()
        raise AssertionError(f"seek({wrong}), a position of another stream, was taken")
