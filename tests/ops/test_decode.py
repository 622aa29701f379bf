"""Decoders: the compiled ones against the definitions, hand-written words, any chunking, faults, real recordings."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.ops.decode import (
    Decoded,
    DecoderState,
    decode_aedat2,
    decode_aedat31,
    decode_dat,
    decode_evt2,
    decode_evt3,
    decode_evt21,
    decode_nmnist,
)  # fmt: skip

Decoder = Callable[..., Decoded]


def evt2_word(kind: int, low: int = 0, x: int = 0, y: int = 0) -> int:
    return kind << 28 | low << 22 | x << 11 | y


def streams(seed: int, n: int = 300, *, wild: float = 0.02) -> dict[str, tuple[Decoder, bytes]]:
    """name -> (decoder, bytes of n mostly sane words): small steps of time, sometimes back, sometimes nonsense."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 0, 0, 1, 3, -1], n)
    clock = np.cumsum(steps) + 5
    x, y, p = rng.integers(0, 64, n), rng.integers(0, 48, n), rng.integers(0, 2, n)
    odd = rng.random(n) < wild
    noise = rng.integers(0, 2**63, n)
    kind = np.where(rng.random(n) < 0.1, 8, p)
    evt2 = np.where(kind == 8, 8 << 28 | clock & 0xFFFFFFF, p << 28 | rng.integers(0, 64, n) << 22 | x << 11 | y)
    evt2 = np.where(odd, noise & 0xFFFFFFFF, evt2).astype("<u4")
    valid = rng.integers(0, 2**32, n) & rng.integers(0, 2**32, n) & rng.integers(0, 2**32, n)
    evt21 = (evt2.astype(np.uint64) << np.uint64(32) | valid.astype(np.uint64)).astype("<u8")
    kinds = rng.choice([0, 2, 2, 2, 3, 4, 5, 6, 6, 8, 0xA, 0xE, 7], n)
    pick = [kinds == 0, np.isin(kinds, (2, 3)), np.isin(kinds, (6, 8))]
    values = np.select(pick, [y, p << 11 | x, clock & 0xFFF], rng.integers(0, 4096, n))
    evt3 = np.where(odd, noise & 0xFFFF, kinds << 12 | values).astype("<u2")
    t = np.where(odd, noise & 0xFFFFFFFF, (clock * 1000) & 0xFFFFFFFF)
    dat = np.stack([t, p << 28 | y << 14 | x], 1).astype("<u4")
    aedat2 = np.stack([y << 22 | x << 12 | p << 11 | rng.integers(0, 8, n) // 7 << 31, t], 1).astype(">u4")
    rows = np.stack([x, np.where(odd, 240, y), p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF], 1).astype(np.uint8)
    return {
        "evt2": (decode_evt2, evt2.tobytes()), "evt21": (decode_evt21, evt21.tobytes()),
        "evt21-legacy": (_legacy, evt21.tobytes()), "evt3": (decode_evt3, evt3.tobytes()),
        "dat": (decode_dat, dat.tobytes()), "aedat2": (decode_aedat2, aedat2.tobytes()),
        "nmnist": (decode_nmnist, rows.tobytes()), "aedat31": (decode_aedat31, aedat31_bytes(rng, clock, (x, y, p))),
    }  # fmt: skip


def _legacy(data: bytes, state: DecoderState | None = None, **options: object) -> Decoded:
    return decode_evt21(data, state, legacy=True, **options)  # type: ignore[arg-type]


def aedat31_bytes(rng: np.random.Generator, clock: np.ndarray, columns: tuple[np.ndarray, ...]) -> bytes:
    x, y, p = columns
    out, at = b"", 0
    while at < len(x):
        number = int(rng.integers(0, 9))
        kind = int(rng.integers(0, 3))
        size = 8 if kind == 1 else 12
        header = np.array([size, 4, 0, number + 3, number, number], "<u4").tobytes()
        out += np.array([kind, 0], "<u2").tobytes() + header
        if kind == 1:
            cut = slice(at, at + number)
            words = x[cut] << 17 | y[cut] << 2 | p[cut] << 1 | (rng.random(len(x[cut])) < 0.9)
            body = np.stack([words, clock[cut] * 1000], 1).astype("<u4").tobytes()
            out += body.ljust(size * number, b"\0")
        else:
            out += rng.bytes(size * number)
        at += number
    return out


def same(first: Decoded, second: Decoded) -> None:
    for name in ("t", "x", "y", "p"):
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype and np.array_equal(a, b), name
    assert first.state == second.state


def in_chunks(decode: Decoder, data: bytes, cuts: list[int], **options: object) -> Decoded:
    parts, state = [], None
    for lo, hi in zip([0, *cuts], [*cuts, len(data)], strict=True):
        parts.append(decode(data[lo:hi], state, **options))
        state = pickle.loads(pickle.dumps(parts[-1].state))
    columns = (np.concatenate([part[k] for part in parts]) for k in range(4))
    assert state is not None
    return Decoded(*columns, state)


NAMES = sorted(streams(0))


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32 - 1), wild=st.sampled_from([0.0, 0.003, 0.02]))
def test_compiled_equals_definition(name: str, seed: int, wild: float) -> None:
    decode, data = streams(seed, wild=wild)[name]
    same(decode(data), decode(data, backend="naive"))
    same(decode(data, width=50, height=40), decode(data, width=50, height=40, backend="naive"))


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_chunking_gives_the_same_events_and_state(name: str, seed: int, data: st.DataObject) -> None:
    decode, raw = streams(seed, wild=0.003)[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    same(in_chunks(decode, raw, cuts), decode(raw))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=400), cut=st.integers(0, 400))
def test_random_bytes_never_crash_and_say_the_same(name: str, data: bytes, cut: int) -> None:
    decode = streams(0, 2)[name][0]
    whole = decode(data)
    same(whole, decode(data, backend="naive"))
    same(whole, in_chunks(decode, data, [min(cut, len(data))]))
    assert whole.state.position + len(whole.state.tail) == len(data) or whole.state.fault is not None
    assert np.all(np.diff(whole.t) >= 0)


@pytest.mark.parametrize("name", ["evt2", "dat"])
@pytest.mark.parametrize("wild", [0.0, 0.0005])
def test_blocks_of_the_compiled_path(name: str, wild: float) -> None:
    decode, data = streams(1, 20_000, wild=wild)[name]
    same(decode(data), decode(data, backend="naive"))
    same(decode(data, width=64, height=47), decode(data, width=64, height=47, backend="naive"))
    aligned = np.frombuffer(data, "<u4")
    same(decode(aligned), decode(data))


@pytest.mark.parametrize("seed", range(3))
def test_megabytes_of_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).bytes(1 << 20)
    for name in NAMES:
        out = streams(0, 2)[name][0](noise)
        assert out.state.fault is not None and out.state.position <= len(noise)
        assert str(out.state.fault).startswith(f"byte {out.state.position}: ")


def events_of(out: Decoded) -> list[tuple[int, ...]]:
    return [tuple(map(int, event)) for event in zip(out.t, out.x, out.y, out.p, strict=True)]


def test_evt2_words() -> None:
    words = [evt2_word(1, 5, 3, 4), 8 << 28 | 2, evt2_word(1, 5, 300, 200), 0xA << 28, evt2_word(0, 63, 2047, 2047)]
    out = decode_evt2(np.array(words, "<u4"))
    assert events_of(out) == [(2 * 64 + 5, 300, 200, 1), (2 * 64 + 63, 2047, 2047, 0)]


def test_evt2_counter_comes_round_after_34_bits() -> None:
    words = [8 << 28 | 0xFFFFFFF, evt2_word(0, 63), 8 << 28, evt2_word(0, 1), 8 << 28 | 9, evt2_word(1)]
    assert decode_evt2(np.array(words, "<u4")).t.tolist() == [(1 << 34) - 1, (1 << 34) + 1, (1 << 34) + 9 * 64]


def test_evt21_words_fire_32_pixels_and_legacy_swaps_halves() -> None:
    words = np.array([8 << 60 | 7 << 32, 1 << 60 | 9 << 54 | 32 << 43 | 5 << 32 | 0x80000005], "<u8")
    expected = [(7 * 64 + 9, 32 + k, 5, 1) for k in (0, 2, 31)]
    assert events_of(decode_evt21(words)) == expected
    swapped = words.view("<u4").reshape(-1, 2)[:, ::-1].tobytes()
    assert events_of(decode_evt21(swapped, legacy=True)) == expected
    assert events_of(in_chunks(_legacy, swapped, [3, 13])) == expected


def test_evt3_time_low_may_step_back_and_vectors_move_the_base() -> None:
    words = [0x2001, 0x8001, 0x6000 | 811, 0x0007, 0x2805, 0x6000 | 800, 0x2006, 0x6000 | 812, 0x380A, 0x4801, 0x5081]
    out = decode_evt3(np.array(words, "<u2"))
    at = 4096 + 811
    assert events_of(out) == [
        (at, 5, 7, 1), (at, 6, 7, 0), (at + 1, 10, 7, 1), (at + 1, 21, 7, 1), (at + 1, 22, 7, 1), (at + 1, 29, 7, 1)
    ]  # fmt: skip
    assert out.state.held == 1


def test_evt3_24_bit_time_loops() -> None:
    words = [0x8FFF, 0x6FFF, 0x2000, 0x8000, 0x2000, 0x6001, 0x2000]
    assert decode_evt3(np.array(words, "<u2")).t.tolist() == [(1 << 24) - 1, 1 << 24, (1 << 24) + 1]


def test_dat_versions_and_loops() -> None:
    words = np.array([[2**32 - 1, 1 << 28 | 2 << 14 | 3], [4, 5]], "<u4")
    assert events_of(decode_dat(words)) == [(2**32 - 1, 3, 2, 1), (2**32 + 4, 5, 0, 0)]
    assert events_of(decode_dat(np.array([1, 1 << 17 | 2 << 9 | 3], "<u4"), version=1)) == [(1, 3, 2, 1)]


def test_nmnist_overflow_rows() -> None:
    rows = np.array([[1, 2, 0x80, 1, 0], [0, 240, 0, 0, 0], [3, 4, 0, 1, 5]], np.uint8)
    assert events_of(decode_nmnist(rows)) == [(256, 1, 2, 1), (8192 + 261, 3, 4, 0)]


def test_aedat2_cameras_count_from_the_top_left() -> None:
    davis = np.array([179 << 22 | 239 << 12 | 1 << 11, 7, 1 << 31, 8, 1 << 10, 9, 0, 10], ">u4")
    assert events_of(decode_aedat2(davis)) == [(7, 0, 0, 1), (10, 239, 179, 0)]
    assert events_of(decode_aedat2(np.array([127 << 8 | 1 << 1, 3], ">u4"), camera="dvs128")) == [(3, 126, 0, 1)]


def test_aedat31_packets() -> None:
    head = np.array([1, 0], "<u2").tobytes() + np.array([8, 4, 1, 2, 2, 1], "<u4").tobytes()
    body = np.array([9 << 17 | 8 << 2 | 3, 5, 0, 6], "<u4").tobytes()
    other = np.array([3, 0], "<u2").tobytes() + np.array([5, 4, 0, 2, 1, 1], "<u4").tobytes() + b"imu.."
    out = decode_aedat31(other + head + body)
    assert events_of(out) == [((1 << 31) + 5, 9, 8, 1)] and out.state.tail == b""


def test_aedat31_fault_keeps_what_the_last_packet_set() -> None:
    good = np.array([1, 0], "<u2").tobytes() + np.array([8, 4, 3, 1, 1, 1, 1, 5], "<u4").tobytes()
    same(decode_aedat31(good + b"\1" * 28), decode_aedat31(good + b"\1" * 28, backend="naive"))
    state = decode_aedat31(good + b"\1" * 28).state
    assert state.fault is not None and state.position == 36 and state.registers.overflow == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("decode", "words", "position", "reason"),
    [
        (decode_evt2, np.array([8 << 28, evt2_word(0, 1), 5 << 28], "<u4"), 8, "reserved"),
        (decode_evt2, np.array([8 << 28 | 900, evt2_word(0, 1), 8 << 28 | 100], "<u4"), 8, "goes back"),
        (decode_evt2, np.array([8 << 28, evt2_word(0, 1, 640, 0)], "<u4"), 4, "outside"),
        (decode_evt3, np.array([0x8000, 0x6000, 0x2000, 0x9000], "<u2"), 6, "reserved"),
        (decode_evt3, np.array([0x8009, 0x2000, 0x8003], "<u2"), 4, "goes back"),
        (decode_evt3, np.array([0x8009, 0x3000 | 639, 0x4002], "<u2"), 4, "outside"),
        (decode_evt21, np.array([8 << 60, 1 << 60 | 639 << 43 | 2], "<u8"), 8, "outside"),
        (decode_dat, np.array([[90000, 0], [5, 0]], "<u4"), 8, "goes back"),
        (decode_nmnist, np.array([[1, 1, 3, 0, 0], [1, 1, 0, 0, 0]], np.uint8), 5, "goes back"),
        (decode_aedat31, b"\1" + bytes(40), 0, "header"),
    ],
)
def test_faults_say_where(decode: Decoder, words: np.ndarray | bytes, position: int, reason: str) -> None:
    for backend in ("numba", "naive"):
        out = decode(words, width=640, height=480, backend=backend)
        assert out.state.fault is not None
        assert out.state.fault.position == position and reason in out.state.fault.reason
        again = decode(words, out.state, backend=backend)
        assert len(again.t) == 0 and again.state == out.state


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="another format"):
        decode_evt3(b"", decode_evt2(b"").state)
    with pytest.raises(InputError, match="expected <u4|expected uint32"):
        decode_evt2(np.zeros(3, np.float32))
    with pytest.raises(InputError, match="did you mean 'numba'"):
        decode_evt2(b"", backend="numbra")
    with pytest.raises(InputError, match="davis240"):
        decode_aedat2(b"", camera="davis24")


def test_input_is_not_changed() -> None:
    for decode, data in streams(3).values():
        words = np.frombuffer(data, np.uint8).copy()
        decode(words)
        assert words.tobytes() == data


def body(path: str) -> bytes:
    raw = open(path, "rb").read()
    at = 0
    while raw[at : at + 1] == b"%":
        at = raw.index(b"\n", at) + 1
    return raw[at:]


def test_real_recordings(data_root) -> None:  # type: ignore[no-untyped-def]
    gen3 = decode_evt2(body(data_root / "cameras/gen3_evt2.raw"), width=640, height=480)
    assert len(gen3.t) == 521_252 and gen3.t[-1] - gen3.t[0] == 95_871 and gen3.state.held == 0
    gen41 = decode_evt3(body(data_root / "cameras/gen41_evt3.raw"), width=1280, height=720)
    assert len(gen41.t) == 219_596 and gen41.t[-1] - gen41.t[0] == 8_811 and gen41.state.held == 59
    digit = decode_nmnist((data_root / "cameras/sample_nmnist.bin").read_bytes(), width=34, height=34)
    assert len(digit.t) == 4325 and digit.t[-1] == 311_175
    assert all(out.state.fault is None and not out.state.tail for out in (gen3, gen41, digit))
    part = body(data_root / "cameras/gen41_evt3.raw")[:60_000]
    same(decode_evt3(part), decode_evt3(part, backend="naive"))
