"""``eventflow demo``: simulate, fit, compare with the truth, stream live, see motion, and put it all on one page."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError, require

if TYPE_CHECKING:
    from eventflow.bench._demo_flow import Seen
    from eventflow.events import Events

DATASET = "hawkes"
#: The words of the demo's `eventflow fit`, but for --out.
FIT = ("--config", "demo")
#: What a demo leaves in its folder; MARK says that the folder is ours and may be written anew.
LEFT = (
    "data",
    "run",
    "events.jsonl",
    "answers.jsonl",
    "learning.png",
    "intensity.png",
    "calibration.png",
    "index.html",
    "camera.raw",
    "flow.npz",
    "flow.gif",
    "flow.png",
)
MARK = "demo.json"


class Comparison(NamedTuple):
    """The fitted model beside the true process on test events.

    truth: the true process's numbers, named as in metrics.json. gap: nll per event of the model above it, gap_error
    its standard error over sequences. true_nll: split -> nll per event of the true process.
    """

    truth: dict[str, Any]
    gap: float
    gap_error: float
    true_nll: dict[str, float]


class Live(NamedTuple):
    """The test events streamed: how many, how fast, and the streamed nll beside that of one batch."""

    events: int
    keys: int
    per_second: float
    streamed_nll: float
    batch_nll: float
    largest_difference: float
    sample: tuple[str, str]


class Results(NamedTuple):
    """All that the page shows."""

    out: Path
    events: dict[str, Events]
    same_as_shipped: bool
    curve: list[dict[str, float]]
    report: dict[str, Any]
    comparison: Comparison
    live: Live
    camera: Seen


def run(out: Path = Path("eventflow-demo")) -> None:
    """The whole road once, on data that is simulated here: less than a minute, offline, nothing to prepare.

    Simulates discussions (posts, replies, shares) from a Hawkes process, fits a Neural Hawkes Process, compares it with
    the true process and with trivial baselines, streams the test events live, sees the motion in a simulated event
    camera with a network that ships, and writes one page with pictures.

    Args:
        out: the folder for it; a folder that an earlier demo wrote is written anew.
    """
    begin = time.perf_counter()
    require("matplotlib", "viz")  # said now, not after a minute

    console = terminal()
    out = _prepare(Path(out).resolve())
    folder = shown(out)
    with _step(console, 1, "Simulate discussions from a Hawkes process", f"data simulate {DATASET} {folder}/data"):
        events, same = _simulate(out)
    with _step(console, 2, "Fit a Neural Hawkes Process", f"fit {' '.join(FIT)} --out {folder}/run"):
        _train("fit", [*FIT, "--out", str(out / "run")])
    with _step(console, 3, "Judge it on unseen discussions", f"test --ckpt_path {folder}/run"):
        _train("test", ["--ckpt_path", str(out / "run")])
        comparison = compare(out, events)
    with _step(console, 4, "Run it live, one event at a time", _stream_words(out)):
        live = stream(out, events["test"])
        console.print(f"  {live.events:,} events of {live.keys} discussions, {live.per_second:,.0f} events/s")
    with _step(console, 5, "See motion with an event camera, 100 fields a second"):
        camera = _film(out)
        console.print(f"  $ eventflow {camera.words}", style="dim", soft_wrap=True)
        console.print(f"  mean error {camera.error:.2f} px in 100 ms, without a network {camera.still:.2f} px")
    with _step(console, 6, "Draw the page"):
        report = json.loads((out / "run" / "metrics.json").read_text(encoding="utf-8"))
        results = Results(out, events, same, _curve(out), report, comparison, live, camera)
        _write_page(results, time.perf_counter() - begin)
    console.print(
        f"\nDone in {time.perf_counter() - begin:.0f} s. Open [bold]{out / 'index.html'}[/bold]", soft_wrap=True
    )


def _prepare(out: Path) -> Path:
    """A folder that says it is a demo's. What an earlier demo left in it is removed; nothing else ever is."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file()):
        raise InputError(f"--out {out}: holds something that is no demo's. Give a new folder: eventflow demo --out NEW")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(json.dumps({"made by": "eventflow demo"}) + "\n", encoding="utf-8")
    for name in LEFT:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    return out


@contextmanager
def _step(console: Any, number: int, title: str, words: str | None = None) -> Iterator[None]:
    """The step's title, the command that does the same, and at its end how long it took."""
    begin = time.perf_counter()
    console.print(f"\n[bold]{number}/6  {title}[/bold]")
    if words:
        console.print(f"  $ eventflow {words}", style="dim", soft_wrap=True)
    yield
    console.print(f"  {time.perf_counter() - begin:.1f} s", style="dim")


def _simulate(out: Path) -> tuple[dict[str, Events], bool]:
    """The shipped splits, and whether the splits simulated here are the same, value for value."""
    from eventflow.io import load_dataset
    from eventflow.tpp import data_simulate

    data_simulate(DATASET, out / "data")
    again, shipped = load_dataset(out / "data"), load_dataset(DATASET)
    return shipped, all(np.array_equal(again[split].t, events.t) for split, events in shipped.items())


def _train(name: str, words: list[str]) -> None:
    from eventflow.train import command

    command(name, words)


def compare(out: Path, events: dict[str, Events]) -> Comparison:
    """Model and truth on the same events; the gap's error is that of a ratio of sums over sequences."""
    import torch

    from eventflow.events import pad
    from eventflow.tpp import load_model, truth
    from eventflow.train._evaluate import Score

    model, oracle, test = load_model(checkpoint(out)).model.double(), truth(DATASET).process, events["test"]
    with torch.no_grad():
        score = Score()
        score.add(oracle, pad(test, dtype=torch.float64))
        true_nll = {split: -float(oracle.log_prob(part).sum()) / part.num_scored for split, part in events.items()}
        difference = (oracle.log_prob(test) - model.log_prob(test)).numpy()
    gap = difference.sum() / test.num_scored
    error = np.sqrt(((difference - gap * test.lengths) ** 2).sum()) / test.num_scored
    return Comparison(score.compute(), float(gap), float(error), true_nll)


def stream(out: Path, test: Events) -> Live:
    """Stream the test events through the checkpoint, discussions interleaved; set the answers beside the batch's."""
    import torch

    from eventflow import online
    from eventflow.events import pad
    from eventflow.io import open_sink, open_source, write_events
    from eventflow.tpp import load_model

    model, schema, start = load_model(checkpoint(out))
    model = model.double()  # as `eventflow stream` does
    asked, answered = out / "events.jsonl", out / "answers.jsonl"
    write_events(test, asked)
    options = online.StreamOptions(schema=schema, start=start)
    summary = online.run(model, open_source(str(asked)), open_sink(str(answered)), options)
    lines = answered.read_text(encoding="utf-8").splitlines()
    streamed = np.array([json.loads(line)["nll"] for line in lines])
    with torch.no_grad():
        batch = pad(test, dtype=model.dtype)
        together = -model.event_log_prob(batch)[batch.mask].double().numpy()
    together = together[np.argsort(test.t, kind="stable")]  # in the order of the lines
    middle = len(lines) // 2
    return Live(
        events=len(lines), keys=summary.keys, per_second=summary.answered / summary.seconds,
        streamed_nll=float(streamed.mean()), batch_nll=float(together.mean()),
        largest_difference=float(np.abs(streamed - together).max()),
        sample=(asked.read_text(encoding="utf-8").splitlines()[middle], lines[middle]),
    )  # fmt: skip


def _film(out: Path) -> Seen:
    from eventflow.bench._demo_flow import film

    return film(out, shown=shown(out))


def checkpoint(out: Path) -> Path:
    """The best weights of the demo's run."""
    return out / "run" / "checkpoints" / "best.ckpt"


def shown(path: Path) -> str:
    """A path as a reader here would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _stream_words(out: Path) -> str:
    folder = shown(out)
    files = f"--source {folder}/events.jsonl --sink {folder}/answers.jsonl"
    return f"stream --checkpoint {shown(checkpoint(out))} {files}"


def _curve(out: Path) -> list[dict[str, float]]:
    with (out / "run" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _write_page(results: Results, seconds: float) -> None:
    from eventflow.bench._demo_page import write_page

    write_page(results, seconds)
