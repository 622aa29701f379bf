"""ECF chunks: chunks that the format's own encoder made, the compiled decoder against the definition, and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.decode_ecf import decode_ecf

#: Made by the published codec from these events: (t, x, y, p).
MADE = {
    "y, x and p packed": (
        "16000000f4030000000000000500e0b51db4e7960f6be50c22005ec0170000000000000000",
        [(1012, 752, 475, 0), (1012, 768, 249, 0), (1012, 986, 558, 0), (1012, 693, 206, 1), (1012, 47, 380, 0)],
    ),
    "nothing packed": (
        "14000000fa0300000000000002d38528be3d05",
        [(1018, 493, 324, 0), (1018, 494, 324, 0), (1031, 495, 324, 0), (1031, 496, 324, 0), (1031, 497, 324, 0)],
    ),
    "x and p packed": (
        "25000000e803000000000000033609087b1c284260980557129a8607e09d00000000",
        [(1000, 227, 64, 1), (1000, 533, 64, 1), (1000, 1172, 64, 0), (1003, 1072, 64, 0), (1003, 696, 64, 0),
         (1003, 1234, 64, 1), (1003, 9, 64, 0), (1003, 963, 64, 0), (1003, 1263, 64, 0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("backend", ["numba", "naive"])
def test_chunks_of_the_published_codec(name: str, backend: str) -> None:
    data, events = MADE[name]
    columns = decode_ecf(bytes.fromhex(data), backend=backend)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == events
    assert [column.dtype for column in columns] == [np.int64, np.uint16, np.uint16, np.uint8]


def chunk(seed: int) -> bytes:
    """A chunk in one of the three ways, written from the definition, with silences and long runs."""
    rng = np.random.default_rng(seed)
    n, way = int(rng.integers(1, 90)), int(rng.integers(0, 3))
    out = (n << 2 | way).to_bytes(4, "little") + int(rng.integers(0, 2**40)).to_bytes(8, "little")
    left = n
    while left:
        silence = int(rng.integers(0, 2**30)) if rng.random() < 0.3 else 0
        while silence:
            out, silence = out + bytes([0xF0 | silence & 15]), silence >> 4
        count = min(int(rng.integers(0, 40)), left)
        head = int(rng.integers(0, 15)) << 4
        out += bytes([head | count]) if count < 15 else bytes([head | 15]) + count.to_bytes(2, "little")
        left -= count
    if way < 2:
        left = n
        while left:
            count = min(int(rng.integers(0, 50)), left)
            y = int(rng.integers(0, 2048)) << 5
            out += (y | min(count, 31)).to_bytes(2, "little") + (count.to_bytes(2, "little") if count >= 31 else b"")
            left -= count
    return out + rng.bytes(12 * n)


@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_equals_definition(seed: int) -> None:
    for data in (chunk(seed), chunk(seed)[: seed % 60]):
        outcomes = []
        for backend in ("numba", "naive"):
            try:
                outcomes.append([column.tolist() for column in decode_ecf(data, backend=backend)])
            except InputError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


def test_most_of_the_written_chunks_are_read() -> None:
    good = 0
    for seed in range(60):
        try:
            good += len(decode_ecf(chunk(seed))[0]) > 0
        except InputError:
            continue
    assert good > 25


@given(data=st.binary(max_size=300), n=st.integers(0, 70_000), way=st.integers(0, 3))
def test_noise_is_refused_or_read_never_worse(data: bytes, n: int, way: int) -> None:
    try:
        columns = decode_ecf((n << 2 | way).to_bytes(4, "little") + data)
    except InputError:
        return
    assert {len(column) for column in columns} == {n}


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="no chunk of events"):
        decode_ecf(b"\1")
    with pytest.raises(InputError, match="did you mean 'naive'"):
        decode_ecf(bytes(12), backend="naiv")
