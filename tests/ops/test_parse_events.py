"""Text lines to events: the compiled parser against exact fractions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.parse_events import Parsed, format_events, parse_events

NUMBERS = st.one_of(
    st.integers(-3, 70_000).map(str),
    st.decimals(-10, 10**9, places=9).map(str),
    st.floats(0, 1e6, allow_nan=False).map("{:.18e}".format),
    st.floats(0, 1e4, allow_nan=False).map("{:.6f}".format),
    st.sampled_from(
        ["1.", ".5", "+2", "-1", "1e3", "2E-1", "1.0", "007", "1e", "", ".", "x", "1e99", "0e-99", "-0", "1-"]
    ),
)
LINES = st.lists(NUMBERS, max_size=5).flatmap(
    lambda cells: st.sampled_from([" ", ",", "\t", " ; "]).map(lambda s: s.join(cells))
)


def same(a: Parsed, b: Parsed) -> None:
    for left, right in zip(a, b, strict=True):
        assert np.array_equal(left, right), (a, b)


@given(lines=st.lists(LINES, max_size=6), exponent=st.sampled_from([-3, 0, 3, 6]), end=st.booleans())
@example(lines=["1.5 2 3 1", "# no", "", "% no", "0.0000005,2,3,0", "1e-6\t1\t1\t-1 9"], exponent=6, end=True)
def test_compiled_equals_definition(lines: list[str], exponent: int, end: bool) -> None:
    data = "\n".join(lines).encode() + b"\n" * end
    same(parse_events(data, exponent=exponent), parse_events(data, exponent=exponent, backend="naive"))


@given(st.text(alphabet="0123456789 .\n-+,e#%x", max_size=120).map(str.encode))
def test_random_text_never_crashes_and_says_the_same(data: bytes) -> None:
    same(parse_events(data), parse_events(data, backend="naive"))


@given(st.binary(max_size=300))
def test_random_bytes_stay_within_the_data(data: bytes) -> None:
    out = parse_events(data)
    assert 0 <= out.taken <= len(data) and (out.taken == 0 or data[out.taken - 1] == 10)


@given(t=st.lists(st.integers(0, 10**15), max_size=8), cut=st.integers(0, 200))
def test_seconds_are_exact_and_chunks_continue(t: list[int], cut: int) -> None:
    data = "".join(f"{at // 10**6}.{at % 10**6:06} 3 4 1\n" for at in t).encode()
    head = parse_events(data[:cut], exponent=6)
    tail = parse_events(data[head.taken :], exponent=6)
    assert [*head.t.tolist(), *tail.t.tolist()] == t and not tail.fault


def test_columns_in_any_order() -> None:
    out = parse_events(b"3,4,99,0,77\n", order=(2, 0, 1, 3))
    assert [int(column[0]) for column in out[:4]] == [99, 3, 4, 0]


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 2", "1 -2 3 1", "1 2 65536 1", "1 2.5 3 1", "nan 2 3 1", "t x y p"])
def test_what_is_no_event_is_a_fault_at_its_line(line: str) -> None:
    out = parse_events(f"5 6 7 1\n{line}\n8 6 7 1\n".encode())
    assert (out.fault, out.taken, out.t.tolist()) == (True, 8, [5])


def test_backend() -> None:
    with pytest.raises(InputError, match="did you mean 'naive'"):
        parse_events(b"", backend="nave")


@given(t=st.lists(st.integers(-(10**17), 10**17), max_size=8), seed=st.integers(0, 99))
def test_lines_written_are_the_definitions_and_come_back(t: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, p = rng.integers(0, 65536, len(t)), rng.integers(0, 65536, len(t)), rng.integers(0, 2, len(t))
    columns = np.array(t, np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)
    data = format_events(*columns)
    assert data == format_events(*columns, backend="naive")
    out = parse_events(data, exponent=6)
    assert not out.fault and all(np.array_equal(a, b) for a, b in zip(columns, out[:4], strict=True))
