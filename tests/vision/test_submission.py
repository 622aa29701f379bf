"""A DSEC-Flow submission, decoded by an independent reader of PNG."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.vision import DsecSequence, Recipe, random_scene, read_flow_png, write_dsec_submission, write_recording

H, W = 24, 32
INDICES = [10, 20, 50]


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> DsecSequence:
    """A simulated test sequence: events, and a csv of timestamps with file numbers; no flow."""
    folder = tmp_path_factory.mktemp("dsec") / "thun_99_a"
    write_recording(Recipe(random_scene(5, height=H, width=W, speed=100), duration=0.31, exact_hz=0), folder)
    stamps = DsecSequence(folder).timestamps
    shutil.rmtree(folder / "flow")
    rows = "".join(f"{a}, {b}, {i}\n" for (a, b), i in zip(stamps, INDICES, strict=True))
    (folder / "thun_99_a.csv").write_text("from_timestamp_us, to_timestamp_us, file_index\n" + rows)
    return DsecSequence(folder)


def flows() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.uniform(-256, 255.99, (H, W, 2)).astype(np.float32) for _ in INDICES]


def samples(path: Path) -> np.ndarray:
    """(H, W, 3): a 16-bit RGB PNG by the standard's book, one sample at a time."""
    data, at, body = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            assert struct.unpack(">IIBBBBB", content) == (W, H, 16, 2, 0, 0, 0)
        body += content if kind == b"IDAT" else b""
        at += size + 12
    raw, above, rows = zlib.decompress(body), bytes(6 * W), []
    for y in range(H):
        line = bytearray(raw[y * (6 * W + 1) : (y + 1) * (6 * W + 1)])
        assert line[0] in (0, 2)
        row = bytes((byte + (above[i] if line[0] else 0)) % 256 for i, byte in enumerate(line[1:]))
        rows.append([[row[k] * 256 + row[k + 1] for k in range(6 * x, 6 * x + 6, 2)] for x in range(W)])
        above = row
    return np.array(rows)


def test_files_hold_every_bit(sequence: DsecSequence, tmp_path: Path) -> None:
    given = flows()
    paths = write_dsec_submission(tmp_path / "out", sequence, iter(given))
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [f"out/thun_99_a/{i:06d}.png" for i in INDICES]
    assert sorted(tmp_path.rglob("*.*")) == paths, "nothing else is left"
    for path, flow in zip(paths, given, strict=True):
        code = samples(path)
        np.testing.assert_array_equal(code[..., :2], np.rint(flow.astype(np.float64) * 128) + 32768)
        assert (code[..., 2] == 1).all()
        read, valid = read_flow_png(path)
        assert np.abs(read - flow).max() <= 1 / 256 and valid.all()


def test_a_flow_of_zero_is_valid(sequence: DsecSequence, tmp_path: Path) -> None:
    path = write_dsec_submission(tmp_path, sequence, np.zeros((3, H, W, 2)))[0]
    np.testing.assert_array_equal(samples(path), np.broadcast_to([32768, 32768, 1], (H, W, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[:2], r"2 flows; thun_99_a has 3 intervals"),
        (lambda f: [*f, f[0]], r"more than 3 flows; thun_99_a has 3"),
        (lambda f: [f[0], f[1], f[2][:-1]], r"flow 2 is \(23, 32, 2\); expected \(24, 32, 2\)"),
        (lambda f: [f[0].transpose(2, 0, 1)], r"flow 0 is \(2, 24, 32\).*np.moveaxis\(flow, 0, -1\)"),
        (lambda f: [f[0], f[1] + np.nan], r"flow 1 is not finite everywhere"),
        (lambda f: [f[0] * 2], r"16 bits hold \[-256, 256\)"),
    ],
)
def test_nothing_is_left_of_what_is_wrong(sequence: DsecSequence, tmp_path: Path, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_dsec_submission(tmp_path, sequence, change(flows()))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(sequence: DsecSequence, tmp_path: Path) -> None:
    path = write_dsec_submission(tmp_path, sequence, flows())[0]
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already; expected a new folder"):
        write_dsec_submission(tmp_path, sequence, np.zeros((3, H, W, 2)))
    assert path.read_bytes() == before
