"""Records in datagrams: the compiled kernel against the definition, and what each kind of trouble does."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.decode_datagrams import LATE, LAYOUTS, SLACK, Arrived, Registers, decode_datagrams


def spif(t: int | None, x: int, y: int, p: int) -> bytes:
    word = x << 16 | p << 15 | y
    return struct.pack("<I", word | 1 << 31) if t is None else struct.pack("<II", word, t & 0xFFFFFFFF)


def t64(t: int, x: int, y: int, p: int) -> bytes:
    return struct.pack("<QHHB", t, x, y, p)


def t32(t: int, x: int, y: int, p: int) -> bytes:
    return struct.pack("<IHH", t & 0xFFFFFFFF, x, y << 1 | p)


def decoded(data: list[bytes], layout: str, registers: Registers | None = None, **options) -> Arrived:
    """By both backends, which must agree."""
    width = max([len(d) for d in data], default=0) + 3
    rows = np.array([list(d.ljust(width, b"\xaa")) for d in data], np.uint8).reshape(len(data), width)
    sizes, arrivals = np.array([len(d) for d in data], np.int64), np.arange(len(data), dtype=np.int64) * 100 + 7
    results = [
        decode_datagrams(rows, sizes, arrivals, layout=layout, registers=registers, backend=backend, **options)
        for backend in ("naive", "numba")
    ]
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)
        assert not isinstance(one, np.ndarray) or one.dtype == other.dtype
    return results[1]


WRITERS = {"spif": spif, "t64": t64, "t32": t32}
RECORDS = st.tuples(
    st.one_of(st.integers(0, 20_000), st.integers(0, 2**32 - 1), st.sampled_from([2**31, 2**32 - 5])),
    st.integers(0, 40), st.integers(0, 40), st.integers(0, 1),
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@given(
    records=st.lists(st.lists(RECORDS, max_size=6), max_size=6), cut=st.integers(0, 9), stream=st.booleans(),
    limits=st.sampled_from([(None, None), (30, 35)]),
)  # fmt: skip
def test_both_backends_agree(layout: str, records, cut: int, stream: bool, limits) -> None:
    data = [b"".join(WRITERS[layout](*record) for record in datagram) for datagram in records]
    if data and cut:
        data[-1] = data[-1][:-cut]
    got = decoded(data, layout, stream=stream, limits=limits)
    assert (np.diff(got.t) >= 0).all()
    assert not stream or got.registers.rest < 13 or got.registers.malformed


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.lists(st.binary(max_size=60), max_size=5), stream=st.booleans())
def test_noise_is_no_crash(layout: str, data: list[bytes], stream: bool) -> None:
    got = decoded(data, layout, stream=stream)
    assert (np.diff(got.t) >= 0).all() and got.p.max(initial=0) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_events_come_back(layout: str) -> None:
    events = [(10 * i, i % 30, i % 20, i % 2) for i in range(50)]
    data = [b"".join(WRITERS[layout](*event) for event in events[lo : lo + 7]) for lo in range(0, 50, 7)]
    got = decoded(data, layout)
    assert list(zip(got.t.tolist(), got.x.tolist(), got.y.tolist(), got.p.tolist(), strict=True)) == events
    assert got.registers == Registers(now=490, stamped=1)


def test_spif_without_stamps_takes_the_arrival() -> None:
    got = decoded([spif(None, 1, 2, 1) + spif(None, 3, 4, 0), b"", spif(None, 5, 0x7FFF, 1)], "spif")
    assert got.t.tolist() == [7, 7, 207] and got.y.tolist() == [2, 4, 0x7FFF] and got.p.tolist() == [1, 0, 1]


def test_the_counter_comes_round() -> None:
    got = decoded([spif(2**32 - 3, 0, 0, 1), spif(2, 0, 0, 1), spif(2**32 - 1, 0, 0, 0), spif(4, 0, 0, 0)], "spif")
    assert got.t.tolist() == [2**32 - 3, 2**32 + 2, 2**32 + 2, 2**32 + 4], "held: an old one, a little late"
    assert got.registers.held == 1 and got.registers.base == 2**32


def test_late_datagrams_are_left_out_and_counted_and_new_senders_go_on_from_here() -> None:
    start = 5 * LATE
    got = decoded([t64(start, 1, 1, 1), t64(start - SLACK - 1, 2, 2, 1), t64(start + 5, 3, 3, 1)], "t64")
    assert got.x.tolist() == [1, 3] and got.registers.late == 1
    got = decoded([t64(start, 1, 1, 1), t64(100, 2, 2, 1), t64(105, 3, 3, 1)], "t64")
    assert got.t.tolist() == [start, start, start + 5] and got.registers.restarts == 1
    got = decoded([t64(start, 1, 1, 1), t64(start - SLACK - 1, 2, 2, 1)], "t64", stream=True)
    assert got.registers.restarts == 1, "a stream loses and reorders nothing"


def test_an_impossible_record_ends_its_datagram_and_no_other() -> None:
    good, bad = t64(5, 1, 1, 1), t64(6, 1, 1, 2)
    got = decoded([good + bad + good, good + b"cut", t64(2**63 + 1, 0, 0, 0), t64(9, 9, 9, 0)], "t64")
    assert got.t.tolist() == [5, 5, 9] and got.registers.malformed == 3
    assert decoded([t64(5, 30, 1, 1)], "t64", limits=(30, 20)).registers.malformed == 1


def test_a_stream_leaves_its_cut_record_to_the_next_call() -> None:
    data = b"".join(spif(t, t, 1, 1) for t in range(9))
    first = decoded([data[:-3]], "spif", stream=True)
    assert first.registers.rest == 5 and len(first.t) == 8 and not first.registers.malformed
    again = decoded([data[-8:]], "spif", first.registers, stream=True)
    assert again.t.tolist() == [8]


def test_unknown_words_are_named() -> None:
    empty = np.empty((0, 4), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    with pytest.raises(InputError, match="did you mean 'spif'"):
        decode_datagrams(*empty, layout="spiff")
    with pytest.raises(InputError, match="did you mean 'numba'"):
        decode_datagrams(*empty, layout="spif", backend="numbas")
