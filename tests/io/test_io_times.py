"""Times: ISO dates, zones, epochs, strptime patterns; units and exactness; each bad cell named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.io import read_events
from eventflow.io.logs._times import TimeParser, convert, suggest_epoch, suggest_format

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1))
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def ns(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1) * 1000


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(["T", " "]))
def test_naive_iso_dates_against_the_standard_library(dates: list[datetime], between: str):
    parsed = TimeParser("auto").parse([date.isoformat(between) for date in dates])
    assert parsed.values.tolist() == [ns(date) for date in dates]
    assert not parsed.bad.any()


@given(st.lists(st.builds(lambda d, z: d.replace(tzinfo=z), moments, zones), min_size=1, max_size=5))
def test_iso_dates_with_zones_against_the_standard_library(dates: list[datetime]):
    parsed = TimeParser("iso").parse([date.isoformat() for date in dates])
    assert parsed.values.tolist() == [ns(date) for date in dates]


@given(st.lists(moments, min_size=1, max_size=4), st.sampled_from([
    "%d/%b/%Y:%H:%M:%S", "%Y%m%d%H%M%S", "[%d/%b/%Y:%H:%M:%S", "%m/%d/%Y %H.%M.%S.%f", "%d. %b %Y, %H:%M",
    "%Y-%j %H", "%A %d %B %Y %I:%M:%S %p", "%Y %m %d",
]))  # fmt: skip
def test_patterns_against_the_standard_library(dates: list[datetime], pattern: str):
    cells = [date.strftime(pattern) for date in dates]
    parsed = TimeParser(pattern).parse(cells)
    assert parsed.values.tolist() == [ns(datetime.strptime(cell, pattern)) for cell in cells]
    assert not parsed.bad.any()


def test_patterns_with_a_zone():
    parsed = TimeParser("%d/%b/%Y:%H:%M:%S %z").parse(["29/Nov/2017:06:58:55 +0530", "29/Nov/2017:01:28:55 +0000"])
    assert parsed.values[0] == parsed.values[1]


@pytest.mark.parametrize(
    "cell", ["2017-02-30", "2017-13-01", "2017-01-01T25:00", "2017-01-01 10:60", "yesterday", "2017-1-1x", "1500-01-01"]
)
def test_bad_dates_are_named(cell: str):
    parsed = TimeParser("iso").parse(["2017-01-01", cell, "", None])
    assert parsed.bad.tolist() == [False, True, True, True]
    assert parsed.reasons == {1: "is no ISO date", 2: "is missing", 3: "is missing"}


def test_bad_dates_of_a_pattern_are_named():
    parsed = TimeParser("%d/%b/%Y").parse(["29/Nov/2017", "30/Feb/2017", "29/Nox/2017", "cannot"])
    assert parsed.bad.tolist() == [False, True, True, True]
    assert parsed.reasons[1] == "does not match '%d/%b/%Y'"


def test_zones_must_not_be_mixed():
    parser = TimeParser("iso")
    parsed = parser.parse(["2017-01-01T00:00Z", "2017-01-01T01:00+01:00", "2017-01-01T00:00"])
    assert parsed.bad.tolist() == [False, False, True]
    assert parsed.reasons[2] == "has no time zone, unlike the others"
    later = parser.parse(["2017-01-01T00:00"])
    assert later.bad.all()


def test_a_later_chunk_keeps_what_the_first_settled():
    parser = TimeParser("auto")
    parser.parse(["2017-01-01"])
    assert parser.parse(["5"]).bad.all()
    parser = TimeParser("auto")
    parser.parse(["5", "6.5"])
    assert parser.parse(["2017-01-01"]).bad.all()


def test_numbers():
    assert TimeParser("auto").parse(["1", "+2", " 30 "]).values.tolist() == [1, 2, 30]
    assert TimeParser("auto").parse(["1", "2"]).values.dtype == np.int64
    parsed = TimeParser("auto").parse(["1", "2.5", "1e3", "nan", "-inf", "x", ""])
    assert parsed.values[:3].tolist() == [1.0, 2.5, 1000.0]
    assert parsed.reasons == {3: "is not finite", 4: "is not finite", 5: "is no number", 6: "is missing"}


def test_typed_numbers_and_dates():
    assert TimeParser("auto").parse(np.array([3, 4], np.int32)).values.dtype == np.int64
    assert TimeParser("auto").parse(pa.array([1.5, None])).bad.tolist() == [False, True]
    stamps = pa.array([datetime(2017, 1, 1), None], pa.timestamp("ms"))
    parsed = TimeParser("auto").parse(stamps)
    assert parsed.values[0] == ns(datetime(2017, 1, 1)) and parsed.bad.tolist() == [False, True]
    assert TimeParser("auto").parse([1, 2.5, None]).bad.tolist() == [False, False, True]


def test_neither_number_nor_date_says_what_to_write():
    with pytest.raises(InputError, match=r"time_format='\[%d/%b/%Y:%H:%M:%S'"):
        TimeParser("auto").parse(["[29/Nov/2017:06:58:55"])


@pytest.mark.parametrize("pattern", ["%H:%M", "%d/%m"])
def test_a_pattern_needs_a_year(pattern: str):
    with pytest.raises(InputError, match="no year"):
        TimeParser(pattern)


def test_an_unknown_directive():
    with pytest.raises(InputError, match="bad directive"):
        TimeParser("%Y-%Q")


def test_suggestions():
    assert suggest_format(["29/11/2017 06:58:55"]) == "%d/%m/%Y %H:%M:%S"
    assert suggest_format(["11/29/2017 06:58:55"]) == "%m/%d/%Y %H:%M:%S"
    assert suggest_format(["nonsense"]) is None
    assert suggest_format(["01/02/2017 06:58", "01/28/2017 06:58", None]) == "%m/%d/%Y %H:%M"
    assert suggest_format(["1077804742"]) is None and suggest_epoch(["1077804742"]) == "s"
    assert suggest_format(["20260131235959"]) == "%Y%m%d%H%M%S"
    assert suggest_epoch([1077804742123]) == "ms" and suggest_epoch([3, 7]) is None


@given(st.lists(st.integers(-(10**18), 10**18), min_size=1, max_size=5))
def test_dates_to_coarser_units_are_correctly_rounded(values: list[int]):
    from fractions import Fraction

    seconds, rounded = convert(np.array(values), "ns", "s")
    assert rounded == 0 and seconds.dtype == np.float64
    for got, exact in zip(seconds.tolist(), values, strict=True):
        assert abs(Fraction(got) - Fraction(exact, 10**9)) <= Fraction(float(np.spacing(abs(got))))


def test_integers_stay_integers_in_finer_units():
    assert convert(np.array([1, 2]), "s", "ms")[0].tolist() == [1000, 2000]
    ticks, rounded = convert(np.array([1_500_000, 2_000_000]), "ns", "ms")
    assert ticks.tolist() == [2, 2] and ticks.dtype == np.int64 and rounded == 1
    with pytest.raises(InputError, match="coarser unit"):
        convert(np.array([10**18]), "s", "ns")


def test_floats_and_same_units():
    assert convert(np.array([1.5]), "h", "min")[0].tolist() == [90.0]
    same = np.array([1, 2])
    assert convert(same, "s", "s")[0] is same
    assert convert(np.array([90]), "s", "min")[0].tolist() == [1.5]


def test_nanoseconds_since_1970_in_text_keep_every_digit(tmp_path: Path) -> None:
    """Nineteen digits: as float64 they would be a quarter of a microsecond apart."""
    t = 1_700_000_000_000_000_000 + np.array([1, 2, 257, 1003])
    for name, lines in {
        "x.csv": ["t,mark", *(f"{x},0" for x in t)], "x.tsv": ["t\tmark", *(f"+{x}\t0" for x in t)],
        "x.jsonl": [f'{{"t": {x}, "mark": 0}}' for x in t],
    }.items():  # fmt: skip
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        events = read_events(tmp_path / name)
        assert events.t.dtype == np.int64 and np.array_equal(events.t, t), name


@pytest.mark.parametrize("far", [2**62 + 2, 2**63, -(2**63), 10**23])
def test_integers_that_are_too_far_are_floats(far: int, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,mark\n" + "".join(f"{x},0\n" for x in sorted([1, far])))
    events = read_events(tmp_path / "x.csv")
    assert events.t.dtype == np.float64 and events.t.tolist() == sorted([1.0, float(far)])
