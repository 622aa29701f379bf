"""Encoders: the compiled ones against the definitions, and back through the decoders, in any chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.decode import decode_evt2, decode_evt3
from eventflow.ops.encode import encode_evt2, encode_evt3

CODECS = {"evt2": (encode_evt2, decode_evt2), "evt3": (encode_evt3, decode_evt3)}


def events(seed: int, n: int) -> tuple[np.ndarray, ...]:
    """Times with ties, small steps, and silences of up to two loops; rows that fire from left to right."""
    rng = np.random.default_rng(seed)
    odds = [0.8, 0.1, 0.05, 0.02, 0.02, 0.005, 0.005]
    gaps = rng.choice([0, 1, 7, 4095, 5000, 1 << 23, 20_000_000], n, p=odds)
    x = rng.integers(0, 2048, n)
    if seed % 2:
        x = np.cumsum(rng.integers(1, 4, n)) % 2048
    y, p = np.repeat(rng.integers(0, 2048, n), 7)[:n], np.repeat(rng.integers(0, 2, n), 11)[:n]
    first = int(rng.choice([0, 3, 1 << 20, 1 << 35]))
    return first + np.cumsum(gaps), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)


@pytest.mark.parametrize("name", CODECS)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300))
def test_round_trip_and_definition(name: str, seed: int, n: int) -> None:
    encode, decode = CODECS[name]
    columns = events(seed, n)
    words, state = encode(*columns)
    naive, naive_state = encode(*columns, backend="naive")
    assert np.array_equal(words, naive) and state == naive_state and words.dtype == naive.dtype
    out = decode(words)
    assert out.state.fault is None
    for ours, theirs in zip(columns, out[:4], strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("name", CODECS)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_chunks_decode_to_the_same_events(name: str, seed: int, data: st.DataObject) -> None:
    encode, decode = CODECS[name]
    columns = events(seed, 200)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, 200), max_size=4))), 200]
    parts, state = [], None
    for lo, hi in zip(cuts[:-1], cuts[1:], strict=True):
        words, state = encode(*(column[lo:hi] for column in columns), state=state)
        parts.append(words)
    out = decode(np.concatenate(parts))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(columns, out[:4], strict=True))


def test_vectors_are_used() -> None:
    x = np.arange(100, 132, dtype=np.uint16)
    n = len(x)
    words, _ = encode_evt3(np.full(n, 5000), x, np.full(n, 7), np.ones(n, np.uint8))
    assert len(words) == 3 + 4 and words[-4] == 0x3000 | 1 << 11 | 100


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([5, 4], [0, 0], [0, 0], [0, 0]), "time 4 at event 1"),
        (([-1], [0], [0], [0]), "time -1 at event 0"),
        (([1], [2048], [0], [0]), "x is 2048 at event 0"),
        (([1], [0], [0], [2]), "p is 2"),
        (([1.5], [0], [0], [0]), "expected integers t"),
        (([10**15], [0], [0], [0]), "or EVT 2"),
    ],
)
def test_what_cannot_be_told_is_refused(columns: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode_evt3(*(np.array(column) for column in columns))


def test_backend() -> None:
    with pytest.raises(InputError, match="did you mean 'numba'"):
        encode_evt2(*events(0, 3), backend="numbe")
