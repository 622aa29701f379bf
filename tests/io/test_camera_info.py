"""The page of a recording: numbers against brute force, whatever the chunks; what looks wrong; real recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import open_recording, write_events
from eventflow.io.cameras import _arrays
from eventflow.io.info import _recording
from eventflow.io.info._recording import RecordingInfo, describe_recording
from eventflow.io.info._recording_page import shaded
from eventflow.ops.pixel_tally import NEVER, pixel_tally

SIZE = {"height": 20, "width": 30}


def written(path: Path, t: Any, x: Any, y: Any, p: Any, *, span: Any = None, sized: bool = True) -> Path:
    t = np.asarray(t, np.int64)
    span = span or (int(t[0]), int(t[-1]) + 1)
    columns = {"x": np.asarray(x, np.uint16), "y": np.asarray(y, np.uint16), "p": np.asarray(p, np.uint8)}
    write_events(Events.of(t, span=span, schema=Schema(unit="us", **(SIZE if sized else {})), **columns), path)
    return path


def info_of(path: Path) -> RecordingInfo:
    return describe_recording(open_recording(path))


def random(n: int, seed: int, gaps: tuple[int, ...] = (0, 0, 1, 5, 70)) -> tuple[Any, Any, Any, Any]:
    draw = np.random.default_rng(seed)
    t = 50 + np.cumsum(draw.choice(gaps, n))
    return t, draw.integers(0, 30, n), draw.integers(0, 20, n), draw.integers(0, 2, n)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), n=st.integers(1, 300), block=st.integers(1, 60), sized=st.booleans())
def test_counts_against_brute_force(seed: int, n: int, block: int, sized: bool, tmp_path: Path) -> None:
    t, x, y, p = random(n, seed)
    path = written(tmp_path / "rec.npz", t, x, y, p, sized=sized)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_arrays, "_ROWS", block)
        patch.setattr(_recording, "_FINE", 64)
        info = info_of(path)
    assert (info.events, info.on, info.first, info.last) == (n, int(p.sum()), t[0], t[-1])
    gaps = np.diff(t)
    assert info.ties == int((gaps == 0).sum()) and sum(info.rate) == n
    assert info.busiest[1] == max(Counter(t.tolist()).values()) == int((t == info.busiest[0]).sum())
    assert info.silence[1] == gaps.max(initial=0) and info.step == np.gcd.reduce(gaps, initial=0)
    last: dict[tuple[int, int], int] = {}
    repeats = 0
    for time, *pixel in zip(t.tolist(), x.tolist(), y.tolist(), strict=True):
        repeats += last.get(tuple(pixel)) == time
        last[tuple(pixel)] = time
    assert info.repeats == repeats and info.active == len(last) and info.map.sum() == n
    assert info.seen == (y.max() + 1, x.max() + 1) and info.sensor == ((20, 30) if sized else None)


@given(seed=st.integers(0, 999), n=st.integers(0, 80))
def test_the_kernel_is_its_definition(seed: int, n: int) -> None:
    t, x, y, _ = random(n, seed)
    found = []
    for backend in ("naive", "numba"):
        counts, last = np.zeros((20, 30), np.int64), np.full((20, 30), NEVER, np.int64)
        repeats = [
            pixel_tally(t[part], x[part].astype(np.uint16), y[part].astype(np.uint16), counts, last, backend=backend)
            for part in (slice(0, n // 3), slice(n // 3, None))
        ]
        found.append((repeats, counts.tolist(), last.tolist()))
    assert found[0] == found[1]


def test_the_kernel_refuses_what_it_cannot() -> None:
    counts, one = np.zeros((2, 3), np.int64), np.array([3], np.uint16)
    with pytest.raises(InputError, match="the sensor is 3 x 2"):
        pixel_tally(np.array([1]), one, np.zeros(1, np.uint16), counts, counts.copy())
    with pytest.raises(InputError, match="did you mean 'numba'"):
        pixel_tally(np.array([1]), one - 1, one - 2, counts, counts.copy(), backend="nubma")


def test_the_rate_is_that_of_its_time(tmp_path: Path) -> None:
    t = np.sort(np.concatenate([np.arange(0, 600_000, 100), np.arange(0, 100_000, 5)]))
    n = len(t)
    info = info_of(written(tmp_path / "a.npz", t, np.arange(n) % 30, np.arange(n) % 20, np.arange(n) % 2))
    rate = np.array(info.rate)
    assert sum(rate) == n and np.allclose(rate[:9], 2100, rtol=0.05) and np.allclose(rate[11:], 100, rtol=0.05)


def test_what_looks_wrong_is_told(tmp_path: Path) -> None:
    t, x, y, _ = random(3000, 1, gaps=(0, 1000, 2000))
    x[::3], y[::3] = 7, 9
    t[2000:] += 800_000
    t[500:900] = t[500]
    info = info_of(written(tmp_path / "a.npz", t, x, y, np.ones(3000)))
    text = " ".join(info.warnings)
    assert info.hot[0][:2] == (7, 9) and info.hot[0][2] >= 1000
    for part in (
        "1 hot pixels", "the hottest, (7, 9)", "100.0% of the events are brighter", "multiple of 1,000 us",
        "have the very same time", "A silence of 80", "fired at that very time",
    ):  # fmt: skip
        assert part in text, part
    assert info_of(written(tmp_path / "b.npz", *random(3000, 2, gaps=(1, 2, 5)))).warnings == ()


def test_shades_grow_with_the_counts() -> None:
    lines = shaded(np.array([[0, 1, 10], [100, 1000, 10_000]]))
    assert lines[0][0] == " " and lines[1][2] == "█" and len(set(lines[0] + lines[1])) >= 5


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gen3_evt2.raw", ("640 x 480", "521,252", "95.9 ms")),
        ("gen41_evt3.raw", ("219,596", "8.81 ms", "stepped back a little 59 times")),
        ("davis.aedat4", ("320 x 240", "111,954", "2020-11-16")),
        ("rendered.es", ("473,225", "multiple of 1,000 us", "76,785")),
        ("sample_nmnist.bin", ("not told", "within 34 x 34")),
    ],
)
def test_real_recordings(name: str, parts: tuple[str, ...], data_root: Path, cli: Callable[..., Any]) -> None:
    if not (data_root / "cameras" / name).is_file():
        pytest.skip(f"no {name}")
    answer = cli("data", "info", data_root / "cameras" / name)
    assert answer.code == 0, answer.err
    for part in parts:
        assert part in answer.out, answer.out


def test_broken_and_empty_recordings_have_a_page(tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = written(tmp_path / "a.raw", *random(500, 3))
    path.write_bytes(path.read_bytes()[:-1])
    answer = cli("data", "info", path)
    assert answer.code == 0 and "could not be read to its end" in answer.out and "cut off" in answer.out
    empty = Events.of(
        np.empty(0, np.int64), span=(0, 70), schema=Schema(unit="us", **SIZE), x=np.empty(0, np.uint16),
        y=np.empty(0, np.uint16), p=np.empty(0, np.uint8),
    )  # fmt: skip
    write_events(empty, tmp_path / "e.raw")
    answer = cli("data", "info", tmp_path / "e.raw")
    assert answer.code == 0 and "There is no event" in answer.out


def test_a_long_recording_takes_no_more_memory(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for n in (200_000, 2_000_000):
        path = written(tmp_path / f"{n}.raw", *random(n, 4))
        describe_recording(open_recording(path))
        tracemalloc.start()
        try:
            describe_recording(open_recording(path))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0], peaks
