"""A point process over the events of a camera that is watched live."""

from __future__ import annotations

import json
from pathlib import Path

from eventflow.events import Schema
from eventflow.io import open_sink, open_source
from eventflow.io.live._stream import CameraLines
from eventflow.online import StreamOptions, run
from eventflow.tpp import Poisson


def test_udp_events_are_answered_and_counted_on_after_a_restart(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    options = StreamOptions(schema=Schema(num_marks=2, unit="us"), start=0.0, snapshot=tmp_path / "state")
    for first in (10, 30):
        source = open_source("udp://127.0.0.1:0?format=t64&idle=0.4")
        assert isinstance(source, CameraLines)
        host, port = source.camera.address
        sink = open_sink(f"udp://{host}:{port}?format=t64")
        sink.write([json.dumps({"t": first + i, "x": i, "y": 2, "p": i % 2}) for i in range(3)])
        sink.close()
        answers = open_sink(str(out))
        summary = run(Poisson(2).double(), source, answers, options)
        source.close()
        answers.close()
        assert summary.answered == 3
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["t"] for line in lines] == [10, 11, 12, 30, 31, 32] and lines[0]["key"] == "camera"
