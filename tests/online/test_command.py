"""``stream_command``: signals, progress and summary on stderr, where dead letters go."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import torch
from toy_operator import Counting, Toy, write_events

from eventflow.events import Schema
from eventflow.online import Engine, StreamOptions, stream_command
from eventflow.online._command import _Stderr

OPTIONS = StreamOptions(schema=Schema(num_marks=3), start=0.0)


def test_it_runs_a_copy_in_float64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(tmp_path / "events.jsonl", 30)
    model = Toy().float().train()
    threads = torch.get_num_threads()
    stream_command(model, str(tmp_path / "events.jsonl"), str(tmp_path / "out.jsonl"), OPTIONS)
    assert model.training and next(model.parameters()).dtype == torch.float32
    assert torch.get_num_threads() == threads
    nll = [json.loads(line)["nll"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(nll) == 30 and any(x != torch.tensor(x, dtype=torch.float32).item() for x in nll)
    assert "30 events in" in capsys.readouterr().err


def test_dead_letters_lie_beside_the_sink_or_go_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.jsonl").write_text("rubbish\n")
    source = str(tmp_path / "events.jsonl")
    stream_command(Toy(), source, str(tmp_path / "out.jsonl"), OPTIONS)
    assert "rubbish" in (tmp_path / "out.jsonl.dead.jsonl").read_text()
    stream_command(Toy(), source, "/dev/null", OPTIONS)
    err = capfd.readouterr().err
    assert '"raw": "rubbish"' in err and "malformed: see stderr" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_stream_in_order(number: signal.Signals, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = signal.getsignal(number)

    def produce() -> None:
        for _ in range(200):
            try:
                connection = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        with connection:
            connection.sendall(b'{"key": "a", "t": 1.0, "mark": 0}\n{"key": "a", "t": 9.0, "mark": 0}\n')
            while not out.exists() or out.read_text().count("\n") < 1:
                time.sleep(0.01)
            os.kill(os.getpid(), number)
            done.wait(30)

    out, done = tmp_path / "out.jsonl", threading.Event()
    thread = threading.Thread(target=produce)
    thread.start()
    options = StreamOptions(schema=Schema(num_marks=3), start=0.0, lateness=2.0, snapshot=tmp_path / "snap")
    summary = stream_command(Toy(), f"tcp://127.0.0.1:{port}", str(out), options)
    done.set()
    thread.join()
    assert summary.answered == 1 and summary.waiting == 1, "what waits for its turn waits in the snapshot"
    assert signal.getsignal(number) is before


def test_progress_is_told_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with torch.inference_mode():
        engine = Engine(Counting(), StreamOptions(schema=Schema(num_marks=5), start=0.0))
        engine.feed([b'{"key": "a", "t": 1.0, "mark": 0}', b"rubbish"])
    reporter = _Stderr(quiet=False)
    reporter.progress(engine)
    reporter._shown -= 1.0
    reporter.progress(engine)
    time.sleep(0.3)
    reporter.stop()
    err = capsys.readouterr().err
    assert "1 events answered" in err and "1 keys" in err and "1 malformed" in err
