"""live streams: one key, many keys as one batch, and re-encoding the whole history at every event"""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eventflow.bench._report import write
from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state
from eventflow.online import Engine, StateTable, StreamOptions, batch_invariant
from eventflow.tpp import NHP, PointProcess, PromptNHP, StreamLearner

HISTORIES = (100, 1000)
CHUNK, BATCH = 4096, 1024
ONE, MANY = "one key, event by event", "{keys:,} keys, chunks of 4096"


class Row(NamedTuple):
    """One contender: CPU seconds an event, and the wall seconds that each answer took (p50, p99)."""

    name: str
    seconds: float
    p50: float
    p99: float


def run(
    *, out: Path | None = None, seconds: float = 4.0, keys: int = 10_000, hidden: int = 64, marks: int = 10
) -> None:
    """Time a live Neural Hawkes process in float64: events per CPU-second on one thread, and latency.

    Before anything is timed, the streamed numbers must equal the batch likelihood (1e-9) and must not depend, to the
    last bit, on how many keys are stepped together. Latency is wall time from a line handed in to its answer; with many
    keys a chunk of 4096 lines is answered together. "operator alone" leaves out JSON, ordering and the table of states.
    Rows with "prompts" are those of a PromptNHP of the same size: an update's surplus is what retrieving costs.

    Args:
        out: folder for stream.json.
        seconds: to spend on each contender.
        keys: interleaved keys.
        hidden: hidden units.
        marks: kinds of event.

    Raises:
        InputError: no time to spend.
    """
    if not seconds > 0:
        raise InputError(f"bench stream: seconds={seconds}; expected more than 0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model = NHP(marks, hidden_size=hidden, time_scale=float(keys)).double().eval()
        check(model)
        with torch.inference_mode():
            rows = [*_streams(model, keys, seconds), *_operators(model, seconds), *_reencoded(model, seconds)]
            rows += _prompted(model, hidden, keys, seconds)
            size = StateTable(model).bytes_per_key
    finally:
        torch.set_num_threads(threads)
    _show(rows, size)
    if out is not None:
        _write(out, rows, {"bytes of state per key": size, "keys": keys, "hidden": hidden, "marks": marks})


def check(model: PointProcess) -> None:
    """Nothing is timed that is wrong: streamed numbers are the batch's, and the same bits in any batch."""
    events = _history(model, 40)
    lines = [_line("a", t, mark) for t, mark in zip(events.t.tolist(), events.marks["mark"].tolist(), strict=True)]
    others = [_line(f"other {i % 7}", t, 0) for i, t in enumerate(events.t.tolist())]
    mixed = [line for pair in zip(lines, others, strict=True) for line in pair]
    with torch.inference_mode():
        alone = _engine(model).feed(lines)[0]
        together = [line for line in _engine(model).feed(mixed)[0] if '"key": "a"' in line]
        nll = -model.event_log_prob(pad(events, dtype=torch.float64))[0]
    if alone != together:
        raise AssertionError("bench stream: the answers to a key depend on the other keys in the batch")
    seen = [json.loads(line)["nll"] for line in alone]
    if not np.allclose(seen, nll.numpy(), rtol=1e-9, atol=1e-9):
        raise AssertionError("bench stream: streamed nll differs from the batch's")


def _streams(model: PointProcess, keys: int, seconds: float) -> Iterator[Row]:
    engine = _engine(model)
    yield _timed(ONE, ((lambda line=line: engine.feed([line])) for line in _lines(model, 1)), 1, seconds)
    yield _timed(MANY.format(keys=keys), _crowd(_engine(model), model, keys), CHUNK, seconds)


def _crowd(engine: Engine, model: PointProcess, keys: int) -> Iterator[Callable[[], object]]:
    lines = _lines(model, keys)
    chunks = iter(lambda: [next(lines) for _ in range(CHUNK)], None)
    return ((lambda chunk=chunk: engine.feed(chunk)) for chunk in chunks)


def _prompted(plain: PointProcess, hidden: int, keys: int, seconds: float) -> Iterator[Row]:
    """With prompts: what retrieving costs, in a stream and in the update of a state; and learning as it goes."""
    model = PromptNHP(plain.num_marks, hidden_size=hidden, time_scale=plain.time_scale).double().eval()
    check(model)
    yield _timed("prompts: " + MANY.format(keys=keys), _crowd(_engine(model), model, keys), CHUNK, seconds)
    for name, updated in (("", plain), ("prompts: ", model)):
        for rows in (1, BATCH):
            mode = batch_invariant(updated)
            with mode:
                state = updated.init_at(torch.zeros(rows, dtype=torch.float64))
            calls = (_updating(mode, updated, state, rows) for _ in iter(int, 1))
            yield _timed(f"{name}update alone, {rows} rows", calls, rows, seconds)
    learner = StreamLearner(model)
    engine = Engine(learner, StreamOptions(schema=Schema(num_marks=model.num_marks), start=0.0, max_batch=BATCH))
    lines = _lines(model, keys)
    blocks = iter(lambda: [next(lines) for _ in range(learner.block)], None)
    calls = ((lambda block=block: engine.feed(block)) for block in blocks)
    yield _timed(f"prompts: {keys:,} keys, learning as it goes", calls, learner.block, seconds)


def _updating(mode: Any, model: PointProcess, state: Any, rows: int) -> Callable[[], object]:
    marks, dt = torch.arange(rows) % model.num_marks, torch.full((rows,), model.time_scale).double()

    def call() -> object:
        with mode:
            return model.update(model.evolve(state, dt), marks)

    return call


def _operators(model: PointProcess, seconds: float) -> Iterator[Row]:
    """``observe`` alone: of one row, plainly and in the batch-invariant mode, and of a whole batch."""
    for name, rows in (("operator alone, one row", 1), (f"operator alone, {BATCH} rows", BATCH)):
        mode = batch_invariant(model)
        with mode:
            state = map_state(lambda leaf, rows=rows: leaf.expand(rows, *leaf.shape[1:]).clone(), model.init(1))
            given = {"mark": torch.arange(rows) % model.num_marks}, torch.full((rows,), model.time_scale).double()
            calls = (_inside(mode, model, state, given) for _ in iter(int, 1))
        yield _timed(name, calls, rows, seconds)
    plain = {"mark": torch.zeros(1, dtype=torch.int64)}, torch.full((1,), model.time_scale).double()
    first = model.init(1)
    yield _timed(
        "definition: one row, plain torch", ((lambda: model.observe(first, *plain)) for _ in iter(int, 1)), 1, seconds
    )


def _inside(mode: Any, model: PointProcess, state: Any, given: Any) -> Callable[[], object]:
    def call() -> object:
        with mode:
            return model.observe(state, *given)

    return call


def _reencoded(model: PointProcess, seconds: float) -> Iterator[Row]:
    """What a library without a carried state does at each event: encode the history, score the event, forecast."""
    for length in HISTORIES:
        batch = pad(_history(model, length), dtype=torch.float64)

        def answer(batch: Any = batch) -> tuple[Tensor, Any]:
            states = model.encode(batch)
            left = map_state(lambda leaf: leaf[:, -2], states)
            nll = -model.step(left, batch.mark[:, -1], batch.dt[:, -1])[0]
            return nll, model.predict_next(map_state(lambda leaf: leaf[:, -1], states))

        calls = (answer for _ in iter(int, 1))
        yield _timed(f"re-encode the history, {length} events", calls, 1, seconds)


def _timed(name: str, calls: Iterator[Callable[[], object]], events: int, seconds: float) -> Row:
    """Calls that answer ``events`` each, one after another, for ``seconds`` of CPU time (the first is not counted)."""
    next(calls)()
    cpu: list[float] = []
    wall: list[float] = []
    while sum(cpu) < seconds or len(cpu) < 3:
        call = next(calls)
        start, now = time.process_time(), time.perf_counter()
        call()
        wall.append(time.perf_counter() - now)
        cpu.append(time.process_time() - start)
    return Row(name, statistics.median(cpu) / events, float(np.quantile(wall, 0.5)), float(np.quantile(wall, 0.99)))


def _engine(model: PointProcess) -> Engine:
    return Engine(model, StreamOptions(schema=Schema(num_marks=model.num_marks), start=0.0, max_batch=BATCH))


def _line(key: str, t: float, mark: int) -> bytes:
    return json.dumps({"key": key, "t": t, "mark": mark}).encode()


def _lines(model: PointProcess, keys: int) -> Iterator[bytes]:
    """Events without end, each of a random key, one a unit of time."""
    draw, t = np.random.default_rng(0), 0.0
    while True:
        t += float(draw.exponential())
        yield _line(f"user-{draw.integers(keys)}", t, int(draw.integers(model.num_marks)))


def _history(model: PointProcess, length: int) -> Events:
    draw = np.random.default_rng(1)
    t = np.cumsum(draw.exponential(model.time_scale, length))
    marks = draw.integers(0, model.num_marks, length)
    return Events.of(
        t, mark=marks, span=(0.0, math.nextafter(float(t[-1]), math.inf)), schema=Schema(num_marks=model.num_marks)
    )


def _show(rows: list[Row], size: int) -> None:
    from rich.table import Table

    table = Table(title="live NHP, float64, one thread", box=None)
    for heading in ("", "events/CPU-s", "gain", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    base = rows[0].seconds
    for row in rows:
        table.add_row(
            row.name, f"{1 / row.seconds:,.0f}", f"{base / row.seconds:.2g}x",
            f"{1e3 * row.p50:.2f}", f"{1e3 * row.p99:.2f}",
        )  # fmt: skip
    console = terminal()
    console.print(table)
    console.print(f"{size:,} bytes of state per key, however long its history")


def _write(out: Path, rows: list[Row], facts: dict[str, int]) -> None:
    found = [
        {"method": r.name, "events per CPU-second": 1 / r.seconds, "p50 ms": 1e3 * r.p50, "p99 ms": 1e3 * r.p99}
        for r in rows
    ]
    report = {
        "dtype": "float64",
        "threads": 1,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    out.mkdir(parents=True, exist_ok=True)
    write(json.dumps({**report, **facts, "rows": found}, indent=1) + "\n", out / "stream.json")
