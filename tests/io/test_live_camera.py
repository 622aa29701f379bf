"""Event cameras over a network: what is sent arrives; what is lost, late or foreign is counted, never a crash."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import CameraStream, ReadWarning, open_camera, open_recording, open_sink, open_source, read_events
from eventflow.io.cameras._source import Columns
from eventflow.io.live import _links, _mmsg, _sdk
from eventflow.io.live._ring import Batch, Ring
from eventflow.io.live._send import CameraSink
from eventflow.io.live._wire import FORMATS, wire

SENSOR = "width=640&height=480"


def columns(n: int = 6000, seed: int = 0) -> Columns:
    draw = np.random.default_rng(seed)
    t = np.cumsum(draw.choice([0, 0, 1, 2, 40], n))
    t += 7 - t[0]
    x, y = draw.integers(0, 640, n).astype(np.uint16), draw.integers(0, 480, n).astype(np.uint16)
    return Columns(t, x, y, draw.integers(0, 2, n).astype(np.uint8))


def as_events(part: Columns) -> Events:
    span = (int(part.t[0]), int(part.t[-1]) + 1)
    return Events.of(part.t, span=span, schema=Schema(unit="us"), x=part.x, y=part.y, p=part.p)


def sender(uri: str) -> CameraSink:
    sink = open_sink(uri)
    assert isinstance(sink, CameraSink)
    return sink


def received(camera: CameraStream) -> Columns:
    parts = [(events.t, *(events.marks[name] for name in "xyp")) for events in camera.chunks()]
    camera.close()
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def same(ours: Columns, theirs: Columns) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_sent_arrives(scheme: str, format: str) -> None:
    whole = columns()
    camera = open_camera(f"{scheme}://127.0.0.1:0?format={format}&{SENSOR}&idle=1")
    sink = sender(f"{scheme}://127.0.0.1:{camera.address[1]}?format={format}")

    def send() -> None:
        for lo in range(0, len(whole.t), 1500):
            sink.send(as_events(whole.part(lo, lo + 1500)))
        sink.close()

    thread = threading.Thread(target=send)
    thread.start()
    assert same(received(camera), whole)
    thread.join()
    assert camera.counts["events"] == len(whole.t) and sum(camera.counts[k] for k in ("late", "malformed", "held")) == 0
    assert camera.first == whole.t[0]


def test_without_recvmmsg_the_same_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mmsg, "_LIBC", None)
    whole = columns(3000)
    camera = open_camera(f"udp://127.0.0.1:0?format=t64&{SENSOR}&idle=0.3")
    sender(f"udp://127.0.0.1:{camera.address[1]}?format=faery").send(whole)
    assert same(received(camera), whole)


def test_windows_are_those_of_the_recording_and_nothing_comes_twice() -> None:
    whole = columns(3000)
    with open_camera(f"udp://127.0.0.1:0?format=t64&{SENSOR}&idle=0.3") as camera:
        sender(f"udp://127.0.0.1:{camera.address[1]}?format=t64").send(whole)
        first = next(camera.window(dt=5000))
        assert first.span.tolist() == [[7, 5007]] and first.schema.width == 640
        assert np.array_equal(first.t, whole.t[: first.num_events]) and whole.t[first.num_events] >= 5007


def test_spif_without_times_is_stamped_on_arrival() -> None:
    before = time.time_ns() // 1000
    camera = open_camera("udp://127.0.0.1:0?format=spif&idle=0.3")
    whole = columns(300)
    sender(f"udp://127.0.0.1:{camera.address[1]}?format=aestream&stamps=0").send(whole)
    got = received(camera)
    assert np.array_equal(got.x, whole.x) and np.array_equal(got.p, whole.p)
    assert before - 1 <= got.t[0] <= got.t[-1] <= time.time_ns() // 1000 + 1


def _udp(camera: CameraStream, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for datagram in datagrams:
            out.sendto(datagram, ("127.0.0.1", camera.address[1]))


def test_malformed_late_and_long_datagrams_are_counted() -> None:
    def record(t: int, p: int = 1) -> bytes:
        return struct.pack("<QHHB", t, 3, 4, p)

    camera = open_camera(f"udp://127.0.0.1:0?format=t64&{SENSOR}&idle=0.3&datagram=100")
    _udp(
        camera, record(50_000), b"", b"GET / HTTP/1.0\r\n\r\n", record(50_001)[:-1], record(50_002, p=9),
        record(10_000), bytes(2000), record(50_003),
    )  # fmt: skip
    got = received(camera)
    assert got.t.tolist() == [50_000, 50_003]
    assert {k: camera.counts[k] for k in ("malformed", "late", "truncated", "dropped")} == {
        "malformed": 3, "late": 1, "truncated": 1, "dropped": 0,
    }  # fmt: skip
    notes = " ".join(camera.report.notes)
    assert "3 datagrams held something" in notes and "longer than 100 bytes" in notes and "came too late" in notes


def test_a_small_buffer_loses_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, gate = columns(60_000), threading.Event()
    receive = _mmsg.Receiver.receive

    def later(self: Any, lo: int, hi: int) -> int:
        gate.wait(20)
        return receive(self, lo, hi)

    monkeypatch.setattr(_mmsg.Receiver, "receive", later)
    camera = open_camera(f"udp://127.0.0.1:0?format=t64&{SENSOR}&idle=0.5&buffer=8192")
    sender(f"udp://127.0.0.1:{camera.address[1]}?format=t64").send(whole)
    gate.set()
    got = received(camera)
    lost = camera.counts["dropped"]
    assert lost > 0 and len(got.t) + 100 * lost == len(whole.t)
    assert any("nobody took them out" in note for note in camera.report.notes)


def test_a_receive_buffer_that_is_not_given_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_links, "enlarge", lambda udp, wanted: 4096)
    camera = open_camera("udp://127.0.0.1:0?format=spif")
    camera.close()
    assert "4,096 bytes instead of 16,777,216" in camera.report.notes[0]


def test_evt3_tells_nothing_wrong_after_a_loss() -> None:
    """Whatever datagrams are lost, what is told are the other datagrams' events."""
    whole = columns(2000)
    sink = CameraSink(("127.0.0.1", 9), scheme="udp", format="evt3")
    data, cuts = sink._encode(whole, 100)
    draw = np.random.default_rng(3)
    for _ in range(10):
        kept = np.flatnonzero(draw.random(20) < 0.7)
        rows = np.zeros((len(kept), 2048), np.uint8)
        sizes = np.diff(cuts)[kept]
        for row, i in zip(rows, kept, strict=True):
            row[: cuts[i + 1] - cuts[i]] = data[cuts[i] : cuts[i + 1]]
        drops = kept - np.arange(len(kept))
        got = wire("evt3", (640, 480), stream=False).decode(Batch(rows, sizes, np.zeros(len(kept), np.int64), drops))
        mask = np.isin(np.arange(2000) // 100, kept)
        assert same(got, Columns(*(column[mask] for column in whole)))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
def test_noise_is_never_a_crash(format: str, stream: bool) -> None:
    draw = np.random.default_rng(5)
    decoder = wire(format, (640, 480), stream=stream)
    for _ in range(60):
        count = int(draw.integers(1, 5))
        rows, sizes = draw.integers(0, 256, (count, 64)).astype(np.uint8), draw.integers(0, 65, count)
        got = decoder.decode(Batch(rows, sizes, np.arange(count), np.arange(count)))
        assert (np.diff(got.t) >= 0).all() and got.x.max(initial=0) < 640
        if decoder.fault is not None:
            break


def test_a_camera_that_begins_anew_goes_on() -> None:
    camera = open_camera(f"udp://127.0.0.1:0?format=evt3&{SENSOR}&idle=0.3")
    uri = f"udp://127.0.0.1:{camera.address[1]}?format=evt3"
    late = columns(500)
    sender(uri).send(late._replace(t=late.t + 5_000_000))
    sender(uri).send(late)
    got = received(camera)
    assert len(got.t) >= 500 + 300 and (np.diff(got.t) >= 0).all() and camera.counts["restarts"] == 1
    assert got.t[-1] < 5_000_000 + 2 * int(late.t[-1]) + 100


def test_a_broken_connection_stream_says_where_and_keeps_what_came() -> None:
    for recover in (False, True):
        camera = open_camera(f"tcp://127.0.0.1:0?format=t64&{SENSOR}", recover=recover)
        with socket.create_connection(("127.0.0.1", camera.address[1])) as out:
            out.sendall(struct.pack("<QHHB", 5, 1, 1, 1) + struct.pack("<QHHB", 6, 1, 1, 7) + bytes(50))
        if recover:
            assert received(camera).t.tolist() == [5]
            assert "an impossible event among the bytes" in camera.report.notes[0]
        else:
            with pytest.raises(InputError, match=r"tcp://.*impossible event.*recover=True"):
                list(camera.chunks())
            camera.close()


def test_next_waits_no_longer_than_told_and_closing_ends_a_wait() -> None:
    for uri in ("tcp://127.0.0.1:0?format=evt3", "tcp://127.0.0.1:0?format=t64", "udp://127.0.0.1:0?format=spif"):
        camera, begin = open_camera(uri), time.monotonic()
        events = camera.next(0.05)
        assert events is not None and events.num_events == 0 and time.monotonic() - begin < 2
        camera.close()
    camera = open_camera("udp://127.0.0.1:0?format=spif")
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(camera.next()))
    thread.start()
    camera.close()
    thread.join(10)
    assert found == [None] and threading.active_count() < 20
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(5):
        open_camera("udp://127.0.0.1:0?format=spif").close()
        open_camera("tcp://127.0.0.1:0?format=spif").close()
    assert not files or len(os.listdir("/proc/self/fd")) <= files


def test_as_a_source_of_lines() -> None:
    source = open_source("udp://127.0.0.1:0?format=t64&key=pixel&idle=0.4")
    camera = source.camera  # type: ignore[attr-defined]
    _udp(camera, struct.pack("<QHHB", 9, 3, 4, 1) + struct.pack("<QHHB", 11, 5, 6, 0))
    lines = []
    while (part := source.read(1, 0.1)) is not None:
        assert len(part) <= 1
        lines += part
    assert [json.loads(line) for line in lines] == [
        {"key": "3,4", "t": 9, "mark": 1, "x": 3, "y": 4}, {"key": "5,6", "t": 11, "mark": 0, "x": 5, "y": 6},
    ]  # fmt: skip
    position = source.position
    source.close()
    again = open_source("udp://127.0.0.1:0?format=t64")
    again.seek(position)
    assert again.position == {"events": 2}
    again.close()


def test_as_a_sink_of_lines() -> None:
    camera = open_camera("udp://127.0.0.1:0?format=t32&idle=0.3")
    sink = open_sink(f"udp://127.0.0.1:{camera.address[1]}?format=t32")
    sink.truncate(None)
    sink.write(['{"t": 5, "x": 1, "y": 2, "p": 1}', '{"key": "camera", "t": 6, "x": 3, "y": 4, "mark": 0}'])
    assert sink.position == {"events": 2} and not sink.rewindable
    with pytest.raises(InputError, match="is no event of a camera"):
        sink.write(['{"t": 5}'])
    with pytest.raises(InputError, match="expected 0, 1 or -1"):
        sink.write(['{"t": 5, "x": 1, "y": 2, "p": 3}'])
    sink.close()
    got = received(camera)
    assert got.t.tolist() == [5, 6] and got.y.tolist() == [2, 4] and got.p.tolist() == [1, 0]


def test_replay_keeps_the_pace() -> None:
    whole = columns(2000)
    camera = open_camera(f"udp://127.0.0.1:0?format=t64&{SENSOR}&idle=0.5")
    begin = time.perf_counter()
    speed = (whole.t[-1] - whole.t[0]) / 1e6 / 0.2
    sender(f"udp://127.0.0.1:{camera.address[1]}?format=t64").replay([as_events(whole)], speed=speed)
    assert time.perf_counter() - begin >= 0.19
    assert same(received(camera), whole)


def test_the_ring_waits_for_its_reader_and_loses_nothing() -> None:
    ring, seen = Ring(8, slots=4), []

    def fill() -> None:
        for i in range(50):
            room = ring.room()
            assert room is not None
            ring.rows[room[0], 0], ring.sizes[room[0]] = i, 1
            ring.commit(1)
        ring.end()

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(0.05)
    while (batch := ring.take(5)) is not None:
        seen += batch.rows[:, 0].tolist()
        ring.release(len(batch.sizes))
    thread.join()
    assert seen == list(range(50)) and ring.full > 0


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("udp://127.0.0.1:9", r"which format\? One of spif.*Write: udp://127.0.0.1:9\?format=spif"),
        ("udp://127.0.0.1", "with a port"),
        ("udp://127.0.0.1:9?format=spiff", "did you mean 'spif'"),
        ("udp://127.0.0.1:9?format=spif&widht=3", "did you mean 'width=640'"),
        ("udp://127.0.0.1:9?format=spif&width=x", "a number from 1"),
        ("udp://127.0.0.1:9?format=spif&width=1.5", "a whole number"),
        ("udp://192.0.2.1:9?format=spif", "cannot listen at udp://192.0.2.1:9"),
        ("tcp://127.0.0.1:9?format=spif&buffer=9", "option buffer=9"),
        ("camera://nikon", "unknown camera 'nikon'"),
        ("camera://metavision", "Metavision SDK or OpenEB"),
    ],
)
def test_mistakes_are_named(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(uri)
    with pytest.raises(InputError, match=message):
        open_camera(uri)


def test_mistakes_of_other_doors_are_named() -> None:
    with pytest.raises(InputError, match="stands in its URI"):
        open_recording("udp://127.0.0.1:0", format="evt3")
    with pytest.raises(InputError, match="no end"):
        read_events("udp://127.0.0.1:9?format=evt3")
    with pytest.raises(InputError, match="takes no events"):
        open_sink("camera://dv")
    with pytest.raises(InputError, match="nothing can be sent"):
        sender("tcp://127.0.0.1:9?format=spif").send(columns(5))
    with pytest.raises(InputError, match="holds y below 32768"):
        sender("udp://127.0.0.1:9?format=t32").send(columns(5)._replace(y=np.full(5, 40_000, np.uint16)))


# -- cameras behind libraries --------------------------------------------------------------------


class Store:
    """What dv-processing calls an EventStore."""

    def __init__(self, part: Columns) -> None:
        self._part = part

    def numpy(self) -> Any:
        kind = [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")]
        out = np.zeros(len(self._part.t), kind)
        for name, column in zip(out.dtype.names or (), self._part, strict=True):
            out[name] = column
        return out


def fake_dv(whole: Columns) -> Any:
    batches: list[Any] = [None, Store(whole.part(0, 2000)), None, Store(whole.part(2000, len(whole.t)))]
    camera = types.SimpleNamespace(
        isRunning=lambda: bool(batches), getNextEventBatch=lambda: batches.pop(0), getEventResolution=lambda: (640, 480)
    )
    return types.SimpleNamespace(io=types.SimpleNamespace(camera=types.SimpleNamespace(open=lambda *_: camera)))


def fake_metavision(whole: Columns) -> Any:
    kind = [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
    out = np.zeros(len(whole.t), kind)
    for name, column in zip("txyp", whole, strict=True):
        out[name] = column

    class EventsIterator:
        def __init__(self, input_path: str, delta_t: int) -> None:
            assert (input_path, delta_t) == ("", 1000)

        def get_size(self) -> tuple[int, int]:
            return 480, 640

        def __iter__(self) -> Any:
            return iter([out[:50], out[:0], out[50:]])

    return types.SimpleNamespace(EventsIterator=EventsIterator)


@pytest.mark.parametrize(("name", "fake"), [("dv", fake_dv), ("metavision", fake_metavision)])
def test_a_library_in_place_of_a_network(
    name: str, fake: Callable[[Columns], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = columns(20_000)
    monkeypatch.setattr(_sdk, "_library", lambda module, what: fake(whole))
    camera = open_camera(f"camera://{name}")
    assert (camera.schema.height, camera.schema.width) == (480, 640)
    assert same(received(camera), whole)


def test_a_library_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise RuntimeError("no device")

    broken = types.SimpleNamespace(io=types.SimpleNamespace(camera=types.SimpleNamespace(open=none)))
    monkeypatch.setattr(_sdk, "_library", lambda module, what: broken)
    with pytest.raises(InputError, match="no device.*plugged in"):
        open_camera("camera://dv")
    with pytest.raises(InputError, match="expected host:port"):
        open_camera("camera://dv?connect=nowhere")

    def unplugged() -> Any:
        yield None
        raise RuntimeError("unplugged")

    monkeypatch.setitem(_sdk.SDKS, "dv", lambda address: (unplugged(), 480, 640))
    with open_camera("camera://dv") as camera, pytest.raises(InputError, match="unplugged"):
        list(camera.chunks())


DV_SERVER = """
import os, sys, time
import dv_processing as dv
writer = dv.io.NetworkWriter("127.0.0.1", int(sys.argv[1]), dv.io.Stream.EventStream(0, "events", "fake", (640, 480)))
print("ready", flush=True)
while not writer.getClientCount():
    time.sleep(0.01)
store = dv.EventStore()
for line in open(sys.argv[2]):
    t, x, y, p = map(int, line.split())
    store.push_back(t, x, y, bool(p))
writer.writeEvents(store)
time.sleep(3)
os._exit(0)  # its destructor waits for its reader
"""


@pytest.mark.peer
def test_dv_processing_itself_over_its_network(tmp_path: Path) -> None:
    pytest.importorskip("dv_processing")
    whole = columns(5000)
    np.savetxt(tmp_path / "events.txt", np.stack([column.astype(np.int64) for column in whole], 1), fmt="%d")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-c", DV_SERVER, str(port), str(tmp_path / "events.txt")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        camera = open_camera(f"camera://dv?connect=127.0.0.1:{port}&idle=1.5")
        assert same(received(camera), whole)


@pytest.mark.peer
def test_faery_and_we_understand_each_other() -> None:
    faery = pytest.importorskip("faery")
    whole = columns(2000)
    for name, theirs in (("t64", "t64_x16_y16_on8"), ("t32", "t32_x16_y15_on1")):
        camera = open_camera(f"udp://127.0.0.1:0?format={name}&{SENSOR}&idle=0.5")
        array = np.zeros(len(whole.t), faery.EVENTS_DTYPE)
        for field, column in zip(("t", "x", "y", "on"), whole, strict=True):
            array[field] = column
        stream = faery.events_stream_from_array(array, (640, 480))
        stream.to_udp(("127.0.0.1", camera.address[1]), format=theirs)
        assert same(received(camera), whole)


def test_live_to_a_file_and_back(tmp_path: Path, cli: Callable[..., Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    whole, target = columns(4000), tmp_path / "live.raw"
    answers: list[Any] = []
    source = f"udp://127.0.0.1:{port}?format=t64&{SENSOR}&idle=1"
    thread = threading.Thread(target=lambda: answers.append(cli("data", "convert", source, target)))
    thread.start()
    sink = sender(f"udp://127.0.0.1:{port}?format=t64")
    time.sleep(0.3)
    sink.send(whole)
    thread.join(20)
    assert answers[0].code == 0, answers[0].err
    got = read_events(target)
    assert same(Columns(got.t, got.marks["x"], got.marks["y"], got.marks["p"]), whole)
    camera = open_camera(f"udp://127.0.0.1:0?format=spif&{SENSOR}&idle=0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadWarning)
        assert cli("data", "convert", target, f"udp://127.0.0.1:{camera.address[1]}?format=spif&speed=0").code == 0
    assert same(received(camera), whole)
