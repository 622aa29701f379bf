"""Point processes live: the streamed numbers are the batch's, in any batch, and through the command."""

from __future__ import annotations

import inspect
import json
import math
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eventflow import tpp
from eventflow.events import Events, Schema, pad
from eventflow.io import load_dataset, open_sink, open_source
from eventflow.nn import (
    GRU,
    Gompertz,
    LogNormalMixture,
    MarkedGompertz,
    SoftplusIntensity,
    SoftplusNetwork,
    WeibullMixture,
)
from eventflow.online import StreamOptions, run
from eventflow.testing import check_batch_invariant
from eventflow.tpp import NHP, RMTPP, Hawkes, NeuralPointProcess, PointProcess, Poisson, PromptNHP, save_model

MODELS: dict[str, Callable[[int, float], PointProcess]] = {
    "poisson": lambda k, scale: Poisson(k, time_scale=scale),
    "hawkes": lambda k, scale: Hawkes(k, time_scale=scale),
    "rmtpp": lambda k, scale: RMTPP(k, hidden_size=8, time_scale=scale),
    "nhp": lambda k, scale: NHP(k, hidden_size=8, time_scale=scale),
    "prompt_nhp": lambda k, scale: PromptNHP(k, hidden_size=8, prompts=6, retrieved=2, time_scale=scale),
}


def _model(name: str, num_marks: int = 4, scale: float = 1.0) -> PointProcess:
    torch.manual_seed(0)
    model = MODELS[name](num_marks, scale).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


def _events(schema: Schema, sequences: int = 6, seed: int = 0) -> Events:
    draw = np.random.default_rng(seed)
    rows = [
        {"t": 5 + np.cumsum(draw.exponential(size=n)), "mark": draw.integers(0, 4, n)} for n in range(1, sequences + 1)
    ]
    keys = [f"key {i}" for i in range(sequences)]
    return Events.from_sequences(rows, span=None if schema.given_first else (5.0, 60.0), schema=schema, keys=keys)


def _as_stream(events: Events, path: Path) -> list[tuple[int, int]]:
    """All sequences merged in the order of time, as JSON lines; (sequence, place in it) of each line."""
    order = np.argsort(events.t, kind="stable")
    place = np.arange(events.num_events) - events.offsets[:-1][events.sequence]
    names = events.keys if events.keys is not None else [f"key {i}" for i in range(len(events))]
    records = [
        {"key": str(names[events.sequence[i]]), "t": events.t[i].item(), "mark": int(events.marks["mark"][i])}
        for i in order
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return [(int(events.sequence[i]), int(place[i])) for i in order]


def _streamed(
    model: PointProcess, events: Events, folder: Path, **options: Any
) -> tuple[list[Any], list[tuple[int, int]]]:
    where = _as_stream(events, folder / "events.jsonl")
    start = None if events.schema.given_first else float(events.span[0, 0])
    sink = open_sink(str(folder / "out.jsonl"))
    run(
        model,
        open_source(str(folder / "events.jsonl")),
        sink,
        StreamOptions(schema=events.schema, start=start, **options),
    )
    sink.close()
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()], where


@pytest.mark.parametrize("given_first", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_streamed_nll_is_the_batch_nll(name: str, given_first: bool, tmp_path: Path) -> None:
    model, events = _model(name), _events(Schema(num_marks=4, given_first=given_first))
    out, where = _streamed(model, events, tmp_path, max_batch=3)
    with torch.no_grad():
        batch = pad(events, dtype=torch.float64)
        nll = -model.event_log_prob(batch)
        states = model.encode(batch)
        after = model.predict_next(states)
    for record, (row, place) in zip(out, where, strict=True):
        if given_first and place == 0:
            assert record["nll"] is None
        else:
            assert math.isclose(record["nll"], float(nll[row, place]), rel_tol=1e-9, abs_tol=1e-9)
        gap = float(after.median[row, place])
        assert math.isclose(record["next_t"], record["t"] + gap, rel_tol=1e-9)
        assert record["next_mark_probs"] == pytest.approx(after.mark_probs[row, place].tolist(), rel=1e-6)
    assert sum(record["nll"] is not None for record in out) == events.num_scored


def _buildable() -> list[str]:
    """Every process that needs no more than a number of marks."""
    found = []
    for name, kind in vars(tpp).items():
        if isinstance(kind, type) and issubclass(kind, PointProcess):
            required = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
            if [p.name for p in required] == ["num_marks"] and kind is not PointProcess:
                found.append(name)
    return found


HEADS: dict[str, Callable[[int, int], Any]] = {
    "gompertz": Gompertz, "marked gompertz": MarkedGompertz, "lognormal": LogNormalMixture, "weibull": WeibullMixture,
    "softplus": SoftplusIntensity, "network": SoftplusNetwork,
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_every_head_streams(head: str) -> None:
    torch.manual_seed(0)
    check_batch_invariant(NeuralPointProcess(3, GRU(5, 6), HEADS[head](6, 3)).double().eval(), rows=15, steps=3)


@pytest.mark.parametrize("name", _buildable())
def test_a_process_gives_a_key_the_same_bits_in_any_batch(name: str) -> None:
    torch.manual_seed(0)
    kind = getattr(tpp, name)
    small: dict[str, int] = {"window": 8} if "window" in inspect.signature(kind).parameters else {}
    if name in ("S2P2", "Mamba"):  # a state for each node of a rule: minutes at their usual size
        small["hidden_size"] = 16
    model = kind(4, **small).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    check_batch_invariant(model, rows=15, steps=3)


def test_a_real_log_streamed_is_the_batch(data_root: Path, tmp_path: Path) -> None:
    events = load_dataset("taxi", splits=["test"])["test"][np.arange(12)]
    assert events.schema.num_marks is not None
    model = _model("nhp", events.schema.num_marks, float(events.gaps.mean()))
    out, where = _streamed(model, events, tmp_path)
    with torch.no_grad():
        nll = -model.event_log_prob(pad(events, dtype=torch.float64))
    expected = [None if place == 0 and events.schema.given_first else float(nll[row, place]) for row, place in where]
    assert len(out) > 300
    for record, value in zip(out, expected, strict=True):
        assert record["nll"] == (None if value is None else pytest.approx(value, abs=1e-6))


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "nhp.ckpt"
    save_model(_model("nhp").float(), path, schema=Schema(vocabulary=("a", "b", "c", "d")), start=5.0)
    return path


def _words(path: Path, count: int = 60) -> None:
    draw = random.Random(0)
    t = 5.0
    with path.open("w") as file:
        for _ in range(count):
            t += draw.expovariate(1.0)
            file.write(json.dumps({"key": draw.randrange(5), "t": t, "mark": draw.choice("abcd")}) + "\n")


def test_the_command_answers_each_event(cli: Any, checkpoint: Path, tmp_path: Path) -> None:
    _words(tmp_path / "events.jsonl")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"key": 1, "t": 6.0, "mark": "b"}\nrubbish\n')
    words = ("stream", "--checkpoint", checkpoint, "--source", "events.jsonl", "--sink", "out.jsonl")
    answer = cli(*words, "--snapshot", "snap", "--every", 20)
    assert answer.code == 0 and answer.out == ""
    assert "62" not in answer.err and "60 events in" in answer.err and "1 late" in answer.err
    assert "1 malformed: see out.jsonl.dead.jsonl" in answer.err and "5 keys" in answer.err
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(out) == 60 and all(sorted(r) == ["key", "next_mark_probs", "next_t", "nll", "t"] for r in out)
    assert all(math.isclose(sum(r["next_mark_probs"]), 1, rel_tol=1e-12) and r["next_t"] > r["t"] for r in out)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out.jsonl.dead.jsonl").read_text().splitlines()]
    assert reasons[0].startswith("late by") and reasons[1].startswith("not valid JSON")
    again = cli(*words, "--snapshot", "snap", "--every", 20)
    assert again.code == 0 and "resumed behind line 62" in again.err


def test_start_makes_given_first_events_scored(cli: Any, tmp_path: Path) -> None:
    save_model(_model("hawkes"), tmp_path / "m.ckpt", schema=Schema(num_marks=4, given_first=True))
    (tmp_path / "e.jsonl").write_text('{"key": "a", "t": 7.0, "mark": 1}\n')
    for extra, given in (((), True), (("--start", "6.5"), False)):
        assert cli("stream", "--checkpoint", "m.ckpt", "--source", "e.jsonl", "--sink", "o.jsonl", *extra).code == 0
        assert (json.loads((tmp_path / "o.jsonl").read_text())["nll"] is None) is given


@pytest.mark.parametrize(
    "words, expected",
    [
        (("--source", "nothing.jsonl"), "does not exist"),
        (("--source", "events.jsonl", "--sink", "no/where.jsonl"), "mkdir -p no"),
        (("--source", "kafka://x:1/t"), "not built yet"),
        (("--source", "events.jsonl", "--lateness", "-1"), "lateness"),
        (("--source", "events.jsonl", "--sink", "out.jsonl", "--snapshot", "snap"), "another checkpoint"),
        (("--source", "events.jsonl", "--sink", "out.jsonl", "--snapshot", "snap", "--lateness", "2"), "lateness"),
    ],
)
def test_mistakes_end_with_2_one_message_and_nothing_written(
    words: tuple[str, ...], expected: str, cli: Any, checkpoint: Path, tmp_path: Path
) -> None:
    _words(tmp_path / "events.jsonl", 5)
    if "snap" in words:
        model = _model("nhp" if "--lateness" in words else "hawkes")
        save_model(model.float(), tmp_path / "other.ckpt", schema=Schema(vocabulary=("a", "b", "c", "d")), start=5.0)
        first = ("--source", "events.jsonl", "--sink", "out.jsonl", "--snapshot", "snap")
        assert cli("stream", "--checkpoint", "other.ckpt", *first).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    answer = cli("stream", "--checkpoint", checkpoint, *words)
    assert answer.code == 2 and expected in answer.err and "Traceback" not in answer.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_without_a_start_asks_for_one(cli: Any, tmp_path: Path) -> None:
    save_model(_model("hawkes"), tmp_path / "m.ckpt", schema=Schema(num_marks=4))
    (tmp_path / "e.jsonl").write_text("")
    answer = cli("stream", "--checkpoint", "m.ckpt", "--source", "e.jsonl", "--sink", "o.jsonl")
    assert answer.code == 2 and "--start 0" in answer.err and not (tmp_path / "o.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("learn", [[], ["--learn", "--learn.every", "16"]], ids=["frozen", "learning"])
def test_the_command_killed_and_resumed_in_a_shell(checkpoint: Path, tmp_path: Path, learn: list[str]) -> None:
    """`eventflow stream ... < events.jsonl >> out.jsonl`, 20 times killed with -9, and once with TERM."""
    _words(tmp_path / "events.jsonl", 4000)
    command = [
        sys.executable,
        "-m",
        "eventflow",
        "stream",
        "--checkpoint",
        str(checkpoint),
        "--every",
        "50",
        "--chunk",
        "50",
        *learn,
    ]

    def start(out: str, snapshots: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "events.jsonl").open("rb") as source, (tmp_path / out).open("ab") as sink:
            return subprocess.Popen(
                [*command, "--snapshot", str(tmp_path / snapshots)],
                stdin=source,
                stdout=sink,
                stderr=subprocess.DEVNULL,
            )

    assert start("whole.jsonl", "s1").wait(300) == 0
    expected = (tmp_path / "whole.jsonl").read_bytes()
    assert expected.count(b"\n") == 4000
    draw, killed = random.Random(0), 0
    while True:
        process = start("cut.jsonl", "s2")
        seen = (tmp_path / "cut.jsonl").stat().st_size
        while killed < 21 and process.poll() is None and (tmp_path / "cut.jsonl").stat().st_size <= seen:
            time.sleep(0.002)  # until it writes: most of its life is the import of torch
        if killed < 21 and process.poll() is None:
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGTERM if killed == 10 else signal.SIGKILL)
            killed += 1
        if process.wait(300) == 0 and killed != 11:
            break
    assert killed >= 20
    assert (tmp_path / "cut.jsonl").read_bytes() == expected
